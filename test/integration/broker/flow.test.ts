import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import type { Agent, Gap, Priority } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, metric, nameOn, startBroker, until } from './node.js';
import { closeSockets, RawAgent } from './raw-agent.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** What the system's socket buffers may hold on the way to a reader that does not read. */
const SOCKETS = 16 * MIB;

/** Publishes `count` messages as fast as the broker lets it. Returns how often it had to wait. */
async function flood(
  publisher: Agent,
  topic: string,
  count: number,
  payload: Uint8Array,
  priority: Priority = 'normal',
): Promise<number> {
  let waits = 0;
  for (let i = 0; i < count; i++) {
    if (publisher.publish(topic, payload, { priority })) continue;
    waits++;
    await publisher.drained();
  }
  return waits;
}

function shedOf(node: RunningNode, root: string): Promise<number> {
  return metric(node, 'flowbus_dropped_total', `root="${root}"`, 'reason="shed"');
}

describe('flow control', () => {
  let node: RunningNode;
  const start = async (config: Parameters<typeof startBroker>[0]) => {
    node = await startBroker({ heartbeatInterval: 60_000, ...config });
  };
  afterEach(async () => {
    await closeSockets();
    await closeAgents();
    await node.stop();
  });

  it('loses nothing between a fast publisher and slower subscribers that make progress', async () => {
    await start({ backlog: MIB });
    const total = 250_000;
    const publisher = await join(node.url, nameOn(0, 'fast'));
    const counts = [0, 0, 0];
    const wrong: string[] = [];
    const gaps: Gap[] = [];
    for (const [index, slot] of [0, 1, 1].entries()) {
      const slow = index < 2;
      const subscriber = await join(node.url, {
        agentId: nameOn(slot, slow ? 'slow' : 'quick'),
        maxInFlight: 256,
      });
      subscriber.on('gap', (gap) => gaps.push(gap));
      await subscriber.subscribe('flow.x', ({ sequence }) => {
        if (sequence !== ++counts[index]) wrong.push(`${index}: ${sequence} as number ${counts[index]}`);
        return slow ? turn() : undefined;
      });
    }
    const waits = await flood(publisher, 'flow.x', total, new Uint8Array(64));
    await until('all', () => counts.every((count) => count === total), 20_000);
    assert.deepEqual(wrong.slice(0, 5), []);
    assert.deepEqual(gaps, []);
    assert.ok(waits > 0, 'publish() never returned false');
    assert.ok((await metric(node, 'flowbus_holds_total')) > 0, 'nobody was ever held back');
    assert.equal(await shedOf(node, 'flow'), 0);
  });

  for (const backlog of [128 * KIB, MIB]) {
    it(`sheds for a subscriber that is stuck, with ${backlog / KIB} KiB kept, and accounts for each message`, async () => {
      await start({ backlog, stallLimit: 200 });
      const total = 25_000;
      const payload = new Uint8Array(KIB);
      const stuckId = nameOn(1, 'stuck');
      const stuck = await RawAgent.join(
        `${node.url}?agentId=${stuckId}`,
        { agentId: stuckId, subscriptions: ['jam.*'] },
        { keep: false },
      );
      const others = [await join(node.url, nameOn(0, 'other')), await join(node.url, nameOn(1, 'other'))];
      const counts = [0, 0];
      for (const [index, other] of others.entries()) {
        other.on('gap', (gap) => assert.fail(`a gap of ${gap.missed}`));
        await other.subscribe('jam.x', ({ sequence }) => {
          if (sequence === counts[index] + 1) counts[index]++;
        });
      }
      stuck.socket.pause();
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const waits = await flood(publisher, 'jam.x', total, payload);
      await until('the others to have all', () => counts.every((count) => count === total));
      assert.ok(waits > 0);
      const dropped = await shedOf(node, 'jam');
      assert.ok(dropped > 0, 'nothing was shed');
      assert.ok((total - dropped) * KIB <= backlog + SOCKETS, `${total - dropped} messages were kept`);
      stuck.socket.resume();
      await until('what is left, and the gap', () => stuck.received + stuck.missed >= total);
      assert.equal(stuck.received + stuck.missed, total);
      assert.equal(stuck.missed, dropped);
      assert.ok(stuck.gaps.every(({ reason }) => reason === 'shed'));
      // It is a subscriber like any other again.
      const before = stuck.received;
      publisher.publish('jam.x', payload);
      await until('one more', () => stuck.received === before + 1);
      assert.equal(stuck.missed, dropped);
    });
  }

  it('tells the SDK’s user how many messages a handler that was stuck has missed', async () => {
    await start({ backlog: 256 * KIB, stallLimit: 200 });
    const total = 25_000;
    const subscriber = await join(node.url, { agentId: nameOn(1, 'stuck'), maxInFlight: 1 });
    const gaps: Gap[] = [];
    subscriber.on('gap', (gap) => gaps.push(gap));
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let received = 0;
    await subscriber.subscribe('jam.*', () => {
      received++;
      return received === 1 ? released : undefined;
    });
    const publisher = await join(node.url, nameOn(0, 'publisher'));
    await flood(publisher, 'jam.x', total, new Uint8Array(KIB));
    await until('all to be taken', async () => (await metric(node, 'flowbus_publishes_total')) === total);
    release();
    const missed = () => gaps.reduce((sum, gap) => sum + (gap.missed ?? Number.NaN), 0);
    await until('what is left, and the gap', () => received + missed() >= total);
    assert.equal(received + missed(), total);
    assert.ok(missed() > 0);
    assert.equal(await shedOf(node, 'jam'), missed());
  });

  it('sheds the least urgent lanes first', async () => {
    await start({ backlog: 512 * KIB, stallLimit: 100 });
    const stuckId = nameOn(1, 'stuck');
    const stuck = await RawAgent.join(`${node.url}?agentId=${stuckId}`, {
      agentId: stuckId,
      subscriptions: ['jam.*'],
    });
    stuck.socket.pause();
    const publisher = await join(node.url, nameOn(0, 'publisher'));
    const payload = new Uint8Array(KIB);
    await flood(publisher, 'jam.x', 20_000, payload, 'background');
    await until('shedding', async () => (await shedOf(node, 'jam')) > 0);
    for (const priority of ['low', 'normal', 'high', 'critical'] as const) {
      await flood(publisher, 'jam.x', 50, payload, priority);
    }
    await until('all to be taken', async () => (await metric(node, 'flowbus_publishes_total')) === 20_200);
    stuck.socket.resume();
    await until('what is left, and the gap', () => stuck.received + stuck.missed >= 20_200);
    for (let lane = 0; lane < 4; lane++) {
      assert.equal(stuck.messages.filter((message) => message.lane === lane).length, 50, `lane ${lane}`);
    }
    assert.equal(await shedOf(node, 'jam'), stuck.missed);
    assert.equal(await metric(node, 'flowbus_sheds_total', 'lane="background"'), stuck.missed);
  });

  it('keeps what an agent does not read out of the kernel’s hands, where nothing overtakes it', async function () {
    if (process.platform !== 'linux') this.skip();
    await start({});
    const slowId = nameOn(1, 'slow');
    const slow = await RawAgent.join(`${node.url}?agentId=${slowId}`, {
      agentId: slowId,
      subscriptions: ['queue.*'],
    });
    slow.socket.pause();
    const publisher = await join(node.url, nameOn(1, 'publisher'));
    const total = 3000;
    await flood(publisher, 'queue.x', total, new Uint8Array(KIB), 'background');
    publisher.publish('queue.x', 'urgent', { priority: 'critical' });
    await until('all to be taken', async () => (await metric(node, 'flowbus_publishes_total')) === total + 1);
    slow.socket.resume();
    await until('all', () => slow.received === total + 1);
    const ahead = slow.messages.findIndex(({ text }) => text === 'urgent');
    assert.ok(ahead < MIB / KIB, `${ahead} KiB of background came before the critical message`);
  });

  it('holds back only those who feed the slow one, and lets them go when it leaves', async () => {
    await start({ backlog: 256 * KIB, stallLimit: 60_000 });
    const stuckId = nameOn(1, 'stuck');
    const stuck = await RawAgent.join(
      `${node.url}?agentId=${stuckId}`,
      { agentId: stuckId, subscriptions: ['jam.*'] },
      { keep: false },
    );
    stuck.socket.pause();
    const feeder = await join(node.url, nameOn(0, 'feeder'));
    let fed = false;
    const feeding = flood(feeder, 'jam.x', 25_000, new Uint8Array(KIB)).then(() => {
      fed = true;
    });
    await until('the hold', async () => {
      return (await metric(node, 'flowbus_holds_total')) > 0 && feeder.counts.waitingBytes > 256 * KIB;
    });
    const pairs = [
      [await join(node.url, nameOn(0, 'publisher')), await join(node.url, nameOn(1, 'subscriber'))],
      [await join(node.url, nameOn(1, 'publisher')), await join(node.url, nameOn(0, 'subscriber'))],
    ];
    for (const [publisher, subscriber] of pairs) {
      let count = 0;
      await subscriber.subscribe(`free.${subscriber.agentId}`, () => count++);
      await flood(publisher, `free.${subscriber.agentId}`, 10_000, new Uint8Array(KIB));
      await until(
        () =>
          `all to ${subscriber.agentId}, who has ${count}, ${publisher.counts.waitingBytes} bytes waiting`,
        () => count === 10_000,
      );
    }
    // The feeder may still subscribe, ask and be asked.
    let answered = 0;
    feeder.on('message', () => ++answered);
    await pairs[0][1].request(feeder.agentId, '', { priority: 'high' });
    await feeder.subscribe('late', () => {});
    assert.equal(fed, false);
    assert.equal(await shedOf(node, 'jam'), 0);
    await until('the gauge', async () => (await metric(node, 'flowbus_holds')) === 1);
    stuck.socket.terminate();
    await feeding;
    await until('the gauge', async () => (await metric(node, 'flowbus_holds')) === 0);
  });

  it('bounds what waits for an event stream that is not read', async () => {
    await start({ backlog: 256 * KIB, stallLimit: 200, maxPayload: 16 * KIB });
    const { host, port } = node.address;
    const total = 25_000;
    const request = get({ host, port, path: '/v1/subscribe?pattern=jam.*', agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const publisher = await join(node.url, nameOn(0, 'publisher'));
    await flood(publisher, 'jam.x', total, new Uint8Array(KIB));
    await until('all to be taken', async () => (await metric(node, 'flowbus_publishes_total')) === total);
    const dropped = await shedOf(node, 'jam');
    assert.ok(dropped > 0, 'nothing was shed');
    let received = 0;
    let missed = 0;
    let rest = '';
    response.setEncoding('utf8').on('data', (text: string) => {
      const events = (rest + text).split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) {
        const data = /^data: ?(.*)$/m.exec(event)?.[1];
        if (data === undefined) continue;
        if (event.includes('event: gap')) missed += (JSON.parse(data) as { missed: number }).missed;
        else received++;
      }
    });
    await until('what is left, and the gap', () => received + missed >= total);
    assert.equal(received + missed, total);
    assert.equal(missed, dropped);
    request.destroy();
  });
});
