import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LetterPage } from '../../../lib/dead-letter.js';
import { RecordKind } from '../../../lib/links.js';
import { MailboxEntry } from '../../../lib/queues/mailbox-entry.js';
import { HEADER_SIZE } from '../../../lib/wire/frame.js';
import { journalDir } from '../../../shards/journal/directory.js';
import { EVERY, type Guest, twoShards } from './two-shards.js';

describe('dead letters of two shards', () => {
  const pair = twoShards();
  const {
    begin,
    restart,
    lose,
    run,
    until,
    answered,
    open,
    consume,
    groupOn,
    assured,
    nack,
    kill,
    shards,
    wires,
  } = pair;

  for (const home of [0, 1]) {
    it(`give up on what fails for ever, and any shard shows and replays it, with both its lives: mailbox on ${home}`, async () => {
      const publisher = open(1, 'p');
      const consumer = open(0, 'c');
      const { mailbox } = await groupOn(home, 0, consumer.session);
      assured(1, publisher.session, 'work.x', 'doomed');
      run();
      await kill(0, consumer.session, mailbox, 'out\n of paper');
      assert.equal(consumer.taker.got.length, 5);
      assert.equal(shards[home].mailboxes.letters.size, 1);

      const { desk } = shards[1];
      const page = await answered(desk.list({ ...EVERY, pattern: 'work.*' }, null, 10));
      assert.deepEqual([page.letters.length, page.cursor, page.missing], [1, null, []]);
      const [{ id, kind, cause, from, topic, failures, reason }] = page.letters;
      assert.deepEqual([kind, cause, from, topic, failures], ['unknown-error', 'attempts', 'p', 'work.x', 5]);
      assert.equal(reason, 'out  of paper');
      const letter = await answered(desk.show(id));
      assert.deepEqual([letter.data, letter.messageId, letter.lives], ['doomed', 'doomed', []]);
      assert.deepEqual(
        letter.attempts.map(({ consumer: who, outcome }) => `${who} ${outcome}`),
        Array.from({ length: 5 }, () => 'c nack'),
      );

      // What a crash finds in the journal is what is shown.
      assert.deepEqual(await answered(desk.replay({ id })), {
        done: 1,
        refused: [],
        more: false,
        missing: [],
      });
      run();
      assert.equal(shards[home].mailboxes.letters.size, 0);
      assert.deepEqual(
        consumer.taker.got.slice(5).map(({ text, attempt, repeated }) => [text, attempt, repeated]),
        [['doomed', 1, true]],
      );
      consumer.taker.got.splice(0, 5);
      await kill(0, consumer.session, mailbox, 'again');
      const [again] = (await answered(desk.list(EVERY, null, 10))).letters;
      const twice = await answered(desk.show(again.id));
      assert.deepEqual([twice.failures, twice.reason], [5, 'again']);
      assert.deepEqual(
        twice.lives.map(({ cause: why, failures: times, attempts }) => [why, times, attempts.at(-1)?.reason]),
        [['attempts', 5, 'out  of paper']],
      );
      await answered(desk.replay({ filter: EVERY }));
      run();
      consumer.taker.got.splice(0, 5);
      await kill(0, consumer.session, mailbox, 'never');
      const [last] = (await answered(desk.list(EVERY, null, 10))).letters;
      const { lives } = await answered(desk.show(last.id));
      assert.deepEqual(
        lives.map(({ attempts }) => attempts.at(-1)?.reason),
        ['out  of paper', 'again'],
      );
      assert.equal((await answered(desk.purge({ filter: { ...EVERY, kind: 'unknown-error' } }))).done, 1);
      assert.deepEqual((await answered(desk.list(EVERY, null, 10))).letters, []);
      await assert.rejects(answered(desk.show(id)), { code: 'NOT_FOUND' });
      await assert.rejects(answered(desk.replay({ id: '7-1' })), { code: 'NOT_FOUND' });
    });
  }

  it('keep attempts, dead letters and earlier lives when their shard begins anew', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { mailbox } = await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    await kill(0, consumer.session, mailbox, 'first');
    const [{ id }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    await answered(shards[0].desk.replay({ id }));
    run();
    nack(0, consumer.session, mailbox, consumer.taker.got[5].offset, 'second');
    shards[1].mailboxes.turn();

    // Killed: nothing is closed.
    lose(1);
    const { missing } = await answered(shards[0].desk.list(EVERY, null, 10));
    assert.deepEqual(missing, [1]);
    await assert.rejects(answered(shards[0].desk.show(id)), { code: 'MAILBOX_UNAVAILABLE' });
    const dead = shards[1];
    shards[1] = begin(1, 2);
    consumer.taker.got.length = 0;
    await shards[1].start([]);
    run();
    await kill(0, consumer.session, mailbox, 'third');
    dead.mailboxes.close();
    const [letter] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    const { attempts, lives } = await answered(shards[0].desk.show(letter.id));
    assert.deepEqual(
      attempts.map(({ reason }) => reason),
      ['second', 'third', 'third', 'third', 'third'],
    );
    assert.deepEqual(lives.length, 1);
  });

  it('make a dead letter of what comes damaged over a link, and tell its publisher to repeat it', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    for (const shard of shards) shard.exchange.endTurn();
    const [record] = wires.queues[1].flat().filter(({ kind }) => kind === RecordKind.assured);
    record.bytes[record.bytes.length - 1] ^= 1;
    run();
    assert.deepEqual(publisher.taker.refused, ['a: CHECKSUM_MISMATCH']);
    assert.deepEqual(consumer.taker.got, []);
    const [{ id, kind }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.equal(kind, 'message-corruption');
    const refused = [{ id, code: 'CHECKSUM_MISMATCH' }];
    assert.deepEqual(await answered(shards[0].desk.replay({ id })), {
      done: 0,
      refused,
      more: false,
      missing: [],
    });
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual(publisher.taker.stored, ['a=1']);
  });

  it('keep as poison what crashed their shard twice, and store no repeat of it', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    for (const shard of shards) shard.exchange.endTurn();
    const [path] = wires.queues[1].filter((items) => items.some(({ kind }) => kind === RecordKind.assured));
    const [{ bytes }] = path.splice(
      path.findIndex(({ kind }) => kind === RecordKind.assured),
      1,
    );
    shards[1].assured.poisoned(bytes, 0, bytes.length);
    // Its publisher had heard that the shard was gone.
    shards[0].assured.peerLost(1);
    assert.deepEqual(publisher.taker.refused, ['a: MAILBOX_UNAVAILABLE']);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    assert.deepEqual([publisher.taker.stored, consumer.taker.got], [['a=1'], []]);
    const [{ kind, cause, topic, id }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.deepEqual([kind, cause, topic], ['poison-message', 'crash', 'work.x']);
    assert.equal((await answered(shards[0].desk.show(id))).data, 'a');
  });

  it('deliver what is whole, and make dead letters of what is not, when the disk has lost a byte of the journal', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(1, 0, consumer.session);
    shards[0].consuming.leave(consumer.session, mailbox);
    run();
    for (const id of ['before', 'first', 'second', 'behind']) {
      assured(0, publisher.session, 'work.x', id, 50);
      if (id !== 'first') run();
    }
    lose(1);
    shards[1].mailboxes.close();
    const dir = journalDir(pair.dataDir, 1);
    const file = join(
      dir,
      readdirSync(dir)
        .filter((name) => name.endsWith('.journal'))
        .at(-1)!,
    );
    const bytes = readFileSync(file);
    const at = bytes.indexOf('second ');
    assert.ok(at > 0);
    bytes[at + 20] ^= 1;
    writeFileSync(file, bytes);
    shards[1] = begin(1, 2);
    await shards[1].start([]);
    run();
    await consume(0, consumer.session, group, 'work.*');
    run();
    const texts = consumer.taker.texts.map((text) => text.trim());
    assert.deepEqual(texts, ['before', 'first', 'behind']);
    const { letters } = await answered(shards[0].desk.list(EVERY, null, 10));
    assert.deepEqual(
      letters.map(({ kind, topic, from }) => [kind, topic, from]),
      [['message-corruption', 'work.x', 'p']],
    );
  });

  it('take in what is too large by now, as long as maxPayload was lowered, and give it back when it is raised', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group } = await groupOn(1, 0, consumer.session);
    shards[0].sessions.lost(consumer.session, false);
    for (const size of [60_000, 15_000]) assured(0, publisher.session, 'work.x', `${size}`, size);
    run();
    await restart({}, { maxPayload: 16 * 1024 });
    const small = open(0, 'c');
    await consume(0, small.session, group, 'work.*');
    run();
    const texts = ({ taker }: Guest): string[] => taker.texts.map((text) => text.trim());
    assert.deepEqual(texts(small), ['15000']);
    const [{ id, kind, cause, size }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.deepEqual([kind, cause, size > 60_000], ['unknown-error', 'too-large', true]);
    const { done, refused } = await answered(shards[0].desk.replay({ id }));
    assert.deepEqual([done, refused], [0, [{ id, code: 'PAYLOAD_TOO_LARGE' }]]);
    await restart();
    const large = open(0, 'c');
    await consume(0, large.session, group, 'work.*');
    assert.equal((await answered(shards[0].desk.replay({ id }))).done, 1);
    run();
    assert.deepEqual(texts(large), ['15000', '60000']);
  });

  it('are replayed to whatever takes their topic when their mailbox is no more, and stay while nothing does', async () => {
    const publisher = open(0, 'p');
    const consumer = open(0, 'c');
    const { group, mailbox } = await groupOn(1, 0, consumer.session);
    assured(0, publisher.session, 'work.x', 'a');
    run();
    await kill(0, consumer.session, mailbox, 'no paper');
    const [{ id }] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    await consume(0, consumer.session, group, 'work.*', { maxAge: 1 });
    shards[0].consuming.leave(consumer.session, mailbox);
    await until(() => {
      shards[1].mailboxes.check();
      return shards[1].mailboxes.size === 0;
    });
    const { done, refused } = await answered(shards[0].desk.replay({ id }));
    assert.deepEqual([done, refused], [0, [{ id, code: 'NO_MAILBOX' }]]);
    const heirs = [open(0, 'h0'), open(1, 'h1')];
    // On either shard.
    const first = await groupOn(0, 0, heirs[0].session);
    const second = await groupOn(1, 1, heirs[1].session, {}, 'work.**');
    assert.notEqual(first.mailbox >>> 24, second.mailbox >>> 24);
    assert.equal((await answered(shards[0].desk.replay({ id }))).done, 1);
    run();
    for (const { taker } of heirs)
      assert.deepEqual(
        taker.got.map(({ text, attempt, repeated }) => [text, attempt, repeated]),
        [['a', 1, true]],
      );
    assert.deepEqual((await answered(shards[0].desk.list(EVERY, null, 10))).letters, []);
    // It has not forgotten what became of it.
    await kill(1, heirs[1].session, second.mailbox, 'never');
    const [again] = (await answered(shards[0].desk.list(EVERY, null, 10))).letters;
    assert.equal((await answered(shards[0].desk.show(again.id))).lives.length, 1);
  });

  it('show pages of all shards in one order, newest first', async () => {
    const consumer = open(0, 'c');
    for (const home of [0, 1]) await groupOn(home, 0, consumer.session);
    const publisher = open(0, 'p');
    for (let i = 0; i < 7; i++) assured(0, publisher.session, 'work.x', `m${i}`);
    run();
    for (const shard of shards) {
      for (const { handle } of shard.mailboxes.notices()) {
        const home = shard.table.find(handle)?.home ?? null;
        if (home === null) continue;
        for (const entry of [...home.mailbox.entries()]) {
          home.mailbox.withdraw(entry);
          home.onDead(entry, 'expired');
        }
      }
      shard.mailboxes.turn();
    }
    const all: string[] = [];
    let cursor: string | null = null;
    do {
      const page: LetterPage = await answered(shards[1].desk.list(EVERY, cursor, 3));
      assert.ok(page.letters.length <= 3);
      all.push(...page.letters.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== null);
    assert.equal(all.length, 14);
    assert.equal(new Set(all).size, 14);
    const numbers = all.map((id) => Number(id.split('-')[1]));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => b - a),
    );
    await assert.rejects(shards[0].desk.list(EVERY, 'nonsense', 3), { code: 'BAD_OPTION' });
  });

  it('show the letters of a shard that says less than it was asked before older ones of another', async () => {
    const die = (slot: number, count: number): void => {
      for (let i = 0; i < count; i++) {
        const bytes = new Uint8Array(HEADER_SIZE);
        const entry = new MailboxEntry(1, 2, 'p', 't'.repeat(200), '', bytes, 0, bytes.length, 0, 0, 1);
        shards[slot].mailboxes.letters.add(entry, 'agent:a', 'unknown-error', 'attempts', () => {});
      }
    };
    die(1, 1);
    const first = Date.now();
    while (Date.now() === first) await Promise.resolve();
    // More than fit into one answer.
    die(0, 300);
    const seen: string[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const page: LetterPage = await answered(shards[1].desk.list(EVERY, cursor, 500));
      seen.push(...page.letters.map(({ id }) => id));
      cursor = page.cursor;
      pages++;
    } while (cursor !== null);
    assert.ok(pages > 1);
    assert.equal(seen.length, 301);
    assert.ok(seen.at(-1)?.startsWith('1-'));
  });
});
