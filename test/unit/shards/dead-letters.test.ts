import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LetterFilter, LetterKind } from '../../../lib/dead-letter.js';
import { MailboxEntry } from '../../../lib/queues/mailbox-entry.js';
import { C, COUNTER_CELLS } from '../../../lib/telemetry/counters.js';
import { type DeadLetter, DeadLetters } from '../../../shards/dead-letters.js';
import type { JournalSettings } from '../../../shards/journal/journal.js';

const ALL: LetterFilter = { mailbox: null, kind: null, pattern: null, since: null };

describe('DeadLetters', () => {
  let dir: string;
  let counters: Float64Array;
  const open: DeadLetters[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-dead-'));
    counters = new Float64Array(COUNTER_CELLS);
  });
  afterEach(() => {
    for (const letters of open.splice(0)) letters.close();
    rmSync(dir, { recursive: true });
  });

  function begin(
    limits: { maxBytes?: number; maxAge?: number } = {},
    settings: Partial<JournalSettings> = {},
    orphans: readonly string[] = [],
  ): DeadLetters {
    const letters = new DeadLetters(counters, { maxBytes: 1_000_000, maxAge: 60_000, ...limits }, () => {});
    letters.open({ dir: join(dir, 'slot-0'), fsync: 'never', maxBytes: 0, ...settings }, orphans);
    open.push(letters);
    return letters;
  }

  function die(
    letters: DeadLetters,
    text: string,
    { mailbox = 'agent:a', topic = 'a.b', kind = 'unknown-error' as LetterKind, done = () => {} } = {},
  ): void {
    const bytes = Buffer.from(text);
    const entry = new MailboxEntry(1, 3, 'p', topic, '', bytes, 0, bytes.length, 5, 0, 1);
    entry.failures = 2;
    entry.attempts = [{ at: 6, consumer: 'c', outcome: 'nack', reason: 'nö' }];
    entry.lives = [{ storedAt: 1, diedAt: 2, cause: 'expired', failures: 0, attempts: [] }];
    letters.add(entry, mailbox, kind, 'attempts', done);
  }

  function textOf({ bytes, frameStart, end }: DeadLetter): string {
    return Buffer.from(bytes.subarray(frameStart, end)).toString();
  }

  function list(letters: DeadLetters, filter: Partial<LetterFilter> = {}): string[] {
    const found: string[] = [];
    letters.select(
      { ...ALL, ...filter },
      Number.MAX_SAFE_INTEGER,
      (letter) => found.push(textOf(letter)) > 0,
    );
    return found;
  }

  it('keep messages with all that is known of them, whatever ends the process', () => {
    const letters = begin();
    for (const text of ['one', 'two', 'three']) die(letters, text);
    assert.ok(letters.flush());
    assert.equal(counters[C.diedUnknownError], 3);
    // Nothing was closed.
    const again = begin();
    assert.deepEqual(list(again), ['three', 'two', 'one']);
    let oldest: DeadLetter | null = null;
    again.select(ALL, Number.MAX_SAFE_INTEGER, (letter) => {
      oldest = letter;
      return true;
    });
    assert.ok(oldest !== null);
    const { from, topic, lane, storedAt, mailbox, kind, note, offset } = oldest as DeadLetter;
    assert.deepEqual(
      { from, topic, lane, storedAt, mailbox, kind },
      {
        from: 'p',
        topic: 'a.b',
        lane: 3,
        storedAt: 5,
        mailbox: 'agent:a',
        kind: 'unknown-error',
      },
    );
    const { diedAt, ...rest } = note;
    assert.ok(Math.abs(diedAt - Date.now()) < 60_000);
    assert.deepEqual(rest, {
      kind: 'unknown-error',
      cause: 'attempts',
      mailbox: 'agent:a',
      failures: 2,
      attempts: [{ at: 6, consumer: 'c', outcome: 'nack', reason: 'nö' }],
      lives: [{ storedAt: 1, diedAt: 2, cause: 'expired', failures: 0, attempts: [] }],
    });
    // And are gone for good when they are removed.
    again.remove(again.find(offset)!);
    assert.ok(again.flush());
    assert.deepEqual(list(begin()), ['three', 'two']);
  });

  it('are found by mailbox, kind, topic and time, and page by page', () => {
    const letters = begin();
    die(letters, '1', { mailbox: 'agent:b' });
    die(letters, '2', { kind: 'poison-message' });
    die(letters, '3', { topic: 'x.y.z' });
    assert.deepEqual(list(letters, { mailbox: 'agent:b' }), ['1']);
    assert.deepEqual(list(letters, { kind: 'poison-message' }), ['2']);
    assert.deepEqual(list(letters, { pattern: 'x.**' }), ['3']);
    assert.deepEqual(list(letters, { pattern: '*.b', mailbox: 'agent:a' }), ['2']);
    assert.deepEqual(list(letters, { since: Date.now() + 1000 }), []);
    const got: string[] = [];
    let before = Number.MAX_SAFE_INTEGER;
    for (let page = 0; before > 0; page++) {
      assert.ok(page < 4);
      const from = got.length;
      before = letters.select(ALL, before, (letter) => got.length === from && got.push(textOf(letter)) > 0);
    }
    assert.deepEqual(got, ['3', '2', '1']);
  });

  it('stay within their size, the oldest go first and are counted', () => {
    const letters = begin({ maxBytes: 20_000 });
    for (let i = 0; i < 100; i++) {
      die(letters, `${i} `.padEnd(500));
      letters.flush();
      letters.check(Date.now());
      assert.ok(counters[C.deadLetterBytes] <= 20_000, `${counters[C.deadLetterBytes]}`);
    }
    const kept = list(letters);
    assert.ok(kept.length >= 15 && kept.length < 40, `${kept.length}`);
    assert.equal(Number.parseInt(kept[0], 10), 99);
    assert.equal(counters[C.deadLettersTooMany], 100 - kept.length);
    assert.equal(counters[C.deadLetters], kept.length);
    assert.deepEqual(list(begin({ maxBytes: 20_000 })), kept);
  });

  it('go when they are too old', () => {
    const letters = begin({ maxAge: 1000 });
    die(letters, 'old');
    letters.check(Date.now());
    assert.equal(letters.size, 1);
    letters.check(Date.now() + 1001);
    assert.equal(letters.size, 0);
    assert.equal(counters[C.deadLettersTooOld], 1);
    letters.flush();
    assert.equal(begin().size, 0);
  });

  it('leave no more on the disk than their bound twice and a few segments, and lose nothing that lives', () => {
    const letters = begin({ maxBytes: 1_000_000 });
    die(letters, 'stays');
    letters.flush();
    const [stays] = [letters.find(numbers(letters)[0])!];
    for (let i = 0; i < 300; i++) {
      die(letters, 'x'.repeat(50_000));
      for (const number of numbers(letters))
        if (number !== stays.offset) letters.remove(letters.find(number)!);
      assert.ok(letters.flush());
    }
    const files = readdirSync(join(dir, 'slot-0', 'dead-letters'));
    assert.ok(files.length < 8, `${files.length} files`);
    letters.check(Date.now());
    assert.ok(counters[C.deadLetterBytes] < 1000, `${counters[C.deadLetterBytes]} bytes of one letter`);
    assert.deepEqual(list(begin()), ['stays']);
  });

  it('are written as soon as a full disk has room, and only then their messages leave the mailbox', () => {
    let full = true;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    const letters = begin({}, { write });
    const done: string[] = [];
    die(letters, 'first', { done: () => done.push('first') });
    assert.ok(!letters.flush());
    die(letters, 'second', { done: () => done.push('second') });
    letters.check(Date.now());
    assert.ok(!letters.flush());
    assert.deepEqual([done, letters.unsafe], [[], 2]);
    full = false;
    assert.ok(!letters.flush(), 'not before the next check');
    letters.check(Date.now());
    assert.ok(letters.flush());
    assert.deepEqual([done, letters.unsafe], [['first', 'second'], 0]);
    assert.deepEqual(list(letters), ['second', 'first']);
    assert.deepEqual(list(begin()), ['second', 'first']);
  });

  it('with fsync always, their messages leave the mailbox when the disk has them', () => {
    const syncs: ((error: Error | null) => void)[] = [];
    const sync = (_fd: number, done: (error: Error | null) => void) => {
      syncs.push(done);
    };
    const letters = begin({}, { fsync: 'always', sync });
    let done = 0;
    die(letters, 'x', { done: () => done++ });
    letters.flush();
    assert.deepEqual([done, letters.unsafe], [0, 1]);
    syncs.shift()?.(null);
    assert.deepEqual([done, letters.unsafe], [1, 0]);
    // What the disk could not flush stays where it was, too.
    die(letters, 'y', { done: () => done++ });
    letters.flush();
    syncs.shift()?.(new Error('input/output error'));
    assert.deepEqual([done, letters.unsafe], [1, 0]);
  });

  it('of a slot that is no more are taken over, once', () => {
    const gone = join(dir, 'slot-1');
    const old = begin({}, { dir: gone });
    die(old, 'moved');
    old.flush();
    old.close();
    assert.deepEqual(list(begin({}, {}, [gone])), ['moved']);
    assert.deepEqual(list(begin({}, {}, [gone])), ['moved']);
  });

  function numbers(letters: DeadLetters): number[] {
    const found: number[] = [];
    letters.select(ALL, Number.MAX_SAFE_INTEGER, ({ offset }) => found.push(offset) > 0);
    return found;
  }
});
