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
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import zlib from 'node:zlib';
import type { MailboxEntry } from '../../lib/queues/mailbox-entry.js';
import { readU32, writeU32 } from '../../lib/wire/frame.js';
import {
  BLOCK_HEADER,
  type JournalVisitor,
  messageSize,
  RecordType,
  readRecords,
  type StoredMessage,
  writeMailbox,
  writeMessage,
  writeShort,
} from './records.js';

// Missing in the types for Node 20, there since 20.15.
const crc32 = (zlib as unknown as { crc32(data: Uint8Array): number }).crc32;

/** When what was acked is safe from a loss of power: before the ack, a second later at most, or when the system likes. */
export type Fsync = 'always' | 'interval' | 'never';

export interface JournalSettings {
  dir: string;
  fsync: Fsync;
  /** Bytes of messages that it holds at most. */
  maxBytes: number;
  /** Write and flush the file; tests hand in a disk that is full, slow or broken. */
  write?: typeof writeSync;
  sync?: (fd: number, done: (error: Error | null) => void) => void;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
/** Records are gathered in pieces of memory of this size, which the messages in them are then read from. */
const PIECE_BYTES = 256 * 1024;
/** A larger block would not fit the piece that it is gathered in; a larger one in a file is none. */
const MAX_BLOCK = PIECE_BYTES;
const SYNC_INTERVAL = 1000;
const SUFFIX = '.journal';

interface Segment {
  readonly number: number;
  readonly path: string;
  bytes: number;
  /** Messages in it that have not left. */
  live: number;
}

export class Journal {
  readonly #settings: JournalSettings;
  /** Oldest first; the last one is written to. */
  readonly #segments: Segment[];
  readonly #write: typeof writeSync;
  readonly #fdatasync: (fd: number, done: (error: Error | null) => void) => void;
  #fd: number;
  #piece: Buffer;
  /** The block that is gathered: `#piece[#blockStart, #at)`. */
  #blockStart: number;
  #at: number;
  /** Where the last whole turn ends in the file; what is behind it has not been promised to anyone. */
  #safe: number;
  #failed: boolean;
  /** Bytes of the records of messages that have not left. */
  liveBytes: number;
  #goneMailbox: number;
  #goneFirst: number;
  #goneCount: number;
  #unsynced: boolean;
  #syncing: boolean;
  #waiting: ((safe: boolean) => void)[];
  readonly #timer: NodeJS.Timeout | null;

