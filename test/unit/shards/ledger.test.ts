import assert from 'node:assert/strict';
import { Reason } from '../../../lib/telemetry/ledger.js';
import { Counter, drops, HELLO, makeBlock, makeShard, publish, Wires } from './wires.js';

describe('the drop ledger of a shard', () => {
  for (const [code, reason] of [
    [null, 'notResumed'],
    ['AGENT_REPLACED', 'notResumed'],
    ['HEARTBEAT_TIMEOUT', 'notResumed'],
    ['SLOW_READER', 'shed'],
    ['SHUTTING_DOWN', 'shutdown'],
  ] as const) {
    it(`has what waited for a session that ends (${code ?? 'by itself'}) as ${reason}`, async () => {
      const block = makeBlock();
      const shard = makeShard(new Wires(), 0, 1, {}, block);
      await shard.start([]);
      const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['x'] });
      const sink = new Counter();
      sink.unsent = 1024 * 1024;
      shard.sessions.attach(session, sink);
      for (let lane = 0; lane < 5; lane++) publish(shard, session, 'x', lane);
      shard.sessions.end(session, code, '');
      assert.equal(drops(block, Reason[reason]), 5);
      assert.equal(shard.exchange.backlogBytes, 0);
    });
  }

  it('has what finds no room among the backlogs of all sessions, and its taker hears of it', async () => {
    const block = makeBlock();
    const shard = makeShard(new Wires(), 0, 1, {}, block);
    await shard.start([]);
    const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['x'] });
    const sink = new Counter();
    shard.sessions.attach(session, sink);
    const { exchange } = shard;
    // As if it waited for others: it would be a gigabyte.
    exchange.backlogBytes = exchange.settings.totalBacklog;
    publish(shard, session, 'x', 2);
    assert.equal(drops(block, Reason.backlogGlobal), 1);
    assert.deepEqual([sink.frames, sink.missed], [0, 1]);
    exchange.backlogBytes = 0;
    publish(shard, session, 'x', 2);
    assert.deepEqual([sink.frames, sink.missed], [1, 1]);
  });

  it('has what was on its way to a shard that died, in its ring and before it', async () => {
    const wires = new Wires();
    const blocks = [makeBlock(), makeBlock()];
    const shards = [makeShard(wires, 0, 1, {}, blocks[0]), makeShard(wires, 1, 1, {}, blocks[1])];
    await Promise.all(shards.map((shard) => shard.start([])));
    shards[1].sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['x'] });
    wires.run([0, 1]);
    const feeder = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' }).session;
    wires.run([0, 1]);
    for (let i = 0; i < 3; i++) publish(shards[0], feeder, 'x', 2);
    wires.full = true;
    for (let i = 0; i < 2; i++) publish(shards[0], feeder, 'x', 2);
    wires.full = false;
    shards[0].peerDown(1, 1);
    assert.equal(drops(blocks[0], Reason.shardDown), 2);
    // Its successor reads what it has left.
    shards[1] = makeShard(wires, 1, 2, {}, blocks[1]);
    await shards[1].start([]);
    wires.run([0, 1]);
    assert.equal(drops(blocks[1], Reason.shardDown), 3);
  });
});
