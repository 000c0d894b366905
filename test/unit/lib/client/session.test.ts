import assert from 'node:assert/strict';
import type { Agent } from '../../../../lib/client/agent.js';
import type { Disconnect, Gap, Reconnect } from '../../../../lib/client/events.js';
import type { ConnectOptions } from '../../../../lib/client/options.js';
import { FrameType } from '../../../../lib/wire/frame.js';
import { FakeBroker, settle, URL, until } from './fake-broker.js';

const QUICK = { reconnect: { minDelay: 1, maxDelay: 2 } };

describe('Session', () => {
  let broker: FakeBroker;
  let agent: Agent;
  const gaps: Gap[] = [];
  const disconnects: Disconnect[] = [];
  const reconnects: Reconnect[] = [];

  async function start(options: ConnectOptions = QUICK, urls: string | string[] = URL): Promise<void> {
    agent = await broker.connect(options, urls);
    gaps.length = 0;
    disconnects.length = 0;
    reconnects.length = 0;
    agent.on('gap', (gap) => gaps.push(gap));
    agent.on('disconnect', (disconnect) => disconnects.push(disconnect));
    agent.on('reconnect', (reconnect) => reconnects.push(reconnect));
    agent.on('error', () => undefined);
  }

  /** Breaks the connection and waits for the next. */
  async function comeBack(): Promise<void> {
    const before = reconnects.length;
    broker.last.end();
    await until('reconnect', () => reconnects.length > before);
  }

  beforeEach(() => {
    broker = new FakeBroker();
  });

  afterEach(() => agent?.close());

  describe('the first connection', () => {
    it('tries each URL once, in order, and says what happened at each', async () => {
      broker.opens = false;
      const failed = broker.connect({}, ['ws://one.test/', 'ws://user:pw@two.test/path']);
      await until('first', () => broker.connections.length === 1);
      broker.connections[0].end(1006, 'refused');
      await until('second', () => broker.connections.length === 2);
      broker.connections[1].end(1006, 'no such host');
      await assert.rejects(failed, (error: Error & { code: string }) => {
        assert.equal(error.code, 'CONNECT_FAILED');
        assert.match(
          error.message,
          /ws:\/\/one\.test\/ \(refused\), ws:\/\/two\.test\/path \(no such host\)/,
        );
        return true;
      });
      assert.deepEqual(
        broker.connections.map(({ url }) => url),
        ['ws://one.test/?agentId=me', 'ws://user:pw@two.test/path?agentId=me'],
      );
    });

    it('leaves a broker that says no welcome in time', async () => {
      broker.greets = false;
      const failed = broker.connect({ connectTimeout: 20 });
      await assert.rejects(failed, { code: 'CONNECT_FAILED', message: /no welcome within 20 ms/ });
      assert.equal(broker.last.ending, 'abort');
    });

    it('takes the next URL when one fails', async () => {
      broker.opens = false;
      const connecting = start({}, ['ws://one.test/', 'ws://two.test/']);
      await until('first', () => broker.connections.length === 1);
      broker.connections[0].end();
      await until('second', () => broker.connections.length === 2);
      broker.connections[1].opened();
      await connecting;
      assert.equal(agent.connected, true);
    });

    it('gives up at once when every URL would say the same', async () => {
      broker.greets = false;
      const refused = broker.connect({}, ['ws://one.test/', 'ws://two.test/']);
      await until('hello', () => (broker.connections[0]?.hello ?? null) !== null);
      broker.last.error('UNAUTHORIZED', { fatal: true, message: 'the token has expired' }, 1);
      broker.last.end(1008, 'UNAUTHORIZED');
      await assert.rejects(refused, { code: 'UNAUTHORIZED', message: 'the token has expired' });
      assert.equal(broker.connections.length, 1);
    });

    it('knows the code from the close frame when the error frame was lost', async () => {
      broker.greets = false;
      const refused = broker.connect();
      await until('hello', () => (broker.connections[0]?.hello ?? null) !== null);
      broker.last.end(1008, 'BAD_HELLO');
      await assert.rejects(refused, { code: 'BAD_HELLO' });
    });

    it('reports a token function that fails, or returns nonsense', async () => {
      const fails = (): Promise<string> => Promise.reject(new Error('vault is sealed'));
      await assert.rejects(broker.connect({ token: fails }), {
        code: 'CONNECT_FAILED',
        message: /vault is sealed/,
      });
      await assert.rejects(broker.connect({ token: () => '' }), { code: 'BAD_OPTION', message: /token/ });
    });
  });

  describe('a lost connection', () => {
    it('comes back, presents its session with the count of all its connections, and resumes', async () => {
      await start();
      await agent.subscribe('a', () => undefined);
      broker.last.deliver('a', 'x', 9);
      broker.last.deliver('_agent.me', 'x', 9);
      broker.welcome.resumed = true;
      await comeBack();
      assert.deepEqual(broker.last.hello?.resume, { session: 'session-1', received: 2 });
      assert.deepEqual(broker.last.hello?.subscriptions, ['a']);
      assert.deepEqual(gaps, []);
      assert.deepEqual(reconnects, [{ url: URL, attempts: 1, resumed: true }]);
      assert.equal(disconnects[0].code, 'DISCONNECTED');
      assert.equal(disconnects[0].reconnecting, true);
      assert.equal(broker.last.controls.length, 0);

      broker.last.deliver('a', 'x', 9);
      await comeBack();
      assert.deepEqual(broker.last.hello?.resume, { session: 'session-1', received: 3 });
    });

    it('reports what was missed', async () => {
      await start();
      broker.welcome.resumed = true;
      broker.welcome.missed = 7;
      await comeBack();
      broker.welcome.missed = -1;
      await comeBack();
      assert.deepEqual(gaps, [
        { missed: 7, reason: 'resume' },
        { missed: undefined, reason: 'resume' },
      ]);
    });

    it('in a new session subscribes again, counts anew, numbers anew, and reports the gap', async () => {
      await start();
      await agent.subscribe('a', () => undefined);
      agent.publish('t', '1');
      await settle();
      broker.last.deliver('a', 'x', 9);
      broker.welcome.session = 'session-2';
      broker.welcome.missed = -1;
      await comeBack();
      assert.deepEqual(broker.last.hello?.subscriptions, ['a']);
      assert.deepEqual(gaps, [{ missed: undefined, reason: 'session-lost' }]);
      agent.publish('t', '2');
      await settle();
      assert.equal(broker.last.published[0].sequence, 1);
      broker.last.end();
      await until('third', () => broker.connections.length === 3 && broker.last.hello !== null);
      assert.deepEqual(broker.last.hello?.resume, { session: 'session-2', received: 0 });
    });

    it('in a new session without subscriptions misses nothing', async () => {
      await start();
      await comeBack();
      assert.deepEqual(gaps, []);
    });

    it('subscribes with frames to what does not fit into the hello, in order', async () => {
      await start();
      const patterns = Array.from({ length: 1500 }, (_, i) => `p.${i}`);
      await Promise.all(patterns.map((pattern) => agent.subscribe(pattern, () => undefined)));
      await comeBack();
      const { hello } = broker.last;
      assert.deepEqual(hello?.subscriptions, patterns.slice(0, 1000));
      assert.deepEqual(
        broker.last.of(FrameType.subscribe).map((control) => control.patterns),
        [patterns.slice(1000)],
      );
    });

    it('carries over subscribe and unsubscribe calls whose answer is due', async () => {
      await start();
      const old = await agent.subscribe('old', () => undefined);
      broker.answers = false;
      const subscribed = agent.subscribe('new', () => undefined);
      const unsubscribed = old.unsubscribe();
      broker.welcome.resumed = true;
      broker.answers = true;
      await comeBack();
      await subscribed;
      await unsubscribed;
      assert.deepEqual(
        broker.last.controls.map(({ type, patterns }) => [type, patterns]),
        [
          [FrameType.subscribe, ['new']],
          [FrameType.unsubscribe, ['old']],
        ],
      );
    });

    it('asks anew whether all nodes know, also in a new session', async () => {
      await start();
      const sub = await agent.subscribe('a', () => undefined);
      broker.answers = false;
      const everywhere = sub.everywhere();
      assert.equal(broker.last.of(FrameType.everywhere).length, 1);
      broker.answers = true;
      await comeBack();
      await everywhere;
      assert.deepEqual(
        broker.last.controls.map(({ type }) => type),
        [FrameType.everywhere],
      );
    });

    it('in a new session does not repeat what its hello said', async () => {
      await start();
      const old = await agent.subscribe('old', () => undefined);
      broker.answers = false;
      const subscribed = agent.subscribe('new', () => undefined);
      const unsubscribed = old.unsubscribe();
      await comeBack();
      await subscribed;
      await unsubscribed;
      assert.deepEqual(broker.last.hello?.subscriptions, ['new']);
      assert.deepEqual(broker.last.controls, []);
    });

    it('takes back what the hello said when it changed before the welcome', async () => {
      await start();
      const old = await agent.subscribe('old', () => undefined);
      broker.greets = false;
      broker.last.end();
      await until('hello', () => broker.connections.length === 2 && broker.last.hello !== null);
      const unsubscribed = old.unsubscribe();
      const again = agent.subscribe('old', () => undefined);
      broker.last.welcome();
      await unsubscribed;
      await again;
      assert.deepEqual(
        broker.last.controls.map(({ type, patterns }) => [type, patterns]),
        [
          [FrameType.unsubscribe, ['old']],
          [FrameType.subscribe, ['old']],
        ],
      );
    });

    it('forgets ids, and sends what waited with topics spelled out, the new sender number and address', async () => {
      broker.welcome.window = 0;
      await start();
      broker.last.announceTopic(300, 'a.b');
      agent.publish('a.b', 'waits');
      const reply = agent.request('w', 'question');
      await settle();
      assert.equal(broker.last.published.length, 0);
      Object.assign(broker.welcome, { window: 100_000, sender: 6, node: 'node-b', session: 'session-2' });
      broker.last.end();
      agent.publish('a.b', 'meanwhile');
      await until('sent', () => broker.last.published.length === 3);
      const [waits, question, meanwhile] = broker.last.published;
      assert.deepEqual([waits.text, question.text, meanwhile.text], ['waits', 'question', 'meanwhile']);
      assert.deepEqual([waits.topicId, meanwhile.topicId], [0, 0]);
      assert.deepEqual([waits.sender, question.sender, meanwhile.sender], [6, 6, 6]);
      assert.deepEqual([waits.sequence, meanwhile.sequence], [1, 2]);
      assert.match(question.replyTo ?? '', /^_reply\.node-b\.6\./);
      broker.last.reply(question, 'still');
      assert.equal((await reply).text(), 'still');
    });

    it('keeps sequence numbers when the session goes on', async () => {
      await start();
      agent.publish('t', '1');
      await settle();
      broker.last.end();
      agent.publish('t', '2');
      broker.welcome.resumed = true;
      await until('sent', () => broker.last.published.length === 1 && broker.connections.length === 2);
      agent.publish('t', '3');
      await settle();
      assert.deepEqual(
        broker.last.published.map(({ sequence }) => sequence),
        [2, 3],
      );
    });

    it('drops what outlived its time to live while it waited', async () => {
      await start({ reconnect: { minDelay: 20, maxDelay: 20 } });
      broker.last.end();
      agent.publish('t', 'short', { ttl: 1 });
      agent.publish('t', 'long', { ttl: 60_000 });
      const old = performance.now() + 3;
      while (performance.now() < old);
      await until('sent', () => broker.connections.length === 2 && broker.last.published.length > 0);
      assert.deepEqual(broker.last.texts(), ['long']);
    });

    it('reports what does not fit into the new maxPayload', async () => {
      await start();
      const codes: string[] = [];
      agent.on('error', ({ code }) => codes.push(code));
      broker.last.end();
      agent.publish('t', new Uint8Array(2000));
      agent.publish('t', 'small');
      broker.welcome.maxPayload = 1000;
      await until('sent', () => broker.connections.length === 2 && broker.last.published.length > 0);
      assert.deepEqual(broker.last.texts(), ['small']);
      assert.deepEqual(codes, ['PAYLOAD_TOO_LARGE']);
    });

    it('rejects requests, assured publishes and queries that were under way', async () => {
      await start();
      const pending = [
        agent.request('w', 'x'),
        agent.publish('t', 'x', { assured: true }),
        agent.agents({ online: true }),
      ];
      await settle();
      const outcomes = Promise.allSettled(pending);
      broker.last.end(1006, 'cable cut');
      for (const outcome of await outcomes) {
        assert.ok(outcome.status === 'rejected');
        assert.equal(outcome.reason.code, 'DISCONNECTED');
        assert.equal(outcome.reason.retriable, true);
      }
      await assert.rejects(agent.agents(), { code: 'DISCONNECTED' });
    });

    it('goes round the URLs', async () => {
      await start(QUICK, ['ws://one.test/', 'ws://two.test/']);
      await comeBack();
      await comeBack();
      assert.deepEqual(
        reconnects.map(({ url }) => url),
        ['ws://two.test/', 'ws://one.test/'],
      );
    });

    it('tries again after failures, as often as it was told', async () => {
      await start({ reconnect: { minDelay: 1, maxDelay: 1, attempts: 3 } });
      const pressed = agent.request('w', 'x').catch((error) => error.code);
      broker.opens = false;
      broker.last.end();
      for (let n = 2; n <= 4; n++) {
        await until(`attempt ${n - 1}`, () => broker.connections.length === n);
        broker.last.end(1006, 'refused');
      }
      await until('given up', () => disconnects.length === 2);
      assert.deepEqual(disconnects[1], { code: 'DISCONNECTED', message: 'refused', reconnecting: false });
      assert.throws(() => agent.publish('t', 'x'), { code: 'DISCONNECTED' });
      // It had not been sent when the connection broke, so it was kept, until there was nothing left to wait for.
      assert.equal(await pressed, 'DISCONNECTED');
    });

    it('does not come back when it was told so', async () => {
      await start({ reconnect: false });
      broker.last.end();
      assert.equal(disconnects[0].reconnecting, false);
      await settle();
      assert.equal(broker.connections.length, 1);
    });

    it('can be closed while it waits, and while it connects', async () => {
      await start({ reconnect: { minDelay: 3_600_000, maxDelay: 3_600_000 } });
      broker.last.end();
      await agent.close();

      await start();
      broker.opens = false;
      const { length } = broker.connections;
      broker.last.end();
      await until('connecting', () => broker.connections.length > length);
      await agent.close();
      assert.equal(broker.last.ending, 'close');
    });
  });

  describe('goaway', () => {
    it('with reconnect: leaves, keeps what is published meanwhile, and comes back', async () => {
      await start();
      const { last } = broker;
      last.control('goaway', { code: 'SHUTTING_DOWN', message: 'bye', reconnect: true });
      assert.equal(last.ending, 'close');
      agent.publish('t', 'kept');
      await until('sent', () => broker.connections.length === 2 && broker.last.published.length === 1);
      assert.deepEqual(disconnects, [{ code: 'SHUTTING_DOWN', message: 'bye', reconnecting: true }]);
    });

    it('without: is closed, and everything pending rejects with its code', async () => {
      await start();
      const pending = agent.request('w', 'x');
      const rejected = assert.rejects(pending, { code: 'AGENT_REPLACED' });
      broker.last.control('goaway', { code: 'AGENT_REPLACED', message: 'another came', reconnect: false });
      await rejected;
      assert.deepEqual(disconnects, [
        { code: 'AGENT_REPLACED', message: 'another came', reconnecting: false },
      ]);
      assert.throws(() => agent.publish('t', 'x'), { code: 'AGENT_REPLACED' });
      await assert.rejects(
        agent.subscribe('a', () => undefined),
        { code: 'AGENT_REPLACED' },
      );
      await agent.close();
      assert.equal(broker.connections.length, 1);
    });

    it('a refusal on the way back is final too', async () => {
      await start();
      broker.greets = false;
      broker.last.end();
      await until('hello', () => broker.connections.length === 2 && broker.last.hello !== null);
      broker.last.error('UNAUTHORIZED', { fatal: true }, 1);
      broker.last.end(1008, 'UNAUTHORIZED');
      await until('ended', () => disconnects.length === 2);
      assert.equal(disconnects[1].code, 'UNAUTHORIZED');
      assert.equal(disconnects[1].reconnecting, false);
    });
  });

  describe('heartbeat', () => {
    it('pings in silence, and leaves a broker that says nothing for three intervals', async () => {
      broker.welcome.heartbeatInterval = 15;
      broker.answers = false;
      await start();
      const { last } = broker;
      await until('ended', () => last.ending === 'abort');
      assert.ok(last.of(FrameType.ping).length >= 2);
      assert.ok(last.of(FrameType.ping).every(({ ref }) => ref > 0));
      await until('reconnect', () => reconnects.length === 1);
      assert.match(disconnects[0].message, /not a word/);
    });

    it('stays while the broker answers', async () => {
      broker.welcome.heartbeatInterval = 10;
      await start();
      const { last } = broker;
      await until('five pings', () => last.of(FrameType.ping).length >= 5);
      assert.equal(last.ending, null);
    });
  });

  it('leaves nothing running', async () => {
    await start();
    await agent.close();
    assert.equal(broker.last.ending, 'close');
    agent.off('error', () => undefined);
    assert.deepEqual(disconnects, []);
  });
});
