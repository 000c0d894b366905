/**
 * The files of a journal, which are only appended to: where each begins and ends, what still lives in it, and whether the disk has it.
 * What is appended counts when `commit` says so; until then it can be cut off again.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type JournalVisitor, readSegment } from './records.js';

/** When what was acked is safe from a loss of power: before the ack, a second later at most, or when the system likes. */
export type Fsync = 'always' | 'interval' | 'never';

export interface SegmentSettings {
  dir: string;
  fsync: Fsync;
  /** Bytes after which a new file begins; default 16 MiB. */
  segmentBytes?: number;
  /** Write and flush the file; tests hand in a disk that is full, slow or broken. */
  write?: typeof writeSync;
  sync?: (fd: number, done: (error: Error | null) => void) => void;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const SYNC_INTERVAL = 1000;
const SUFFIX = '.journal';

/** What the journal holds until it is gone, as it must know it. */
export interface Held {
  readonly offset: number;
  /** Where its record lies, and how many bytes that has. */
  segment: number;
  stored: number;
}

export interface Segment {
  readonly number: number;
  readonly path: string;
  bytes: number;
  /** Messages in it that have not left, and the bytes of their records. */
  live: number;
  liveBytes: number;
}

export class Segments {
  readonly #dir: string;
  readonly #fsync: Fsync;
  /** Bytes after which a new one is due. */
  readonly size: number;
  /** Oldest first; the last one is written to. */
  readonly #all: Segment[];
  readonly #write: typeof writeSync;
  readonly #fdatasync: (fd: number, done: (error: Error | null) => void) => void;
  /** That of the last message that came or left. */
  #sought: Segment | undefined;
  #fd: number;
  /** Where what counts ends in the file; what is behind it has not been promised to anyone. */
  #safe: number;
  /** Bytes of the records of messages that have not left. */
  liveBytes: number;
  #unsynced: boolean;
  #syncing: boolean;
  #waiting: ((safe: boolean) => void)[];
  /** Closed when the flush that is under way is done with them. */
  #retired: number[];
  readonly #timer: NodeJS.Timeout | null;

