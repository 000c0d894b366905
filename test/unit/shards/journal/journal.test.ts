import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { Journal } from '../../../../shards/journal/journal.js';
import { BLOCK_HEADER } from '../../../../shards/journal/records.js';
import { type RecoveredMailbox, Recovery } from '../../../../shards/journal/recovery.js';
import { RESERVE_BYTES } from '../../../../shards/journal/reserve.js';

const RECORD = {
  name: 'agent:a',
  kind: 'agent',
  pattern: '_agent.a',
  epoch: 1,
  policy: {
    maxMessages: 10,
    maxBytes: 1000,
    maxAge: 1000,
    lease: 1,
    retryBase: 1,
    retryCap: 1,
    balance: 'round-robin',
  },
  nextOffset: 1,
};

describe('Journal', () => {
  let dir: string;
  const open: Journal[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-journal-'));
  });
  afterEach(() => {
    for (const journal of open.splice(0)) journal.close();
    rmSync(dir, { recursive: true });
  });

  function begin(): { journal: Journal; mailboxes: RecoveredMailbox[] } {
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1_000_000 });
    open.push(journal);
    const recovery = new Recovery();
    journal.open(recovery, (segment) => recovery.begin(segment));
    return { journal, mailboxes: recovery.mailboxes() };
  }

  function put(journal: Journal, offset: number, text: string, mailbox = 1): MailboxEntry {
    const id = Buffer.from(`\xff${offset}`, 'latin1');
    const bytes = Buffer.concat([id, Buffer.from(text)]);
    const start = id.length;
    const place = journal.message({
      mailbox,
      offset,
      lane: offset % 5,
      from: 'püblisher',
      topic: 'a.b',
      storedAt: 1_700_000_000_000,
      deadline: offset % 2 === 0 ? Number.POSITIVE_INFINITY : 1_700_000_000_500,
      bytes,
      start,
      end: bytes.length,
      idStart: 0,
      idEnd: start,
    });
    const entry = new MailboxEntry(
      offset,
      offset % 5,
      'püblisher',
      'a.b',
      '',
      place.bytes,
      place.start,
      place.start + bytes.length - start,
      0,
      0,
      journal.segment,
    );
    entry.stored = place.stored;
    journal.holds(entry);
    return entry;
  }

  function texts(mailboxes: RecoveredMailbox[]): string[] {
    return mailboxes.flatMap(({ entries }) =>
      [...entries].map(
        ({ offset, bytes, start, end }) => `${offset}:${Buffer.from(bytes.subarray(start, end))}`,
      ),
    );
  }

  function segments(): string[] {
    return readdirSync(dir)
      .filter((name) => name.endsWith('.journal'))
      .sort();
  }

  it('brings back what has not left, with all that is known of it', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    const entries = [1, 2, 3, 4].map((offset) => put(journal, offset, `m${offset}`));
    journal.gone(1, entries[0]);
    journal.gone(1, entries[1]);
    entries[2].failures = 7;
    journal.failed(1, entries[2]);
    assert.ok(journal.flush());
    const { mailboxes } = begin();
    assert.deepEqual(texts(mailboxes), ['3:m3', '4:m4']);
    const [{ record, recent, entries: found }] = mailboxes;
    assert.deepEqual(record, { ...RECORD, nextOffset: 5 });
    const knows = (offset: number) => recent.has('püblisher', Buffer.from(`\xff${offset}`, 'latin1'), 0, 2);
    assert.deepEqual([1, 2, 3, 4, 5].map(knows), [true, true, true, true, false]);
    const [third, fourth] = [...found];
    assert.equal(third.failures, 7);
    assert.equal(third.deadline, 1_700_000_000_500);
    assert.equal(fourth.deadline, Number.POSITIVE_INFINITY);
    assert.equal(fourth.from, 'püblisher');
    assert.equal(fourth.topic, 'a.b');
    assert.ok(third.repeated && fourth.repeated);
  });

  it('ends before a torn last write, wherever it is torn', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    put(journal, 1, 'whole');
    journal.flush();
    const path = join(dir, segments()[0]);
    const whole = readFileSync(path).length;
    put(journal, 2, 'torn');
    journal.flush();
    const both = readFileSync(path);
    for (let cut = whole; cut < both.length; cut++) {
      for (const name of segments().slice(1)) rmSync(join(dir, name));
      writeFileSync(path, both);
      truncateSync(path, cut);
      const { journal: again, mailboxes } = begin();
      assert.deepEqual(texts(mailboxes), ['1:whole'], `cut at ${cut} of ${both.length}`);
      again.close();
    }
    writeFileSync(path, both);
    appendFileSync(path, Buffer.alloc(4096));
    assert.deepEqual(texts(begin().mailboxes), ['1:whole', '2:torn']);
  });

  it('is no journal any more from a byte on that was changed', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    journal.flush();
    const path = join(dir, segments()[0]);
    const first = readFileSync(path).length;
    put(journal, 1, 'changed');
    journal.flush();
    const bytes = readFileSync(path);
    bytes[first + 60] ^= 1;
    writeFileSync(path, bytes);
    assert.deepEqual(texts(begin().mailboxes), []);
  });

  it('believes nothing impossible that stands before a message in a damaged block', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    journal.flush();
    const path = join(dir, segments()[0]);
    const from = readFileSync(path).length;
    put(journal, 3, 'x'.repeat(100));
    journal.flush();
    put(journal, 4, 'whole');
    journal.flush();
    const whole = readFileSync(path);
    const record = from + BLOCK_HEADER;
    const damaged = (at: number, ...values: number[]): RecoveredMailbox => {
      const bytes = Buffer.from(whole);
      bytes.set(values, record + at);
      for (const name of segments().slice(1)) rmSync(join(dir, name));
      writeFileSync(path, bytes);
      const { journal: again, mailboxes } = begin();
      again.close();
      return mailboxes[0];
    };
    assert.equal(damaged(5, 200).entries[0].lane, 4);
    assert.ok(damaged(31, 200).entries[0].readyAt <= Date.now(), 'it came in no future');
    const { entries, record: mailbox } = damaged(23, 200);
    assert.deepEqual([entries.map(({ offset }) => offset), mailbox.nextOffset], [[4], 5]);
  });

  it('drops segments that nothing lives in, and keeps what was written again', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    const large = 'x'.repeat(60_000);
    const stuck = put(journal, 1, 'stuck');
    const first = journal.segment;
    for (let offset = 2; journal.segment < first + 2; offset++) {
      const entry = put(journal, offset, large);
      journal.gone(1, entry);
      assert.ok(journal.flush());
      journal.roll();
    }
    assert.equal(journal.burden, null);
    journal.released(stuck);
    journal.mailbox(1, JSON.stringify({ ...RECORD, nextOffset: 1000 }));
    put(journal, 999, 'later');
    const again = put(journal, 1, 'stuck');
    assert.equal(journal.burden, first);
    assert.ok(journal.flush());
    journal.drop();
    assert.equal(segments().length, 2);
    const { mailboxes } = begin();
    assert.deepEqual(texts(mailboxes), ['1:stuck', '999:later'], 'in their order');
    assert.equal(mailboxes[0].record.nextOffset, 1000);
    const { liveBytes } = journal;
    journal.gone(1, again);
    journal.flush();
    assert.equal(journal.liveBytes, liveBytes - again.stored);
  });

  it('knows the ids of what has left since, the last 16 MiB of them at least', () => {
    const { journal } = begin();
    journal.mailbox(1, JSON.stringify(RECORD));
    const first = journal.segment;
    const large = 'x'.repeat(60_000);
    let last = 0;
    while (journal.segment === first) {
      journal.gone(1, put(journal, ++last, large));
      assert.ok(journal.flush());
      journal.roll();
    }
    assert.equal(journal.burden, null, 'all of it has left, and it is the last that was full');
    const [{ recent }] = begin().mailboxes;
    const knows = (offset: number): boolean => {
      const id = Buffer.from(`\xff${offset}`, 'latin1');
      return recent.has('püblisher', id, 0, id.length);
    };
    assert.deepEqual([knows(1), knows(last), knows(last + 1)], [true, true, false]);
  });

  it('knows a mailbox also when that stands behind its messages, and none that was closed', () => {
    const { journal } = begin();
    put(journal, 1, 'early', 1);
    put(journal, 1, 'closed', 2);
    journal.mailbox(2, JSON.stringify(RECORD));
    journal.closed(2);
    journal.mailbox(1, JSON.stringify(RECORD));
    journal.flush();
    assert.deepEqual(texts(begin().mailboxes), ['1:early']);
  });

  it('has room up to its bound, the names beside the messages included', () => {
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1000 });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    assert.ok(journal.hasRoom(1000));
    const { stored } = put(journal, 1, '12345');
    assert.equal(journal.liveBytes, stored);
    assert.ok(journal.hasRoom(1000 - stored));
    assert.ok(!journal.hasRoom(1001 - stored));
  });

  it('does not write again what lives, however long the names beside short messages are', () => {
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1_000_000_000 });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    const names = { from: 'p'.repeat(64), topic: 't'.repeat(255) };
    const bytes = new Uint8Array(40);
    for (let offset = 1; journal.fileBytes < 100 * 1024 * 1024; offset++) {
      const what = {
        mailbox: 1,
        offset,
        lane: 2,
        storedAt: 0,
        deadline: 0,
        bytes,
        start: 0,
        end: 40,
        idStart: 0,
        idEnd: 0,
      };
      const place = journal.message({ ...what, ...names });
      const entry = new MailboxEntry(
        offset,
        2,
        names.from,
        names.topic,
        '',
        place.bytes,
        place.start,
        place.start + 40,
        0,
        0,
        journal.segment,
      );
      entry.stored = place.stored;
      journal.holds(entry);
      if (offset % 500 === 0) {
        assert.ok(journal.flush());
        journal.roll();
        assert.equal(journal.burden, null);
      }
    }
  });

  it('takes nothing while the disk is full, and goes on behind the last whole block when there is room', () => {
    // Bytes that fit on the disk: the last write may end in the midst of a block.
    let room = 0;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      const size = Math.min(length, room);
      if (size === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      room -= size;
      return writeSync(fd, b, at, size);
    }) as typeof writeSync;
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1_000_000, write });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    room = 1000;
    journal.mailbox(1, JSON.stringify(RECORD));
    put(journal, 1, 'before');
    assert.ok(journal.flush());
    const whole = journal.fileBytes;
    for (const left of [0, 1, 7, 20, 60]) {
      room = left;
      put(journal, 2, 'too much');
      assert.ok(!journal.flush(), `with ${left} bytes left`);
      assert.equal(journal.fileBytes, whole);
      assert.deepEqual(texts(begin().mailboxes), ['1:before']);
    }
    room = 1000;
    put(journal, 3, 'after');
    assert.ok(journal.flush());
    assert.deepEqual(texts(begin().mailboxes), ['1:before', '3:after']);
  });

  it('forgets nothing that has left while the disk is full: it goes into the reserve, and no message does', () => {
    const reserve = join(dir, 'reserve');
    let full = false;
    // What the reserve has given up is all that there is.
    let left = RESERVE_BYTES;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (full && (existsSync(reserve) || left < length))
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      if (full) left -= length;
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1_000_000, write });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    assert.ok(existsSync(reserve) && journal.hasRoom(1));
    journal.mailbox(1, JSON.stringify(RECORD));
    const entries = [1, 2, 3].map((offset) => put(journal, offset, `m${offset}`));
    assert.ok(journal.flush());
    full = true;
    journal.gone(1, entries[0]);
    journal.mailbox(1, JSON.stringify({ ...RECORD, epoch: 2 }));
    put(journal, 4, 'too much');
    assert.ok(!journal.flush());
    assert.ok(!existsSync(reserve) && !journal.hasRoom(1), 'what the reserve gave is for no message');
    const { mailboxes } = begin();
    assert.deepEqual(texts(mailboxes), ['2:m2', '3:m3']);
    assert.equal(mailboxes[0].record.epoch, 2);
    full = false;
    journal.check();
    assert.ok(existsSync(reserve) && journal.hasRoom(1));
  });

  it('gives the reserve up for what has left, though all of that was written with the last of the disk', () => {
    const reserve = join(dir, 'reserve');
    let left = Number.POSITIVE_INFINITY;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (left < length) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      left -= length;
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 10_000_000, write });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    const first = journal.segment;
    const entries = Array.from({ length: 100 }, (_, i) => put(journal, i + 1, 'x'.repeat(16_000)));
    assert.ok(journal.flush());
    const refuse = (): void => {
      journal.released(put(journal, 1000, 'x'.repeat(16_000)));
      assert.ok(!journal.flush());
      journal.check();
      journal.roll();
    };
    left = 1000;
    refuse();
    assert.ok(existsSync(reserve), 'as long as what fills the disk lives');
    assert.equal(journal.segment, first);
    for (const entry of entries.slice(0, 99)) journal.gone(1, entry);
    assert.ok(journal.flush());
    assert.ok(left > 0 && left < 1000);
    refuse();
    assert.ok(!existsSync(reserve) && !journal.hasRoom(1));
    assert.equal(journal.burden, first, 'what lives in it is to be written again');
    // As the reserve has made.
    left = RESERVE_BYTES;
    journal.released(entries[99]);
    journal.mailbox(1, JSON.stringify(RECORD));
    put(journal, 100, 'again');
    assert.ok(journal.flush());
    journal.drop();
    journal.check();
    assert.ok(existsSync(reserve) && journal.hasRoom(1));
    assert.deepEqual(texts(begin().mailboxes), ['100:again']);
  });

  it('writes what has left when there is room again, if there was none at all', () => {
    let full = false;
    const write = ((fd: number, b: Uint8Array, at: number, length: number): number => {
      if (full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      return writeSync(fd, b, at, length);
    }) as typeof writeSync;
    const journal = new Journal({ dir, fsync: 'never', maxBytes: 1_000_000, write });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    journal.mailbox(1, JSON.stringify(RECORD));
    const entries = [1, 2].map((offset) => put(journal, offset, `m${offset}`));
    assert.ok(journal.flush());
    full = true;
    journal.gone(1, entries[0]);
    journal.mailbox(1, JSON.stringify({ ...RECORD, epoch: 2 }));
    assert.ok(!journal.flush());
    full = false;
    journal.check();
    // It is newer than what is owed.
    journal.mailbox(1, JSON.stringify({ ...RECORD, epoch: 3 }));
    assert.ok(journal.flush());
    const { mailboxes } = begin();
    assert.deepEqual(texts(mailboxes), ['2:m2']);
    assert.equal(mailboxes[0].record.epoch, 3);
  });

  it('settles at once, or after the disk has it with fsync always', async () => {
    const journal = new Journal({ dir, fsync: 'always', maxBytes: 1_000_000 });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    put(journal, 1, 'a');
    journal.flush();
    let done = false;
    const settled = new Promise<void>((resolve) => {
      journal.settled(() => {
        done = true;
        resolve();
      });
    });
    assert.ok(!done);
    await settled;
    let atOnce = false;
    journal.settled(() => {
      atOnce = true;
    });
    assert.ok(atOnce);
  });

  it('with fsync always settles nothing before the disk has it, not even what was written before, and says when it has not', () => {
    const syncs: ((error: Error | null) => void)[] = [];
    const sync = (_fd: number, done: (error: Error | null) => void) => {
      syncs.push(done);
    };
    const journal = new Journal({ dir, fsync: 'always', maxBytes: 1_000_000, sync });
    open.push(journal);
    journal.open(new Recovery(), () => {});
    const settled: string[] = [];
    const settle = (name: string) => {
      assert.ok(journal.flush());
      journal.settled((safe) => settled.push(`${name} ${safe}`));
    };
    settle('nothing');
    assert.deepEqual(settled, ['nothing true']);
    put(journal, 1, 'm1');
    settle('first');
    settle('repeat of it');
    assert.deepEqual(settled.splice(0), ['nothing true']);
    syncs.shift()!(null);
    assert.deepEqual(settled.splice(0), ['first true']);
    syncs.shift()!(new Error('input/output error'));
    assert.deepEqual(settled, ['repeat of it false']);
    assert.equal(syncs.length, 0);
  });
});
