import assert from 'node:assert/strict';
import { Reason } from '../../../lib/telemetry/ledger.js';
import { FrameType, OFFSET_LANE, OFFSET_TYPE } from '../../../lib/wire/frame.js';
import type { Session } from '../../../shards/session.js';
import type { Shard } from '../../../shards/shard.js';
import { Counter, drops, HELLO, makeBlock, makeShard, publish, Wires } from './wires.js';

describe('two shards', () => {
  // The two paths of a link have no mutual order.
  for (const [name, paths] of [
    ['urgent first', [0, 1]],
    ['bulk first', [1, 0]],
  ] as const) {
    it(`reach each other in every lane, also a new incarnation, whichever path is read first (${name})`, async () => {
      const wires = new Wires();
      const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
      await Promise.all(shards.map((shard) => shard.start([])));
      wires.run(paths);
      for (let incarnation = 1; incarnation <= 4; incarnation++) {
        if (incarnation > 1) {
          // The old one is gone; what was meant for it still waits in the rings.
          wires.readers[1] = null;
          shards[0].peerDown(1, incarnation - 1);
          shards[1] = makeShard(wires, 1, incarnation);
          await shards[1].start([]);
          wires.run(paths);
        }
        const sinks = [new Counter(), new Counter()];
        const sessions = shards.map((shard, slot) => {
          const agentId = `agent-${slot}-${incarnation}`;
          const { session } = shard.sessions.open({ ...HELLO, agentId, subscriptions: [`to.${slot}`] });
          shard.sessions.attach(session, sinks[slot]);
          return session;
        });
        wires.run(paths);
        for (const [slot, shard] of shards.entries()) {
          for (let lane = 0; lane < 5; lane++) publish(shard, sessions[slot], `to.${1 - slot}`, lane);
        }
        wires.run(paths);
        assert.deepEqual(
          sinks.map(({ frames }) => frames),
          [5, 5],
          `incarnation ${incarnation}`,
        );
        for (const [slot, shard] of shards.entries()) shard.sessions.end(sessions[slot], null, '');
        wires.run(paths);
      }
    });
  }

  it('send what is critical or high on the urgent path, and the rest behind it', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    shards[1].sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['x'] });
    const { session } = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' });
    wires.run([0, 1]);
    for (let lane = 0; lane < 5; lane++) publish(shards[0], session, 'x', lane);
    const lanes = wires.queues[1].map((path) =>
      path
        .filter(({ bytes }) => bytes[OFFSET_TYPE] === FrameType.publish)
        .map(({ bytes }) => bytes[OFFSET_LANE] & 7),
    );
    assert.deepEqual(lanes, [
      [0, 1],
      [2, 3, 4],
    ]);
  });

  it('hold the time on their link against the time to live', async () => {
    const wires = new Wires();
    const block = makeBlock();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1, {}, block)];
    await Promise.all(shards.map((shard) => shard.start([])));
    const taker = shards[1].sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['x'] }).session;
    const sink = new Counter();
    shards[1].sessions.attach(taker, sink);
    const { session } = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' });
    wires.run([0, 1]);
    publish(shards[0], session, 'x', 2, 1, 60_000);
    publish(shards[0], session, 'x', 2, 1, 3_600_000);
    // As if they had been under way for two minutes.
    for (const item of wires.queues[1][1]) item.stamp = (item.stamp - 120_000) >>> 0;
    wires.run([0, 1]);
    shards[1].exchange.endTurn();
    assert.equal(sink.frames, 1);
    assert.equal(drops(block, Reason.expired), 1);
  });
});

describe('the routes of a shard', () => {
  it('are worked out once, and anew only where a subscription changes them', async () => {
    const wires = new Wires();
    const shard = makeShard(wires, 0, 1);
    await shard.start([]);
    const { exchange, interest } = shard;
    const [first, second] = ['first', 'second'].map(
      (agentId) => shard.sessions.open({ ...HELLO, agentId }).session,
    );
    const routes = () => ['a.x', 'b.x'].map((text) => exchange.routeOf(exchange.topic(text)!));
    let before = routes();
    const changed = () => {
      const now = routes();
      const which = now.map((route, index) => route !== before[index]);
      before = now;
      return which;
    };
    publish(shard, first, 'a.x', 2);
    assert.deepEqual(changed(), [false, false]);
    interest.subscribe(first, ['a.*']);
    assert.deepEqual(changed(), [true, false]);
    interest.subscribe(second, ['**.x']);
    assert.deepEqual(changed(), [true, true]);
    interest.unsubscribe(first, ['a.*']);
    assert.deepEqual(changed(), [true, false]);
    assert.deepEqual(before[0].sessions, [second]);
    const peer = exchange.peers[1]!;
    interest.heard(peer, ['b.**'], []);
    assert.deepEqual(changed(), [false, true]);
    assert.deepEqual(before[1].peers, [peer]);
    interest.heard(peer, [], ['b.**']);
    assert.deepEqual(changed(), [false, true]);
  });

  it('are kept for maxTopics topics', async () => {
    const shard = makeShard(new Wires(), 0, 1, { maxTopics: 1024 });
    await shard.start([]);
    const { exchange } = shard;
    for (let i = 0; i < 3000; i++) exchange.routeOf(exchange.topic(`a.${i}`)!);
    assert.equal(exchange.topics.size, 1024);
  });
});

