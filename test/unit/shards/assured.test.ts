import assert from 'node:assert/strict';
import { twoShards } from './two-shards.js';

describe('assured publishes on two shards', () => {
  const { lose, run, until, open, spec, groupOn, assured, ack, shards, wires } = twoShards();

  it('are given up on when their shard lives and does not answer, so that nobody waits for ever', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    const back = shards[1].exchange.peers[0]!;
    back.listening = false;
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const { now } = shards[0].exchange;
    shards[0].assured.check(now + 29_000);
    assert.deepEqual(publisher.taker.refused, []);
    shards[0].assured.check(now + 30_000);
    assert.deepEqual(publisher.taker.refused, ['a: MAILBOX_UNAVAILABLE']);
    back.listening = true;
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
  });

  it('are stored nowhere when they are to be last values and cannot be', async () => {
    const publisher = open(0, 'p');
    await groupOn(1, 0, open(0, 'c').session);
    // These shards have no memory to retain anything in.
    assured(0, publisher.session, 'work.x', 'a', 0, {}, 2, true);
    assured(0, publisher.session, 'work.x', 'b');
    run();
    assert.deepEqual(publisher.taker.refused, ['a: HISTORY_UNAVAILABLE']);
    assert.deepEqual(publisher.taker.stored, ['b=1']);
  });

  it('are acked when they are stored, however long another one waits for its mailbox', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    const { mailbox } = await groupOn(0, 0, consumer.session, {}, 'near.*');
    // Nothing is delivered: there is no lease whose end would end a turn.
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    shards[1].exchange.peers[0]!.listening = false;
    assured(0, publisher.session, 'work.x', 'far');
    assured(0, publisher.session, 'near.x', 'near');
    await until(() => publisher.taker.stored.length > 0);
    assert.deepEqual(publisher.taker.stored, ['near=1']);
    shards[0].assured.check(shards[0].exchange.now + 30_000);
    assert.deepEqual(publisher.taker.refused, ['far: MAILBOX_UNAVAILABLE']);
    assured(0, publisher.session, 'near.x', 'alone');
    run();
    assert.deepEqual(publisher.taker.stored, ['near=1', 'alone=1']);
  });

  it('take a message also when hundreds on each shard are to get it, and say so when one of the shards is gone', async () => {
    const publisher = open(0, 'p');
    const { session } = open(0, 'c');
    const count = 800;
    let handles: number[] = [];
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        shards[0].consuming.consume(session, spec(session, `many${n}`, 'work.*')),
      ),
    ).then((results) => {
      handles = results;
    });
    await until(() => handles.length === count);
    for (const home of [0, 1]) assert.ok(handles.filter((mailbox) => mailbox >>> 24 === home).length > 300);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, [`a=${count}`]);
    assured(0, publisher.session, 'work.x', 'b');
    lose(1);
    run();
    wires.full = true;
    assured(0, publisher.session, 'work.x', 'c');
    run();
    assert.deepEqual(publisher.taker.refused, ['b: MAILBOX_UNAVAILABLE', 'c: MAILBOX_UNAVAILABLE']);
  });

  for (const [full, free] of [
    [0, 1],
    [1, 0],
  ])
    it(`of which a mailbox on shard ${full} is full and one on ${free} is not are refused, and safe to repeat`, async () => {
      const publisher = open(0, 'p');
      const consumer = open(0, 'c');
      const small = await groupOn(full, 0, consumer.session, { maxMessages: 1 });
      const large = await groupOn(free, 0, consumer.session, {}, 'work.**');
      const textsOf = (mailbox: number): string[] =>
        consumer.taker.got.filter((got) => got.mailbox === mailbox).map(({ text }) => text);
      for (const id of ['a', 'b', 'b']) {
        assured(0, publisher.session, 'work.x', id);
        run();
      }
      assert.deepEqual(publisher.taker.stored, ['a=2']);
      assert.deepEqual(publisher.taker.refused, ['b: MAILBOX_FULL', 'b: MAILBOX_FULL']);
      assert.deepEqual(textsOf(small.mailbox), ['a']);
      assert.deepEqual(textsOf(large.mailbox), ['a', 'b']);
      const first = consumer.taker.got.find(({ mailbox }) => mailbox === small.mailbox)!;
      ack(0, consumer.session, small.mailbox, first.offset);
      assured(0, publisher.session, 'work.x', 'b');
      run();
      assert.deepEqual(publisher.taker.stored, ['a=2', 'b=2']);
      assert.deepEqual(textsOf(small.mailbox), ['a', 'b']);
      assert.deepEqual(textsOf(large.mailbox), ['a', 'b']);
    });
});
