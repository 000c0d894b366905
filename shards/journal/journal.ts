/**
 * The journal of a slot: what its mailboxes hold, in files that are only appended to. All that one turn of the event loop has
 * brought is one write. Plain files rather than a database: one message at a time is journaled in the time of a system call
 * (4 µs), a run of them in 0.2 µs each; what a transaction of LMDB costs, which waits for the disk, is measured in bench/RESULTS.md.
 *
 * Old segments are dropped from the front: what still lives in the oldest is written again at the end, as soon as the files
 * hold more than twice what lives. So the files, and the memory that mirrors them, stay within twice the bound and a segment.
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
import type { MailboxEntry } from '../../lib/queues/mailbox-entry.js';
import { writeU32 } from '../../lib/wire/frame.js';
import { Debts } from './debts.js';
import {
  BLOCK_HEADER,
  crc32,
  type JournalVisitor,
  MAX_BLOCK,
  messageSize,
  RecordType,
  readSegment,
  SHORT_RECORD,
  type StoredMessage,
  writeMailbox,
  writeMessage,
  writeShort,
} from './records.js';
import { RESERVE_BYTES, Reserve } from './reserve.js';

/** When what was acked is safe from a loss of power: before the ack, a second later at most, or when the system likes. */
export type Fsync = 'always' | 'interval' | 'never';

export interface JournalSettings {
  dir: string;
  fsync: Fsync;
  /** Bytes of messages that it holds at most. */
  maxBytes: number;
  /** Bytes after which a new file begins; default 16 MiB. */
  segmentBytes?: number;
  /** Write and flush the file; tests hand in a disk that is full, slow or broken. */
  write?: typeof writeSync;
  sync?: (fd: number, done: (error: Error | null) => void) => void;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
/** Records are gathered in pieces of memory of this size, which the messages in them are then read from. */
const PIECE_BYTES = MAX_BLOCK;
/** What is written again of a segment while the disk is full. */
const TIGHT_BYTES = RESERVE_BYTES / 2;
const SYNC_INTERVAL = 1000;
const SUFFIX = '.journal';

/** What the journal holds until it is gone, as it must know it. */
export interface Held {
  readonly offset: number;
  /** Where its record lies, and how many bytes that has. */
  segment: number;
  stored: number;
}

interface Segment {
  readonly number: number;
  readonly path: string;
  bytes: number;
  /** Messages in it that have not left, and the bytes of their records. */
  live: number;
  liveBytes: number;
}

/** Where a message lies, and how many bytes its record takes. */
export interface Place {
  bytes: Buffer;
  start: number;
  stored: number;
}

export class Journal {
  readonly #settings: JournalSettings;
  /** Oldest first; the last one is written to. */
  readonly #segments: Segment[];
  readonly #segmentBytes: number;
  readonly #write: typeof writeSync;
  readonly #fdatasync: (fd: number, done: (error: Error | null) => void) => void;
  /** That of the last message that came or left. */
  #sought: Segment | undefined;
  #fd: number;
  #piece: Buffer;
  readonly #place: Place;
  /** The block that is gathered: `#piece[#blockStart, #at)`. */
  #blockStart: number;
  #at: number;
  /** Where the last whole turn ends in the file; what is behind it has not been promised to anyone. */
  #safe: number;
  #failed: boolean;
  /** A turn has failed since the last `check`. */
  #full: boolean;
  /** Bytes of the records of messages that have not left. */
  liveBytes: number;
  #goneMailbox: number;
  #goneFirst: number;
  #goneCount: number;
  #unsynced: boolean;
  #syncing: boolean;
  #waiting: ((safe: boolean) => void)[];
  /** Closed when the flush that is under way is done with them. */
  #retired: number[];
  /** The records of the blocks since the last `flush`. */
  readonly #turn: Buffer[];
  readonly #debts: Debts;
  readonly #room: Reserve;
  /** It was tried in vain to write debts, or what lives, again: not before the next `check`. */
  #vain: boolean;
  readonly #timer: NodeJS.Timeout | null;