describe('what a shard tells another', () => {
  async function pair(): Promise<{ wires: Wires; shard: Shard; sessions: Session[] }> {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    const sessions = ['a', 'b'].map((agentId) => shards[0].sessions.open({ ...HELLO, agentId }).session);
    shards[1].sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['to.taker'] });
    wires.run([0, 1]);
    return { wires, shard: shards[0], sessions };
  }

  it('is a pattern’s first subscriber and its last, not those between', async () => {
    const { wires, shard, sessions } = await pair();
    const [first, second] = sessions;
    const told = (change: () => void) => {
      change();
      const count = wires.queues[1].flat().length;
      wires.run([0, 1]);
      return count;
    };
    const { interest } = shard;
    assert.equal(
      told(() => interest.subscribe(first, ['x'])),
      1,
    );
    assert.equal(
      told(() => interest.subscribe(second, ['x'])),
      0,
    );
    assert.equal(
      told(() => interest.unsubscribe(first, ['x'])),
      0,
    );
    assert.equal(
      told(() => interest.unsubscribe(second, ['x'])),
      1,
    );
  });

  it('goes by the urgent path for messages of the urgent lanes, and by the other for the rest', async () => {
    const { wires, shard, sessions } = await pair();
    const paths = [0, 1, 2, 3, 4].map((lane) => {
      publish(shard, sessions[0], 'to.taker', lane);
      const [urgent, bulk] = wires.queues[1].map((path) => path.splice(0).length > 0);
      return [urgent, bulk];
    });
    const [urgent, bulk] = [
      [true, false],
      [false, true],
    ];
    assert.deepEqual(paths, [urgent, urgent, bulk, bulk, bulk]);
  });
});

describe('a session that was stuck', () => {
  for (const size of [100, 1000, 60_000]) {
    it(`hears of all that it missed, also when all that waited leaves in one turn (${size} bytes each)`, async () => {
      const shard = makeShard(new Wires(), 0, 1, { backlog: 128 * 1024, stallLimit: 0 });
      await shard.start([]);
      const sink = new Counter();
      const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['x'] });
      shard.sessions.attach(session, sink);
      sink.unsent = 1024 * 1024;
      const total = Math.ceil((1024 * 1024) / size);
      for (let i = 0; i < total; i++) {
        publish(shard, session, 'x', 2, size);
        shard.check(1);
      }
      assert.equal(sink.frames, 0);
      assert.equal(sink.missed, 0);
      assert.ok(shard.exchange.backlogBytes <= 128 * 1024);
      sink.unsent = 0;
      session.touch();
      // Two turns: one that sends, and one for what it caused.
      shard.exchange.endTurn();
      shard.exchange.endTurn();
      assert.ok(sink.frames > 0 && sink.missed > 0);
      assert.equal(sink.frames + sink.missed, total);
    });
  }
});

describe('a session that is resumed', () => {
  const resume = (session: Session, received = 0) => ({
    ...HELLO,
    resume: { session: session.id, received },
  });

  it('lets those go on who fed it, also when its old connection was not yet known to be dead', async () => {
    const shard = makeShard(new Wires(), 0, 1, { backlog: 128 * 1024 });
    await shard.start([]);
    const old = new Counter();
    old.unsent = 1024 * 1024;
    const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['x'] });
    shard.sessions.attach(session, old);
    const feeder = shard.sessions.open({ ...HELLO, agentId: 'feeder' }).session;
    shard.sessions.attach(feeder, new Counter());
    for (let i = 0; i < 120; i++) publish(shard, feeder, 'x', 2, 1000);
    assert.equal(feeder.holds, 1);
    shard.sessions.open(resume(session));
    shard.sessions.attach(session, new Counter());
    assert.equal(old.closed, true);
    assert.equal(feeder.holds, 0);
    assert.equal(shard.exchange.pressed.size, 0);
  });

  it('has one connection, the last that attached', async () => {
    const shard = makeShard(new Wires(), 0, 1);
    await shard.start([]);
    const { session } = shard.sessions.open(HELLO);
    shard.sessions.attach(session, new Counter());
    const [first, second] = [new Counter(), new Counter()];
    // Both were let in before either was attached.
    shard.sessions.open(resume(session));
    shard.sessions.open(resume(session));
    shard.sessions.attach(session, first);
    shard.sessions.attach(session, second);
    assert.deepEqual([first.closed, second.closed], [true, false]);
  });

  it('is not cut off for the topics and senders of what waited for it', async () => {
    const shard = makeShard(new Wires(), 0, 1, { backlog: 64 * 1024 * 1024, window: 64 * 1024 * 1024 });
    await shard.start([]);
    const sink = new Counter();
    sink.announces = true;
    sink.unsent = 1024 * 1024;
    const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['**'] });
    shard.sessions.attach(session, sink);
    for (let i = 0; i < 16_000; i++) {
      const text = `a.topic.with.a.long.name.${'x'.repeat(60)}.${i}`;
      const topic = shard.exchange.topic(text)!;
      shard.exchange.seen(topic);
      const id = shard.exchange.seen(topic)!;
      session.announceTopic(id);
    }
    shard.sessions.lost(session, true);
    shard.sessions.open(resume(session));
    shard.sessions.attach(session, new Counter());
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(session.ended, false);
  });
});

