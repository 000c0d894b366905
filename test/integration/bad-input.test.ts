/**
 * Bad input on the binary door: the exact code arrives, what is fatal ends the connection with it, what is not leaves it as
 * good as before, and nobody else notices. Hellos are in bad-hello.ts, the JSON and HTTP doors in bad-text.ts.
 */
import assert from 'node:assert/strict';
import { ERRORS, type ErrorCode } from '../../lib/errors.js';
import * as at from '../../lib/wire/frame.js';
import { Encoding, Flag, FrameType, LAST_FRAME_TYPE } from '../../lib/wire/frame.js';
import { controlFrame } from '../../lib/wire/writer.js';
import { Attacker } from './attacker.js';
import { changed, extension, helloFrame, jsonFrame, u32, withExtensions, withTopic } from './bad-frames.js';
import { closeAgents, join, nameOn, until } from './broker/node.js';
import { provoked, Siege } from './siege.js';
import './bad-hello.js';
import './bad-text.js';

const MAX_SUBSCRIPTIONS = 50;

describe('bad input', function () {
  this.timeout(20_000);
  const siege = new Siege({ maxSubscriptions: MAX_SUBSCRIPTIONS });

  const good = (attacker: Attacker): Uint8Array => attacker.message('open.x', 'payload');
  const sized = (attacker: Attacker, total: number, payload: number): Uint8Array[] => [
    changed(good(attacker), at.OFFSET_TOTAL, ...u32(total), ...u32(payload)),
  ];

  describe('framing', () => {
    siege.ends('BAD_MAGIC', 'another first byte', (a) => [changed(good(a), 0, 0x66)]);
    siege.ends('BAD_MAGIC', 'bytes between frames', (a) => [good(a), new Uint8Array(40), good(a)]);
    siege.ends('BAD_VERSION', 'version 0', (a) => [changed(good(a), at.OFFSET_VERSION, 0)]);
    siege.ends('BAD_VERSION', 'version 2', (a) => [changed(good(a), at.OFFSET_VERSION, 2)]);
    siege.ends('BAD_SIZE', 'total size zero', (a) => sized(a, 0, 0));
    siege.ends('BAD_SIZE', 'a total size below the header', (a) => sized(a, 39, 0));
    siege.ends('BAD_SIZE', 'a payload beyond its frame', (a) => sized(a, good(a).length, good(a).length));
    siege.ends('BAD_SIZE', 'a payload size negative as signed', (a) => sized(a, good(a).length, 0xffff_ffff));
    siege.ends('BAD_SIZE', 'sizes that would wrap 32 bits', (a) => sized(a, 46, 0xffff_ffe0));
    siege.ends('BAD_SIZE', 'bytes that belong to nothing', (a) => sized(a, good(a).length, 3));
    siege.ends('BAD_SIZE', 'a topic beyond its frame', (a) => [
      changed(good(a), at.OFFSET_TOPIC_LENGTH, 255),
    ]);
    // Where extensions may fill what is left, nothing else stands between such a size and the same frame without end.
    for (const total of [0, 39, 46])
      siege.ends('BAD_SIZE', `a total size of ${total} with extensions`, (a) =>
        sized(a, total, 7).map((frame) => changed(frame, at.OFFSET_FLAGS, Flag.extensions)),
      );
    siege.ends('OVERSIZED', 'a total size negative as signed', (a) => sized(a, 0x8000_0000, 7), 1009);
    siege.ends(
      'OVERSIZED',
      'a frame larger than maxPayload claims to be',
      (a) => sized(a, 65_537, 65_491),
      1009,
    );
    siege.ends(
      'OVERSIZED',
      'a batch larger than maxPayload',
      (a) => [a.message('open.x', 'x'.repeat(65_536))],
      1009,
    );
    siege.ends(
      'OVERSIZED',
      'a batch of good frames larger than maxPayload',
      (a) => new Array(2000).fill(good(a)),
      1009,
    );
    siege.ends('TRUNCATED', 'a total size beyond the batch', (a) => sized(a, good(a).length + 1, 8));
    siege.ends('TRUNCATED', 'a batch that ends in a frame', (a) => [good(a), good(a).subarray(0, 45)]);
    siege.ends('TRUNCATED', 'a batch that ends in a header', (a) => [good(a), good(a).subarray(0, 39)]);
    siege.ends('TRUNCATED', 'a single byte', (a) => [good(a).subarray(0, 1)]);
    siege.ends('FORGED_SENDER', 'the number of the bus', (a) => [a.message('open.x', '', { sender: 0 })]);
    siege.ends('FORGED_SENDER', 'the number of another agent', async (a) => {
      const other = await siege.join();
      return [a.message('open.x', '', { sender: other.welcome!.sender })];
    });

    it('delivers what stands before a frame that ends the connection, and answers nothing behind it', async () => {
      const attacker = await siege.join();
      attacker.send(
        attacker.message('proof.x', 'before the end'),
        changed(good(attacker), 0, 0),
        attacker.message('proof.x', 'behind the end'),
      );
      for (let i = 0; i < 20; i++) attacker.send(good(attacker));
      await attacker.cutOff('BAD_MAGIC');
      await siege.proven('before the end');
      assert.ok(!siege.came('behind the end'));
      await siege.unharmed();
    });

    it('delivers what stands around a frame that is refused', async () => {
      const attacker = await siege.join();
      const id = await attacker.topicId('proof.around');
      const byId = (text: string): Uint8Array =>
        attacker.sealed(withTopic(attacker.message('proof.around', text), '', id), 'proof.around');
      attacker.send(byId('around 1'), changed(good(attacker), at.OFFSET_FLAGS, 128), byId('around 2'));
      await attacker.refused('BAD_FLAGS');
      await siege.proven('around 1');
      await siege.proven('around 2');
    });
  });

  describe('types', () => {
    const server = ['welcome', 'credit', 'error', 'goaway', 'topic', 'sender', 'result', 'gap'] as const;
    for (const name of [...server, 'deliver', 'consuming', 'breaker', 'pressure'] as const)
      siege.refuses('BAD_TYPE', `${name}, which clients do not send`, () => [
        controlFrame(FrameType[name], 7, Encoding.bytes),
      ]);
    for (const [name, size] of [
      ['ack', 0],
      ['ack', 15],
      ['nack', 11],
      ['leave', 3],
    ] as const)
      siege.refuses('BAD_CONTROL', `${name} of ${size} bytes`, () => [
        controlFrame(FrameType[name], 7, Encoding.bytes, new Uint8Array(size)),
      ]);
    const wish = { prefetch: 1, lease: 0, maxAge: 0, maxMessages: 0 };
    const consume = (fields: object): Uint8Array =>
      jsonFrame(FrameType.consume, JSON.stringify({ mailbox: 'group', ...wish, ...fields }));
    it('BAD_CONTROL, BAD_PATTERN, FORBIDDEN_TOPIC and NO_JOURNAL: wishes to consume', async () => {
      const attacker = await siege.join('json');
      for (const [code, fields] of [
        ['BAD_CONTROL', { mailbox: 'queue' }],
        ['BAD_CONTROL', { mailbox: 'agent', group: 'g' }],
        ['BAD_CONTROL', { mailbox: 'agent', capability: 'c' }],
        ['BAD_CONTROL', { mailbox: 'capability' }],
        ['BAD_CONTROL', { mailbox: 'capability', capability: 'c', group: 'g' }],
        ['BAD_CONTROL', { mailbox: 'capability', capability: 'c d' }],
        ['FORBIDDEN_TOPIC', { mailbox: 'capability', capability: 'c' }],
        ['BAD_CONTROL', { group: 'g' }],
        ['BAD_CONTROL', { group: 'g', pattern: 'a', capability: 'c' }],
        ['BAD_CONTROL', { group: 'g.h', pattern: 'a' }],
        ['BAD_CONTROL', { group: 'g', pattern: 'a', prefetch: 0 }],
        ['BAD_CONTROL', { group: 'g', pattern: 'a', balance: 'fair' }],
        ['BAD_CONTROL', { group: 'g', pattern: 'a', breaker: { failures: 1001 } }],
        ['BAD_PATTERN', { group: 'g', pattern: 'a*' }],
        ['FORBIDDEN_TOPIC', { group: 'g', pattern: '_agent.b' }],
        ['NO_JOURNAL', { group: 'g', pattern: 'a' }],
      ] as const) {
        attacker.send(consume(fields));
        await attacker.refused(code);
        attacker.errors.length = 0;
      }
      await siege.usable(attacker);
    });
    provoked.add('NO_JOURNAL');

    for (const type of [0, LAST_FRAME_TYPE + 1, 255])
      siege.refuses('BAD_TYPE', `type ${type}`, (a) => [changed(good(a), at.OFFSET_TYPE, type)]);

    provoked.add('BAD_TYPE');
    it('BAD_TYPE: a text message on a binary connection', async () => {
      const attacker = await siege.join();
      attacker.sendText('{"op":"ping"}');
      await attacker.refused('BAD_TYPE');
      await siege.usable(attacker);
    });

    it('repeats the reference of a request that is refused for its header', async () => {
      const attacker = await siege.join();
      attacker.send(changed(controlFrame(FrameType.ping, 77, Encoding.bytes), at.OFFSET_FLAGS, 128));
      assert.equal((await attacker.refused('BAD_FLAGS')).reference, 77);
    });
  });

  describe('flags, lanes and encodings', () => {
    siege.refuses('BAD_FLAGS', 'unknown flag 128', (a) => [changed(good(a), at.OFFSET_FLAGS, 128)]);
    siege.refuses('BAD_FLAGS', 'unknown flag 128', (a) => [changed(good(a), at.OFFSET_FLAGS, 128)]);
    siege.refuses('BAD_FLAGS', 'lane 5', (a) => [changed(good(a), at.OFFSET_LANE, 5)]);
    siege.refuses('BAD_FLAGS', 'lane 7', (a) => [changed(good(a), at.OFFSET_LANE, 7)]);
    siege.refuses('BAD_FLAGS', 'encoding 4', (a) => [changed(good(a), at.OFFSET_LANE, 4 << 3)]);
    siege.refuses('BAD_FLAGS', 'encoding 31', (a) => [changed(good(a), at.OFFSET_LANE, 31 << 3)]);
    for (const name of ['expires', 'signed', 'wantsReply'] as const)
      siege.refuses('BAD_FLAGS', `${name} without its extension`, (a) => [
        changed(good(a), at.OFFSET_FLAGS, Flag[name]),
      ]);
    siege.refuses('BAD_FLAGS', 'a time to live without its flag', (a) => [
      withExtensions(good(a), extension(4, Uint8Array.of(1, 0, 0, 0))),
    ]);
    siege.refuses('BAD_FLAGS', 'a reply-to with the flag of a signature', (a) => [
      withExtensions(good(a), extension(1, 'x'), Flag.signed),
    ]);
    siege.refuses('CHECKSUM_MISMATCH', 'an assured message that is damaged', (a) => [
      changed(good(a), at.OFFSET_FLAGS, Flag.assured),
    ]);
    siege.refuses('BAD_EXTENSION', 'an assured message without an id', (a) => [
      a.sealed(changed(good(a), at.OFFSET_FLAGS, Flag.assured), 'open.x'),
    ]);
    siege.refuses('NO_MAILBOX', 'an assured message that no mailbox takes', (a) => [
      a.sealed(withExtensions(good(a), extension(3, 'id'), Flag.assured), 'open.x'),
    ]);
  });

  describe('extensions', () => {
    const bad = (code: ErrorCode, title: string, bytes: Uint8Array, flags = 0): void =>
      siege.refuses(code, title, (a) => [withExtensions(good(a), bytes, flags)]);

    siege.refuses('BAD_EXTENSION', 'the flag without any', (a) => [
      changed(good(a), at.OFFSET_FLAGS, Flag.extensions),
    ]);
    bad('BAD_EXTENSION', 'less than a type and a size', Uint8Array.of(3, 1));
    bad('BAD_EXTENSION', 'one that goes on past the section', extension(3, 'm-1', 4));
    bad('BAD_EXTENSION', 'one that claims 65,535 bytes', extension(200, 'm-1', 0xffff));
    bad('BAD_EXTENSION', 'the same twice', Buffer.concat([extension(3, 'm-1'), extension(3, 'm-2')]));
    bad('BAD_EXTENSION', 'an empty correlation', extension(2, ''));
    bad('BAD_EXTENSION', 'a correlation of 65 bytes', extension(2, 'x'.repeat(65)));
    bad('BAD_EXTENSION', 'a time to live of three bytes', extension(4, 'abc'), Flag.expires);
    bad('BAD_EXTENSION', 'a traceparent of 54 bytes', extension(6, 'x'.repeat(54)));
    bad('BAD_EXTENSION', 'a header with an empty name', extension(8, Uint8Array.of(0, 0, 0)));
    bad(
      'BAD_EXTENSION',
      'a header that goes on past its section',
      extension(8, Uint8Array.of(1, 65, 9, 0, 66)),
    );
    bad('BAD_EXTENSION', '65 headers', extension(8, Buffer.from('\x01a\0\0'.repeat(65), 'latin1')));
    bad('BAD_EXTENSION', 'a delay beyond a week', extension(10, Uint8Array.from(u32(604_800_001))));
    bad('BAD_EXTENSION', 'a delay of what nothing keeps', extension(10, Uint8Array.from(u32(5))));
    siege.refuses('BAD_EXTENSION', 'a delay that outlasts the time to live', (a) => [
      a.sealed(
        withExtensions(
          good(a),
          Buffer.concat([
            extension(3, 'id'),
            extension(4, Uint8Array.from(u32(5))),
            extension(10, Uint8Array.from(u32(5))),
          ]),
          Flag.assured | Flag.expires,
        ),
        'open.x',
      ),
    ]);
    bad('BAD_UTF8', 'a key that is not UTF-8', extension(5, Uint8Array.of(0xff)));
    bad('BAD_UTF8', 'a reply-to that is not UTF-8', extension(1, Uint8Array.of(0xc0, 0x80)), Flag.wantsReply);
    bad('BAD_UTF8', 'a header that is not UTF-8', extension(8, Uint8Array.of(1, 65, 1, 0, 0x80)));
    bad(
      'BAD_EXTENSION',
      'waits of more than a day between attempts',
      extension(9, new Uint8Array(10).fill(255)),
    );
    bad('BAD_EXTENSION', 'half a retry', extension(9, new Uint8Array(5)));
    for (const type of [0, 11, 127]) bad('UNKNOWN_EXTENSION', `type ${type}`, extension(type, 'x'));

    it('lets unknown extensions of type 128 and above pass', async () => {
      const attacker = await siege.join();
      const text = siege.proof();
      const frame = withExtensions(attacker.message('proof.x', text), extension(128, 'x'));
      attacker.send(attacker.sealed(frame, 'proof.x'));
      await siege.proven(text);
      assert.deepEqual(attacker.errors, []);
    });
  });

  describe('topics', () => {
    const bad = (code: ErrorCode, title: string, topic: string | Uint8Array): void =>
      siege.refuses(code, title, (a) => [withTopic(good(a), topic)]);

    bad('BAD_UTF8', 'a lone continuation byte', Uint8Array.of(0x61, 0x80));
    bad('BAD_UTF8', 'an overlong form', Uint8Array.of(0xc0, 0xae));
    bad('BAD_UTF8', 'half a surrogate pair', Uint8Array.of(0xed, 0xa0, 0x80));
    bad('BAD_UTF8', 'a sequence that ends early', Uint8Array.of(0x61, 0xe2, 0x82));
    bad('BAD_TOPIC', 'neither a topic nor an id', '');
    bad('BAD_TOPIC', 'a wildcard', 'open.*');
    bad('BAD_TOPIC', 'an empty level', 'open..x');
    bad('BAD_TOPIC', 'a dot at the end', 'open.');
    bad('BAD_TOPIC', 'a blank', 'open.a b');
    bad('BAD_TOPIC', 'a control character', 'open.\u0007');
    bad('BAD_TOPIC', 'an invisible mark', 'open.\ufeffx');
    bad('BAD_TOPIC', '17 levels', new Array(17).fill('x').join('.'));
    bad('BAD_TOPIC', '128 empty levels', '.'.repeat(255));
    bad('FORBIDDEN_TOPIC', 'presence', 'system.agent.x.online');
    bad('FORBIDDEN_TOPIC', 'a reserved topic', '_foo');
    bad('FORBIDDEN_TOPIC', 'what begins like an address', '_agents.x');
    bad('UNKNOWN_AGENT', 'the address of nobody', '_agent.nobody-at-all');
    siege.refuses('UNKNOWN_AGENT', 'a request that nobody takes', (a) => [
      withExtensions(a.message('nobody.listens', 'payload'), extension(1, 'x.y'), Flag.wantsReply),
    ]);

    siege.refuses('UNKNOWN_TOPIC_ID', 'an id that nobody has', (a) => [withTopic(good(a), '', 0xffff_ffff)]);
    siege.refuses('UNKNOWN_TOPIC_ID', 'an id that was announced to another connection only', async (a) => {
      const other = await Attacker.join(siege.url, { agentId: nameOn(a.welcome!.shard, 'other') });
      return [withTopic(good(a), '', await other.topicId('others.topic'))];
    });
    siege.refuses('UNKNOWN_TOPIC_ID', 'an id and a topic at once', async (a) => [
      withTopic(good(a), 'open.x', await a.topicId('open.x')),
    ]);
    siege.refuses('UNKNOWN_TOPIC_ID', 'an id and a topic at once, behind the same id alone', async (a) => {
      const id = await a.topicId('open.x');
      return [withTopic(good(a), '', id), withTopic(good(a), 'system.agent.x.offline', id)];
    });
    siege.refuses('UNKNOWN_TOPIC_ID', 'an unknown id with extensions', (a) => [
      withExtensions(withTopic(good(a), '', 12_345), extension(3, 'm-1')),
    ]);

    it('names topic and correlation of the message that was refused', async () => {
      const attacker = await siege.join();
      attacker.send(withExtensions(attacker.message('_foo'), extension(2, 'abc')));
      const { topic, correlation } = await attacker.refused('FORBIDDEN_TOPIC');
      assert.equal(topic, '_foo');
      assert.equal(Buffer.from(correlation!).toString(), 'abc');
    });

    it('tells of both when a run of messages and the one behind it are refused', async () => {
      const attacker = await siege.join();
      const id = await attacker.topicId('_agent.nobody');
      await attacker.settle();
      attacker.errors.length = 0;
      attacker.send(withTopic(good(attacker), '', id), withTopic(good(attacker), '_foo'));
      await attacker.settle();
      assert.deepEqual(
        attacker.errors.map(({ code }) => code),
        ['UNKNOWN_AGENT', 'FORBIDDEN_TOPIC'],
      );
    });

    it('FORBIDDEN_TOPIC: presence, also where its topics are known from another shard', async () => {
      const forger = await Attacker.join(siege.url, { agentId: nameOn(0, 'forger') });
      await forger.subscribe('system.agent.**');
      const victim = nameOn(1, 'victim');
      const topic = `system.agent.${victim}.online`;
      await Attacker.join(siege.url, { agentId: victim });
      await forger.until('the presence of the victim', () =>
        forger.delivered.some((got) => got.topic === topic),
      );
      for (let i = 0; i < 4; i++) forger.send(forger.message(topic, 'forged'));
      await forger.settle();
      assert.deepEqual(
        forger.errors.map(({ code }) => code),
        new Array(4).fill('FORBIDDEN_TOPIC'),
      );
      // With an id for it, messages would go out unseen.
      assert.equal(forger.topicIds.has(topic), false);
      assert.ok(!forger.delivered.some(({ text }) => text === 'forged'));
    });
  });

  describe('control payloads', () => {
    const control = (title: string, type: FrameType, ...bytes: number[]): void =>
      siege.refuses('BAD_CONTROL', title, (a) => [a.control(type, Uint8Array.from(bytes))]);

    control('subscribe without a payload', FrameType.subscribe);
    control('subscribe with an array that does not end', FrameType.subscribe, 2, 2, 0x78);
    control('subscribe with bytes behind the array', FrameType.subscribe, 2, 2, 0x78, 0, 0);
    control('subscribe with more items than bytes', FrameType.subscribe, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0);
    control('subscribe with a text longer than the frame', FrameType.subscribe, 2, 0x7e, 0x78, 0);
    control('subscribe with a text of negative size', FrameType.subscribe, 2, 1, 0x78, 0);
    control('subscribe with a number that does not end', FrameType.subscribe, ...new Array(12).fill(0xff));
    control('subscribe with an empty pattern', FrameType.subscribe, 2, 0, 0);
    control('subscribe with a pattern that is not UTF-8', FrameType.subscribe, 2, 2, 0xff, 0);
    control('unsubscribe with half a text', FrameType.unsubscribe, 2, 8, 0x78);
    control('query of an unknown kind', FrameType.query, 2, 0x78, 0, 0, 0, 0, 0);
    control('query with an unknown branch of a union', FrameType.query, 0x0c, ...Buffer.from('agents'), 6);
    control('a ping of 126 bytes', FrameType.ping, ...new Array(126).fill(0));
    siege.refuses('BAD_CONTROL', '1025 patterns in one frame', (a) => [
      a.control(
        FrameType.subscribe,
        Buffer.concat([Buffer.from([0x82, 0x10]), Buffer.from('\x02x'.repeat(1025)), Buffer.of(0)]),
      ),
    ]);
    siege.refuses('BAD_CONTROL', 'a pattern of 256 bytes', (a) => [
      a.control(
        FrameType.subscribe,
        Buffer.concat([Buffer.from([2, 0x80, 4]), Buffer.alloc(256, 0x78), Buffer.of(0)]),
      ),
    ]);
    siege.refuses('BAD_CONTROL', 'JSON on a connection that began with Avro', () => [
      jsonFrame(FrameType.subscribe, '{"patterns":["x"]}'),
    ]);

    for (const [title, text] of [
      ['broken JSON', '{"patterns":["x"'],
      ['an array', '["x"]'],
      ['no pattern', '{}'],
      ['patterns that are numbers', '{"patterns":[1]}'],
      ['half a surrogate pair', '{"patterns":["\\ud800"]}'],
      ['bytes that are not UTF-8', Buffer.from('7b22ff227d', 'hex').toString('latin1')],
      ['100,000 brackets', '['.repeat(60_000)],
    ]) {
      it(`BAD_CONTROL: subscribe in JSON with ${title}`, async () => {
        const attacker = await siege.join('json');
        attacker.send(controlFrame(FrameType.subscribe, 9, Encoding.json, Buffer.from(text, 'latin1')));
        assert.equal((await attacker.refused('BAD_CONTROL')).reference, 9);
        await siege.usable(attacker);
      });
    }

    siege.refuses('CHECKSUM_MISMATCH', 'a control frame', () => [
      changed(controlFrame(FrameType.ping, 5, Encoding.bytes), at.OFFSET_CHECKSUM, 1, 2, 3, 4),
    ]);
    siege.refuses('HELLO_REPEATED', 'a second hello', () => [helloFrame({ agentId: 'another' })]);

    const pattern = (code: ErrorCode, ...patterns: string[]): void =>
      siege.refuses(code, `subscribe to ${JSON.stringify(patterns.at(-1)!.slice(0, 40))}`, (a) => [
        a.subscribeFrame(patterns),
      ]);
    for (const text of ['a*', '***', 'a..b', '.', 'a b', '\u0000', new Array(17).fill('*').join('.')])
      pattern('BAD_PATTERN', 'open.x', text);
    for (const text of ['_agent.someone', '_reply.**', '_foo']) pattern('FORBIDDEN_TOPIC', 'open.x', text);
    pattern('LIMIT_REACHED', ...Array.from({ length: MAX_SUBSCRIPTIONS + 1 }, (_, i) => `limit.${i}`));

    it('subscribes to none of the patterns when one is refused', async () => {
      const attacker = await siege.join();
      attacker.send(
        attacker.subscribeFrame(['proof.none', 'a*']),
        attacker.message('proof.none', 'not for me'),
      );
      await attacker.refused('BAD_PATTERN');
      assert.deepEqual(attacker.delivered, []);
    });

    it('counts subscriptions, not requests: those it has already are free', async () => {
      const attacker = await siege.join();
      const patterns = Array.from({ length: MAX_SUBSCRIPTIONS }, (_, i) => `limit.${i}`);
      await attacker.subscribe(...patterns);
      await attacker.subscribe(...patterns);
      attacker.send(attacker.subscribeFrame(['limit.more']));
      await attacker.refused('LIMIT_REACHED');
    });
  });

  describe('damage on the way', () => {
    afterEach(closeAgents);

    it('is found by the SDK at the far end when the door does not check messages', async () => {
      const victim = await join(siege.url, 'victim-of-damage');
      const codes: string[] = [];
      const texts: string[] = [];
      victim.on('error', ({ code }) => codes.push(code));
      await victim.subscribe('damage.*', (message) => texts.push(message.text()));
      const attacker = await siege.join();
      const frame = attacker.message('damage.x', 'as it was sent');
      attacker.send(changed(frame, frame.length - 1, 0x21), attacker.message('damage.x', 'the next'));
      await until('the message behind', () => texts.length > 0);
      assert.deepEqual(texts, ['the next']);
      assert.deepEqual(codes, ['CHECKSUM_MISMATCH']);
      assert.equal(victim.counts.checksumMismatches, 1);
      await siege.usable(attacker);
    });
  });

  it('provokes every code that can come in an error frame', () => {
    const codes = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].where === 'wire');
    // What only a broker with a journal says: broker/mailboxes.test.ts and unit/shards/mailboxes.test.ts; and of the past: broker/history.test.ts.
    const elsewhere: ErrorCode[] = [
      'MAILBOX_FULL',
      'JOURNAL_FULL',
      'MAILBOX_UNAVAILABLE',
      'HISTORY_UNAVAILABLE',
      'RETAINED_FULL',
    ];
    assert.deepEqual(
      codes.filter((code) => !provoked.has(code)),
      elsewhere,
    );
  });
});
