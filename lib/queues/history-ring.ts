/**
 * A ring that forgets: one writer appends records, the oldest give way, and any number of readers, in other processes too, look at
 * what is still there. No reader can hold the writer up, and none is known to it.
 *
 *     0  head      ┐ records before it are given up, and may be overwritten at this moment
 *     4  tail      │ records before it are complete
 *     8  next      ┘ sequence number that the next message gets (f64)
 *   128  records   (capacity bytes, a power of two)
 *
 * A record starts at a multiple of 8 and holds messages of one topic, lane and sender:
 *
 *   offset size
 *     0     4   length       of all of it, a multiple of 8; negative: padding up to the end of the region
 *     4     4   used         header, texts and frames
 *     8     8   first        sequence number of the first message (f64); the others follow
 *    16     8   arrival      milliseconds of the machine's monotonic clock (f64)
 *    24     4   count        messages
 *    28     1   lane
 *    29     1   size of the sender
 *    30     1   size of the topic
 *    31     1   mark         the writer may change it later, in place
 *    32         sender · topic · the frames
 *    -4     4   length again, so that one can walk back
 *
 * Positions run freely through 32 bits and are compared as differences. The writer gives up first (head), then overwrites, then shows
 * (tail). A reader copies first and looks at the head afterwards: when that has passed the record, the copy is worth
 * nothing (a sequence lock whose counter is the head). Sequence numbers tell when a reader slept for a whole round of the 32 bits.
 */

import { readU32 } from '../wire/frame.js';
import { MAX_RING } from './ring.js';

export const HISTORY_CONTROL = 128;
export const HISTORY_HEADER = 32;
const FOOTER = 4;
/** The largest record: a batch, and the longest texts. */
const MAX_RECORD = 64 * 1024 + HISTORY_HEADER + 2 * 255 + FOOTER + 8;
/** The head moves in steps of this part of the ring: an atomic store and a look at old memory for many records, not for each. */
const STEP = 1 / 64;

const HEAD = 0;
const TAIL = 1;
const NEXT = 1;
const OFFSET_COUNT = 24;
const OFFSET_LANE = 28;
const OFFSET_SENDER_SIZE = 29;
const OFFSET_TOPIC_SIZE = 30;
const OFFSET_MARK = 31;

/** Bytes that a history of `capacity` takes. */
export function historySize(capacity: number): number {
  return capacity === 0 ? 0 : HISTORY_CONTROL + capacity;
}

function checkRegion(buffer: ArrayBuffer, offset: number, capacity: number): void {
  if (capacity < 64 || capacity > MAX_RING || (capacity & (capacity - 1)) !== 0)
    throw new RangeError(`history capacity ${capacity} is not a power of two from 64 to ${MAX_RING}`);
  if (offset < 0 || offset % 8 !== 0 || offset + historySize(capacity) > buffer.byteLength)
    throw new RangeError(`a history of ${capacity} bytes does not fit at ${offset}`);
}

/** What writer and readers share. */
class HistoryRegion {
  readonly capacity: number;
  protected readonly control: Int32Array;
  protected readonly sequence: Float64Array;
  protected readonly words: Int32Array;
  protected readonly doubles: Float64Array;
  protected readonly bytes: Uint8Array;
  protected readonly mask: number;

  /** `capacity`: a power of two, 64 B to 1 GiB. `offset`: a multiple of 8. Throws RangeError otherwise. */
  constructor(buffer: ArrayBuffer, offset: number, capacity: number) {
    checkRegion(buffer, offset, capacity);
    const records = offset + HISTORY_CONTROL;
    this.capacity = capacity;
    this.mask = capacity - 1;
    this.control = new Int32Array(buffer, offset, HISTORY_CONTROL >> 2);
    this.sequence = new Float64Array(buffer, offset, HISTORY_CONTROL >> 3);
    this.words = new Int32Array(buffer, records, capacity >> 2);
    this.doubles = new Float64Array(buffer, records, capacity >> 3);
    this.bytes = new Uint8Array(buffer, records, capacity);
  }

