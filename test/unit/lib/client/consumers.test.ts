import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { Agent } from '../../../../lib/client/agent.js';
import { AssuredMessage } from '../../../../lib/client/assured-message.js';
import type { ConnectOptions } from '../../../../lib/client/options.js';
import { jsonControl } from '../../../../lib/wire/control.js';
import { ACK_SIZE, NACK_HEADER } from '../../../../lib/wire/delivery.js';
import { FrameType, readU32, readU64 } from '../../../../lib/wire/frame.js';
import { readUtf8 } from '../../../../lib/wire/text.js';
import { FakeBroker, settle, until } from './fake-broker.js';

describe('an agent that consumes from a mailbox', () => {
  let broker: FakeBroker;
  let agent: Agent;
  const errors: string[] = [];
  beforeEach(() => {
    broker = new FakeBroker();
    errors.length = 0;
  });
  afterEach(() => agent.close());

  async function connect(options: ConnectOptions): Promise<Agent> {
    agent = await broker.connect(options);
    agent.on('error', ({ code }) => errors.push(code));
    return agent;
  }

  /** What was told of messages: runs of offsets that were acked, as [mailbox, first, count], and nacks as [mailbox, offset, reason]. */
  function told(): (string | number)[][] {
    return broker.last.controls.flatMap(({ type, payload }) => {
      if (type === FrameType.nack)
        return [[readU32(payload, 0), readU64(payload, 4), readUtf8(payload, NACK_HEADER, payload.length)]];
      if (type !== FrameType.ack) return [];
      const runs: number[][] = [];
      for (let o = 0; o < payload.length; o += ACK_SIZE)
        runs.push([readU32(payload, o), readU64(payload, o + 4), readU32(payload, o + 12)]);
      return runs;
    });
  }

  /** All of it, once there is as much as is expected. */
  async function answers(least = 1): Promise<(string | number)[][]> {
    await until(`${least} answers`, () => told().length >= least);
    await settle();
    return told();
  }

  it('acks what its handlers have done, neighbours as one run, and nacks what they failed at', async () => {
    await connect({ agentId: 'me', mailbox: true });
    agent.on('message', async (message) => {
      if (message.text() === 'throws') throw new Error('broken');
      await null;
    });
    for (const [offset, text] of ['a', 'b', 'throws', 'c', 'd'].entries())
      broker.last.mailbox('_agent.me', text, offset + 1);
    const all = await answers(3);
    assert.deepEqual(
      all.slice().sort(),
      [
        [9, 1, 2],
        [9, 3, 'broken'],
        [9, 4, 2],
      ].sort(),
    );
    assert.deepEqual(errors, ['HANDLER_FAILED']);
  });

  it('leaves the answer to a handler that has given it, once', async () => {
    await connect({ agentId: 'me' });
    const got: AssuredMessage[] = [];
    await agent.subscribe(
      'a.*',
      async (message) => {
        assert.ok(message instanceof AssuredMessage);
        got.push(message);
        await message.nack('not today');
        await message.ack();
        assert.ok(message.isSettled);
      },
      { group: 'g' },
    );
    broker.last.mailbox('a.b', 'x', 7, 3);
    assert.deepEqual(await answers(), [[9, 7, 'not today']]);
    assert.equal(got[0].redelivered, 2);
    assert.equal(got[0].attempt, 3);
    assert.equal(got[0].topic, 'a.b');
    assert.equal(got[0].from, 'other');
    assert.equal(got[0].lease, 1000);
  });

  it('keeps what comes before the broker has said what the mailbox is called', async () => {
    await connect({ agentId: 'me' });
    broker.answers = false;
    const got: string[] = [];
    const subscribing = agent.subscribe('a.*', (message) => got.push(message.text()), { group: 'g' });
    const consumes = () => broker.last.controls.some(({ type }) => type === FrameType.consume);
    await until('the wish', consumes);
    broker.last.mailbox('a.b', 'early', 1);
    await settle();
    assert.deepEqual(got, []);
    const { ref } = broker.last.controls.find(({ type }) => type === FrameType.consume)!;
    broker.last.control('consuming', { mailbox: 9 }, ref);
    await subscribing;
    await until('the message', () => got.length > 0);
    assert.deepEqual(got, ['early']);
    assert.deepEqual(await answers(), [[9, 1, 1]]);
  });

  it('consumes again on the next connection, and no more once it has unsubscribed', async () => {
    await connect({ agentId: 'me', reconnect: { minDelay: 1, maxDelay: 1 } });
    const got: string[] = [];
    const subscription = await agent.subscribe('a.*', (message) => got.push(message.text()), { group: 'g' });
    broker.last.end(1006);
    while (broker.connections.length < 2 || !agent.connected) await pause(1);
    await settle();
    assert.equal(broker.last.controls.filter(({ type }) => type === FrameType.consume).length, 1);
    broker.last.mailbox('a.b', 'again', 4);
    await until('the message', () => got.length > 0);
    await subscription.unsubscribe();
    broker.last.mailbox('a.b', 'late', 5);
    await settle();
    assert.deepEqual(got, ['again']);
    assert.deepEqual(await answers(), [[9, 4, 1]]);
    assert.ok(broker.last.controls.some(({ type }) => type === FrameType.leave));
  });

  it('asks again after a reconnect until the home of the mailbox is back', async () => {
    await connect({ agentId: 'me', reconnect: { minDelay: 1, maxDelay: 1 } });
    const got: string[] = [];
    await agent.subscribe('a.*', (message) => got.push(message.text()), { group: 'g' });
    broker.answers = false;
    broker.last.end(1006);
    while (broker.connections.length < 2 || !agent.connected) await pause(1);
    const asked = () => broker.last.controls.filter(({ type }) => type === FrameType.consume);
    await until('the wish', () => asked().length === 1);
    broker.last.error('MAILBOX_UNAVAILABLE', {}, asked()[0].ref);
    broker.answers = true;
    while (asked().length < 2) await pause(5);
    await settle();
    broker.last.mailbox('a.b', 'at last', 1);
    await until('the message', () => got.length > 0);
    assert.deepEqual(got, ['at last']);
    assert.deepEqual(errors, []);
  });

  it('consumes for a capability, and gives what is sent to that to the handler', async () => {
    await connect({ agentId: 'me', capabilities: ['ocr'] });
    const got: string[] = [];
    const subscription = await agent.subscribe({ capability: 'ocr' }, (message) => got.push(message.text()), {
      prefetch: 7,
    });
    assert.equal(subscription.pattern, '_capability.ocr');
    const { payload } = broker.last.controls.find(({ type }) => type === FrameType.consume)!;
    const wish = jsonControl.decode('consume', payload, 0, payload.length);
    assert.deepEqual(
      [wish.mailbox, wish.capability, wish.group, wish.pattern, wish.prefetch],
      ['capability', 'ocr', null, null, 7],
    );
    broker.last.mailbox('_capability.ocr', 'page', 3);
    await until('the message', () => got.length > 0);
    assert.deepEqual(got, ['page']);
    assert.deepEqual(await answers(), [[9, 3, 1]]);
    const again = agent.subscribe({ capability: 'ocr' }, () => {});
    await assert.rejects(again, { code: 'BAD_OPTION', message: /capability ocr already/ });
    for (const [capability, options] of [
      ['a b', {}],
      [7, {}],
      ['other', { group: 'g' }],
    ] as const) {
      const wrong = agent.subscribe({ capability } as { capability: string }, () => {}, options as object);
      await assert.rejects(wrong, { code: 'BAD_OPTION' });
    }
    await assert.rejects(agent.sendTo({ capability: 'a b' }, 'x', { assured: true }), { code: 'BAD_OPTION' });
  });

  it('is in a group on a pattern once', async () => {
    await connect({ agentId: 'me' });
    await agent.subscribe('a.*', () => {}, { group: 'g' });
    await assert.rejects(
      agent.subscribe('a.*', () => {}, { group: 'g' }),
      { code: 'BAD_OPTION' },
    );
    await agent.subscribe('a.*', () => {}, { group: 'h' });
  });
});
