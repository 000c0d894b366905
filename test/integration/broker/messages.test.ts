import assert from 'node:assert/strict';
import type { Message, Priority } from '../../../lib/client/index.js';
import { Encoding } from '../../../lib/wire/frame.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, metric, nameOn, startBroker, until } from './node.js';
import { closeSockets, JsonAgent, RawAgent } from './raw-agent.js';

const MIB = 1024 * 1024;

describe('messages', () => {
  let node: RunningNode;
  before(async () => {
    // A backlog that holds all of a test, so that nothing stalls and nothing is shed.
    node = await startBroker({ backlog: 64 * MIB, window: 64 * MIB });
  });
  after(() => node.stop());
  afterEach(async () => {
    await closeSockets();
    await closeAgents();
  });

  describe('to one agent', () => {
    it('come as the event message, from this shard and from the other', async () => {
      const agent = await join(node.url, nameOn(0, 'receiver'));
      const got: Message[] = [];
      agent.on('message', (message) => {
        got.push(message);
      });
      for (const slot of [0, 1]) {
        const sender = await join(node.url, nameOn(slot, 'sender'));
        sender.send(agent.agentId, `from ${slot}`);
        await until('the message', () => got.length === slot + 1);
        assert.equal(got[slot].from, sender.agentId);
        assert.equal(got[slot].text(), `from ${slot}`);
        assert.equal(got[slot].topic, `_agent.${agent.agentId}`);
      }
    });

    it('are refused with UNKNOWN_AGENT when it is not there, also when it has just left', async () => {
      const sender = await join(node.url, nameOn(0, 'sender'));
      const errors: string[] = [];
      sender.on('error', (error) => errors.push(error.code));
      for (let i = 1; i <= 5; i++) {
        sender.send('nobody', 'x');
        await until('the error', () => errors.length === i);
      }
      const leaver = await join(node.url, nameOn(1, 'leaver'));
      sender.send(leaver.agentId, 'x');
      await leaver.close();
      await until(
        'its end',
        async () => (await sender.agents({ id: leaver.agentId }))[0].state === 'offline',
      );
      sender.send(leaver.agentId, 'x');
      await until('the error', () => errors.length === 6);
      assert.deepEqual(new Set(errors), new Set(['UNKNOWN_AGENT']));
      assert.ok((await metric(node, 'flowbus_dropped_total', 'root="_agent"', 'reason="no-agent"')) >= 6);
    });

    it('go in turn to those that have a capability', async () => {
      const got: string[] = [];
      const members: string[] = [];
      for (const slot of [0, 1]) {
        const agentId = nameOn(slot, 'able');
        const able = await join(node.url, { agentId, capabilities: ['ocr', 'x'] });
        able.on('message', (message) => {
          got.push(agentId);
          return message.replyTo === null ? undefined : agentId;
        });
        members.push(agentId);
        await join(node.url, { agentId: nameOn(slot, 'unable'), capabilities: ['x'] });
      }
      const sender = await join(node.url, nameOn(0, 'sender'));
      const errors: string[] = [];
      sender.on('error', (error) => errors.push(error.code));
      for (let i = 0; i < 20; i++) sender.sendTo({ capability: 'ocr' }, i);
      await until('all', () => got.length === 20);
      for (const member of members) assert.equal(got.filter((agentId) => agentId === member).length, 10);
      const reply = await sender.request({ capability: 'ocr' }, 'x');
      assert.equal(reply.text(), reply.from);
      sender.sendTo({ capability: 'fly' }, 'x');
      await until('the error', () => errors.length === 1);
      assert.deepEqual(errors, ['UNKNOWN_AGENT']);
    });
  });

  describe('requests', () => {
    it('get their replies, 1,000 at a time, in any order, from both shards', async () => {
      const servers = [await join(node.url, nameOn(0, 'server')), await join(node.url, nameOn(1, 'server'))];
      for (const server of servers) {
        const waiting: Message[] = [];
        server.on('message', (message) => {
          waiting.push(message);
          // Answers in threes, the last first.
          if (waiting.length < 3 && message.json<{ last: boolean }>().last === false) return undefined;
          for (const one of waiting.splice(0).reverse()) {
            one.reply({ sum: one.json<{ number: number }>().number + 1, by: server.agentId });
          }
          return undefined;
        });
      }
      const client = await join(node.url, nameOn(0, 'client'));
      await Promise.all(
        Array.from({ length: 1000 }, async (_, number) => {
          const server = servers[number % 2];
          const reply = await client.request(server.agentId, { number, last: number >= 998 });
          assert.deepEqual(reply.json(), { sum: number + 1, by: server.agentId });
          assert.equal(reply.from, server.agentId);
        }),
      );
    });

    it('get what the handler returns, or its promise', async () => {
      const server = await join(node.url, nameOn(1, 'server'));
      server.on('message', (message) => {
        if (message.text() === 'later')
          return new Promise((resolve) => setImmediate(resolve, { at: 'last' }));
        return new Uint8Array([1, 2, 255]);
      });
      const client = await join(node.url, nameOn(0, 'client'));
      assert.deepEqual((await client.request(server.agentId, 'later')).json(), { at: 'last' });
      const reply = await client.request(server.agentId, 'now');
      assert.deepEqual(Array.from(reply.payload), [1, 2, 255]);
      assert.equal(reply.encoding, 'bytes');
    });

    it('fail at once when the agent is not there', async () => {
      const client = await join(node.url, nameOn(0, 'client'));
      const begin = performance.now();
      for (let i = 0; i < 5; i++) {
        await assert.rejects(client.request('nobody', 'x', { timeout: 10_000 }), { code: 'UNKNOWN_AGENT' });
      }
      assert.ok(performance.now() - begin < 5000);
    });

    it('fail with TIMEOUT when no reply comes, and a late one disturbs nobody', async () => {
      const server = await join(node.url, nameOn(1, 'server'));
      const requests: Message[] = [];
      server.on('message', (message) => {
        requests.push(message);
      });
      const client = await join(node.url, nameOn(0, 'client'));
      const errors: string[] = [];
      client.on('error', (error) => errors.push(error.code));
      await assert.rejects(client.request(server.agentId, 'x', { timeout: 50 }), { code: 'TIMEOUT' });
      const second = client.request(server.agentId, 'y');
      await until('both', () => requests.length === 2);
      requests[0].reply('too late');
      requests[1].reply('in time');
      assert.equal((await second).text(), 'in time');
      assert.deepEqual(errors, []);
    });

    it('fail with HANDLER_FAILED and the reason when the handler throws', async () => {
      const server = await join(node.url, nameOn(1, 'server'));
      const errors: string[] = [];
      server.on('error', (error) => errors.push(error.code));
      server.on('message', (message) => {
        if (message.text() === 'throw') throw new Error('no such file');
        return Promise.reject(new Error('no such page'));
      });
      const client = await join(node.url, nameOn(0, 'client'));
      await assert.rejects(client.request(server.agentId, 'throw'), {
        code: 'HANDLER_FAILED',
        message: /no such file/,
      });
      await assert.rejects(client.request(server.agentId, 'reject'), {
        code: 'HANDLER_FAILED',
        message: /no such page/,
      });
      assert.deepEqual(errors, ['HANDLER_FAILED', 'HANDLER_FAILED']);
    });

    it('work between the SDK and JSON, both ways, failures included', async () => {
      const sdk = await join(node.url, nameOn(0, 'sdk'));
      sdk.on('message', (message) => {
        if (message.text() === 'fail') throw new Error('as you like');
        return { echo: message.json() };
      });
      sdk.on('error', () => {});
      const jsonId = nameOn(1, 'json');
      const json = await JsonAgent.join(`${node.url}?agentId=${jsonId}`, { agentId: jsonId });
      const reply = await json.ask({ op: 'request', to: sdk.agentId, data: { n: 1 } }, 1, 'reply');
      assert.deepEqual(reply.data, { echo: { n: 1 } });
      assert.equal(reply.from, sdk.agentId);
      const failure = await json.ask({ op: 'request', to: sdk.agentId, data: 'fail' }, 2, 'error');
      assert.equal(failure.code, 'HANDLER_FAILED');
      const unknown = await json.ask({ op: 'request', to: 'nobody', data: 1 }, 3, 'error');
      assert.equal(unknown.code, 'UNKNOWN_AGENT');
      const silent = await join(node.url, nameOn(0, 'silent'));
      silent.on('message', () => {});
      const late = await json.ask({ op: 'request', to: silent.agentId, data: 1, timeout: 50 }, 4, 'error');
      assert.equal(late.code, 'TIMEOUT');

      // Two at a time, the later answered first.
      const later = await join(node.url, nameOn(0, 'later'));
      const waiting: Message[] = [];
      later.on('message', (message) => {
        waiting.push(message);
        if (waiting.length === 2) for (const one of waiting.reverse()) one.reply(one.json());
      });
      for (const ref of [5, 6]) json.send({ op: 'request', to: later.agentId, data: { ref }, ref });
      for (const ref of [5, 6]) assert.deepEqual((await json.next('reply', ref)).data, { ref });

      const asking = sdk.request(jsonId, { question: 7 });
      const message = await json.next('message');
      assert.deepEqual(message.data, { question: 7 });
      json.send({ op: 'reply', replyTo: message.replyTo, correlation: message.correlation, data: [7] });
      const answer = await asking;
      assert.deepEqual(answer.json(), [7]);
      assert.equal(answer.from, jsonId);
    });
  });

  describe('what they bear', () => {
    it('arrives as it was sent: bytes, text and JSON, headers, key, priority, trace', async () => {
      const payloads: [unknown, string][] = [
        [Uint8Array.from({ length: 256 }, (_, i) => i), 'bytes'],
        [new Uint8Array(0), 'bytes'],
        ['grüße 🚍', 'text'],
        ['', 'text'],
        [{ deep: [1, null, { x: 'y' }] }, 'json'],
        [12.5, 'json'],
        [null, 'json'],
        [new Uint8Array(60_000).fill(7), 'bytes'],
      ];
      const options = {
        headers: { 'content-kind': 'täst', __proto__x: '' },
        key: 'order-1',
        priority: 'high' as Priority,
        ttl: 60_000,
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      };
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      for (const slot of [0, 1]) {
        const subscriber = await join(node.url, nameOn(slot, 'subscriber'));
        const got: Message[] = [];
        await subscriber.subscribe(`bear.${slot}`, (message) => got.push(message));
        const before = Date.now() * 1000;
        for (const [payload] of payloads) publisher.publish(`bear.${slot}`, payload as string, options);
        publisher.publish(`bear.${slot}`, 'plain');
        await until('all', () => got.length === payloads.length + 1);
        // Lanes have no mutual order.
        const plain = got.findIndex((message) => message.text() === 'plain');
        assert.deepEqual(got[plain].headers, {});
        assert.equal(got[plain].key, null);
        assert.equal(got[plain].priority, 'normal');
        got.splice(plain, 1);
        for (const [index, [payload, encoding]] of payloads.entries()) {
          const message = got[index];
          assert.equal(message.encoding, encoding);
          if (encoding === 'bytes') assert.deepEqual(Uint8Array.from(message.payload), payload);
          else if (encoding === 'text') assert.equal(message.text(), payload);
          else assert.deepEqual(message.json(), payload);
          assert.deepEqual(message.headers, options.headers);
          assert.equal(message.key, 'order-1');
          assert.equal(message.priority, 'high');
          assert.equal(message.traceparent, options.traceparent);
          assert.equal(message.from, publisher.agentId);
          assert.equal(message.sequence, index + 1);
          assert.ok(message.timestamp >= before - 1000 && message.timestamp <= (Date.now() + 1) * 1000);
        }
        assert.equal(subscriber.counts.badFrames, 0);
      }
      assert.throws(() => publisher.publish('bear.x', new Uint8Array(70_000)), { code: 'PAYLOAD_TOO_LARGE' });
    });

    it('arrives the same by JSON and from JSON', async () => {
      const jsonId = nameOn(1, 'json');
      const json = await JsonAgent.join(`${node.url}?agentId=${jsonId}`, { agentId: jsonId });
      assert.equal((await json.ask({ op: 'subscribe', pattern: 'both.*' }, 1, 'ack')).ref, 1);
      const sdk = await join(node.url, nameOn(0, 'sdk'));
      const got: Message[] = [];
      await sdk.subscribe('both.*', (message) => got.push(message));
      const values: [unknown, string, string | undefined][] = [
        [{ a: [1] }, 'json', undefined],
        ['text', 'text', undefined],
        ['/wAB', 'bytes', 'base64'],
      ];
      for (const [data, kind, encoding] of values) {
        const before = json.all('message').length;
        json.send({
          op: 'publish',
          topic: 'both.json',
          data,
          encoding,
          headers: { h: '1' },
          key: 'order-1',
          priority: 'low',
        });
        await until('both', () => got.length > 0 && json.all('message').length > before);
        const [message] = got.splice(0);
        assert.equal(message.encoding, kind);
        assert.deepEqual(message.headers, { h: '1' });
        assert.equal(message.key, 'order-1');
        assert.equal(message.from, jsonId);
        const shown = json.all('message').at(-1);
        assert.deepEqual(shown?.data, data);
        assert.equal(shown?.encoding, encoding);
        assert.equal(shown?.priority, 'low');
        assert.deepEqual(shown?.headers, { h: '1' });
      }
      sdk.publish('both.sdk', new Uint8Array([255, 0, 1]));
      await until('the bytes', () => json.all('message').length === 4);
      const { data, encoding, from } = json.all('message')[3];
      assert.deepEqual([data, encoding, from], ['/wAB', 'base64', sdk.agentId]);
    });

    it('counts up for each topic and lane of a JSON agent too', async () => {
      const subscriber = await join(node.url, nameOn(0, 'subscriber'));
      const numbers = new Map<string, number[]>();
      let count = 0;
      await subscriber.subscribe('numbered.*', ({ topic, priority, sequence }) => {
        const path = `${topic} ${priority}`;
        numbers.set(path, [...(numbers.get(path) ?? []), sequence]);
        count++;
      });
      const json = await JsonAgent.join(node.url, { agentId: 'json' });
      for (const topic of ['numbered.a', 'numbered.b', 'numbered.a']) {
        for (const priority of ['high', 'low']) json.send({ op: 'publish', topic, priority, data: 1 });
      }
      await until('all', () => count === 6);
      assert.equal(numbers.size, 4);
      for (const [path, [first, second]] of numbers) {
        assert.ok(first >= 1, path);
        if (path.startsWith('numbered.a')) assert.ok(second > first, path);
      }
    });

    it('cannot be from somebody else: the forger is cut off, alone, and its message goes nowhere', async () => {
      const honest = await RawAgent.join(node.url, { agentId: 'honest' });
      const forger = await RawAgent.join(`${node.url}?agentId=${nameOn(0, 'forger')}`, {
        agentId: nameOn(0, 'forger'),
      });
      const subscriber = await join(node.url, nameOn(0, 'subscriber'));
      const got: string[] = [];
      await subscriber.subscribe('claims', (message) => got.push(`${message.from}: ${message.text()}`));
      const writer = new FrameWriter(65536);
      const frame = (sender: number, from: string, text: string) =>
        writer.publish({
          topic: 'claims',
          sender,
          from,
          lane: 2,
          encoding: Encoding.text,
          payload: Buffer.from(text),
          sequence: 1,
        });
      const own = forger.welcome?.sender ?? 0;
      forger.socket.send(
        Buffer.concat([
          frame(own, forger.welcome?.agentId ?? '', 'mine'),
          frame(honest.welcome?.sender ?? 0, 'honest', 'forged'),
          frame(own, forger.welcome?.agentId ?? '', 'behind'),
        ]),
      );
      await until('the end', () => forger.closed !== null);
      assert.deepEqual(forger.errors, ['FORGED_SENDER']);
      assert.equal(forger.closed, 1008);
      // Nor from the bus, whose number is zero.
      const usurper = await RawAgent.join(node.url, { agentId: 'usurper' });
      usurper.socket.send(frame(0, 'flowbus', 'forged too'));
      await until('the end', () => usurper.closed !== null);
      assert.deepEqual(usurper.errors, ['FORGED_SENDER']);
      honest.socket.send(frame(honest.welcome?.sender ?? 0, 'honest', 'true'));
      await until('the true one', () => got.length === 2);
      assert.deepEqual(got, [`${forger.welcome?.agentId}: mine`, 'honest: true']);
      assert.equal(honest.closed, null);
    });
  });

  describe('in a backlog', () => {
    /** A subscriber that does not read. */
    async function stalled(pattern: string): Promise<RawAgent> {
      const agentId = nameOn(1, 'stalled');
      const taker = await RawAgent.join(`${node.url}?agentId=${agentId}`, {
        agentId,
        subscriptions: [pattern],
        heartbeatInterval: 60_000,
      });
      taker.socket.pause();
      return taker;
    }

    /** Publishes `count` messages of 16,000 bytes in the background lane: more than the sockets take. */
    async function fill(topic: string, count: number): Promise<void> {
      const filler = await join(node.url, { agentId: nameOn(0, 'filler'), maxBuffered: 64 * MIB });
      const out = () => metric(node, 'flowbus_publishes_total');
      const before = await out();
      const payload = new Uint8Array(16_000);
      for (let i = 0; i < count; i++) {
        if (!filler.publish(topic, payload, { priority: 'background' })) await filler.drained();
      }
      await until('all to be taken', async () => (await out()) - before >= count);
    }

    it('expire when their time to live is over, and only those', async () => {
      const taker = await stalled('ttl.*');
      await fill('ttl.filler', 1500);
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const before = await metric(node, 'flowbus_dropped_total', 'root="ttl"', 'reason="expired"');
      for (let i = 0; i < 10; i++) {
        publisher.publish('ttl.x', `short ${i}`, { ttl: 50 });
        publisher.publish('ttl.x', `long ${i}`, { ttl: 60_000 });
        publisher.publish('ttl.x', `none ${i}`);
      }
      const json = await JsonAgent.join(node.url, { agentId: 'json' });
      await json.ask({ op: 'publish', topic: 'ttl.x', data: 'short by JSON', ttl: 50 }, 1, 'ack');
      const { host, port } = node.address;
      const post = await fetch(`http://${host}:${port}/v1/publish/ttl.x?ttl=50`, {
        method: 'POST',
        body: 'short by HTTP',
      });
      assert.equal(post.status, 202);
      const since = performance.now();
      await publisher.agents({ id: 'nobody' });
      await until('the time to live to be over', () => performance.now() - since > 100);
      taker.socket.resume();
      await until('all but the short ones', () => taker.received >= 1520);
      publisher.publish('ttl.x', 'end', { ttl: 5000 });
      await until('the end', () => taker.messages.at(-1)?.text === 'end');
      const texts = taker.messages.filter(({ topic }) => topic === 'ttl.x').map(({ text }) => text);
      assert.deepEqual(
        texts.filter((text) => text.startsWith('short')),
        [],
      );
      assert.equal(texts.length, 21);
      const expired = await metric(node, 'flowbus_dropped_total', 'root="ttl"', 'reason="expired"');
      assert.equal(expired - before, 12);
    });

    it('overtake less urgent ones, which still get their share', async () => {
      const taker = await stalled('lanes.*');
      const arrived = () => metric(node, 'flowbus_link_frames_total', 'direction="in"', 'worker="1"');
      const before = await arrived();
      await fill('lanes.filler', 1500);
      const publisher = await join(node.url, { agentId: nameOn(0, 'publisher'), maxBuffered: 64 * MIB });
      const lanes = ['background', 'low', 'normal', 'high', 'critical'] as const;
      const each = 1500;
      const payload = new Uint8Array(1000);
      for (const priority of lanes) {
        for (let i = 0; i < each; i++) {
          if (!publisher.publish('lanes.x', payload, { priority })) await publisher.drained();
        }
      }
      const total = 1500 + each * lanes.length;
      await until('all to wait', async () => (await arrived()) - before === total);
      taker.socket.resume();
      await until('all', () => taker.received === total);
      const order = taker.messages;
      const first = (lane: number) =>
        order.findIndex((message) => message.topic === 'lanes.x' && message.lane === lane);
      const last = (lane: number) =>
        order.findLastIndex((message) => message.topic === 'lanes.x' && message.lane === lane);
      // Critical ones came last of all into the backlog, and overtook the background that waited.
      const waited = order.findLastIndex(({ topic }) => topic === 'lanes.filler');
      assert.ok(first(0) < waited, `critical from ${first(0)}, background up to ${waited}`);
      // The more urgent, the sooner done.
      for (let lane = 0; lane < 4; lane++)
        assert.ok(last(lane) < last(lane + 1), `lane ${lane}: ${last(lane)}, then ${last(lane + 1)}`);
      // While more urgent ones waited, background was not left out.
      const meanwhile = order.slice(first(0), last(3)).filter(({ lane }) => lane === 4).length;
      assert.ok(meanwhile >= 3, `${meanwhile} background messages`);
    });
  });
});