  /** Sequence number that the next message gets, from 1 on: all before it have been written. */
  get next(): number {
    return this.sequence[NEXT] || 1;
  }

  /** Bytes of the records that are kept. */
  get used(): number {
    return (Atomics.load(this.control, TAIL) - Atomics.load(this.control, HEAD)) | 0;
  }

  /** When the oldest record that is kept came (monotonic ms); 0 when there is none. */
  get oldest(): number {
    const at = this.#oldestOffset();
    return at < 0 ? 0 : this.doubles[(at >> 3) + 2];
  }

  /** Messages that are kept. */
  get kept(): number {
    const at = this.#oldestOffset();
    return at < 0 ? 0 : this.next - this.doubles[(at >> 3) + 1];
  }

  #oldestOffset(): number {
    const head = Atomics.load(this.control, HEAD);
    if (head === Atomics.load(this.control, TAIL)) return -1;
    // Padding is no record, and what follows it lies at the beginning.
    return this.words[(head & this.mask) >> 2] < 0 ? 0 : head & this.mask;
  }
}

/** The writing end. One per ring and process incarnation; a new one goes on where the last had shown its records. */
export class HistoryWriter extends HistoryRegion {
  #head: number;
  #tail: number;
  #next: number;
  readonly #step: number;

  constructor(buffer: ArrayBuffer, offset: number, capacity: number) {
    super(buffer, offset, capacity);
    this.#head = Atomics.load(this.control, HEAD);
    this.#tail = Atomics.load(this.control, TAIL);
    this.#next = this.next;
    this.#step = Math.floor(capacity * STEP) & ~7;
  }

