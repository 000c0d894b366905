/** Bad hellos, hellos that never come, and doors that ask for more than others. */
import assert from 'node:assert/strict';
import type { Agent } from '../../lib/client/index.js';
import { issueToken } from '../../lib/security/token.js';
import * as at from '../../lib/wire/frame.js';
import { Encoding, FrameType } from '../../lib/wire/frame.js';
import { controlFrame } from '../../lib/wire/writer.js';
import type { RunningNode } from '../../shards/primary.js';
import { Attacker } from './attacker.js';
import { changed, changedControl, helloFrame, jsonFrame, rawHello, withTopic } from './bad-frames.js';
import { closeAgents, join, startBroker, until } from './broker/node.js';
import { provoked, Siege } from './siege.js';

const SECRET = 'a secret for tests, of thirty-two bytes and more';
const HELLO_TIMEOUT = 300;

describe('bad hellos', function () {
  this.timeout(20_000);

  describe('before the welcome', () => {
    const siege = new Siege({ helloTimeout: HELLO_TIMEOUT });

    siege.unwelcome('HELLO_REQUIRED', 'a publish', () =>
      [withTopic(helloFrame(), '')].map((f) => changedControl(f, 5, 5)),
    );
    siege.unwelcome('HELLO_REQUIRED', 'a ping', () => [controlFrame(FrameType.ping, 1, Encoding.bytes)]);
    siege.unwelcome('HELLO_REQUIRED', 'an empty message', () => [new Uint8Array(0)]);
    siege.unwelcome('HELLO_REQUIRED', 'more than the hello', () => [
      helloFrame(),
      controlFrame(FrameType.ping, 1, Encoding.bytes),
    ]);
    siege.unwelcome('BAD_MAGIC', 'no frame at all', () => [Buffer.from('GET / HTTP/1.1\r\n\r\n'.padEnd(50))]);
    siege.unwelcome('TRUNCATED', 'half a hello', () => [helloFrame().subarray(0, 50)]);
    siege.unwelcome('BAD_FLAGS', 'a hello with an unknown flag', () => [
      changed(helloFrame(), at.OFFSET_FLAGS, 128),
    ]);
    siege.unwelcome('BAD_HELLO', 'a wrong checksum', () => [
      changed(helloFrame(), at.OFFSET_CHECKSUM, 0, 0, 0, 0),
    ]);
    siege.unwelcome('BAD_HELLO', 'Avro that ends early', () => [
      controlFrame(FrameType.hello, 1, Encoding.avro, Uint8Array.of(16, 0x61, 0x62)),
    ]);
    siege.unwelcome('BAD_HELLO', 'bytes behind the Avro', () => [
      controlFrame(
        FrameType.hello,
        1,
        Encoding.avro,
        Buffer.concat([helloFrame().subarray(40), Buffer.of(0)]),
      ),
    ]);
    siege.unwelcome('BAD_HELLO', 'broken JSON', () => [jsonFrame(FrameType.hello, '{')]);
    siege.unwelcome('BAD_HELLO', 'JSON that is no object', () => [jsonFrame(FrameType.hello, 'null')]);
    siege.unwelcome('BAD_HELLO', 'no agentId', () => [jsonFrame(FrameType.hello, '{}')]);
    const long = 'x'.repeat(65);
    for (const agentId of ['', 'a.b', 'a b', '*', '_x', 'flowbus', 'http', '\u0000', long, 7, null])
      siege.unwelcome('BAD_HELLO', `agentId ${JSON.stringify(agentId)}`, () => [rawHello({ agentId })]);
    for (const fields of [
      { agentType: 'a.b' },
      { agentType: 'flowbus' },
      { capabilities: ['x'.repeat(65)] },
      { capabilities: new Array(65).fill('x') },
      { capabilities: 'x' },
      { priority: 5 },
      { priority: 1.5 },
      { heartbeatInterval: -1 },
      { heartbeatInterval: 3_600_001 },
      { metadata: '{' },
      { metadata: `"${'x'.repeat(4095)}"` },
      { metadata: {} },
      { token: 'x'.repeat(8193) },
      { resume: 'x' },
      { resume: { session: 'x', received: -1 } },
      { subscriptions: new Array(1025).fill('x') },
    ])
      siege.unwelcome('BAD_HELLO', JSON.stringify(fields).slice(0, 60), () => [rawHello(fields)]);
    siege.unwelcome('BAD_PATTERN', 'a bad pattern in the hello', () => [
      helloFrame({ subscriptions: ['a*'] }),
    ]);
    siege.unwelcome('FORBIDDEN_TOPIC', 'a reserved pattern in the hello', () => [
      helloFrame({ subscriptions: ['_agent.x'] }),
    ]);

    it('OVERSIZED: a message larger than maxPayload', async () => {
      const attacker = await Attacker.reach(siege.url);
      attacker.send(new Uint8Array(65_537));
      // Nobody knows yet how this client wants to be spoken to.
      assert.deepEqual(await attacker.closed(), { code: 1009, reason: 'OVERSIZED' });
      await siege.unharmed();
    });

    provoked.add('HELLO_TIMEOUT');
    it('HELLO_TIMEOUT: a hello that never comes', async () => {
      const attacker = await Attacker.reach(siege.url);
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: 'HELLO_TIMEOUT' });
      await siege.unharmed();
    });

    it('HELLO_TIMEOUT: a hello in fragments, the last of which never comes', async () => {
      const attacker = await Attacker.reach(siege.url);
      for (const byte of helloFrame().subarray(0, 20)) attacker.ws.send(Buffer.of(byte), { fin: false });
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: 'HELLO_TIMEOUT' });
      await siege.unharmed();
    });
  });

  describe('where messages are checked and tokens asked for', () => {
    let strict: RunningNode;
    let witness: Agent;
    const texts: string[] = [];
    const token = (agentId: string): Promise<string> => issueToken(SECRET, agentId);

    before(async () => {
      strict = await startBroker({ verifyChecksums: true, authSecret: SECRET });
      witness = await join(strict.url, { agentId: 'witness', token: await token('witness') });
      await witness.subscribe('open.*', (message) => texts.push(message.text()));
    });
    after(async () => {
      await closeAgents();
      await strict.stop();
    });

    provoked.add('CHECKSUM_MISMATCH');
    for (const [title, offset, byte] of [
      ['payload', -1, 0x21],
      ['timestamp', at.OFFSET_TIMESTAMP, 1],
      ['sequence', at.OFFSET_SEQUENCE, 99],
      ['lane', at.OFFSET_LANE, 0],
    ] as const) {
      it(`CHECKSUM_MISMATCH: another ${title}`, async () => {
        const attacker = await Attacker.join(strict.url, { agentId: 'a', token: await token('a') });
        const frame = attacker.message('open.x', 'damaged');
        attacker.send(changed(frame, offset < 0 ? frame.length + offset : offset, byte));
        attacker.send(attacker.message('open.x', `behind ${title}`));
        assert.equal((await attacker.refused('CHECKSUM_MISMATCH')).topic, 'open.x');
        await until('the message behind', () => texts.includes(`behind ${title}`));
        assert.ok(!texts.includes('damaged'));
      });
    }

    it('CHECKSUM_MISMATCH: the checksum of another topic, or of another sender', async () => {
      const attacker = await Attacker.join(strict.url, { agentId: 'a', token: await token('a') });
      attacker.send(withTopic(attacker.message('open.x', 'damaged'), 'open.y'));
      await attacker.refused('CHECKSUM_MISMATCH');
      attacker.errors.length = 0;
      attacker.send(attacker.message('open.x', 'damaged', { from: 'witness' }));
      await attacker.refused('CHECKSUM_MISMATCH');
      assert.ok(!texts.includes('damaged'));
    });

    provoked.add('UNAUTHORIZED');
    for (const [title, made] of [
      ['no token', async () => null],
      ['a text that is no token', async () => 'let me in'],
      ['the token of another agent', () => token('witness')],
      ['a token of another secret', () => issueToken('x'.repeat(32), 'a')],
    ] as const) {
      it(`UNAUTHORIZED: ${title}`, async () => {
        const attacker = await Attacker.reach(strict.url);
        attacker.send(helloFrame({ agentId: 'a', token: await made() }));
        await attacker.cutOff('UNAUTHORIZED');
        assert.equal(attacker.welcome, null);
      });
    }
  });

  describe('where frames are small', () => {
    const siege = new Siege({ maxPayload: 16 * 1024 });

    siege.unwelcome('BAD_HELLO', 'what others could not be told of in one frame', async () => {
      await siege.bystanders.on(0).subscribe('system.agent.**', () => {});
      // As JSON, each of these bytes takes six.
      const capabilities = Array.from(
        { length: 64 },
        (_, i) => '\u0001'.repeat(62) + String.fromCharCode(33 + i),
      );
      return [helloFrame({ capabilities })];
    });
  });
});