  constructor(settings: JournalSettings) {
    this.#settings = settings;
    this.#segments = [];
    this.#segmentBytes = settings.segmentBytes ?? SEGMENT_BYTES;
    this.#write = settings.write ?? writeSync;
    this.#fdatasync = settings.sync ?? fdatasync;
    this.#sought = undefined;
    this.#fd = -1;
    this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
    this.#place = { bytes: this.#piece, start: 0, stored: 0 };
    this.#blockStart = 0;
    this.#at = BLOCK_HEADER;
    this.#safe = 0;
    this.#failed = false;
    this.#full = false;
    this.liveBytes = 0;
    this.#goneMailbox = 0;
    this.#goneFirst = 0;
    this.#goneCount = 0;
    this.#unsynced = false;
    this.#syncing = false;
    this.#waiting = [];
    this.#retired = [];
    this.#turn = [];
    this.#debts = new Debts();
    this.#room = new Reserve(settings.dir);
    this.#vain = false;
    this.#timer = settings.fsync === 'interval' ? setInterval(() => this.#sync(), SYNC_INTERVAL) : null;
    this.#timer?.unref();
  }

  /** The segment that is written to. */
  get segment(): number {
    return this.#segments[this.#segments.length - 1].number;
  }

  /** Bytes in the files. */
  get fileBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /**
   * Reads what is there, oldest first, then begins a new segment. `onSegment` is told before each that is read, and how many bytes of
   * how many have been.
   */
  open(visitor: JournalVisitor, onSegment: (segment: number, read: number, total: number) => void): void {
    const { dir } = this.#settings;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const numbers = readdirSync(dir)
      .filter((name) => /^\d+\.journal$/.test(name))
      .map((name) => Number.parseInt(name, 10))
      .sort((a, b) => a - b);
    const total = numbers.reduce((sum, number) => sum + statSync(this.#pathOf(number)).size, 0);
    let read = 0;
    for (const number of numbers) {
      const path = this.#pathOf(number);
      const segment: Segment = { number, path, bytes: 0, live: 0, liveBytes: 0 };
      this.#segments.push(segment);
      onSegment(number, read, total);
      const file = readFileSync(path);
      segment.bytes = readSegment(file, visitor);
      read += file.length;
    }
    this.#room.take();
    const next = (numbers.at(-1) ?? 0) + 1;
    try {
      this.#begin(next);
    } catch (error) {
      if (!this.#room.give()) throw error;
      this.#begin(next);
    }
  }

  /** Whether `size` more bytes may come in. While the reserve is used none may. */
  hasRoom(size: number): boolean {
    return this.#room.isHeld && this.liveBytes + size <= this.#settings.maxBytes;
  }

  /** Takes a message in. Until the next one, what it returns says where the frame lies, for as long as an entry refers to it. */
  message(message: StoredMessage): Readonly<Place> {
    const { from, topic, start, end, idStart, idEnd } = message;
    const place = this.#place;
    this.#flushGone();
    this.#reserve(messageSize(from, topic, idEnd - idStart, end - start));
    const at = this.#at;
    place.bytes = this.#piece;
    place.start = writeMessage(this.#piece, at, message);
    this.#at = place.start + end - start;
    place.stored = this.#at - at;
    return place;
  }

  /** Counts a message that `message` took in, or that was read by `open`, as living. */
  holds(entry: Held): void {
    this.liveBytes += entry.stored;
    const segment = this.#segmentOf(entry.segment)!;
    segment.live++;
    segment.liveBytes += entry.stored;
  }

  /** A message has left its mailbox. */
  gone(mailbox: number, entry: Held): void {
    this.released(entry);
    if (
      this.#goneCount > 0 &&
      mailbox === this.#goneMailbox &&
      entry.offset === this.#goneFirst + this.#goneCount
    ) {
      this.#goneCount++;
      return;
    }
    this.#flushGone();
    this.#goneMailbox = mailbox;
    this.#goneFirst = entry.offset;
    this.#goneCount = 1;
  }

  /** As `gone`, of a message that the journal knows nothing of. */
  released(entry: Held): void {
    this.liveBytes -= entry.stored;
    const segment = this.#segmentOf(entry.segment);
    if (segment === undefined) return;
    segment.live--;
    segment.liveBytes -= entry.stored;
  }

  /** An attempt failed, the last of those of `entry` if it is not said which. */
  failed(mailbox: number, entry: MailboxEntry, attempt = entry.attempts?.at(-1)): void {
    this.#note(RecordType.failed, mailbox, entry.offset, entry.failures, attempt);
  }

  /** What became of a message before it was replayed. */
  lives(mailbox: number, entry: MailboxEntry): void {
    this.#note(RecordType.lives, mailbox, entry.offset, 0, entry.lives);
  }

  mailbox(mailbox: number, text: string): void {
    this.#flushGone();
    const bytes = Buffer.from(text);
    this.#reserve(16 + bytes.length);
    this.#at += writeMailbox(this.#piece, this.#at, RecordType.mailbox, mailbox, bytes);
  }

  closed(mailbox: number): void {
    this.#flushGone();
    this.#reserve(16);
    this.#at += writeMailbox(this.#piece, this.#at, RecordType.closed, mailbox, NOTHING);
  }

  /**
   * Writes what has come since the last time. False: the disk is full, or broken; no message of it is stored, and the next turn
   * may try again. What was written survives the end of this process. That messages have left is never given up: it goes into the
   * reserve, or is written later.
   */
  flush(): boolean {
    this.#flushGone();
    this.#writeBlock();
    const turn = this.#turn;
    if (this.#failed) {
      this.#failed = false;
      this.#full = true;
      this.#cutBack();
      for (const records of turn) this.#debts.collect(records);
      turn.length = 0;
      this.#payDebts();
      if (!this.#room.isHeld) this.#vain = true;
      return false;
    }
    this.#written();
    if (!this.#debts.isEmpty) {
      for (const records of turn) this.#debts.supersede(records);
      this.#payDebts();
    }
    turn.length = 0;
    return true;
  }

  /**
   * Now and then: sets room aside again once the disk has some. Gives it up when nothing else would make any: nearly all that fills the disk has
   * left, and that it has was written with the last of it.
   */
  check(): void {
    this.#vain = false;
    if (this.#full && this.#debts.isEmpty && this.#isBurden()) this.#room.give();
    else this.#room.take();
    this.#full = false;
  }

  /**
   * Calls back when all that `flush` has written is as safe as `fsync` promises; at once unless that is `always`. `safe`:
   * false when the disk could not flush it.
   */
  settled(done: (safe: boolean) => void): void {
    if (this.#settings.fsync !== 'always' || !(this.#unsynced || this.#syncing)) {
      done(true);
      return;
    }
    this.#waiting.push(done);
    if (!this.#syncing) this.#syncWaiting();
  }

  /** The oldest segment, when it is time to be rid of it: its messages are to be taken in again, then `drop` it. */
  get burden(): number | null {
    if (this.#segments.length < 2) return null;
    const oldest = this.#segments[0];
    if (!this.#room.isHeld) return !this.#vain && oldest.liveBytes <= TIGHT_BYTES ? oldest.number : null;
    return oldest.live === 0 || this.fileBytes > 2 * this.liveBytes + 4 * this.#segmentBytes
      ? oldest.number
      : null;
  }

  /** Removes the oldest segment; what lived in it has been taken in again and flushed. */
  drop(): void {
    const oldest = this.#segments.shift();
    if (oldest === undefined) return;
    if (this.#settings.fsync === 'never') unlinkSync(oldest.path);
    // Its copies must be as safe as it was; where the disk cannot say so, it stays, and is read again at the next start.
    else
      this.#fdatasync(this.#fd, (error) => {
        if (error === null) unlinkSync(oldest.path);
      });
  }

  /** Begins a new segment if the last one is full, or if the disk is and could be rid of it. */
  roll(): void {
    const { bytes, number } = this.#segments[this.#segments.length - 1];
    if (bytes < this.#segmentBytes && (this.#room.isHeld || !this.#isBurden())) return;
    try {
      this.#begin(number + 1);
    } catch {
      // The disk is full: the old one goes on until there is room.
    }
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#fd < 0) return;
    this.flush();
    if (this.#settings.fsync !== 'never') fdatasyncSync(this.#fd);
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Removes it with all that is in it. */
  remove(): void {
    this.close();
    rmSync(this.#settings.dir, { recursive: true });
  }

  /** Whether the segment that is written to would, if it were dropped, give back more than it takes to write again what lives in it. */
  #isBurden(): boolean {
    const { bytes, liveBytes } = this.#segments[this.#segments.length - 1];
    return bytes > RESERVE_BYTES && liveBytes <= TIGHT_BYTES;
  }

  #pathOf(number: number): string {
    return join(this.#settings.dir, `${String(number).padStart(10, '0')}${SUFFIX}`);
  }

  #segmentOf(number: number): Segment | undefined {
    // Neighbours mostly lie in one.
    if (this.#sought?.number !== number)
      this.#sought = this.#segments.find((segment) => segment.number === number);
    return this.#sought;
  }

  #begin(number: number): void {
    // What is told of it is known by the next one.
    const fd = openSync(this.#pathOf(number), 'a', 0o600);
    this.#syncDir();
    if (this.#fd >= 0) {
      const old = this.#fd;
      if (this.#settings.fsync === 'always') fdatasyncSync(old);
      if (this.#settings.fsync === 'interval') fdatasync(old, () => closeSync(old));
      else if (this.#syncing) this.#retired.push(old);
      else closeSync(old);
    }
    this.#fd = fd;
    this.#segments.push({ number, path: this.#pathOf(number), bytes: 0, live: 0, liveBytes: 0 });
    this.#safe = 0;
  }

  /** A file whose name is not on the disk is lost with the power, whatever was flushed into it. */
  #syncDir(): void {
    if (this.#settings.fsync === 'never') return;
    const dir = openSync(this.#settings.dir, 'r');
    if (this.#settings.fsync === 'interval') {
      fsync(dir, () => closeSync(dir));
      return;
    }
    fsyncSync(dir);
    closeSync(dir);
  }

  #flushGone(): void {
    const count = this.#goneCount;
    if (count === 0) return;
    this.#goneCount = 0;
    this.#reserve(SHORT_RECORD);
    this.#at += writeShort(this.#piece, this.#at, RecordType.gone, this.#goneMailbox, this.#goneFirst, count);
  }

  #note(type: number, mailbox: number, offset: number, n: number, value: unknown): void {
    this.#flushGone();
    const text = value === undefined ? NOTHING : Buffer.from(JSON.stringify(value));
    this.#reserve(SHORT_RECORD + text.length);
    this.#at += writeShort(this.#piece, this.#at, type, mailbox, offset, n, text);
  }

  #reserve(size: number): void {
    if (this.#at + size <= PIECE_BYTES) return;
    this.#writeBlock();
    if (this.#at + size <= PIECE_BYTES) return;
    this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
    this.#blockStart = 0;
    this.#at = BLOCK_HEADER;
  }

  #writeBlock(): void {
    const start = this.#blockStart;
    const end = this.#at;
    if (end === start + BLOCK_HEADER) return;
    const records = this.#piece.subarray(start + BLOCK_HEADER, end);
    writeU32(this.#piece, start, records.length);
    writeU32(this.#piece, start + 4, crc32(records));
    this.#blockStart = end;
    this.#at = end + BLOCK_HEADER;
    this.#turn.push(records);
    if (!this.#failed) this.#failed = !this.#append(this.#piece, start, end);
  }

  #append(bytes: Buffer, start: number, end: number): boolean {
    const segment = this.#segments[this.#segments.length - 1];
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
  #written(): void {
    const segment = this.#segments[this.#segments.length - 1];
    if (segment.bytes === this.#safe) return;
    this.#safe = segment.bytes;
    this.#unsynced = true;
  }

  /** All that is in the file counts: what of this does not fit is cut off again. */
  #payDebts(): void {
    if (this.#debts.isEmpty || this.#vain) return;
    const blocks = this.#debts.blocks(MAX_BLOCK, crc32);
    const pay = (): boolean => blocks.every((block) => this.#append(block, 0, block.length));
    let paid = pay();
    if (!paid) {
      this.#cutBack();
      paid = this.#room.give() && pay();
      if (!paid) this.#cutBack();
    }
    this.#vain = !paid;
    if (!paid) return;
    this.#debts.clear();
    this.#written();
  }

  /** A half-written block would end the journal for whoever reads it, with all that came behind it. */
  #cutBack(): void {
    const segment = this.#segments[this.#segments.length - 1];
    if (segment.bytes === this.#safe) return;
    try {
      ftruncateSync(this.#fd, this.#safe);
      segment.bytes = this.#safe;
    } catch {
      this.#begin(segment.number + 1);
    }
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

const NOTHING = new Uint8Array(0);