describe('a hello that is refused', () => {
  it('leaves nothing behind', async () => {
    const shard = makeShard(new Wires(), 0, 1, { maxSubscriptions: 2 });
    await shard.start([]);
    assert.throws(() => shard.sessions.open({ ...HELLO, subscriptions: ['a', 'b', 'c'] }), {
      code: 'LIMIT_REACHED',
    });
    assert.equal(shard.sessions.size, 0);
    assert.equal(shard.sessions.directory.get('a'), null);
    const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['a', 'b'] });
    shard.sessions.attach(session, new Counter());
    const again = { ...HELLO, subscriptions: ['c'], resume: { session: session.id, received: 0 } };
    assert.throws(() => shard.sessions.open(again), { code: 'LIMIT_REACHED' });
    // Nor does it harm the session that it wanted.
    assert.notEqual(session.sink, null);
  });
});

describe('a shard whose peer begins anew', () => {
  it('finds an agent of it as soon as it was told of it, whatever was asked before', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    wires.run([0, 1]);
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    shards[1] = makeShard(wires, 1, 2);
    await shards[1].start([]);
    shards[1].sessions.open({ ...HELLO, agentId: 'found' });
    // Record by record: between any two somebody may ask.
    for (let rest = true; rest; ) {
      rest = false;
      for (const slot of [0, 1]) {
        for (const path of [0, 1]) {
          const item = wires.queues[slot][path].shift();
          if (item === undefined) continue;
          rest = true;
          const { from, urgent, kind, stamp, bytes } = item;
          wires.readers[slot]!.onRecord(from, urgent, kind, stamp, bytes, 0, bytes.length);
          shards[0].exchange.routeOf(shards[0].exchange.topic('_agent.found')!);
        }
      }
      for (const reader of wires.readers) reader!.onBatchEnd();
    }
    const topic = shards[0].exchange.topic('_agent.found')!;
    assert.deepEqual(shards[0].exchange.routeOf(topic).peers, [shards[0].exchange.peers[1]]);
  });

  it('says offline of the agents that went down with it, but not of those that have come back already', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    wires.run([0, 1]);
    const [early, late] = ['early', 'late'].map((agentId) => {
      const presence = [`system.agent.${agentId}.online`, `system.agent.${agentId}.offline`];
      return presence.map((topic) => {
        const watcher = shards[0].sessions.open({
          ...HELLO,
          agentId: topic.replaceAll('.', '-'),
          subscriptions: [topic],
        });
        const sink = new Counter();
        shards[0].sessions.attach(watcher.session, sink);
        return sink;
      });
    });
    const counts = (sinks: Counter[]) => {
      shards[0].exchange.endTurn();
      return sinks.map(({ frames }) => frames);
    };
    wires.run([0, 1]);
    for (const agentId of ['early', 'late']) shards[1].sessions.open({ ...HELLO, agentId });
    wires.run([0, 1]);
    assert.deepEqual(
      [counts(early), counts(late)],
      [
        [1, 0],
        [1, 0],
      ],
    );
    wires.readers[1] = null;
    shards[0].sessions.open({ ...HELLO, agentId: 'early' });
    shards[0].peerDown(1, 1);
    shards[0].sessions.open({ ...HELLO, agentId: 'late' });
    assert.deepEqual(
      [counts(early), counts(late)],
      [
        [2, 0],
        [2, 1],
      ],
    );
  });

  for (const slot of [0, 1]) {
    it(`finds an agent that connects to it, who has come and gone before, often and lastly on shard ${slot}`, async () => {
      const wires = new Wires();
      const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
      await Promise.all(shards.map((shard) => shard.start([])));
      for (const shard of [...shards, ...shards, shards[slot]]) {
        const { session } = shard.sessions.open({ ...HELLO, agentId: 'found' });
        wires.run([0, 1]);
        shard.sessions.end(session, null, '');
        wires.run([0, 1]);
      }
      wires.readers[1] = null;
      shards[0].peerDown(1, 1);
      shards[1] = makeShard(wires, 1, 2);
      await shards[1].start([]);
      wires.run([0, 1]);
      shards[1].sessions.open({ ...HELLO, agentId: 'found' });
      wires.run([0, 1]);
      assert.equal(shards[0].sessions.directory.get('found')?.state, 'online');
      assert.equal(shards[0].sessions.locate('found'), shards[0].exchange.peers[1]);
    });
  }
});

