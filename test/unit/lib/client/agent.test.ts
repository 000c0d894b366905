import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import type { Agent } from '../../../../lib/client/agent.js';
import type { Message } from '../../../../lib/client/message.js';
import type { SubscribeOptions } from '../../../../lib/client/subscriptions.js';
import type { FlowbusError } from '../../../../lib/errors.js';
import { Encoding, Flag, FrameType } from '../../../../lib/wire/frame.js';
import { utf8 } from '../../../../lib/wire/text.js';
import { FakeBroker, message, record, settle, until } from './fake-broker.js';

describe('Agent', () => {
  let broker: FakeBroker;
  let agent: Agent;
  let errors: FlowbusError[];

  async function start(options = {}): Promise<void> {
    agent = await broker.connect(options);
    errors = [];
    agent.on('error', (error) => errors.push(error));
    // Messages are held back until whoever awaited connect() has had its turn. Timers of one length keep their order.
    await wait(0);
  }

  beforeEach(async () => {
    broker = new FakeBroker();
    await start();
  });

  afterEach(() => agent.close());

  describe('connect', () => {
    it('says who it is', async () => {
      await agent.close();
      await start({
        agentType: 'planner',
        capabilities: ['plan'],
        metadata: { floor: 3 },
        token: async () => 'secret',
        priority: 'low',
        heartbeatInterval: 500,
      });
      assert.deepEqual(broker.last.hello, {
        agentId: 'me',
        agentType: 'planner',
        capabilities: ['plan'],
        subscriptions: [],
        priority: 3,
        heartbeatInterval: 500,
        metadata: '{"floor":3}',
        token: 'secret',
        resume: null,
      });
      assert.equal(broker.last.url, 'ws://broker.test:8081/?agentId=me');
      assert.equal(agent.agentId, 'me');
      assert.equal(agent.node, 'node-a');
      assert.equal(agent.connected, true);
    });

    it('gives what came along with the welcome to handlers put up right behind connect()', async () => {
      broker.greets = false;
      const connecting = broker.connect();
      await until('hello', () => broker.connections.length === 2 && broker.last.hello !== null);
      broker.last.welcome();
      broker.last.deliver('_agent.me', 'other', 9, { payload: 'early' });
      const second = await connecting;
      const heard: string[] = [];
      second.on('message', (msg) => {
        heard.push(msg.text());
      });
      await until('message', () => heard.length === 1);
      assert.deepEqual(heard, ['early']);
      await second.close();
    });
  });

  describe('publish', () => {
    it('sends what one tick publishes as one batch, numbered per topic and lane', async () => {
      const before = broker.last.batches.length;
      for (let i = 0; i < 3; i++) assert.equal(agent.publish('a.b', `n${i}`), true);
      agent.publish('a.c', new Uint8Array([1, 2]));
      agent.publish('a.b', { x: 1 }, { priority: 'background' });
      await settle();
      assert.deepEqual(broker.last.batches.slice(before), [[5, 5, 5, 5, 5]]);
      assert.deepEqual(
        broker.last.published.map(({ topic, text, lane, encoding, sequence }) => [
          topic,
          encoding === Encoding.bytes ? '' : text,
          lane,
          encoding,
          sequence,
        ]),
        [
          ['a.b', 'n0', 2, Encoding.text, 1],
          ['a.b', 'n1', 2, Encoding.text, 2],
          ['a.b', 'n2', 2, Encoding.text, 3],
          ['a.c', '', 2, Encoding.bytes, 1],
          ['a.b', '{"x":1}', 4, Encoding.json, 1],
        ],
      );
      const { timestamp, sender } = broker.last.published[0];
      assert.equal(sender, 5);
      assert.ok(Math.abs(timestamp / 1000 - Date.now()) < 2000);
    });

    it('groups what a chain of promises publishes', async () => {
      const before = broker.last.batches.length;
      agent.publish('a', '1');
      await null;
      agent.publish('a', '2');
      await null;
      agent.publish('a', '3');
      await settle();
      assert.deepEqual(broker.last.batches.slice(before), [[5, 5, 5]]);
    });

    it('sends urgent lanes first', async () => {
      agent.publish('a', 'bulk');
      agent.publish('a', 'urgent', { priority: 'critical' });
      await settle();
      assert.deepEqual(broker.last.texts(), ['urgent', 'bulk']);
    });

    it('uses an announced id, and stops when it is given to another topic', async () => {
      broker.last.announceTopic(300, 'a.b');
      agent.publish('a.b', 'by id');
      await settle();
      broker.last.announceTopic(300, 'x.y');
      agent.publish('a.b', 'spelled');
      agent.publish('x.y', 'id again');
      await settle();
      assert.deepEqual(
        broker.last.published.map(({ topic, topicId, text }) => [topic, topicId, text]),
        [
          ['a.b', 300, 'by id'],
          ['a.b', 0, 'spelled'],
          ['x.y', 300, 'id again'],
        ],
      );
    });

    it('spells topics out again when the broker forgot an id', async () => {
      broker.last.announceTopic(300, 'a.b');
      broker.last.error('UNKNOWN_TOPIC_ID');
      agent.publish('a.b', 'x');
      await settle();
      assert.equal(broker.last.published[0].topicId, 0);
      assert.deepEqual(
        errors.map(({ code }) => code),
        ['UNKNOWN_TOPIC_ID'],
      );
    });

    it('writes options as extensions', async () => {
      agent.publish('a', 'x', {
        ttl: 250,
        key: 'k',
        headers: { one: 'eins' },
        replyTo: 'answers.here',
        correlation: Uint8Array.of(1, 2),
        messageId: 'id',
      });
      await settle();
      const [frame] = broker.last.published;
      assert.equal(frame.ttl, 250);
      assert.equal(frame.key, 'k');
      assert.deepEqual(frame.headers, { one: 'eins' });
      assert.equal(frame.replyTo, 'answers.here');
      assert.deepEqual([...(frame.correlation ?? [])], [1, 2]);
      assert.deepEqual(frame.messageId, utf8('id'));
      assert.equal(frame.flags, Flag.extensions | Flag.expires | Flag.wantsReply);
    });

    it('refuses what cannot be sent, without a trace', async () => {
      const cases: [string, () => unknown][] = [
        ['BAD_TOPIC', () => agent.publish('a..b', 'x')],
        ['BAD_TOPIC', () => agent.publish('a.*', 'x')],
        ['BAD_TOPIC', () => agent.publish(7 as unknown as string, 'x')],
        ['BAD_OPTION', () => agent.publish('a', 'x', { priority: 'urgent' as 'high' })],
        ['BAD_OPTION', () => agent.publish('a', 'x', { ttl: 0 })],
        ['BAD_OPTION', () => agent.publish('a', 'x', { ttl: 86_400_001 })],
        ['BAD_OPTION', () => agent.publish('a', 'x', { delay: 5 })],
        ['BAD_OPTION', () => agent.send('b', 'x', { delay: 5 })],
        ['BAD_OPTION', () => agent.publish('a', 'x', { retry: { maxAttempts: 2 } })],
        ['BAD_OPTION', () => agent.sendTo({ capability: 'c' }, 'x', { retry: { maxAttempts: 2 } })],
        ['BAD_OPTION', () => agent.publish('a', undefined as unknown as string)],
        ['BAD_OPTION', () => agent.publish('a', (() => 0) as unknown as object)],
        ['PAYLOAD_TOO_LARGE', () => agent.publish('a', new Uint8Array(65_536))],
        ['BAD_OPTION', () => agent.send('a.b', 'x')],
        ['BAD_OPTION', () => agent.sendTo({} as { capability: string }, 'x')],
      ];
      for (const [code, act] of cases) assert.throws(act, { name: 'FlowbusError', code });
      await settle();
      assert.equal(broker.last.published.length, 0);
    });

    it('refuses options that it does not know, and names them', async () => {
      type Any = Record<string, never>;
      const slip = { priorty: 'high' } as unknown as Any;
      for (const act of [
        () => agent.publish('a', 'x', slip),
        () => agent.send('b', 'x', slip),
        () => agent.sendTo({ capability: 'c' }, 'x', slip),
      ]) {
        assert.throws(act, { code: 'BAD_OPTION', message: /There is no option priorty/ });
      }
      await assert.rejects(agent.request('b', 'x', slip), { code: 'BAD_OPTION', message: /priorty/ });
      for (const options of [null, 'high', 7]) {
        assert.throws(() => agent.publish('a', 'x', options as unknown as Any), { code: 'BAD_OPTION' });
      }
      agent.publish('a', 'x', Object.create({ inherited: 1 }) as Any);
      await settle();
      assert.equal(broker.last.published.length, 1);
    });

    it('takes the largest payload whether or not the topic has an id', async () => {
      const largest = new Uint8Array(65_536 - 40 - 'a.b'.length);
      agent.publish('a.b', largest);
      broker.last.announceTopic(9, 'a.b');
      agent.publish('a.b', largest);
      assert.throws(() => agent.publish('a.b', new Uint8Array(largest.length + 1)), {
        code: 'PAYLOAD_TOO_LARGE',
      });
      await settle();
      assert.equal(broker.last.published.length, 2);
    });

    it('assured: resolves with the ack, rejects with the error of its message id', async () => {
      const lost = agent.publish('a', 'x', { assured: true });
      const kept = agent.publish('a', 'y', { assured: true, messageId: 'mine' });
      await settle();
      const [x, y] = broker.last.published;
      assert.equal(x.flags & Flag.assured, Flag.assured);
      assert.equal(x.messageId?.length, 12);
      broker.last.error('NO_MAILBOX', { correlation: x.messageId });
      await assert.rejects(lost, { code: 'NO_MAILBOX' });
      assert.deepEqual(y.messageId, utf8('mine'));
      await assert.rejects(agent.publish('a', 'y', { assured: true, messageId: 'mine' }), {
        code: 'BAD_OPTION',
      });
      broker.last.stored(utf8('mine'), 2);
      assert.deepEqual(await kept, { stored: 2 });
      broker.last.stored(utf8('mine'), 2);
      assert.deepEqual(errors, []);
    });

    it('assured: rejects with TIMEOUT', async () => {
      await assert.rejects(agent.publish('a', 'x', { assured: true, timeout: 5 }), { code: 'TIMEOUT' });
    });
  });

  describe('subscribe', () => {
    it('calls the handlers of all patterns that match, oldest first, with everything a message has', async () => {
      const order: string[] = [];
      let seen: Message | undefined;
      const exact = await agent.subscribe('a.b', (msg) => {
        order.push('exact');
        seen = msg;
      });
      await agent.subscribe('a.*', () => order.push('star'));
      await agent.subscribe('a.b', () => order.push('again'));
      await agent.subscribe('c', () => order.push('never'));
      assert.deepEqual(
        broker.last.of(FrameType.subscribe).map(({ patterns }) => patterns),
        [['a.b'], ['a.*'], ['c']],
      );
      broker.last.deliver('a.b', 'other', 9, {
        payload: '{"n":1}',
        encoding: Encoding.json,
        lane: 1,
        sequence: 42,
        extensions: { headers: { h: 'v' }, key: 'k', messageId: 'm' },
      });
      assert.deepEqual(order, ['exact', 'star', 'again']);
      assert.ok(seen !== undefined);
      assert.equal(seen.topic, 'a.b');
      assert.equal(seen.from, 'other');
      assert.equal(seen.text(), '{"n":1}');
      assert.deepEqual(seen.json(), { n: 1 });
      assert.equal(seen.encoding, 'json');
      assert.deepEqual(seen.headers, { h: 'v' });
      assert.equal(seen.key, 'k');
      assert.deepEqual(seen.messageId, utf8('m'));
      assert.equal(seen.priority, 'high');
      assert.equal(seen.sequence, 42);
      assert.ok(seen.timestamp > 0);
      assert.equal(seen.replyTo, null);
      assert.throws(() => seen?.reply('x'), { code: 'BAD_OPTION' });
      await seen.ack();
      await seen.nack('no reason');
      assert.equal(exact.pattern, 'a.b');
    });

    it('keeps earlier messages intact', async () => {
      const kept: Message[] = [];
      await agent.subscribe('a', (msg) => kept.push(msg));
      for (let i = 0; i < 3; i++) broker.last.deliver('a', 'other', 9, { payload: `${i}` });
      assert.deepEqual(
        kept.map((msg) => msg.text()),
        ['0', '1', '2'],
      );
    });

    it('unsubscribes from the broker with the last handler of a pattern', async () => {
      let calls = 0;
      const one = await agent.subscribe('a', () => calls++);
      const two = await agent.subscribe('a', () => calls++);
      await one.unsubscribe();
      await one.unsubscribe();
      assert.equal(broker.last.of(FrameType.unsubscribe).length, 0);
      broker.last.deliver('a', 'other', 9);
      assert.equal(calls, 1);
      await two.unsubscribe();
      assert.deepEqual(broker.last.of(FrameType.unsubscribe)[0].patterns, ['a']);
      broker.last.deliver('a', 'other', 9);
      assert.equal(calls, 1);
      await assert.rejects(one.everywhere(), { code: 'CLOSED' });
    });

    it('a handler that unsubscribes another stops it at once', async () => {
      const calls: string[] = [];
      await agent.subscribe('a', () => {
        calls.push('first');
        void second.unsubscribe();
      });
      const second = await agent.subscribe('a', () => calls.push('second'));
      broker.last.deliver('a', 'other', 9);
      assert.deepEqual(calls, ['first']);
    });

    it('refuses bad patterns, reserved ones, and options that are wrong', async () => {
      const nothing = (): void => undefined;
      await assert.rejects(agent.subscribe('a.b*', nothing), { code: 'BAD_PATTERN' });
      await assert.rejects(agent.subscribe('_agent.me', nothing), { code: 'FORBIDDEN_TOPIC' });
      await assert.rejects(agent.subscribe('a', 7 as unknown as () => void), { code: 'BAD_OPTION' });
      for (const replay of [-1, 1.5, 'all', {}, { last: 1, since: 1 }, { since: 'now' }, { first: 1 }])
        await assert.rejects(agent.subscribe('a', nothing, { replay } as SubscribeOptions), {
          code: 'BAD_OPTION',
        });
      await assert.rejects(agent.subscribe('a', nothing, { replay: 1, group: 'g' }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.subscribe('a', nothing, { prefetch: 1 }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.subscribe('a', nothing, { group: 'a.b' }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.subscribe('a', nothing, { group: 'g', lease: 1 }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.subscribe('a', nothing, { grup: 'g' } as object), { code: 'BAD_OPTION' });
    });

    it('undoes it when the broker refuses', async () => {
      broker.answers = false;
      const refused = agent.subscribe('a', () => assert.fail('it is not subscribed'));
      await settle();
      broker.last.error('LIMIT_REACHED', {}, broker.last.controls[0].ref);
      await assert.rejects(refused, { code: 'LIMIT_REACHED' });
      broker.last.deliver('a', 'other', 9);
      broker.answers = true;
      await agent.subscribe('a', () => undefined);
      assert.equal(broker.last.of(FrameType.subscribe).length, 2);
    });

    it('reports what a handler throws or rejects with, and goes on', async () => {
      let calls = 0;
      await agent.subscribe('a', () => {
        calls++;
        throw new Error('at once');
      });
      await agent.subscribe('a', async () => {
        calls++;
        throw new Error('later');
      });
      broker.last.deliver('a', 'other', 9);
      await until('both', () => errors.length === 2);
      assert.equal(calls, 2);
      assert.ok(errors.every(({ code }) => code === 'HANDLER_FAILED'));
      assert.match(errors[0].message, /at once/);
      assert.match(errors[1].message, /later/);
    });
  });

  describe('request', () => {
    async function asked(): Promise<(typeof broker.last.published)[number]> {
      await until('request', () => broker.last.published.length > 0);
      return broker.last.published[broker.last.published.length - 1];
    }

    it('resolves with the reply', async () => {
      const reply = agent.request('worker-7', 'question', { timeout: 1000, headers: { a: 'b' } });
      const frame = await asked();
      assert.equal(frame.topic, '_agent.worker-7');
      assert.match(frame.replyTo ?? '', /^_reply\.node-a\.5\.[0-9a-z]+$/);
      assert.equal(frame.ttl, 1000);
      assert.deepEqual(frame.headers, { a: 'b' });
      broker.last.reply(frame, 'answer');
      assert.equal((await reply).text(), 'answer');
    });

    it('keeps many apart', async () => {
      const replies = [1, 2, 3].map((n) => agent.request('w', `${n}`));
      await until('requests', () => broker.last.published.length === 3);
      for (const frame of [...broker.last.published].reverse()) broker.last.reply(frame, `re ${frame.text}`);
      const texts = (await Promise.all(replies)).map((msg) => msg.text());
      assert.deepEqual(texts, ['re 1', 're 2', 're 3']);
    });

    it('rejects: no such agent, handler failed, no answer, bad options', async () => {
      const unknown = agent.request('w', 'x');
      const frame = await asked();
      broker.last.error('UNKNOWN_AGENT', { correlation: frame.correlation });
      await assert.rejects(unknown, { code: 'UNKNOWN_AGENT' });

      const failed = agent.request('w', 'y');
      await until('second', () => broker.last.published.length === 2);
      broker.last.reply(broker.last.published[1], '', { 'flowbus-error': 'division by zero' });
      await assert.rejects(failed, { code: 'HANDLER_FAILED', message: /worker: division by zero/ });

      await assert.rejects(agent.request('w', 'z', { timeout: 5 }), { code: 'TIMEOUT' });
      await assert.rejects(agent.request('w', 'z', { timeout: 0 }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.request('w', new Uint8Array(70_000)), { code: 'PAYLOAD_TOO_LARGE' });
      assert.deepEqual(errors, []);
    });

    it('ignores replies that nobody awaits', async () => {
      const reply = agent.request('w', 'x', { timeout: 5 });
      const frame = await asked();
      await assert.rejects(reply, { code: 'TIMEOUT' });
      broker.last.reply(frame, 'late');
      broker.last.deliver(frame.replyTo ?? '', 'w', 9, { payload: 'without correlation' });
      broker.last.deliver(frame.replyTo ?? '', 'w', 9, { extensions: { correlation: Uint8Array.of(1) } });
      assert.deepEqual(errors, []);
    });
  });

  describe("'message'", () => {
    const question = {
      payload: 'q',
      extensions: { replyTo: '_reply.n.9.x', correlation: Uint8Array.of(7) },
      lane: 1,
    };

    it('answers with what the listener returns, resolves with, or replies', async () => {
      const ways: ((msg: Message) => unknown)[] = [
        () => 'returned',
        async () => ({ resolved: true }),
        (msg) => void msg.reply('replied', { headers: { h: 'v' } }),
      ];
      for (const way of ways) {
        agent.once('message', way);
        broker.last.deliver('_agent.me', 'asker', 9, question);
        await settle();
      }
      const answers = broker.last.published;
      assert.deepEqual(broker.last.texts(), ['returned', '{"resolved":true}', 'replied']);
      for (const { topic, correlation, lane } of answers) {
        assert.equal(topic, '_reply.n.9.x');
        assert.deepEqual([...(correlation ?? [])], [7]);
        assert.equal(lane, 1);
      }
      assert.deepEqual(answers[2].headers, { h: 'v' });
    });

    it('tells the asker what went wrong', async () => {
      const ways: ((msg: Message) => unknown)[] = [
        () => {
          throw new Error('sync');
        },
        () => Promise.reject(new Error('async')),
        () => 10n,
      ];
      for (const way of ways) {
        agent.once('message', way);
        broker.last.deliver('_agent.me', 'asker', 9, question);
        await settle();
      }
      broker.last.deliver('_agent.me', 'asker', 9, question);
      await settle();
      const reasons = broker.last.published.map(({ headers }) => headers?.['flowbus-error'] ?? '');
      assert.equal(reasons[0], 'sync');
      assert.equal(reasons[1], 'async');
      assert.match(reasons[2], /JSON/);
      assert.match(reasons[3], /no listener/);
      assert.equal(errors.length, 3);
    });

    it('does not answer a message that wants none', async () => {
      agent.on('message', () => 'unwanted');
      broker.last.deliver('_agent.me', 'other', 9, { payload: 'x' });
      await settle();
      assert.equal(broker.last.published.length, 0);
    });
  });

  describe('agents and sendTo', () => {
    async function answer(...pages: [ReturnType<typeof record>[], string | null][]): Promise<void> {
      for (const [records, cursor] of pages) {
        const before = broker.last.of(FrameType.query).length;
        await until('query', () => broker.last.of(FrameType.query).length >= Math.max(1, before));
        const query = broker.last.of(FrameType.query).at(-1);
        broker.last.control('result', { records, cursor }, query?.ref);
        if (cursor !== null) await until('next', () => broker.last.of(FrameType.query).length > before);
      }
    }

    it('follows the cursor, also over empty pages, and parses metadata', async () => {
      const found = agent.agents({ capability: 'ocr', online: true });
      await answer(
        [[record('a', { metadata: '{"x":1}' })], 'c1'],
        [[], 'c2'],
        [[record('b', { metadata: 'no json' })], null],
      );
      assert.deepEqual(
        (await found).map(({ agentId, metadata }) => [agentId, metadata]),
        [
          ['a', { x: 1 }],
          ['b', 'no json'],
        ],
      );
      const [first, second] = broker.last.of(FrameType.query).map(({ query }) => query);
      assert.deepEqual(first, {
        kind: 'agents',
        id: null,
        type: null,
        capability: 'ocr',
        online: true,
        cursor: null,
      });
      assert.equal(second?.cursor, 'c1');
    });

    it('stops at the limit', async () => {
      const found = agent.agents({ limit: 1 });
      await until('query', () => broker.last.of(FrameType.query).length === 1);
      broker.last.control('result', { records: [record('a'), record('b')], cursor: 'c' }, 1);
      assert.deepEqual(
        (await found).map(({ agentId }) => agentId),
        ['a'],
      );
    });

    it('refuses filters that mean nothing', async () => {
      await assert.rejects(agent.agents({ kapability: 'x' } as object), { code: 'BAD_OPTION' });
      await assert.rejects(agent.agents({ online: 'yes' as unknown as boolean }), { code: 'BAD_OPTION' });
      await assert.rejects(agent.agents({ limit: 0 }), { code: 'BAD_OPTION' });
    });

    it('drains no sooner than what waits for the directory is sent', async () => {
      agent.sendTo({ capability: 'ocr' }, 'x');
      const drained = agent.drain();
      await answer([[record('b')], null]);
      await drained;
      assert.deepEqual(
        broker.last.published.map(({ topic }) => topic),
        ['_agent.b'],
      );
    });

    it('sends to the agents of a capability in turn, asking once', async () => {
      const bytes = utf8('1');
      agent.sendTo({ capability: 'ocr' }, bytes);
      bytes[0] = 0;
      agent.sendTo({ capability: 'ocr' }, '2', { priority: 'low' });
      await answer([[record('a'), record('gone', { state: 'suspect' }), record('b')], null]);
      await until('both', () => broker.last.published.length === 2);
      agent.sendTo({ capability: 'ocr' }, '3');
      await settle();
      const receivers = broker.last.published.map(({ topic }) => topic);
      assert.deepEqual(new Set(receivers.slice(0, 2)), new Set(['_agent.a', '_agent.b']));
      assert.equal(receivers[2], receivers[0]);
      assert.deepEqual(broker.last.texts(), ['1', '2', '3']);
      assert.equal(broker.last.published[1].lane, 3);
      assert.equal(broker.last.of(FrameType.query).length, 1);
      assert.equal(agent.counts.waitingBytes, 0);
    });

    it('reports that there is nobody', async () => {
      agent.sendTo({ capability: 'ocr' }, 'x');
      await answer([[], null]);
      await until('error', () => errors.length === 1);
      agent.sendTo({ capability: 'ocr' }, 'y');
      assert.deepEqual(
        errors.map(({ code }) => code),
        ['UNKNOWN_AGENT', 'UNKNOWN_AGENT'],
      );
      await assert.rejects(agent.request({ capability: 'ocr' }, 'z'), { code: 'UNKNOWN_AGENT' });
    });

    it('requests by capability, and passes by who turned out to be gone', async () => {
      const first = agent.request({ capability: 'ocr' }, 'x');
      await answer([[record('a'), record('b')], null]);
      await until('request', () => broker.last.published.length === 1);
      const [asked] = broker.last.published;
      broker.last.error('UNKNOWN_AGENT', { correlation: asked.correlation });
      await assert.rejects(first, { code: 'UNKNOWN_AGENT' });
      for (let i = 0; i < 2; i++) {
        const reply = agent.request({ capability: 'ocr' }, 'x');
        await settle();
        const frame = broker.last.published[broker.last.published.length - 1];
        assert.notEqual(frame.topic, asked.topic);
        broker.last.reply(frame, 'yes');
        assert.equal((await reply).text(), 'yes');
      }
    });
  });

  describe('hostile or newer brokers', () => {
    it('drops and counts messages that do not hold, and goes on', async () => {
      const heard: string[] = [];
      await agent.subscribe('a', (msg) => heard.push(msg.text()));
      const good = message('a', 'other', 9, { payload: 'good' });
      const bad = good.slice();
      bad[bad.length - 1] ^= 1;
      broker.last.announceSender(9, 'other');
      broker.last.push(bad, good);
      broker.last.push(message('a', 'stranger', 10));
      const id = message('a', 'other', 9);
      id[32] = 99;
      broker.last.push(id);
      broker.last.push(message('a', 'not other', 9));
      assert.deepEqual(heard, ['good']);
      assert.deepEqual(
        errors.map(({ code }) => code),
        ['CHECKSUM_MISMATCH', 'UNKNOWN_TOPIC_ID', 'UNKNOWN_TOPIC_ID', 'CHECKSUM_MISMATCH'],
      );
      assert.deepEqual(agent.counts, {
        published: 0,
        received: 1,
        checksumMismatches: 2,
        badFrames: 4,
        waitingBytes: 0,
      });
      assert.equal(agent.connected, true);
    });

    it('ignores unknown types, reports wrong ones', async () => {
      const unknown = message('a', 'other', 9);
      unknown[5] = 200;
      broker.last.push(unknown);
      assert.deepEqual(errors, []);
      broker.last.control('unsubscribe', { patterns: [] });
      broker.last.welcome();
      broker.last.ack(12_345);
      assert.deepEqual(
        errors.map(({ code }) => code),
        ['BAD_TYPE', 'BAD_TYPE'],
      );
    });

    it('leaves a connection whose framing broke', async () => {
      const { last } = broker;
      last.push(utf8('this is no frame at all, but long enough to be read as one'));
      await until('ended', () => last.ending === 'abort');
      assert.deepEqual(
        errors.map(({ code }) => code),
        ['BAD_MAGIC'],
      );
    });

    it('passes on error codes that it does not know', () => {
      broker.last.error('FROM_THE_FUTURE', { topic: 'a.b' });
      assert.equal(errors[0].code, 'BAD_CONTROL');
      assert.match(errors[0].message, /FROM_THE_FUTURE.*a\.b/);
    });
  });

  describe('drain and close', () => {
    it('drains: unsubscribes, finishes handlers and requests, flushes, takes nothing new', async () => {
      let finish = (): void => undefined;
      await agent.subscribe('a', () => new Promise<void>((resolve) => (finish = resolve)));
      broker.last.deliver('a', 'other', 9);
      const reply = agent.request('w', 'q');
      const { last } = broker;
      last.bufferedAmount = 1;
      let drained = false;
      const draining = agent.drain().then(() => {
        drained = true;
      });
      await settle();
      assert.deepEqual(last.of(FrameType.unsubscribe)[0].patterns, ['a']);
      await assert.rejects(
        agent.subscribe('b', () => undefined),
        { code: 'CLOSED' },
      );
      assert.equal(agent.publish('still', 'possible for handlers'), true);
      finish();
      await settle();
      last.reply(last.published[0], 'r');
      await reply;
      await settle();
      assert.equal(drained, false);
      assert.throws(() => agent.publish('a', 'x'), { code: 'CLOSED' });
      last.bufferedAmount = 0;
      await draining;
      assert.deepEqual(last.texts(), ['q', 'possible for handlers']);
      assert.equal(last.ending, null);
    });

    it('while draining refuses requests at once', async () => {
      agent.on('message', () => 'x');
      await agent.drain();
      // What arrives now cannot be answered any more, and must not throw.
      broker.last.deliver('_agent.me', 'asker', 9, {
        extensions: { replyTo: '_reply.n.9.x', correlation: Uint8Array.of(1) },
      });
      await settle();
      assert.deepEqual(errors, []);
    });

    it('closes: sends what was published in the same tick, rejects what is pending, stays closed', async () => {
      broker.answers = false;
      const pending = [
        agent.request('w', 'x'),
        agent.publish('a', 'x', { assured: true }),
        agent.subscribe('p', () => undefined),
        agent.agents(),
      ];
      agent.publish('a', 'last words');
      const outcomes = Promise.allSettled(pending);
      await agent.close();
      for (const outcome of await outcomes) {
        assert.equal(outcome.status, 'rejected');
        assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'CLOSED');
      }
      assert.ok(broker.last.texts().includes('last words'));
      assert.equal(broker.last.ending, 'close');
      assert.equal(agent.connected, false);
      assert.throws(() => agent.publish('a', 'x'), { code: 'CLOSED' });
      await assert.rejects(
        agent.subscribe('a', () => undefined),
        { code: 'CLOSED' },
      );
      await assert.rejects(agent.request('w', 'x'), { code: 'CLOSED' });
      await assert.rejects(agent.agents(), { code: 'CLOSED' });
      await assert.rejects(agent.drain(), { code: 'CLOSED' });
      await agent.close();
    });
  });
});
