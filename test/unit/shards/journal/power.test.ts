/** A loss of power: of what was not flushed any part may be missing, from any byte on. With fsync always nothing acked is in it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { Journal } from '../../../../shards/journal/journal.js';
import { readSegment } from '../../../../shards/journal/records.js';
import { Recovery } from '../../../../shards/journal/recovery.js';

const POLICY = { maxMessages: 10, maxBytes: 1000, maxAge: 1000, lease: 1, retryBase: 1, retryCap: 1 };
const RECORD = {
  name: 'agent:a',
  kind: 'agent',
  pattern: '_agent.a',
  epoch: 1,
  policy: POLICY,
  nextOffset: 1,
};

/** A journal on a disk that flushes when the test says so, and what its publishers were told. */
class Scene {
  readonly dir: string;
  readonly #journal: Journal;
  #syncs: ((error: Error | null) => void)[] = [];
  /** Bytes of the file that a flush which is under way, or was done last, has on the disk for certain. */
  #flushing = 0;
  flushed = 0;
  readonly acked = new Set<number>();
  readonly entries = new Map<number, MailboxEntry>();
  #last = 0;

  constructor(dir: string) {
    this.dir = dir;
    this.#journal = new Journal({
      dir,
      fsync: 'always',
      maxBytes: 1_000_000,
      sync: (_fd, done) => {
        this.#flushing = this.#journal.fileBytes;
        this.#syncs.push(done);
      },
    });
    this.#journal.open(new Recovery(), () => {});
    this.#journal.mailbox(1, JSON.stringify(RECORD));
  }

  publish(size: number): void {
    const offset = ++this.#last;
    const bytes = Buffer.alloc(size, offset);
    const where = { mailbox: 1, offset, lane: 2, from: 'p', topic: 't', idStart: 0, idEnd: 0 };
    const what = { storedAt: 0, deadline: Number.POSITIVE_INFINITY, bytes, start: 0, end: size };
    const place = this.#journal.message({ ...where, ...what });
    const end = place.start + size;
    const { segment } = this.#journal;
    const entry = new MailboxEntry(offset, 2, 'p', 't', '', place.bytes, place.start, end, 0, 0, segment);
    entry.stored = place.stored;
    this.#journal.holds(entry);
    this.entries.set(offset, entry);
  }

  /** A consumer is done with the oldest. */
  consume(): void {
    const [first] = this.entries;
    if (first === undefined) return;
    this.#journal.gone(1, first[1]);
    this.entries.delete(first[0]);
    this.acked.delete(first[0]);
  }

  /** The end of a turn: those who published are told when it is safe. */
  turn(): void {
    const published = [...this.entries.keys()].filter((offset) => !this.acked.has(offset));
    assert.ok(this.#journal.flush());
    this.#journal.settled((safe) => {
      for (const offset of published) if (safe && this.entries.has(offset)) this.acked.add(offset);
    });
  }

  /** The disk has done what it was asked first. */
  sync(): void {
    const done = this.#syncs.shift();
    if (done === undefined) return;
    this.flushed = this.#flushing;
    done(null);
  }

  close(): void {
    this.#journal.close();
  }
}

/** What a start finds in a file that ends there. */
function recovered(file: Buffer): Map<number, Uint8Array> {
  const recovery = new Recovery();
  readSegment(file, recovery);
  const found = new Map<number, Uint8Array>();
  for (const { entries } of recovery.mailboxes())
    for (const { offset, bytes, start, end } of entries) found.set(offset, bytes.subarray(start, end));
  return found;
}

describe('Journal at a loss of power', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'flowbus-power-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** Cuts the file at each byte behind the last flush, and looks what is there. */
  function cutEverywhere(scene: Scene): number {
    const name = readdirSync(scene.dir).find((file) => file.endsWith('.journal'))!;
    const file = readFileSync(join(scene.dir, name));
    for (let cut = scene.flushed; cut <= file.length; cut++) {
      const found = recovered(file.subarray(0, cut));
      for (const offset of scene.acked)
        if (!found.has(offset))
          assert.fail(`${offset} was acked; cut at ${cut} of ${scene.flushed} to ${file.length}`);
      for (const [offset, bytes] of found)
        assert.ok(
          bytes.every((byte) => byte === (offset & 0xff)),
          `${offset} is as it was published`,
        );
    }
    return file.length - scene.flushed;
  }

  it('keeps all that was acked with fsync always, wherever the file ends', () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ op: fc.constant('publish' as const), size: fc.integer({ min: 1, max: 40 }) }),
      },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('consume' as const), size: fc.constant(0) }) },
      { weight: 3, arbitrary: fc.record({ op: fc.constant('turn' as const), size: fc.constant(0) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('sync' as const), size: fc.constant(0) }) },
    );
    let run = 0;
    let cuts = 0;
    let acked = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 40 }), (steps) => {
        const scene = new Scene(join(root, `run-${++run}`));
        for (const { op, size } of steps) {
          if (op === 'publish') scene.publish(size);
          else scene[op]();
        }
        cuts += cutEverywhere(scene);
        acked += scene.acked.size;
        scene.close();
      }),
      { numRuns: 25, endOnFailure: true },
    );
    assert.ok(cuts > 100 && acked > 20, `${cuts} cuts and ${acked} acked messages prove something`);
  });
});