describe('a shard that takes the place of another', () => {
  it('believes nothing that was told to that one', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    wires.run([0, 1]);
    const { session } = shards[0].sessions.open({ ...HELLO, agentId: 'x', subscriptions: ['of.x'] });
    wires.readers[1] = null;
    shards[0].peerDown(1, 1);
    shards[0].sessions.end(session, null, '');
    shards[0].sessions.open({ ...HELLO, agentId: 'y', subscriptions: ['of.y'] });
    shards[1] = makeShard(wires, 1, 2);
    await shards[1].start([]);
    wires.run([0, 1]);
    const { exchange, sessions } = shards[1];
    assert.deepEqual([...exchange.peers[0]!.interest], ['of.y']);
    assert.deepEqual([sessions.directory.get('x'), sessions.directory.get('y')?.state], [null, 'online']);
  });
});

describe('a link that is stuck', () => {
  it('loses no message uncounted, holds nobody for ever, and keeps the workers’ own talk', async () => {
    const wires = new Wires();
    const block = makeBlock();
    const shards = [makeShard(wires, 0, 1, {}, block), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    const sink = new Counter();
    const taker = shards[1].sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['x'] }).session;
    shards[1].sessions.attach(taker, sink);
    wires.run([0, 1]);
    const feeder = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' }).session;
    shards[0].sessions.attach(feeder, new Counter());
    wires.run([0, 1]);
    wires.full = true;
    const total = 1700;
    for (let i = 0; i < total; i++) publish(shards[0], feeder, 'x', 2, 50_000);
    assert.equal(feeder.holds, 1);
    // Told while nothing but talk can wait any more.
    const late = shards[0].sessions.open({ ...HELLO, agentId: 'late' }).session;
    shards[0].sessions.attach(late, new Counter());
    wires.full = false;
    for (const peer of shards[0].exchange.peers) peer?.touch();
    // The other has a turn's share for its agent each time, and things to say of it.
    for (let turn = 0; turn < 400; turn++) {
      for (const shard of shards) shard.exchange.endTurn();
      wires.run([0, 1]);
    }
    assert.equal(feeder.holds, 0);
    const dropped = drops(block, Reason.linkFull);
    assert.ok(dropped > 0);
    assert.equal(sink.frames + dropped, total);
    assert.equal(sink.missed, dropped);
    assert.notEqual(shards[1].sessions.directory.get('late'), null);
  });
});

describe('a shard whose peer has just begun', () => {
  it('waits for it with a subscription, though it has not told everything yet', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    const [peer] = shards[0].exchange.peers.filter((one) => one !== null);
    // Record by record, until it is listened to.
    while (!peer.listening) {
      for (const slot of [0, 1]) {
        for (const path of [0, 1]) {
          for (const item of wires.queues[slot][path].splice(0, 1)) {
            const { from, urgent, kind, stamp, bytes } = item;
            wires.readers[slot]!.onRecord(from, urgent, kind, stamp, bytes, 0, bytes.length);
          }
        }
        wires.readers[slot]!.onBatchEnd();
      }
    }
    assert.equal(peer.up, false);
    const { session } = shards[0].sessions.open({ ...HELLO, subscriptions: ['x'] });
    shards[0].sessions.attach(session, new Counter());
    let applied = false;
    const settled = shards[0].interest.settled().then(() => {
      applied = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(applied, false);
    wires.run([0, 1]);
    await settled;
    assert.deepEqual(
      shards[1].exchange.route('x').peers.map(({ slot }) => slot),
      [0],
    );
  });
});

describe('a shard whose peer stands still', () => {
  it('waits for it for two seconds, then goes on without it until it answers', async () => {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    wires.run([0, 1]);
    const applied = async (): Promise<boolean> => {
      let done = false;
      void shards[0].interest.settled().then(() => {
        done = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      for (let look = 0; look < 8; look++) shards[0].check(0);
      await new Promise((resolve) => setImmediate(resolve));
      return done;
    };
    assert.equal(await applied(), false);
    shards[0].check(0);
    assert.equal(await applied(), true);
    wires.run([0, 1]);
    assert.equal(await applied(), false);
  });
});
