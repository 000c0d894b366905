import assert from 'node:assert/strict';
import { cpSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { nackPayload } from '../../../lib/wire/delivery.js';
import { journalDir, orphansOf } from '../../../shards/journal/directory.js';
import { twoShards } from './two-shards.js';
import { makeShard, publish, Wires } from './wires.js';

describe('mailboxes of two shards', () => {
  const pair = twoShards();
  const { begin, restart, closeAll, lose, revive, run, until, open, consume, groupOn, assured, ack, shards } =
    pair;

  for (const home of [0, 1]) {
    for (const from of [0, 1]) {
      for (const to of [0, 1]) {
        it(`journal, ack and deliver: from shard ${from} by a mailbox on ${home} to shard ${to}`, async () => {
          const publisher = open(from, 'p');
          const consumer = open(to, 'c');
          const { mailbox } = await groupOn(home, to, consumer.session);
          for (const id of ['a', 'b', 'c']) assured(from, publisher.session, 'work.x', id);
          assert.equal(consumer.taker.got.length, 0, 'before the turn ends nothing is journaled');
          run();
          assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1', 'c=1']);
          assert.deepEqual(consumer.taker.texts, ['a', 'b', 'c']);
          assert.ok(consumer.taker.got.every(({ repeated, attempt }) => !repeated && attempt === 1));
          ack(to, consumer.session, mailbox, consumer.taker.got[0].offset, 2);
          // What is not acked is the next consumer's when this one's connection is gone.
          shards[to].sessions.lost(consumer.session, true);
          run();
          const heir = open(1 - to, 'heir');
          const again = await consume(
            1 - to,
            heir.session,
            shards[home].table.find(mailbox)!.notice.name.split(':')[1],
            'work.*',
          );
          run();
          assert.equal(again, mailbox);
          assert.deepEqual(heir.taker.texts, ['c']);
          assert.ok(heir.taker.got[0].repeated);
        });
      }
    }
  }

  it('come back with all that was not acked, flagged, when their shard begins anew; its peer refuses meanwhile', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(1, 0, consumer.session);
    for (const id of ['a', 'b', 'c']) assured(0, publisher.session, 'work.x', id);
    run();
    ack(0, consumer.session, mailbox, consumer.taker.got[1].offset);

    lose(1);
    assured(0, publisher.session, 'work.x', 'refused');
    shards[0].exchange.endTurn();
    assert.deepEqual(publisher.taker.refused, ['refused: MAILBOX_UNAVAILABLE']);
    await revive(1);
    assured(0, publisher.session, 'work.x', 'b');
    assured(0, publisher.session, 'work.x', 'd');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1', 'c=1', 'b=1', 'd=1']);
    const back = consumer.taker.got.slice(3);
    assert.deepEqual(
      back.map(({ text, repeated }) => [text, repeated]),
      [
        ['a', true],
        ['c', true],
        ['d', false],
      ],
    );
  });

  it('hold back what is delayed, also when their shard began anew meanwhile, and from those who have no mailbox', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    shards[0].interest.subscribe(publisher.session, ['work.*']);
    const stored = Date.now();
    assured(0, publisher.session, 'work.x', 'later', 0, { delay: 300 });
    assured(0, publisher.session, 'work.x', 'now');
    run();
    assert.deepEqual(publisher.taker.stored, ['later=1', 'now=1']);
    assert.deepEqual(consumer.taker.texts, ['now']);
    lose(1);
    await revive(1);
    await until(() => consumer.taker.texts.includes('later'));
    assert.ok(Date.now() >= stored + 300);
    assert.equal(publisher.taker.frames, 1, 'live, only what is not delayed');
  });

  it('share and break as the last to consume wished, also when their shard begins anew', async () => {
    const publisher = open(0, 'p');
    const sick = open(0, 'sick');
    const { group, mailbox } = await groupOn(0, 0, sick.session);
    for (let i = 0; i < 5; i++) assured(0, publisher.session, 'work.x', `${i}`);
    run();
    for (const { offset } of sick.taker.got) {
      const nack = nackPayload(mailbox, offset, 'no paper');
      shards[0].consuming.nack(sick.session, nack, 0, nack.length);
    }
    assert.deepEqual(sick.taker.changes, [`group:${group}:work.* open nack`]);
    const breaker = { failures: -1, window: 0, coolDown: 7, slowAck: 9 };
    const other = open(1, 'other');
    await consume(1, other.session, group, 'work.*', { balance: 'round-robin', breaker });
    assert.equal(sick.taker.changes.at(-1), `group:${group}:work.* closed recovered`);
    const policy = () => shards[0].table.find(mailbox)?.home?.mailbox.policy;
    const wished = { failures: 0, window: 300_000, coolDown: 7, slowAck: 9 };
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
    shards[0].mailboxes.close();
    shards[0] = begin(0, 2);
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
    // Who wishes nothing leaves it as it is.
    const late = open(0, 'late');
    await consume(0, late.session, group, 'work.*');
    assert.deepEqual([policy()?.balance, policy()?.breaker], ['round-robin', wished]);
  });

  it('take live messages for groups, and give each to one session, wherever it was published', async () => {
    const members = [open(0, 'm0'), open(1, 'm1')];
    const { group } = await groupOn(0, 0, members[0].session);
    await consume(1, members[1].session, group, 'work.*');
    const publishers = [open(0, 'p0'), open(1, 'p1')];
    for (const [slot, { session }] of publishers.entries())
      for (let i = 0; i < 4; i++) publish(shards[slot], session, 'work.live', i);
    run();
    assert.deepEqual([members[0].taker.got.length, members[1].taker.got.length], [4, 4]);
  });

  it('refuse what the journal has no room for, and take the next when there is', async () => {
    await restart({ maxBytes: 2000 });
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a', 1000);
    assured(0, publisher.session, 'work.x', 'b', 1000);
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
    assert.deepEqual(publisher.taker.refused, ['b: JOURNAL_FULL']);
    ack(0, consumer.session, mailbox, consumer.taker.got[0].offset);
    assured(0, publisher.session, 'work.x', 'b', 1000);
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1']);
  });

  it('move to a slot that is left when the node has fewer, with a higher epoch, and leave nothing behind', async () => {
    const publisher = open(1, 'p');
    const consumer = open(1, 'c');
    const { group, mailbox } = await groupOn(1, 1, consumer.session);
    shards[1].consuming.leave(consumer.session, mailbox);
    for (const id of ['a', 'b']) assured(1, publisher.session, 'work.x', id);
    run();
    closeAll();
    const left = makeShard(new Wires(), 0, 1, { shards: 1 });
    const copy = join(pair.dataDir, 'copy');
    cpSync(journalDir(pair.dataDir, 1), copy, { recursive: true });
    const orphans = orphansOf(pair.dataDir, 0, 1);
    assert.deepEqual(orphans, [journalDir(pair.dataDir, 1)]);
    const settings = { dir: journalDir(pair.dataDir, 0), fsync: 'never' as const, maxBytes: 1_000_000 };
    assert.equal(left.recover(settings, orphans), 2);
    assert.deepEqual(orphansOf(pair.dataDir, 0, 1), []);
    const notice = left.table.named(`group:${group}:work.*`)?.notice;
    assert.equal(notice?.epoch, 2);
    left.mailboxes.close();
    // And again, from its own journal.
    const again = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(again.recover(settings, []), 2);
    again.mailboxes.close();
    // As if it had been killed before it had removed the other: nothing is in two mailboxes.
    renameSync(copy, journalDir(pair.dataDir, 1));
    const killed = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(killed.recover(settings, orphansOf(pair.dataDir, 0, 1)), 4);
    const names = killed.mailboxes.notices().map(({ name }) => name);
    assert.deepEqual([...new Set(names)], names);
    const { home } = killed.table.named(`group:${group}:work.*`)!;
    const offsets = [...home!.mailbox.entries()].map(({ offset, repeated }) => [offset, repeated]);
    assert.deepEqual(
      offsets,
      [1, 2, 3, 4].map((offset) => [offset, true]),
    );
    killed.mailboxes.close();
    const last = makeShard(new Wires(), 0, 1, { shards: 1 });
    assert.equal(last.recover(settings, []), 4);
    last.mailboxes.close();
  });

  it('drop what is too old in many turns, so that none takes long, and go on with what is not', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(0, 0, consumer.session, { lease: 60_000 });
    shards[0].consuming.leave(consumer.session, mailbox);
    const { home } = shards[0].table.find(mailbox)!;
    for (let i = 0; i < 2500; i++) assured(0, publisher.session, 'work.x', `${i}`, 0, { ttl: 1 });
    assured(0, publisher.session, 'work.x', 'last');
    run();
    const stored = Date.now();
    await until(() => Date.now() > stored + 1);
    shards[0].mailboxes.check();
    assert.equal(home!.mailbox.messages, 1501);
    // Another one comes in that turn.
    publish(shards[0], publisher.session, 'work.x', 2);
    assert.equal(home!.mailbox.messages, 502);
    shards[0].exchange.endTurn();
    assert.equal(home!.mailbox.messages, 2);
    await consume(0, consumer.session, group, 'work.*');
    run();
    assert.deepEqual(consumer.taker.texts, ['last', '\0']);
    assert.equal(shards[0].mailboxes.letters.size, 2500);
  });

  it('refuse everything while the disk is full, and take it when it is not', async () => {
    let full = false;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    await restart({ write });
    const publisher = open(0, 'p');
    const consumer = open(1, 'c');
    await groupOn(1, 1, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    full = true;
    assured(0, publisher.session, 'work.x', 'b');
    assured(0, publisher.session, 'work.x', 'c');
    run();
    await assert.rejects(consume(1, consumer.session, 'another', 'work.*'), { code: 'JOURNAL_FULL' });
    full = false;
    assured(0, publisher.session, 'work.x', 'b');
    run();
    assert.deepEqual(publisher.taker.refused, ['b: JOURNAL_FULL', 'c: JOURNAL_FULL']);
    assert.deepEqual(publisher.taker.stored, ['a=1', 'b=1']);
    assert.deepEqual(consumer.taker.texts, ['a', 'b']);
    for (const shard of shards) shard.mailboxes.check();
    await restart();
    const names = shards.flatMap((shard) => shard.mailboxes.notices().map(({ name }) => name));
    assert.equal(
      names.includes('group:another:work.*'),
      false,
      'what was refused is not there at the next start',
    );
  });

  it('try again what failed as soon as its wait is over, without being looked at', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(0, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    const nack = nackPayload(mailbox, consumer.taker.got[0].offset, 'no');
    shards[0].consuming.nack(consumer.session, nack, 0, nack.length);
    // A lease, by the settings of this test 100 ms, ends by itself as well.
    await until(() => consumer.taker.got.length === 3);
    assert.deepEqual(
      consumer.taker.got.map(({ attempt }) => attempt),
      [1, 2, 3],
    );
  });
});