  constructor(settings: JournalSettings) {
    this.#settings = settings;
    this.#segments = [];
    this.#write = settings.write ?? writeSync;
    this.#fdatasync = settings.sync ?? fdatasync;
    this.#fd = -1;
    this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
    this.#blockStart = 0;
    this.#at = BLOCK_HEADER;
    this.#safe = 0;
    this.#failed = false;
    this.liveBytes = 0;
    this.#goneMailbox = 0;
    this.#goneFirst = 0;
    this.#goneCount = 0;
    this.#unsynced = false;
    this.#syncing = false;
    this.#waiting = [];
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

  /** Reads what is there, oldest first, then begins a new segment. `onSegment` is told before each that is read. */
  open(visitor: JournalVisitor, onSegment: (segment: number) => void): void {
    const { dir } = this.#settings;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const numbers = readdirSync(dir)
      .filter((name) => /^\d+\.journal$/.test(name))
      .map((name) => Number.parseInt(name, 10))
      .sort((a, b) => a - b);
    for (const number of numbers) {
      const path = this.#pathOf(number);
      const segment: Segment = { number, path, bytes: 0, live: 0 };
      this.#segments.push(segment);
      onSegment(number);
      segment.bytes = readSegment(readFileSync(path), visitor);
    }
    this.#begin((numbers.at(-1) ?? 0) + 1);
  }

  /** Whether `size` more bytes may come in. */
  hasRoom(size: number): boolean {
    return this.liveBytes + size <= this.#settings.maxBytes;
  }

  /** Takes a message in. What it returns lies where `bytes` and `start` say then, and for as long as the entry refers to it. */
  message(message: StoredMessage): { bytes: Buffer; start: number; stored: number } {
    this.#flushGone();
    this.#reserve(messageSize(message.from, message.topic, message.id, message.end - message.start));
    const from = this.#at;
    const start = writeMessage(this.#piece, from, message);
    this.#at = start + message.end - message.start;
    return { bytes: this.#piece, start, stored: this.#at - from };
  }

  /** Counts a message that `message` took in, or that was read by `open`, as living. */
  holds(entry: MailboxEntry): void {
    this.liveBytes += entry.stored;
    this.#segmentOf(entry.segment)!.live++;
  }

  /** A message has left its mailbox. */
  gone(mailbox: number, entry: MailboxEntry): void {
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
  released(entry: MailboxEntry): void {
    this.liveBytes -= entry.stored;
    const segment = this.#segmentOf(entry.segment);
    if (segment !== undefined) segment.live--;
  }

  failed(mailbox: number, entry: MailboxEntry): void {
    this.#flushGone();
    this.#reserve(24);
    this.#at += writeShort(this.#piece, this.#at, RecordType.failed, mailbox, entry.offset, entry.failures);
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
   * Writes what has come since the last time. False: the disk is full, or broken; nothing of it is stored, and the next turn
   * may try again. What was written survives the end of this process.
   */
  flush(): boolean {
    this.#flushGone();
    this.#writeBlock();
    const segment = this.#segments[this.#segments.length - 1];
    if (this.#failed) {
      this.#failed = false;
      this.#cutBack(segment);
      return false;
    }
    if (segment.bytes !== this.#safe) {
      this.#safe = segment.bytes;
      this.#unsynced = true;
    }
    return true;
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
    return oldest.live === 0 || this.fileBytes > 2 * this.liveBytes + 4 * SEGMENT_BYTES
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

  /** Begins a new segment if the last one is full. */
  roll(): void {
    const { bytes, number } = this.#segments[this.#segments.length - 1];
    if (bytes < SEGMENT_BYTES) return;
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

  #pathOf(number: number): string {
    return join(this.#settings.dir, `${String(number).padStart(10, '0')}${SUFFIX}`);
  }

  #segmentOf(number: number): Segment | undefined {
    return this.#segments.find((segment) => segment.number === number);
  }

  #begin(number: number): void {
    // What is told of it is known by the next one.
    const fd = openSync(this.#pathOf(number), 'a', 0o600);
    if (this.#fd >= 0) {
      const old = this.#fd;
      if (this.#settings.fsync === 'always') fdatasyncSync(old);
      if (this.#settings.fsync === 'interval') fdatasync(old, () => closeSync(old));
      else closeSync(old);
    }
    this.#fd = fd;
    this.#segments.push({ number, path: this.#pathOf(number), bytes: 0, live: 0 });
    this.#safe = 0;
  }

  #flushGone(): void {
    const count = this.#goneCount;
    if (count === 0) return;
    this.#goneCount = 0;
    this.#reserve(24);
    this.#at += writeShort(this.#piece, this.#at, RecordType.gone, this.#goneMailbox, this.#goneFirst, count);
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
    if (this.#failed) return;
    const segment = this.#segments[this.#segments.length - 1];
    try {
      for (let at = start; at < end; ) {
        const written = this.#write(this.#fd, this.#piece, at, end - at);
        at += written;
        segment.bytes += written;
      }
    } catch {
      this.#failed = true;
    }
  }

  /** A half-written block would end the journal for whoever reads it, with all that came behind it. */
  #cutBack(segment: Segment): void {
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
      for (const done of waiting) done(error === null);
      if (this.#waiting.length > 0) this.#syncWaiting();
    });
  }
}

const NOTHING = new Uint8Array(0);

/** Reads the blocks of one segment up to the first that does not hold; returns how many bytes hold. */
function readSegment(bytes: Buffer, visitor: JournalVisitor): number {
  let at = 0;
  while (at + BLOCK_HEADER <= bytes.length) {
    const size = readU32(bytes, at);
    const start = at + BLOCK_HEADER;
    if (size === 0 || size > MAX_BLOCK || start + size > bytes.length) break;
    if (crc32(bytes.subarray(start, start + size)) !== readU32(bytes, at + 4)) break;
    readRecords(bytes, start, start + size, visitor);
    at = start + size;
  }
  return at;
}
