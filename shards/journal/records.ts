/**
 * What a journal is made of. A segment is a file of blocks; a block is what one turn of the event loop has written:
 *
 *   block    0 length of the records (u32) · 4 CRC-32 of them (u32) · 8 records
 *   record   0 length, all of it (u32) · 4 kind (u8)
 *   message  5 lane · 6 size of the sender · 7 of the topic (0: in the frame) · 8 of the id · 9 zero · 12 mailbox (u32) · 16 offset (u64)
 *            24 stored at · 32 deadline (u64, ms since the epoch; 0: none) · 40 sender · topic · id · frame
 *   gone     8 count (u32) · 12 mailbox (u32) · 16 first offset (u64): so many messages from there on have left
 *   failed   8 failures (u32) · 12 mailbox (u32) · 16 offset (u64) · 24 the last of them, as JSON
 *   lives    12 mailbox (u32) · 16 offset (u64) · 24 what became of the message before it was replayed, as JSON
 *   mailbox  12 mailbox (u32) · 16 what it is, as JSON
 *   closed   12 mailbox (u32): it is no more
 *
 * A block whose CRC does not hold is the torn last write of a process that died, and the journal ends before it; unless a whole one
 * follows: then the disk has lost something, and each record is taken for what it still may be.
 */
import zlib from 'node:zlib';
import {
  copyBytes,
  HEADER_SIZE,
  LANE_COUNT,
  readU32,
  readU64,
  writeU32,
  writeU64,
} from '../../lib/wire/frame.js';
import { writeUtf8 } from '../../lib/wire/text.js';

// Missing in the types for Node 20, there since 20.15.
export const crc32 = (zlib as unknown as { crc32(data: Uint8Array): number }).crc32;

export const BLOCK_HEADER = 8;
/** Bytes of a block, at most: a larger one in a file is none. */
export const MAX_BLOCK = 256 * 1024;
export const RecordType = { message: 1, gone: 2, failed: 3, mailbox: 4, closed: 5, lives: 6 } as const;

const MESSAGE_HEADER = 40;
/** More than anybody will ever store: one that is larger was damaged, and those that follow it would not be numbers any more. */
const MAX_OFFSET = 2 ** 50;
export const SHORT_RECORD = 24;

export interface StoredMessage {
  mailbox: number;
  offset: number;
  lane: number;
  from: string;
  /** '' when the frame spells it out. */
  topic: string;
  storedAt: number;
  deadline: number;
  /** The frame is `bytes[start, end)`, the id by which it is known when it is repeated `bytes[idStart, idEnd)`. */
  bytes: Uint8Array;
  start: number;
  end: number;
  idStart: number;
  idEnd: number;
}

/** One that was read. */
export interface ReadMessage extends StoredMessage {
  /** Bytes of its record. */
  stored: number;
}

/** Whoever reads a journal from its beginning. */
export interface JournalVisitor {
  onMessage(message: ReadMessage): void;
  onGone(mailbox: number, first: number, count: number): void;
  /** `text`: '' in journals of older brokers. */
  onFailed(mailbox: number, offset: number, failures: number, text: string): void;
  onLives(mailbox: number, offset: number, text: string): void;
  onMailbox(mailbox: number, text: string): void;
  onClosed(mailbox: number): void;
}

export function messageSize(from: string, topic: string, id: number, frame: number): number {
  // At most: UTF-16 units take up to three bytes.
  return MESSAGE_HEADER + 3 * (from.length + topic.length) + id + frame;
}

/** Writes the record at `o`; returns where its frame begins. The record ends with the frame. */
export function writeMessage(b: Buffer, o: number, message: StoredMessage): number {
  let at = o + MESSAGE_HEADER;
  const from = writeUtf8(b, at, message.from) - at;
  at += from;
  const topic = writeUtf8(b, at, message.topic) - at;
  at += topic;
  const id = message.idEnd - message.idStart;
  for (let i = 0; i < id; i++) b[at + i] = message.bytes[message.idStart + i];
  at += id;
  copyBytes(message.bytes, message.start, message.end, b, at);
  writeU32(b, o, at + message.end - message.start - o);
  b[o + 4] = RecordType.message;
  b[o + 5] = message.lane;
  b[o + 6] = from;
  b[o + 7] = topic;
  b[o + 8] = id;
  b[o + 9] = 0;
  b[o + 10] = 0;
  b[o + 11] = 0;
  writeU32(b, o + 12, message.mailbox);
  writeU64(b, o + 16, message.offset);
  writeU64(b, o + 24, message.storedAt);
  writeU64(b, o + 32, Number.isFinite(message.deadline) ? message.deadline : 0);
  return at;
}

