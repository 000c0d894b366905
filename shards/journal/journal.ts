/**
 * The journal of a slot: what its mailboxes hold, in files that are only appended to. All that one turn of the event loop has
 * brought is one write. Plain files rather than a database: one message at a time is journaled in the time of a system call
 * (4 µs), a run of them in 0.2 µs each; what a transaction of LMDB costs, which waits for the disk, is measured in bench/RESULTS.md.
 *
 * Old segments are dropped from the front: what still lives in the oldest is written again at the end, as soon as the files
 * hold more than twice what lives. So the files, and the memory that mirrors them, stay within twice the bound and a segment.
 */
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
  SHORT_RECORD,
  type StoredMessage,
  writeMailbox,
  writeMessage,
  writeShort,
} from './records.js';
import { RESERVE_BYTES, Reserve } from './reserve.js';
import { type Held, type SegmentSettings, Segments } from './segments.js';

export interface JournalSettings extends SegmentSettings {
  /** Bytes of messages that it holds at most. */
  maxBytes: number;
}

/** Records are gathered in pieces of memory of this size, which the messages in them are then read from. */
const PIECE_BYTES = MAX_BLOCK;
/** What is written again of a segment while the disk is full. */
const TIGHT_BYTES = RESERVE_BYTES / 2;

/** Where a message lies, and how many bytes its record takes. */
export interface Place {
  bytes: Buffer;
  start: number;
  stored: number;
}

export class Journal {
  readonly #settings: JournalSettings;
  readonly #segments: Segments;
  #piece: Buffer;
  readonly #place: Place;
  /** The block that is gathered: `#piece[#blockStart, #at)`. */
  #blockStart: number;
  #at: number;
  #failed: boolean;
  /** A turn has failed since the last `check`. */
  #full: boolean;
  #goneMailbox: number;
  #goneFirst: number;
  #goneCount: number;
  /** The records of the blocks since the last `flush`. */
  readonly #turn: Buffer[];
  readonly #debts: Debts;
  readonly #room: Reserve;
  /** It was tried in vain to write debts, or what lives, again: not before the next `check`. */
  #vain: boolean;

  constructor(settings: JournalSettings) {
    this.#settings = settings;
    this.#segments = new Segments(settings);
    this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
    this.#place = { bytes: this.#piece, start: 0, stored: 0 };
    this.#blockStart = 0;
    this.#at = BLOCK_HEADER;
    this.#failed = false;
    this.#full = false;
    this.#goneMailbox = 0;
    this.#goneFirst = 0;
    this.#goneCount = 0;
    this.#turn = [];
    this.#debts = new Debts();
    this.#room = new Reserve(settings.dir);
    this.#vain = false;
  }

  /** The segment that is written to. */
  get segment(): number {
    return this.#segments.last.number;
  }

  /** Bytes in the files. */
  get fileBytes(): number {
    return this.#segments.bytes;
  }

  /** Bytes of the records of messages that have not left. */
  get liveBytes(): number {
    return this.#segments.liveBytes;
  }

  /**
   * Reads what is there, oldest first, then begins a new segment. `onSegment` is told before each that is read, and how many bytes of
   * how many have been.
   */
  open(visitor: JournalVisitor, onSegment: (segment: number, read: number, total: number) => void): void {
    const next = this.#segments.read(visitor, onSegment);
    this.#room.take();
    try {
      this.#segments.begin(next);
    } catch (error) {
      if (!this.#room.give()) throw error;
      this.#segments.begin(next);
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
    this.#segments.holds(entry);
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
    this.#segments.released(entry);
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
      this.#segments.cutBack();
      for (const records of turn) this.#debts.collect(records);
      turn.length = 0;
      this.#payDebts();
      if (!this.#room.isHeld) this.#vain = true;
      return false;
    }
    this.#segments.commit();
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
    this.#segments.settled(done);
  }

  /** The oldest segment, when it is time to be rid of it: its messages are to be taken in again, then `drop` it. */
  get burden(): number | null {
    const segments = this.#segments;
    if (segments.count < 2) return null;
    const { oldest } = segments;
    if (!this.#room.isHeld) return !this.#vain && oldest.liveBytes <= TIGHT_BYTES ? oldest.number : null;
    // A full one stays beside the last, though nothing lives in it: a process that begins anew reads there which ids were stored.
    const isOver = oldest.live === 0 && (segments.count > 2 || oldest.bytes < segments.size);
    return isOver || segments.bytes > 2 * segments.liveBytes + 4 * segments.size ? oldest.number : null;
  }

  /** Removes the oldest segment; what lived in it has been taken in again and flushed. */
  drop(): void {
    this.#segments.drop();
  }

  /** Begins a new segment if the last one is full, or if the disk is and could be rid of it. */
  roll(): void {
    const { bytes, number } = this.#segments.last;
    if (bytes < this.#segments.size && (this.#room.isHeld || !this.#isBurden())) return;
    try {
      this.#segments.begin(number + 1);
    } catch {
      // The disk is full: the old one goes on until there is room.
    }
  }

  close(): void {
    if (this.#segments.isOpen) this.flush();
    this.#segments.close();
  }

  /** Removes it with all that is in it. */
  remove(): void {
    this.close();
    this.#segments.remove();
  }

  /** Whether the segment that is written to would, if it were dropped, give back more than it takes to write again what lives in it. */
  #isBurden(): boolean {
    const { bytes, liveBytes } = this.#segments.last;
    return bytes > RESERVE_BYTES && liveBytes <= TIGHT_BYTES;
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
    if (!this.#failed) this.#failed = !this.#segments.append(this.#piece, start, end);
  }

  /** All that is in the file counts: what of this does not fit is cut off again. */
  #payDebts(): void {
    if (this.#debts.isEmpty || this.#vain) return;
    const blocks = this.#debts.blocks(MAX_BLOCK, crc32);
    const pay = (): boolean => blocks.every((block) => this.#segments.append(block, 0, block.length));
    let paid = pay();
    if (!paid) {
      this.#segments.cutBack();
      paid = this.#room.give() && pay();
      if (!paid) this.#segments.cutBack();
    }
    this.#vain = !paid;
    if (!paid) return;
    this.#debts.clear();
    this.#segments.commit();
  }
}

const NOTHING = new Uint8Array(0);
