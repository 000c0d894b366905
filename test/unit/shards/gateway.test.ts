import assert from 'node:assert/strict';
import { C } from '../../../lib/telemetry/counters.js';
import { Reason } from '../../../lib/telemetry/ledger.js';
import { Cluster, type Node, type Reader } from './cluster.js';
import { drops, publish } from './wires.js';

async function clusterOf(...names: string[]): Promise<Cluster> {
  const cluster = new Cluster();
  for (const name of names) await cluster.add(name);
  for (const [i, name] of names.entries()) for (const other of names.slice(i + 1)) cluster.link(name, other);
  await cluster.run();
  return cluster;
}

const payloads = ({ got }: Reader) => got.map(({ payload }) => payload);
const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i}`);
/** State of an agent as each shard has it. */
const states = ({ shards }: Node, agentId: string) =>
  shards.map(({ sessions }) => sessions.directory.get(agentId)?.state ?? null);

describe('gateways', () => {
  it('carry messages to agents of another node, from any shard to any and in every lane, in order and whole', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const takers = [0, 1].map((slot) => b.agent(`taker-${slot}`, slot, ['to.*']));
    const feeders = [0, 1].map((slot) => a.agent(`feeder-${slot}`, slot));
    await cluster.run();
    for (let round = 0; round < 3; round++) {
      for (const [slot, { session }] of feeders.entries()) {
        for (let lane = 0; lane < 5; lane++) {
          a.publish(slot, session, `to.${lane % 2}`, lane, numbers(10));
          publish(a.shards[slot], session, 'to.spelled', lane, 1);
        }
      }
      await cluster.run();
    }
    for (const { sink } of takers) {
      assert.equal(sink.got.length, 2 * 5 * 11 * 3);
      assert.ok(sink.got.every(({ whole }) => whole));
      const one = sink.got.filter(({ topic, from }) => topic === 'to.0' && from === 'feeder-1');
      assert.deepEqual(
        one.map(({ payload }) => payload),
        Array.from({ length: 9 }, () => numbers(10)).flat(),
      );
    }
  });

  it('pass on what a node has sent before the mesh does anything else', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    b.agent('taker', 0, ['x']);
    const { session } = a.agent('feeder', 0);
    await cluster.run();
    a.publish(0, session, 'x', 2, ['1']);
    a.shards[0].exchange.endTurn();
    a.wires.deliver();
    const [batch] = cluster.links.get('a b')!.sent.splice(0);
    const before = b.wires.flushes[0];
    b.gateway.onBatch(cluster.links.get('b a')!, batch);
    assert.equal(b.wires.flushes[0], before + 1);
  });

  it('send a message once to each node that wants it, and none back or to others', async () => {
    const cluster = await clusterOf('a', 'b', 'c', 'd');
    const [a, b, c, d] = cluster.nodes;
    const takers = [a, b, c].map((node) => node.agent(`at-${node.name}`, 1, ['x']));
    const { session } = a.agent('feeder', 0);
    const bystander = d.agent('at-d', 0, ['y']);
    await cluster.run();
    a.publish(0, session, 'x', 2, ['1', '2']);
    a.gateway.exchange.endTurn();
    await cluster.run();
    for (const { sink } of takers) assert.deepEqual(payloads(sink), ['1', '2']);
    assert.deepEqual(bystander.sink.got, []);
    assert.equal(d.gateway.exchange.counters[C.nodeFramesIn], 0);
  });

  it('tell each other what is wanted, the first of it and the last', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const wanted = () => a.gateway.wantedBy('b').sort();
    const first = b.agent('first', 0, ['x.*']).session;
    const second = b.agent('second', 1, ['x.*', 'y']).session;
    await cluster.run();
    assert.deepEqual(wanted(), ['x.*', 'y']);
    b.shards[0].sessions.end(first, null, '');
    await cluster.run();
    assert.deepEqual(wanted(), ['x.*', 'y']);
    b.shards[1].sessions.end(second, null, '');
    await cluster.run();
    assert.deepEqual(wanted(), []);
  });

  it('take messages to an agent, and answers to whoever asked, to the node where they are', async () => {
    const cluster = await clusterOf('a', 'b', 'c');
    const [a, b, c] = cluster.nodes;
    const asker = a.agent('asker', 1);
    const other = c.agent('other', 0);
    const worker = b.agent('worker', 1);
    await cluster.run();
    publish(a.shards[1], asker.session, '_agent.worker', 2);
    publish(c.shards[0], other.session, '_agent.worker', 0);
    await cluster.run();
    assert.deepEqual(worker.sink.got.map(({ from, whole }) => [from, whole]).sort(), [
      ['asker', true],
      ['other', true],
    ]);
    publish(b.shards[1], worker.session, `_reply.a.${asker.session.sender.number.toString(36)}.n`, 2);
    await cluster.run();
    assert.deepEqual(
      asker.sink.got.map(({ from, topic }) => [from, topic.slice(0, 8)]),
      [['worker', '_reply.a']],
    );
    assert.deepEqual(other.sink.got, []);
    // What is for an agent that has left meanwhile is in the ledger of one of them.
    b.shards[1].sessions.end(worker.session, null, '');
    publish(a.shards[1], asker.session, '_agent.worker', 2);
    await cluster.run();
    const lost = [...a.blocks, ...b.blocks].map((block) => drops(block, Reason.noAgent));
    assert.equal(
      lost.reduce((sum, count) => sum + count, 0),
      1,
    );
  });
});

describe('the agents of a cluster', () => {
  it('are known on every shard of every node, with their state, and presence is published once', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const watchers = [a, b].flatMap((node) =>
      [0, 1].map((slot) => node.agent(`watcher-${node.name}${slot}`, slot, ['system.agent.x.*'])),
    );
    await cluster.run();
    const { session } = a.agent('x', 1);
    await cluster.run();
    for (const node of cluster.nodes) assert.deepEqual(states(node, 'x'), ['online', 'online']);
    const known = b.shards[0].sessions.directory.get('x')!;
    assert.deepEqual([known.node, known.shard], ['a', 1]);
    a.shards[1].sessions.end(session, null, '');
    await cluster.run();
    for (const node of cluster.nodes) assert.deepEqual(states(node, 'x'), ['offline', 'offline']);
    for (const { sink } of watchers)
      assert.deepEqual(
        sink.got.map(({ topic, from }) => [topic, from]),
        ['online', 'offline'].map((state) => [`system.agent.x.${state}`, 'flowbus']),
      );
    assert.equal(a.part.has('x'), false);
    // Nothing of it went over the link.
    assert.equal(
      b.gateway.exchange.counters[C.nodeFramesIn] + b.gateway.exchange.counters[C.protocolErrors],
      0,
    );
  });

  it('are suspect with their node, offline when it is given up, and there again when it is', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const watcher = b.agent('watcher', 0, ['system.agent.x.*']);
    a.agent('x', 0);
    await cluster.run();
    const seen: (string | null)[] = [];
    for (const state of ['suspect', 'alive', 'suspect', 'dead', 'alive', 'left'] as const) {
      b.gateway.onNode('a', state);
      await cluster.run();
      seen.push(...new Set(states(b, 'x')));
    }
    assert.deepEqual(seen, ['suspect', 'online', 'suspect', 'offline', 'online', 'offline']);
    assert.deepEqual(
      watcher.sink.got.map(({ topic }) => topic.split('.').at(-1)),
      ['online', 'offline', 'online', 'offline'],
    );
  });

  it('are where they connected last: the older session ends, on whatever node', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const old = a.agent('x', 0);
    await cluster.run();
    const young = b.agent('x', 1);
    await cluster.run();
    assert.deepEqual([old.sink.closed, young.sink.closed], ['AGENT_REPLACED', null]);
    for (const { shards, gateway } of cluster.nodes)
      for (const { directory } of [...shards.map(({ sessions }) => sessions), gateway.agents])
        assert.deepEqual([directory.get('x')?.node, directory.get('x')?.state], ['b', 'online']);
    assert.deepEqual([a.part.has('x'), b.part.has('x')], [false, true]);
  });

  it('are where they connected last, whatever the clocks of the nodes say', async () => {
    const cluster = new Cluster();
    const [a, b] = [await cluster.add('a', 2, {}, 3_600_000), await cluster.add('b', 2, {}, -3_600_000)];
    cluster.link('a', 'b');
    await cluster.run();
    for (const node of [a, b, a, b, b, a]) {
      const { sink } = node.agent('x', 0);
      await cluster.run();
      assert.equal(sink.closed, null);
      for (const { shards } of cluster.nodes)
        for (const { sessions } of shards) assert.equal(sessions.directory.get('x')?.node, node.name);
    }
  });

  it('are with one node alone, when two took them at the same time', async () => {
    const cluster = await clusterOf('a', 'b');
    const both = cluster.nodes.map((node) => node.agent('x', 0));
    await cluster.run();
    assert.equal(both.filter(({ sink }) => sink.closed === null).length, 1);
    assert.equal(cluster.nodes.filter(({ part }) => part.has('x')).length, 1);
    const where = cluster.nodes.flatMap(({ shards }) =>
      shards.map(({ sessions }) => sessions.directory.get('x')?.node),
    );
    assert.equal(new Set(where).size, 1);
  });
});

describe('a gateway that dies', () => {
  it('stops no local traffic, and those of other nodes are offline until there is another', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const near = a.agent('near', 1, ['x']);
    const far = b.agent('far', 0, ['x']);
    const { session } = a.agent('feeder', 0);
    await cluster.run();
    a.killGateway();
    a.publish(0, session, 'x', 2, ['1']);
    await cluster.run();
    assert.deepEqual(payloads(near.sink), ['1']);
    assert.deepEqual(states(a, 'far'), ['offline', 'offline']);
    await a.restartGateway();
    cluster.link('a', 'b');
    await cluster.run();
    assert.deepEqual(states(a, 'far'), ['online', 'online']);
    assert.deepEqual(states(b, 'near'), ['online', 'online']);
    a.publish(0, session, 'x', 2, ['2']);
    await cluster.run();
    assert.deepEqual(payloads(near.sink), ['1', '2']);
    assert.deepEqual(payloads(far.sink), ['2']);
  });
});

describe('a link between nodes that ends', () => {
  it('leaves what was under way and what waited in the ledger, and nobody held', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    b.agent('taker', 0, ['x']);
    const { session } = a.agent('feeder', 0);
    await cluster.run();
    cluster.way('a', 'b').stuck = true;
    for (let i = 0; i < 10; i++) {
      a.publish(
        0,
        session,
        'x',
        2,
        Array.from({ length: 50 }, () => 'x'.repeat(1000)),
      );
      await cluster.run();
    }
    cluster.cut('a', 'b');
    await cluster.run();
    assert.equal(drops(a.blocks[2], Reason.nodeDown), 500);
    assert.deepEqual([...a.shards[0].exchange.gateway!.interest], []);
    a.publish(0, session, 'x', 2, ['nobody wants it now']);
    cluster.link('a', 'b');
    await cluster.run();
    a.publish(0, session, 'x', 2, ['2']);
    await cluster.run();
    assert.equal(session.holds, 0);
  });
});

describe('everywhere', () => {
  /** Whether a promise has settled, as soon as everything that could settle it has run. */
  const watch = (promise: Promise<void>) => {
    const seen = { done: false };
    promise.then(() => {
      seen.done = true;
    });
    return seen;
  };

  it('is reached when the shards of each other node have applied what was subscribed to, not before', async () => {
    const cluster = await clusterOf('a', 'b', 'c');
    const [a, b] = cluster.nodes;
    const { session } = a.agent('taker', 0);
    await cluster.run();
    cluster.way('a', 'c').stuck = true;
    a.shards[0].interest.subscribe(session, ['x']);
    const all = watch(a.shards[0].reach.everywhere());
    const late = watch(a.shards[0].reach.everywhere());
    await cluster.run();
    assert.ok(b.shards[1].exchange.gateway!.interest.has('x'));
    assert.equal(all.done, false);
    cluster.way('a', 'c').stuck = false;
    await cluster.run();
    assert.deepEqual([all.done, late.done], [true, true]);
    for (const { name, shards } of cluster.nodes)
      if (name !== 'a') for (const { exchange } of shards) assert.ok(exchange.gateway!.interest.has('x'));
  });

  it('does not wait for a node that is lost, or does not answer in time, nor for a gateway that is gone', async () => {
    const cluster = await clusterOf('a', 'b', 'c');
    const [a] = cluster.nodes;
    const { reach } = a.shards[0];
    cluster.way('a', 'b').stuck = true;
    cluster.way('a', 'c').stuck = true;
    const lost = watch(reach.everywhere());
    await cluster.run();
    cluster.cut('a', 'b');
    await cluster.run();
    assert.equal(lost.done, false);
    for (let i = 0; i < 9; i++) a.gateway.check();
    await cluster.run();
    assert.equal(lost.done, true);
    const silent = watch(reach.everywhere());
    await cluster.run();
    assert.equal(silent.done, true);
    cluster.way('a', 'c').stuck = false;
    await cluster.run();
    cluster.way('a', 'c').stuck = true;
    const dead = watch(reach.everywhere());
    const next = watch(reach.everywhere());
    await cluster.run();
    assert.equal(dead.done, false);
    a.killGateway();
    await cluster.run();
    assert.deepEqual([dead.done, next.done], [true, true]);
  });
});

describe('a slow node', () => {
  const heavy = Array.from({ length: 60 }, () => 'x'.repeat(1000));

  it('holds those who feed it, for a while; then it sheds, and counts what; the others have all', async () => {
    const cluster = await clusterOf('a', 'b', 'c');
    const [a, b, c] = cluster.nodes;
    b.agent('slow', 0, ['x']);
    const other = c.agent('other', 0, ['x']);
    const feeder = a.agent('feeder', 0).session;
    const bystander = a.agent('bystander', 0).session;
    await cluster.run();
    cluster.way('a', 'b').stuck = true;
    let sent = 0;
    const feed = async (mebibytes: number) => {
      for (let i = 0; i < mebibytes * 17; i++) {
        a.publish(0, feeder, 'x', 2, ['x'.repeat(61_000)]);
        sent++;
        await cluster.run();
      }
    };
    await feed(14);
    assert.equal(feeder.holds, 1);
    assert.equal(bystander.holds, 0);
    assert.equal(other.sink.got.length, sent);
    for (const backlog of a.gateway.exchange.pressed) backlog.check(a.gateway.exchange.now + 60_000);
    await cluster.run();
    assert.equal(feeder.holds, 0);
    await feed(4);
    assert.ok(drops(a.blocks[2], Reason.shed) > 0);
    assert.equal(other.sink.got.length, sent);
    const slow = b.agent('watcher', 1, ['x']);
    cluster.way('a', 'b').stuck = false;
    await cluster.run();
    const before = slow.sink.got.length;
    a.publish(0, feeder, 'x', 2, ['after']);
    await cluster.run();
    assert.equal(slow.sink.got.length, before + 1);
    assert.equal(slow.sink.got.length + drops(a.blocks[2], Reason.shed), sent + 1);
  });

  it('has a taker that holds its feeder on the other node, and nobody else there', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const slow = b.agent('slow', 0, ['x']);
    const quick = b.agent('quick', 1, ['y']);
    const feeder = a.agent('feeder', 0).session;
    const other = a.agent('other', 1).session;
    await cluster.run();
    slow.sink.unsent = 1024 * 1024;
    for (let i = 0; i < 70; i++) {
      a.publish(0, feeder, 'x', 2, heavy);
      a.publish(1, other, 'y', 2, ['1']);
      await cluster.run();
    }
    assert.deepEqual([feeder.holds, other.holds], [1, 0]);
    assert.equal(quick.sink.got.length, 70);
    slow.sink.unsent = 0;
    for (let i = 0; i < 20; i++) {
      slow.session.touch();
      await cluster.run();
    }
    assert.equal(feeder.holds, 0);
    assert.equal(slow.sink.got.length, 70 * heavy.length);
  });

  it('lets go whom it holds when the link ends', async () => {
    const cluster = await clusterOf('a', 'b');
    const [a, b] = cluster.nodes;
    const slow = b.agent('slow', 0, ['x']);
    const feeder = a.agent('feeder', 0).session;
    await cluster.run();
    slow.sink.unsent = 1024 * 1024;
    for (let i = 0; i < 70; i++) {
      a.publish(0, feeder, 'x', 2, heavy);
      await cluster.run();
    }
    assert.equal(feeder.holds, 1);
    cluster.cut('a', 'b');
    await cluster.run();
    assert.equal(feeder.holds, 0);
  });
});

describe('the history of a node', () => {
  it('has what was published on the others too, whether or not anybody here had subscribed, and goes on with what is live', async () => {
    const cluster = new Cluster();
    for (const name of ['a', 'b']) await cluster.add(name, 2, { history: ['kept.*'] });
    cluster.link('a', 'b');
    await cluster.run();
    const [a, b] = cluster.nodes;
    const near = b.agent('near', 1).session;
    const far = a.agent('far', 0).session;
    await cluster.run();
    a.publish(0, far, 'kept.x', 2, ['1', '2']);
    await cluster.run();
    b.publish(1, near, 'kept.x', 2, ['3']);
    await cluster.run();
    const { session, sink } = b.agent('reader', 0);
    const wish = { patterns: ['kept.x'], stream: 1, last: 10, age: null, cursor: null };
    const begun = b.shards[0].replays.begin(session, wish, () => {});
    // While it catches up.
    a.publish(0, far, 'kept.x', 2, ['4']);
    await cluster.run();
    await begun;
    await cluster.run();
    a.publish(0, far, 'kept.x', 2, ['5']);
    await cluster.run();
    const past = ['1', '2'].map((payload) => `kept.x far ${payload}`);
    const live = sink.got.map(({ topic, from, payload }) => `${topic} ${from} ${payload}`);
    assert.deepEqual([...sink.past, ...live], [...past, 'kept.x near 3', 'kept.x far 4', 'kept.x far 5']);
  });
});
