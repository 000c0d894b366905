import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { C } from '../../../lib/telemetry/counters.js';
import { ACK_SIZE, nackPayload, writeAck } from '../../../lib/wire/delivery.js';
import { MAX_CONSUMED } from '../../../shards/consuming.js';
import { Taker, twoShards } from './two-shards.js';

describe('consumers of two shards', () => {
  const { run, until, answered, open, spec, consume, groupOn, assured, ack, shards, logged } = twoShards();

  for (const home of [0, 1]) {
    it(`on shard ${home} give a consumer that fails nothing more, tell it so, and give its share to another`, async () => {
      const publisher = open(0, 'p');
      const sick = open(1, 'sick');
      const { group, mailbox } = await groupOn(home, 1, sick.session);
      for (let i = 0; i < 5; i++) assured(0, publisher.session, 'work.x', `a${i}`);
      run();
      for (const { offset } of sick.taker.got) {
        const nack = nackPayload(mailbox, offset, 'no paper');
        shards[1].consuming.nack(sick.session, nack, 0, nack.length);
      }
      run();
      assert.deepEqual(sick.taker.changes, [`group:${group}:work.* open nack`]);
      assert.deepEqual(logged.splice(0), [`${home}: sick open`]);
      const well = open(0, 'well');
      await consume(0, well.session, group, 'work.*');
      for (let i = 0; i < 4; i++) assured(0, publisher.session, 'work.x', `b${i}`);
      run();
      assert.deepEqual(
        well.taker.texts.filter((text) => text.startsWith('b')),
        ['b0', 'b1', 'b2', 'b3'],
      );
      assert.equal(sick.taker.got.length, 5);
      assert.deepEqual(well.taker.changes, []);
      shards[home].check(0);
      const { counters } = shards[home].exchange;
      assert.deepEqual([counters[C.breakersOpen], counters[C.breakersOpened]], [1, 1]);
      // It leaves, and its breaker with it.
      shards[1].consuming.leave(sick.session, mailbox);
      run();
      shards[home].check(0);
      assert.equal(counters[C.breakersOpen], 0);
    });
  }

  it('hold it against a message that its consumer broke off, not that it left', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    assured(0, publisher.session, 'work.x', 'b');
    run();
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    await consume(0, consumer.session, group, 'work.*');
    run();
    assert.deepEqual(
      consumer.taker.got.map(({ attempt }) => attempt),
      [1, 1, 1, 1],
    );
    shards[0].sessions.lost(consumer.session, true);
    run();
    const heir = open(1, 'heir');
    await consume(1, heir.session, group, 'work.*');
    run();
    assert.deepEqual(
      heir.taker.got.map(({ text, attempt }) => [text, attempt]),
      [
        ['a', 2],
        ['b', 1],
      ],
    );
  });

  it('take acks of more than a consumer may have by now', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(0, 0, consumer.session, { lease: 60_000 });
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    await consume(0, consumer.session, group, 'work.*', { prefetch: 1, lease: 60_000 });
    ack(0, consumer.session, mailbox, consumer.taker.got[0].offset, 3);
    assert.equal(shards[0].exchange.counters[C.mailboxAcks], 3);
  });

  it('have a bound for each connection, also of those that it asks for all at once', async () => {
    const { session } = open(0, 'c');
    const asked = Array.from({ length: MAX_CONSUMED + 10 }, (_, n) =>
      shards[0].consuming.consume(session, spec(session, `many${n}`, 'work.*')),
    );
    let ended: PromiseSettledResult<number>[] | null = null;
    Promise.allSettled(asked).then((results) => {
      ended = results;
    });
    await until(() => ended !== null);
    const refused = ended!.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 10);
    assert.equal((refused[0] as PromiseRejectedResult).reason.code, 'LIMIT_REACHED');
  });

  it('have no consumer that was told that there is no answer', async () => {
    const publisher = open(0, 'p');
    const other = open(1, 'o');
    const { group, mailbox } = await groupOn(1, 1, other.session, { lease: 60_000 });
    const { session, taker } = open(0, 'c');
    mock.timers.enable({ apis: ['setTimeout'] });
    let consuming: Promise<number>;
    try {
      consuming = shards[0].consuming.consume(session, spec(session, group, 'work.*', { lease: 60_000 }));
      mock.timers.tick(10_000);
    } finally {
      mock.timers.reset();
    }
    await assert.rejects(consuming, { code: 'MAILBOX_UNAVAILABLE' });
    const { consumers } = shards[1].table.find(mailbox)!.home!;
    run();
    assert.equal(consumers.size, 2, 'the shard has woken up');
    await until(() => consumers.size === 1);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    assert.deepEqual([taker.texts, other.taker.texts], [[], ['a', 'b', 'c']]);
  });

  describe('that leave before they are answered', () => {
    const wish = { lease: 60_000 };

    /** A mailbox on shard 1, with nobody there, and an agent of shard 0. */
    async function begin() {
      const first = open(1, 'first');
      const { group, mailbox } = await groupOn(1, 1, first.session, wish);
      shards[1].consuming.leave(first.session, mailbox);
      const guest = open(0, 'c');
      const { consumers } = shards[1].table.find(mailbox)!.home!;
      const ask = (prefetch = 10) =>
        shards[0].consuming.consume(
          guest.session,
          spec(guest.session, group, 'work.*', { ...wish, prefetch }),
        );
      return { ...guest, group, mailbox, consumers, ask };
    }

    it('consume from nothing, and neither side believes it', async () => {
      const { session, group, mailbox, consumers, ask } = await begin();
      await answered(ask());
      assert.deepEqual([consumers.size, session.consumes?.has(mailbox)], [1, true]);
      // It asks for more, and leaves.
      const more = ask(20);
      shards[0].consuming.leave(session, mailbox);
      await answered(more);
      await until(() => consumers.size === 0);
      assert.equal(session.consumes?.has(mailbox), false);
      // By what it had asked for, of which it had not heard.
      const named = ask();
      shards[0].consuming.leaveNamed(session, spec(session, group, 'work.*'));
      await answered(named);
      await until(() => consumers.size === 0);
      assert.equal(session.consumes?.has(mailbox), false);
      // The last word counts.
      const before = ask();
      shards[0].consuming.leaveNamed(session, spec(session, group, 'work.*'));
      await answered(Promise.all([before, ask()]));
      run();
      assert.deepEqual([consumers.size, session.consumes?.has(mailbox)], [1, true]);
    });

    it('by losing their connection, are consumers all the same when they ask again on another', async () => {
      const { session, mailbox, consumers, ask } = await begin();
      const lost = ask();
      shards[0].sessions.lost(session, true);
      const taker = new Taker();
      shards[0].sessions.attach(session, taker);
      await answered(Promise.all([lost, ask()]));
      run();
      assert.deepEqual([consumers.size, session.consumes?.has(mailbox)], [1, true]);
      assured(0, open(0, 'p').session, 'work.x', 'a');
      run();
      assert.deepEqual(taker.texts, ['a']);
      // And are none when they do not.
      shards[0].consuming.leave(session, mailbox);
      const again = ask();
      shards[0].sessions.lost(session, true);
      await answered(again);
      await until(() => consumers.size === 0);
    });
  });

  it('are not kept busy by a frame of acks for messages without end', async () => {
    const { session } = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, session);
    const runs = new Uint8Array(17 * ACK_SIZE);
    for (let n = 0; n < 17; n++) writeAck(runs, n * ACK_SIZE, mailbox, 1, 0xffff_ffff);
    shards[0].consuming.ack(session, runs, 0, 16 * ACK_SIZE);
    assert.throws(() => shards[0].consuming.ack(session, runs, 0, runs.length), { code: 'BAD_CONTROL' });
  });

  it('pass over acks of what a session does not hold', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const other = open(1, 'o');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const { offset } = consumer.taker.got[0];
    ack(1, other.session, mailbox, offset);
    ack(0, consumer.session, mailbox, offset + 1, 0xffff_ffff);
    ack(0, consumer.session, 0xffff_ffff, offset);
    ack(0, consumer.session, mailbox, offset);
    ack(0, consumer.session, mailbox, offset);
    assert.equal(consumer.taker.got.length, 1);
  });
});
