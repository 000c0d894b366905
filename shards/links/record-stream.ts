/**
 * A path over a Unix stream socket: a greeting that says whose path it is, then records as in a ring
 * (lib/queues/ring.ts), without gaps or padding between them.
 *
 *   greeting   0 magic "FLNK" (u32) · 4 version (u8) · 5 urgent (u8, 0 or 1) · 6 slot of the writer (u16)
 *   record     0 length, header included (u32) · 4 kind (u8) · 5 zero · 8 stamp (u32) · 12 payload
 */
import { MAX_RECORD } from '../../lib/links.js';
import { RECORD_HEADER } from '../../lib/queues/ring.js';

export const GREETING_BYTES = 8;
/** "FLNK" read as a little-endian 32-bit integer. */
const MAGIC = 0x4b4e4c46;
const VERSION = 1;
const MAX_LENGTH = RECORD_HEADER + MAX_RECORD;

export interface Greeting {
  slot: number;
  urgent: boolean;
}

export function encodeGreeting(slot: number, urgent: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(GREETING_BYTES));
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint8(5, urgent ? 1 : 0);
  view.setUint16(6, slot, true);
  return new Uint8Array(view.buffer);
}

/** Null: this is no greeting. `bytes` has GREETING_BYTES at least. */
export function decodeGreeting(bytes: Uint8Array): Greeting | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, GREETING_BYTES);
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== VERSION || view.getUint8(5) > 1) return null;
  return { slot: view.getUint16(6, true), urgent: view.getUint8(5) === 1 };
}

export function writeRecordHeader(
  to: Uint8Array,
  at: number,
  length: number,
  kind: number,
  stamp: number,
): void {
  writeU32(to, at, length);
  to[at + 4] = kind;
  to[at + 5] = 0;
  to[at + 6] = 0;
  to[at + 7] = 0;
  writeU32(to, at + 8, stamp);
}

function writeU32(to: Uint8Array, at: number, value: number): void {
  to[at] = value;
  to[at + 1] = value >>> 8;
  to[at + 2] = value >>> 16;
  to[at + 3] = value >>> 24;
}

function readU32(from: Uint8Array, at: number): number {
  return (from[at] | (from[at + 1] << 8) | (from[at + 2] << 16) | (from[at + 3] << 24)) >>> 0;
}

export interface RecordSink {
  /** One record. `src` is only valid during the call. */
  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void;
}

/** Cuts a stream into records. Holds the beginning of one record at most: 128 KiB and a header. */
export class RecordParser {
  readonly #sink: RecordSink;
  /** Grows to the largest record that came in pieces. */
  #held: Uint8Array;
  #heldBytes: number;

  constructor(sink: RecordSink) {
    this.#sink = sink;
    this.#held = new Uint8Array(4096);
    this.#heldBytes = 0;
  }

  /** False: this is no stream of records; what follows cannot be read either. */
  push(chunk: Uint8Array, from: number): boolean {
    let at = from;
    while (this.#heldBytes > 0 && at < chunk.length) {
      const wanted = this.#heldBytes < RECORD_HEADER ? RECORD_HEADER : readU32(this.#held, 0);
      at += this.#hold(chunk, at, wanted - this.#heldBytes);
      if (this.#heldBytes < wanted) return true;
      if (wanted === RECORD_HEADER && !isLength(readU32(this.#held, 0))) return false;
      if (this.#heldBytes === readU32(this.#held, 0)) {
        this.#heldBytes = 0;
        this.#handOver(this.#held, 0, wanted);
      }
    }
    while (chunk.length - at >= RECORD_HEADER) {
      const length = readU32(chunk, at);
      if (!isLength(length)) return false;
      if (length > chunk.length - at) break;
      this.#handOver(chunk, at, length);
      at += length;
    }
    this.#hold(chunk, at, chunk.length - at);
    return true;
  }

  #handOver(src: Uint8Array, at: number, length: number): void {
    this.#sink.onRecord(src[at + 4], readU32(src, at + 8), src, at + RECORD_HEADER, at + length);
  }

  #hold(chunk: Uint8Array, at: number, most: number): number {
    const bytes = Math.min(most, chunk.length - at);
    const needed = this.#heldBytes + bytes;
    if (needed > this.#held.length) {
      const grown = new Uint8Array(Math.min(Math.max(needed, 2 * this.#held.length), MAX_LENGTH));
      grown.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = grown;
    }
    this.#held.set(chunk.subarray(at, at + bytes), this.#heldBytes);
    this.#heldBytes = needed;
    return bytes;
  }
}

function isLength(length: number): boolean {
  return length >= RECORD_HEADER && length <= MAX_LENGTH;
}