/** Writes a record of two numbers and, for `failed` and `lives`, a text; returns its size. */
export function writeShort(
  b: Buffer,
  o: number,
  type: number,
  mailbox: number,
  offset: number,
  n: number,
  text: Uint8Array | null = null,
): number {
  const size = SHORT_RECORD + (text?.length ?? 0);
  writeU32(b, o, size);
  writeU32(b, o + 4, type);
  writeU32(b, o + 8, n);
  writeU32(b, o + 12, mailbox);
  writeU64(b, o + 16, offset);
  if (text !== null) b.set(text, o + SHORT_RECORD);
  return size;
}

/** Writes what a mailbox is, or that it is no more; returns the record's size. */
export function writeMailbox(b: Buffer, o: number, type: number, mailbox: number, text: Uint8Array): number {
  const size = 16 + text.length;
  writeU32(b, o, size);
  writeU32(b, o + 4, type);
  writeU32(b, o + 8, 0);
  writeU32(b, o + 12, mailbox);
  b.set(text, o + 16);
  return size;
}

/** Reads the records of one block whose CRC holds. */
export function readRecords(b: Buffer, start: number, end: number, visitor: JournalVisitor): void {
  for (let o = start; o < end; ) {
    const size = readU32(b, o);
    const mailbox = readU32(b, o + 12);
    switch (b[o + 4]) {
      case RecordType.message:
        readMessage(b, o, o + size, mailbox, visitor);
        break;
      case RecordType.gone:
        visitor.onGone(mailbox, readU64(b, o + 16), readU32(b, o + 8));
        break;
      case RecordType.failed:
        visitor.onFailed(mailbox, readU64(b, o + 16), readU32(b, o + 8), textOf(b, o, size));
        break;
      case RecordType.lives:
        visitor.onLives(mailbox, readU64(b, o + 16), textOf(b, o, size));
        break;
      case RecordType.mailbox:
        visitor.onMailbox(mailbox, b.toString('utf8', o + 16, o + size));
        break;
      case RecordType.closed:
        visitor.onClosed(mailbox);
        break;
    }
    o += size;
  }
}

/**
 * Reads what can be read of a block that was damaged. Messages have a checksum of their own, and are looked at by whoever
 * takes them; what says that one has left is not believed: better that it comes twice.
 */
export function readDamaged(b: Buffer, start: number, end: number, visitor: JournalVisitor): void {
  for (let o = start; o + SHORT_RECORD <= end; ) {
    const size = readU32(b, o);
    if (size < SHORT_RECORD || o + size > end) return;
    const names = MESSAGE_HEADER + b[o + 6] + b[o + 7] + b[o + 8];
    try {
      if (b[o + 4] === RecordType.message && names + HEADER_SIZE <= size && readU64(b, o + 16) <= MAX_OFFSET)
        readMessage(b, o, o + size, readU32(b, o + 12), visitor);
      else if (b[o + 4] === RecordType.mailbox)
        visitor.onMailbox(readU32(b, o + 12), b.toString('utf8', o + 16, o + size));
    } catch {
      // It is what was damaged.
    }
    o += size;
  }
}

function textOf(b: Buffer, o: number, size: number): string {
  return b.toString('utf8', o + SHORT_RECORD, o + size);
}

function readMessage(b: Buffer, o: number, end: number, mailbox: number, visitor: JournalVisitor): void {
  const from = o + MESSAGE_HEADER;
  const topic = from + b[o + 6];
  const id = topic + b[o + 7];
  const start = id + b[o + 8];
  visitor.onMessage({
    mailbox,
    offset: readU64(b, o + 16),
    // Its checksum says nothing of what stands before the frame.
    lane: Math.min(b[o + 5], LANE_COUNT - 1),
    from: b.toString('utf8', from, topic),
    topic: b.toString('utf8', topic, id),
    storedAt: readU64(b, o + 24),
    deadline: readU64(b, o + 32) || Number.POSITIVE_INFINITY,
    bytes: b,
    start,
    end,
    idStart: id,
    idEnd: start,
    stored: end - o,
  });
}

/** Whether there is a block at `at`, and its CRC holds. */
function holds(bytes: Buffer, at: number): boolean {
  if (at + BLOCK_HEADER > bytes.length) return false;
  const size = readU32(bytes, at);
  const start = at + BLOCK_HEADER;
  if (size === 0 || size > MAX_BLOCK || start + size > bytes.length) return false;
  return crc32(bytes.subarray(start, start + size)) === readU32(bytes, at + 4);
}

/**
 * Reads the blocks of one segment, up to where the last write was torn; returns how many bytes that are. A block that does not
 * hold, but has a whole one behind it, was damaged later: what can still be read in it is.
 */
export function readSegment(bytes: Buffer, visitor: JournalVisitor): number {
  let at = 0;
  while (at + BLOCK_HEADER <= bytes.length) {
    const size = readU32(bytes, at);
    const start = at + BLOCK_HEADER;
    if (size === 0 || size > MAX_BLOCK || start + size > bytes.length) break;
    if (holds(bytes, at)) readRecords(bytes, start, start + size, visitor);
    else if (holds(bytes, start + size)) readDamaged(bytes, start, start + size, visitor);
    else break;
    at = start + size;
  }
  return at;
}
