import assert from 'node:assert/strict';
import { MAX_RECORD, RecordKind } from '../../../lib/links.js';
import { C } from '../../../lib/telemetry/counters.js';
import { Reason } from '../../../lib/telemetry/ledger.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import { DELIVERY_MARGIN } from '../../../lib/wire/delivery.js';
import { HEADER_SIZE } from '../../../lib/wire/frame.js';
import { type Guest, twoShards } from './two-shards.js';
import { drops, publish } from './wires.js';

describe('mailboxes that feed consumers on two shards', () => {
  const { blocks, wires, run, until, open, spec, consume, groupOn, assured, ack, shards } = twoShards();

  /** A consumer of shard 1 whose socket takes nothing, and whose backlog has no room. */
  function fill({ session, taker }: Guest): void {
    const publisher = open(1, 'noise');
    shards[1].interest.subscribe(session, ['noise']);
    run();
    taker.unsent = 64 * 1024;
    session.pressure.shed();
    for (const size of [31 * 1024, 1024, 1])
      for (let i = 0; i < 40; i++) publish(shards[1], publisher.session, 'noise', 0, size);
    run();
  }

  /** Whatever shard `from` sends to the other now is refused. */
  function clog(from: number): void {
    wires.fullFrom = from;
    const peer = shards[from].exchange.peers[1 - from]!;
    const junk = new Uint8Array(MAX_RECORD);
    while (peer.send(RecordKind.stored, false, junk, 0, junk.length));
  }

  function firsts({ taker }: Guest): [string, number, boolean][] {
    return taker.got.map(({ text, attempt, repeated }) => [text, attempt, repeated]);
  }

  it('hand neighbours over together, but for those of another session or lane, and no more than a piece of memory holds', async () => {
    const publisher = open(0, 'p');
    const takers = [open(0, 'c'), open(0, 'd')];
    const { group } = await groupOn(0, 0, takers[0].session);
    await consume(0, takers[1].session, group, 'work.*');
    const handed: string[][] = [];
    for (const { session } of takers) {
      const deliver = session.deliver.bind(session);
      session.deliver = (lane, src, start, end) => {
        const frames = new BatchReader();
        frames.open(src, start, end, 1 << 20);
        const lanes: string[] = [];
        while (frames.next() === Step.frame) {
          assert.equal(frames.lane, lane);
          lanes.push(`${session.agent.agentId}${lane}`);
        }
        assert.ok(end - start < 65_536);
        handed.push(lanes);
        return deliver(lane, src, start, end, 0);
      };
    }
    const ids = ['a', 'b', 'e', 'f'];
    for (const [i, id] of ids.entries()) assured(0, publisher.session, 'work.x', id, 0, {}, i < 2 ? 0 : 4);
    run();
    assert.deepEqual(handed.flat().sort(), ['c0', 'c4', 'd0', 'd4']);
    assert.deepEqual(takers.flatMap(({ taker }) => taker.texts).sort(), ids);
    shards[0].sessions.lost(takers[1].session, false);
    run();
    handed.length = 0;
    for (const id of ['1', '2', '3']) assured(0, publisher.session, 'work.x', id);
    for (const id of ['4', '5']) assured(0, publisher.session, 'work.x', id, 60_000);
    run();
    assert.deepEqual(
      handed.map(({ length }) => length),
      [3, 1, 1],
    );
  });

  for (const home of [0, 1]) {
    it(`on shard ${home} give a consumer nothing that is small enough ahead of what its way had no room for`, async () => {
      const publisher = open(0, 'p');
      const slow = open(1, 'slow');
      await groupOn(home, 1, slow.session, { lease: 60_000 });
      shards[1].interest.subscribe(slow.session, ['noise']);
      run();
      // Its socket takes nothing, and there is room for 40 KiB before something is shed.
      slow.taker.unsent = 64 * 1024;
      slow.session.pressure.shed();
      const noise = open(1, 'noise');
      for (let i = 0; i < 2; i++) publish(shards[1], noise.session, 'noise', 2, 42 * 1024);
      run();
      const sent = ['first', 'large', 'less', 'least'];
      for (const [i, size] of [10, 50_000, 30_000, 10].entries())
        assured(0, publisher.session, 'work.x', sent[i], size);
      run();
      slow.taker.unsent = 0;
      slow.session.touch();
      // Until it is known whether there is room, one comes, then two.
      for (let i = 0; i < 2; i++) {
        run();
        shards[home].mailboxes.check();
      }
      run();
      assert.deepEqual(
        slow.taker.got.map(({ text }) => text.trim()),
        sent,
      );
    });

    it(`on shard ${home} try a consumer that is stuck with one message, and with more as they get through`, async () => {
      const publisher = open(0, 'p');
      const slow = open(1, 'slow');
      const { mailbox } = await groupOn(home, 1, slow.session, { lease: 60_000, prefetch: 20 });
      fill(slow);
      for (let i = 0; i < 20; i++) assured(0, publisher.session, 'work.x', `${i}`.padEnd(2));
      run();
      const { counters } = shards[home].exchange;
      const look = (): void => {
        shards[home].mailboxes.check();
        run();
      };
      for (let i = 0; i < 3; i++) {
        const before = counters[C.mailboxReturned];
        look();
        assert.equal(counters[C.mailboxReturned], before + 1);
      }
      slow.taker.unsent = 0;
      slow.session.touch();
      run();
      for (const count of [1, 3, 7]) {
        look();
        assert.equal(slow.taker.got.length, count);
      }
      ack(1, slow.session, mailbox, slow.taker.got[0].offset, 2);
      assert.equal(slow.taker.got.length, 20);
      assert.deepEqual(
        slow.taker.texts.map(Number),
        Array.from({ length: 20 }, (_, i) => i),
      );
    });
  }

  for (const home of [0, 1]) {
    it(`on shard ${home} get back what finds its way full, and give it to another consumer, or when there is room`, async () => {
      const publisher = open(0, 'p');
      const [slow, quick] = [open(1, 'slow'), open(1, 'quick')];
      const { group, mailbox } = await groupOn(home, 1, slow.session, { lease: 60_000 });
      shards[1].interest.subscribe(slow.session, ['noise']);
      run();
      // Its socket takes nothing, and what waits for it is to be shed.
      slow.taker.unsent = 64 * 1024;
      slow.session.pressure.shed();
      for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id, 0, {}, 4);
      run();
      assert.equal(slow.session.lanes.bytes > 0, true, 'they wait in its backlog');
      // Up to the brim.
      for (const size of [31 * 1024, 1024, 1])
        for (let i = 0; i < 40; i++) publish(shards[0], publisher.session, 'noise', 0, size);
      run();
      assert.equal(shards[home].exchange.counters[C.mailboxReturned], 3, 'shed for what is more urgent');
      await consume(1, quick.session, group, 'work.*', { lease: 60_000 });
      run();
      assert.deepEqual(
        quick.taker.got.map(({ text, attempt, repeated }) => [text, attempt, repeated]),
        ['a', 'b', 'c'].map((text) => [text, 1, false]),
      );
      shards[1].consuming.leave(quick.session, mailbox);
      run();
      shards[home].mailboxes.check();
      run();
      assert.equal(shards[home].exchange.counters[C.mailboxReturned] > 3, true, 'there was no room at all');
      // Now its socket takes everything.
      slow.taker.unsent = 0;
      slow.session.touch();
      run();
      for (let i = 0; i < 2; i++) {
        shards[home].mailboxes.check();
        run();
      }
      assert.deepEqual(
        slow.taker.got.map(({ text, attempt }) => [text, attempt]),
        ['a', 'b', 'c'].map((text) => [text, 1]),
      );
    });
  }

  it('get back a whole run that a consumer of the other shard has no room for, in its order and as it was', async () => {
    const publisher = open(0, 'p');
    const slow = open(1, 'slow');
    const { group } = await groupOn(0, 1, slow.session, { lease: 60_000 });
    fill(slow);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    shards[0].exchange.endTurn();
    const records = wires.queues[1].flat().filter(({ kind }) => kind === RecordKind.deliver);
    assert.equal(records.length, 1, 'one run');
    run();
    assert.equal(shards[0].exchange.counters[C.mailboxReturned], 3);
    const quick = open(0, 'quick');
    await consume(0, quick.session, group, 'work.*', { lease: 60_000 });
    run();
    assert.deepEqual(
      firsts(quick),
      ['a', 'b', 'c'].map((text) => [text, 1, false]),
    );
    assert.deepEqual(slow.taker.got, []);
  });

  it('keep what the link to the shard of a consumer has no room for, for others', async () => {
    const publisher = open(0, 'p');
    const far = open(1, 'far');
    const { group } = await groupOn(0, 1, far.session, { lease: 60_000 });
    clog(0);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    assert.ok(shards[0].exchange.counters[C.mailboxReturned] >= 3);
    const near = open(0, 'near');
    // Nobody waits until the other shard, which hears nothing now, knows of it.
    void shards[0].consuming.consume(near.session, spec(near.session, group, 'work.*', { lease: 60_000 }));
    run();
    assert.deepEqual(
      firsts(near),
      ['a', 'b', 'c'].map((text) => [text, 1, false]),
    );
    shards[0].sessions.lost(near.session, false);
    wires.fullFrom = -1;
    for (let i = 0; i < 3; i++) {
      run();
      shards[0].mailboxes.check();
    }
    run();
    assert.deepEqual(
      firsts(far),
      ['a', 'b', 'c'].map((text) => [text, 1, true]),
    );
  });

  it('try again when the lease is over what could not be given back, as the link back was full too', async () => {
    const publisher = open(0, 'p');
    const slow = open(1, 'slow');
    const { group } = await groupOn(0, 1, slow.session);
    fill(slow);
    clog(1);
    for (const id of ['a', 'b']) assured(0, publisher.session, 'work.x', id);
    run();
    const quick = open(0, 'quick');
    void shards[0].consuming.consume(quick.session, spec(quick.session, group, 'work.*'));
    run();
    assert.equal(shards[0].exchange.counters[C.mailboxReturned], 0);
    await until(() => quick.taker.got.length === 2);
    assert.deepEqual(
      firsts(quick)
        .map(([text, attempt, repeated]) => [text, attempt > 1, repeated])
        .sort(),
      ['a', 'b'].map((text) => [text, true, true]),
    );
  });

  for (const home of [0, 1]) {
    it(`on shard ${home} deliver live messages as large as a deliver frame has room for, and drop larger ones, counted`, async () => {
      const publisher = open(0, 'p');
      const consumer = open(0, 'c');
      await groupOn(home, 0, consumer.session);
      const largest = 65_536 - DELIVERY_MARGIN - HEADER_SIZE - 'work.x'.length;
      for (const size of [largest, largest + 1, 65_536 - HEADER_SIZE - 'work.x'.length]) {
        publish(shards[0], publisher.session, 'work.x', 2, size);
        run();
      }
      assert.deepEqual(
        consumer.taker.texts.map(({ length }) => length),
        [largest],
      );
      assert.equal(drops(blocks[home], Reason.tooLarge), 2);
    });
  }
});
