/**
 * What workers send each other about mailboxes for every message, and so not as JSON (see talk.ts for the rest):
 *
 *   assured  0 token (u32) · 4 mailboxes (u8) · 5 size of the sender · 6 of the topic (0: in the frame) · 7 of the id ·
 *            8 time to live (u32, ms; 0: none) · 12 numbers of the mailboxes (u32 each) · sender · topic · id · frame
 *   stored   8 bytes for each: token (u32), how many mailboxes hold it (u16), index of the error (u8), zero
 *   deliver  0 sender number of the session (u32) · 4 a deliver frame
 *   giveBack 0 sender number of the session (u32) · 4 mailbox (u32) · 8 offset (u64) · 16 whether the delivery was flagged as a repeat (u8)
 *   acks     0 sender number of the session (u32) · 4 the payload of an ack frame; nack likewise
 */
import type { ErrorCode } from '../lib/errors.js';
import { readU32, writeU32 } from '../lib/wire/frame.js';

export const STORED_SIZE = 8;
export const SESSION_PREFIX = 4;
const ASSURED_HEADER = 12;
/** Mailboxes that one message may go to on one worker: what a byte counts. */
export const MAX_TARGETS = 255;

/** Why a message was not stored. */
const CODES: readonly (ErrorCode | null)[] = [
  null,
  'NO_MAILBOX',
  'MAILBOX_FULL',
  'JOURNAL_FULL',
  'MAILBOX_UNAVAILABLE',
];

export interface AssuredRecord {
  token: number;
  numbers: number[];
  from: string;
  topic: string;
  /** One byte a character. */
  id: string;
  ttl: number;
  /** Where the frame begins. */
  start: number;
}

/** Writes the record into `b`, which has room for it; returns its size. */
export function writeAssured(
  b: Buffer,
  token: number,
  numbers: readonly number[],
  from: string,
  topic: string,
  id: string,
  ttl: number,
  src: Uint8Array,
  start: number,
  end: number,
): number {
  let at = ASSURED_HEADER;
  for (const number of numbers) {
    writeU32(b, at, number);
    at += 4;
  }
  const fromSize = b.write(from, at, 'utf8');
  at += fromSize;
  const topicSize = b.write(topic, at, 'utf8');
  at += topicSize;
  at += b.write(id, at, 'latin1');
  b.set(src.subarray(start, end), at);
  writeU32(b, 0, token);
  b[4] = numbers.length;
  b[5] = fromSize;
  b[6] = topicSize;
  b[7] = id.length;
  writeU32(b, 8, ttl);
  return at + end - start;
}

/** `b[start…]` was written by `writeAssured` of the same build. */
export function readAssured(src: Uint8Array, start: number): AssuredRecord {
  const b = Buffer.from(src.buffer, src.byteOffset, src.byteLength);
  const numbers: number[] = [];
  let at = start + ASSURED_HEADER;
  for (let i = 0; i < b[start + 4]; i++) {
    numbers.push(readU32(b, at));
    at += 4;
  }
  const topic = at + b[start + 5];
  const id = topic + b[start + 6];
  const frame = id + b[start + 7];
  return {
    token: readU32(b, start),
    numbers,
    from: b.toString('utf8', at, topic),
    topic: b.toString('utf8', topic, id),
    id: b.toString('latin1', id, frame),
    ttl: readU32(b, start + 8),
    start: frame,
  };
}

export function writeStoredRecord(
  b: Uint8Array,
  o: number,
  token: number,
  stored: number,
  code: ErrorCode | null,
): void {
  writeU32(b, o, token);
  b[o + 4] = stored;
  b[o + 5] = stored >>> 8;
  b[o + 6] = Math.max(0, CODES.indexOf(code));
  b[o + 7] = 0;
}

export function readStoredRecord(
  b: Uint8Array,
  o: number,
): { token: number; stored: number; code: ErrorCode | null } {
  return { token: readU32(b, o), stored: b[o + 4] | (b[o + 5] << 8), code: CODES[b[o + 6]] };
}
