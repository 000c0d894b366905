/**
 * What workers send each other about mailboxes for every message, and so not as JSON (see talk.ts for the rest):
 *
 *   assured  0 token (u32) · 4 mailboxes (u8) · 5 size of the sender · 6 of the topic (0: in the frame) · 7 zero ·
 *            8 time to live (u32, ms; 0: none) · 12 numbers of the mailboxes (u32 each) · sender · topic · frame
 *   stored   8 bytes for each: token (u32), how many mailboxes hold it (u16), index of the error (u8), zero
 *   deliver  0 sender number of the session (u32) · 4 deliver frames, of one mailbox and lane · round (u32)
 *   giveBack 0 sender number of the session (u32) · 4 mailbox (u32) · 8 offset (u64) · 16 whether the delivery was flagged as a repeat (u8) ·
 *            17 round of the delivery (u32)
 *   acks     0 sender number of the session (u32) · 4 the payload of an ack frame; nack likewise
 */
import type { ErrorCode } from '../lib/errors.js';
import { copyBytes, readU32, writeU32 } from '../lib/wire/frame.js';
import { LastText, writeUtf8 } from '../lib/wire/text.js';

export const STORED_SIZE = 8;
export const SESSION_PREFIX = 4;
/** At the end of what bears one. */
export const ROUND_SIZE = 4;
const ASSURED_HEADER = 12;
/** Mailboxes that one record is for: what a byte counts. A message for more on one worker goes there in several. */
export const MAX_TARGETS = 255;

/** Why a message was not stored. */
const CODES: readonly (ErrorCode | null)[] = [
  null,
  'NO_MAILBOX',
  'MAILBOX_FULL',
  'JOURNAL_FULL',
  'MAILBOX_UNAVAILABLE',
  'CHECKSUM_MISMATCH',
];

/** Writes the record into `b`, which has room for it; returns its size. */
export function writeAssured(
  b: Uint8Array,
  token: number,
  numbers: readonly number[],
  from: string,
  topic: string,
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
  const fromStart = at;
  at = writeUtf8(b, at, from);
  const topicStart = at;
  at = writeUtf8(b, at, topic);
  copyBytes(src, start, end, b, at);
  writeU32(b, 0, token);
  b[4] = numbers.length;
  b[5] = topicStart - fromStart;
  b[6] = at - topicStart;
  b[7] = 0;
  writeU32(b, 8, ttl);
  return at + end - start;
}

/** Reads one such record after the other. */
export class AssuredReader {
  token: number;
  /** Of the mailboxes: `numberAt`. */
  count: number;
  from: string;
  topic: string;
  ttl: number;
  /** Where the frame begins. */
  start: number;
  #src: Uint8Array;
  #numbers: number;
  readonly #from: LastText;
  readonly #topic: LastText;

  constructor() {
    this.token = 0;
    this.count = 0;
    this.from = '';
    this.topic = '';
    this.ttl = 0;
    this.start = 0;
    this.#src = new Uint8Array(0);
    this.#numbers = 0;
    this.#from = new LastText();
    this.#topic = new LastText();
  }

  /** `src[start…]` was written by `writeAssured` of the same build. */
  read(src: Uint8Array, start: number): void {
    this.#src = src;
    this.token = readU32(src, start);
    this.count = src[start + 4];
    this.ttl = readU32(src, start + 8);
    this.#numbers = start + ASSURED_HEADER;
    const from = this.#numbers + 4 * this.count;
    const topic = from + src[start + 5];
    this.start = topic + src[start + 6];
    this.from = this.#from.read(src, from, topic)!;
    // Between two that need it there may be others that spell theirs out.
    this.topic = topic === this.start ? '' : this.#topic.read(src, topic, this.start)!;
  }

  numberAt(index: number): number {
    return readU32(this.#src, this.#numbers + 4 * index);
  }
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