  constructor({ dir, fsync: promise, segmentBytes, write, sync }: SegmentSettings) {
    this.#dir = dir;
    this.#fsync = promise;
    this.size = segmentBytes ?? SEGMENT_BYTES;
    this.#all = [];
    this.#write = write ?? writeSync;
    this.#fdatasync = sync ?? fdatasync;
    this.#sought = undefined;
    this.#fd = -1;
    this.#safe = 0;
    this.liveBytes = 0;
    this.#unsynced = false;
    this.#syncing = false;
    this.#waiting = [];
    this.#retired = [];
    this.#timer = promise === 'interval' ? setInterval(() => this.#sync(), SYNC_INTERVAL) : null;
    this.#timer?.unref();
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  get count(): number {
    return this.#all.length;
  }

  get oldest(): Readonly<Segment> {
    return this.#all[0];
  }

  /** The one that is written to. */
  get last(): Readonly<Segment> {
    return this.#all[this.#all.length - 1];
  }

  /** Bytes in the files. */
  get bytes(): number {
    return this.#all.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /**
   * Reads what is there, oldest first. `onSegment` is told before each that is read, and how many bytes of how many have been.
   * Returns the number for the next.
   */
  read(visitor: JournalVisitor, onSegment: (segment: number, read: number, total: number) => void): number {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    const numbers = readdirSync(this.#dir)
      .filter((name) => /^\d+\.journal$/.test(name))
      .map((name) => Number.parseInt(name, 10))
      .sort((a, b) => a - b);
    const total = numbers.reduce((sum, number) => sum + statSync(this.#pathOf(number)).size, 0);
    let read = 0;
    for (const number of numbers) {
      const path = this.#pathOf(number);
      const segment: Segment = { number, path, bytes: 0, live: 0, liveBytes: 0 };
      this.#all.push(segment);
      onSegment(number, read, total);
      const file = readFileSync(path);
      segment.bytes = readSegment(file, visitor);
      read += file.length;
    }
    return (numbers.at(-1) ?? 0) + 1;
  }

  /** Counts a message as living. */
  holds(entry: Held): void {
    this.liveBytes += entry.stored;
    const segment = this.#find(entry.segment)!;
    segment.live++;
    segment.liveBytes += entry.stored;
  }

  released(entry: Held): void {
    this.liveBytes -= entry.stored;
    const segment = this.#find(entry.segment);
    if (segment === undefined) return;
    segment.live--;
    segment.liveBytes -= entry.stored;
  }

  /** Begins the one with this number. Throws when the disk is full. */
  begin(number: number): void {
    // What is told of it is known by the next one.
    const fd = openSync(this.#pathOf(number), 'a', 0o600);
    this.#syncDir();
    if (this.#fd >= 0) {
      const old = this.#fd;
      if (this.#fsync === 'always') fdatasyncSync(old);
      if (this.#fsync === 'interval') fdatasync(old, () => closeSync(old));
      else if (this.#syncing) this.#retired.push(old);
      else closeSync(old);
    }
    this.#fd = fd;
    this.#all.push({ number, path: this.#pathOf(number), bytes: 0, live: 0, liveBytes: 0 });
    this.#safe = 0;
  }

  /** False: the disk is full, or broken. */
  append(bytes: Buffer, start: number, end: number): boolean {
    const segment = this.#all[this.#all.length - 1];
    try {
      for (let at = start; at < end; ) {
        const written = this.#write(this.#fd, bytes, at, end - at);
        at += written;
        segment.bytes += written;
      }
      return true;
    } catch {
      return false;
    }
  }

  /** All that is in the file now counts. */
  commit(): void {
    const segment = this.#all[this.#all.length - 1];
    if (segment.bytes === this.#safe) return;
    this.#safe = segment.bytes;
    this.#unsynced = true;
  }

  /** What does not count goes: a half-written block would end the journal for whoever reads it, with all that came behind it. */
  cutBack(): void {
    const segment = this.#all[this.#all.length - 1];
    if (segment.bytes === this.#safe) return;
    try {
      ftruncateSync(this.#fd, this.#safe);
      segment.bytes = this.#safe;
    } catch {
      this.begin(segment.number + 1);
    }
  }

  /**
   * Calls back when all that counts is as safe as `fsync` promises; at once unless that is `always`. `safe`:
   * false when the disk could not flush it.
   */
  settled(done: (safe: boolean) => void): void {
    if (this.#fsync !== 'always' || !(this.#unsynced || this.#syncing)) {
      done(true);
      return;
    }
    this.#waiting.push(done);
    if (!this.#syncing) this.#syncWaiting();
  }

  /** Removes the oldest segment; what lived in it has been taken in again and flushed. */
  drop(): void {
    const oldest = this.#all.shift();
    if (oldest === undefined) return;
    if (this.#fsync === 'never') unlinkSync(oldest.path);
    // Its copies must be as safe as it was; where the disk cannot say so, it stays, and is read again at the next start.
    else
      this.#fdatasync(this.#fd, (error) => {
        if (error === null) unlinkSync(oldest.path);
      });
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#fd < 0) return;
    if (this.#fsync !== 'never') fdatasyncSync(this.#fd);
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** All of them, for good. */
  remove(): void {
    rmSync(this.#dir, { recursive: true });
  }

  #pathOf(number: number): string {
    return join(this.#dir, `${String(number).padStart(10, '0')}${SUFFIX}`);
  }

  #find(number: number): Segment | undefined {
    // Neighbours mostly lie in one.
    if (this.#sought?.number !== number)
      this.#sought = this.#all.find((segment) => segment.number === number);
    return this.#sought;
  }

  /** A file whose name is not on the disk is lost with the power, whatever was flushed into it. */
  #syncDir(): void {
    if (this.#fsync === 'never') return;
    const dir = openSync(this.#dir, 'r');
    if (this.#fsync === 'interval') {
      fsync(dir, () => closeSync(dir));
      return;
    }
    fsyncSync(dir);
    closeSync(dir);
  }

  #sync(): void {
    if (!this.#unsynced || this.#syncing || this.#fd < 0) return;
    this.#unsynced = false;
    this.#syncing = true;
    this.#fdatasync(this.#fd, () => {
      this.#syncing = false;
    });
  }

  #syncWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#unsynced = false;
    this.#syncing = true;
    this.#fdatasync(this.#fd, (error) => {
      this.#syncing = false;
      for (const fd of this.#retired.splice(0)) closeSync(fd);
      for (const done of waiting) done(error === null);
      if (this.#waiting.length > 0) this.#syncWaiting();
    });
  }
}
