/**
 * The acks that a publisher gets for assured messages: which are stored, and in how many mailboxes. Entries back to back:
 *
 *   entry  0 size of the message id (bits 0-6, 1 to 64), bit 7: a run · 1 message id · of a run: how many messages (u32) ·
 *          mailboxes that hold each (u32)
 *
 * A run stands for messages whose ids are alike but for their last four bytes, which count up by one from those of the id, as
 * little-endian numbers that wrap. No Node built-ins here: browsers load it.
 */
import { readU32, writeU32 } from './frame.js';

const RUN = 0x80;
/** What counts up in a run. */
const COUNTER = 4;
/** Messages of a run, so that none keeps its reader busy for long. */
const MAX_RUN = 65_536;

/** Gathers acks, neighbours as runs. */
export class StoredWriter {
  readonly bytes: Uint8Array;
  size: number;
  /** Where the last entry begins, and how many messages it stands for; -1: there is none. */
  #last: number;
  #count: number;
  /** The counter that would go on with it, and its mailboxes. */
  #next: number;
  #stored: number;

  constructor(room: number) {
    this.bytes = new Uint8Array(room);
    this.size = 0;
    this.#last = -1;
    this.#count = 0;
    this.#next = 0;
    this.#stored = 0;
  }

  clear(): void {
    this.size = 0;
    this.#last = -1;
  }

  /** An entry takes up to 73 bytes. `id[start, end)`: 1 to 64 bytes. */
  add(id: Uint8Array, start: number, end: number, stored: number): void {
    const b = this.bytes;
    const size = end - start;
    if (this.#goesOn(id, start, size, stored)) {
      const counts = this.#last + 1 + size;
      if (this.#count++ === 1) {
        b[this.#last] = RUN | size;
        writeU32(b, counts + 4, stored);
        this.size += 4;
      }
      writeU32(b, counts, this.#count);
    } else {
      const o = this.size;
      b[o] = size;
      for (let i = 0; i < size; i++) b[o + 1 + i] = id[start + i];
      writeU32(b, o + 1 + size, stored);
      this.size = o + 5 + size;
      this.#last = o;
      this.#count = 1;
      this.#stored = stored;
    }
    if (size >= COUNTER) this.#next = (readU32(id, end - COUNTER) + 1) >>> 0;
  }

  #goesOn(id: Uint8Array, start: number, size: number, stored: number): boolean {
    const o = this.#last;
    const b = this.bytes;
    if (
      o < 0 ||
      size < COUNTER ||
      this.#count === MAX_RUN ||
      stored !== this.#stored ||
      (b[o] & ~RUN) !== size
    )
      return false;
    if (readU32(id, start + size - COUNTER) !== this.#next) return false;
    for (let i = 0; i < size - COUNTER; i++) if (b[o + 1 + i] !== id[start + i]) return false;
    return true;
  }
}

/**
 * Calls `take` for each message of the entries `b[start, end)`; false when they are none. The id that it takes is `id[from, to)`,
 * until it returns.
 */
export function readStored(
  b: Uint8Array,
  start: number,
  end: number,
  take: (id: Uint8Array, from: number, to: number, stored: number) => void,
): boolean {
  for (let o = start; o < end; ) {
    const size = b[o] & ~RUN;
    const isRun = (b[o] & RUN) !== 0;
    const counts = o + 1 + size;
    const next = counts + (isRun ? 8 : 4);
    if (size === 0 || next > end || (isRun && size < COUNTER)) return false;
    const stored = readU32(b, next - 4);
    if (!isRun) take(b, o + 1, counts, stored);
    else {
      const count = readU32(b, counts);
      if (count > MAX_RUN) return false;
      const id = b.slice(o + 1, counts);
      const first = readU32(id, size - COUNTER);
      for (let i = 0; i < count; i++) {
        writeU32(id, size - COUNTER, (first + i) >>> 0);
        take(id, 0, size, stored);
      }
    }
    o = next;
  }
  return true;
}