  /**
   * Appends the frames `src[start, end)`, `count` messages of one topic, lane and sender; any reader sees them when it returns. `arrival`: monotonic
   * milliseconds. `mark`: 0-255. Returns the sequence number of the first, or 0: larger than the ring.
   */
  write(
    lane: number,
    arrival: number,
    sender: Uint8Array,
    topic: Uint8Array,
    src: Uint8Array,
    start: number,
    end: number,
    count: number,
    mark = 0,
  ): number {
    const used = HISTORY_HEADER + sender.length + topic.length + end - start;
    const size = (used + FOOTER + 7) & ~7;
    if (size > this.capacity || size > MAX_RECORD) return 0;
    let offset = this.#tail & this.mask;
    const contiguous = this.capacity - offset;
    if (size > contiguous) {
      this.#giveUp(contiguous);
      this.words[offset >> 2] = -contiguous;
      this.words[(offset + contiguous - FOOTER) >> 2] = -contiguous;
      this.#tail = (this.#tail + contiguous) | 0;
      offset = 0;
    }
    this.#giveUp(size);
    const { words, doubles, bytes } = this;
    const word = offset >> 2;
    words[word] = size;
    words[word + 1] = used;
    doubles[(offset >> 3) + 1] = this.#next;
    doubles[(offset >> 3) + 2] = arrival;
    words[word + 6] = count;
    words[word + 7] = lane | (sender.length << 8) | (topic.length << 16) | (mark << 24);
    words[(offset + size - FOOTER) >> 2] = size;
    let at = offset + HISTORY_HEADER;
    // Texts are short: a call costs more than their bytes.
    for (let i = 0; i < sender.length; i++) bytes[at + i] = sender[i];
    at += sender.length;
    for (let i = 0; i < topic.length; i++) bytes[at + i] = topic[i];
    at += topic.length;
    // Not src.subarray: on a Buffer that goes through the species constructor, for 10 ns more.
    bytes.set(new Uint8Array(src.buffer, src.byteOffset + start, end - start), at);
    const first = this.#next;
    this.#next = first + count;
    this.#tail = (this.#tail + size) | 0;
    // Ahead of the tail: a writer that dies between the two leaves a hole, not a number that is used twice.
    this.sequence[NEXT] = this.#next;
    Atomics.store(this.control, TAIL, this.#tail);
    return first;
  }

  /** Changes the mark of the record at `position`, as a reader of this same ring knows it, unless it is given up already. */
  remark(position: number, mark: number): void {
    if (((position - this.#head) | 0) < 0) return;
    this.bytes[(position & this.mask) + OFFSET_MARK] = mark;
  }

  /** Gives up the oldest records until `size` more bytes fit. */
  #giveUp(size: number): void {
    const most = this.capacity - size;
    let kept = (this.#tail - this.#head) | 0;
    if (kept <= most) return;
    const aim = Math.max(0, most - this.#step);
    let head = this.#head;
    while (kept > aim) {
      const length = Math.abs(this.words[(head & this.mask) >> 2]);
      // Scribbled over: nothing in it can be trusted.
      const trusted = length >= 8 && length <= kept && kept <= this.capacity && (length & 7) === 0;
      const step = trusted ? length : kept;
      head = (head + step) | 0;
      kept -= step;
    }
    this.#head = head;
    Atomics.store(this.control, HEAD, head);
  }
}

/** So often a writer may overtake a reader that looks for the end; after that somebody has scribbled over the ring. */
const MAX_TRIES = 64;

/** A place to put the fence of a reader: a load that has gone before an atomic addition is not made again after it, on any processor. */
const FENCE = new Int32Array(new SharedArrayBuffer(4));

/** A reading end: stands between two records and walks either way. */
export class HistoryReader extends HistoryRegion {
  // The record that was read last; texts and, after `copy`, frames lie in `scratch`.
  first: number;
  count: number;
  arrival: number;
  lane: number;
  mark: number;
  /** Where that record begins. */
  position: number;
  readonly scratch: Uint8Array;
  senderEnd: number;
  topicEnd: number;
  framesEnd: number;
  /** Records were overwritten, or their numbers missed, on the way forward. For the caller to take back. */
  lost: boolean;
  /** The sequence number that the record at the place where it stands begins with. */
  expected: number;
  #at: number;
  /** The head that it went to when it was overtaken last; -1: never was. */
  #skippedTo: number;

  constructor(buffer: ArrayBuffer, offset: number, capacity: number) {
    super(buffer, offset, capacity);
    this.first = 0;
    this.count = 0;
    this.arrival = 0;
    this.lane = 0;
    this.mark = 0;
    this.position = 0;
    this.scratch = new Uint8Array(Math.min(capacity, MAX_RECORD));
    this.senderEnd = 0;
    this.topicEnd = 0;
    this.framesEnd = 0;
    this.lost = false;
    this.expected = 1;
    this.#at = 0;
    this.#skippedTo = -1;
    this.toEnd();
  }

  /** Goes behind the last record. */
  toEnd(): void {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const tail = Atomics.load(this.control, TAIL);
      this.#at = tail;
      // Not `next`: that goes ahead of the tail, and may count a record that is not shown yet.
      const found = this.back();
      // Also where it stepped back over padding and then found nothing to trust.
      this.#at = tail;
      if (found) {
        this.expected = this.first + this.count;
        return;
      }
      this.expected = tail === 0 ? 1 : this.next;
      if (this.#headAfter() === tail) return;
    }
  }

  /** Goes before the oldest record. */
  toBeginning(): void {
    this.#at = Atomics.load(this.control, HEAD);
    this.expected = 0;
  }

  /** Bytes between it and the end of the last record. */
  get left(): number {
    return (Atomics.load(this.control, TAIL) - this.#at) | 0;
  }

  /** Steps back onto the record before, and reads it; false when there is none any more. */
  back(): boolean {
    for (;;) {
      const head = Atomics.load(this.control, HEAD);
      const kept = (this.#at - head) | 0;
      if (kept <= 0 || kept > this.capacity) return false;
      const length = this.words[((this.#at - FOOTER) & this.mask) >> 2];
      const size = Math.abs(length);
      if (size < 8 || size > kept || (size & 7) !== 0) return false;
      const before = (this.#at - size) | 0;
      if (length > 0 && !this.#load(before, kept)) return false;
      if (length < 0 && ((before - this.#headAfter()) | 0) < 0) return false;
      this.#at = before;
      if (length < 0) continue;
      this.expected = this.first;
      return true;
    }
  }

  /** Reads the next record and steps behind it; false when there is none yet. */
  forward(): boolean {
    for (;;) {
      const left = (Atomics.load(this.control, TAIL) - this.#at) | 0;
      if (left === 0) return false;
      const length = this.words[(this.#at & this.mask) >> 2];
      if (left < 0 || left > this.capacity || Math.abs(length) > left || length === 0) {
        this.#skip();
        continue;
      }
      if (length < 0) {
        if (((this.#at - this.#headAfter()) | 0) < 0) this.#skip();
        else this.#at = (this.#at - length) | 0;
        continue;
      }
      if (!this.#load(this.#at, left)) {
        this.#skip();
        continue;
      }
      if (this.expected !== 0 && this.first !== this.expected) this.lost = true;
      this.expected = this.first + this.count;
      this.#at = (this.#at + length) | 0;
      return true;
    }
  }

  /** Copies the frames of the record that was read last; false when they are overwritten by now. */
  copy(): boolean {
    const offset = (this.position & this.mask) + HISTORY_HEADER;
    this.scratch.set(this.bytes.subarray(offset + this.topicEnd, offset + this.framesEnd), this.topicEnd);
    return ((this.position - this.#headAfter()) | 0) >= 0;
  }

  /** Was overtaken: goes on with the oldest record that is left. */
  #skip(): void {
    this.lost = true;
    const head = Atomics.load(this.control, HEAD);
    // Whoever was overtaken finds another head each time. Where it does not, somebody has scribbled over the ring.
    if (head === this.#at || head === this.#skippedTo) this.toEnd();
    else {
      this.#skippedTo = head;
      this.#at = head;
      this.expected = 0;
    }
  }

  /** Reads header and texts of the record at `position`, with `room` bytes up to the end of what is shown. */
  #load(position: number, room: number): boolean {
    const { words, bytes, scratch } = this;
    const offset = position & this.mask;
    const length = words[offset >> 2];
    const used = words[(offset >> 2) + 1];
    const first = this.doubles[(offset >> 3) + 1];
    const arrival = this.doubles[(offset >> 3) + 2];
    const count = words[(offset + OFFSET_COUNT) >> 2];
    const sizes = readU32(bytes, offset + OFFSET_LANE);
    const senderEnd = (sizes >>> (8 * (OFFSET_SENDER_SIZE - OFFSET_LANE))) & 0xff;
    const topicEnd = senderEnd + ((sizes >>> (8 * (OFFSET_TOPIC_SIZE - OFFSET_LANE))) & 0xff);
    const framesEnd = used - HISTORY_HEADER;
    if (length < 0 || length > room || (length & 7) !== 0 || used + FOOTER > length) return false;
    if (topicEnd > framesEnd || framesEnd > scratch.length || offset + length > this.capacity) return false;
    for (let i = 0; i < topicEnd; i++) scratch[i] = bytes[offset + HISTORY_HEADER + i];
    if (((position - this.#headAfter()) | 0) < 0) return false;
    this.position = position;
    this.first = first;
    this.arrival = arrival;
    this.count = count;
    this.lane = sizes & 7;
    this.mark = sizes >>> 24;
    this.senderEnd = senderEnd;
    this.topicEnd = topicEnd;
    this.framesEnd = framesEnd;
    return true;
  }

  /** The head, looked at after everything that was read before. */
  #headAfter(): number {
    Atomics.add(FENCE, 0, 0);
    return Atomics.load(this.control, HEAD);
  }
}
