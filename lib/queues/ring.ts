/**
 * A ring of records: bytes from one writer to one reader over a region of memory that both share, without a
 * lock. Full is `false`, not an exception.
 *
 *     0  head      ┐ the reader's: everything before it is handled
 *     4  hand      │ progress inside a batch; lowest bit set: the record there is in the reader's hand
 *     8  tries     │ how many readers died with that record in hand,
 *    12  triedAt   ┘ and where it lies
 *   128  tail      ┐ the writer's: everything before it is published
 *   132  want      ┘ the writer found the ring full and waits for room
 *   256  records   (capacity bytes, a power of two)
 *
 * A record starts at a multiple of 8:
 *
 *   offset size
 *     0     4   length     header and payload, not the gap to the next multiple of 8
 *     4     1   kind       0-254; 255 = padding up to the end of the region, 8 bytes are enough for it
 *     5     3   zero
 *     8     4   stamp
 *    12         payload
 *
 * Positions run freely through 32 bits and are compared as differences. Head and tail lie 128 bytes apart,
 * because processors fetch cache lines of 64 bytes in pairs. The writer keeps a copy of the head and
 * looks again only when the copy says full; the reader looks at the tail once per batch.
 *
 * The writer fills in records privately and publishes them with one atomic store of the tail. What a dead
 * writer had not published is overwritten by its successor. The reader moves the head once per batch; `hand`,
 * which no writer reads, tells its successor exactly which records of an unfinished batch were handled.
 */

/** Bytes that a record has ahead of its payload. */
export const RECORD_HEADER = 12;
/** Bytes of a ring's region ahead of the records. */
export const RING_CONTROL = 256;
/** The largest ring: offsets must stay positive 32-bit integers. */
export const MAX_RING = 1 << 30;

const HEAD = 0;
const HAND = 1;
const TRIES = 2;
const TRIED_AT = 3;
const TAIL = 32;
const WANT = 33;

const PADDING = 255;
const IN_HAND = 1;

/** Bytes that a ring of `capacity` takes. */
export function ringSize(capacity: number): number {
  return RING_CONTROL + capacity;
}

/** Bytes published and not yet handled, as any process can see it: between batches exact, within one too high. */
export function ringOccupancy(words: Int32Array, offset: number): number {
  const control = offset >> 2;
  return Math.max((Atomics.load(words, control + TAIL) - Atomics.load(words, control + HEAD)) | 0, 0);
}

function checkRegion(buffer: ArrayBuffer, offset: number, capacity: number): void {
  if (capacity < 64 || capacity > MAX_RING || (capacity & (capacity - 1)) !== 0) {
    throw new RangeError(`ring capacity ${capacity} is not a power of two from 64 to ${MAX_RING}`);
  }
  if (offset < 0 || offset % 8 !== 0 || offset + ringSize(capacity) > buffer.byteLength) {
    throw new RangeError(`a ring of ${capacity} bytes does not fit at ${offset}`);
  }
}

/** The writing end. One per ring and process incarnation; a new one continues at the published tail. */
export class RingWriter {
  readonly capacity: number;
  private readonly control: Int32Array;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly mask: number;
  private tail: number;
  private published: number;
  private head: number;
  private waits: boolean;

  /** `capacity`: a power of two, 64 B to 1 GiB. `offset`: a multiple of 8. Throws RangeError otherwise. */
  constructor(buffer: ArrayBuffer, offset: number, capacity: number) {
    checkRegion(buffer, offset, capacity);
    this.capacity = capacity;
    this.mask = capacity - 1;
    this.control = new Int32Array(buffer, offset, RING_CONTROL >> 2);
    this.words = new Int32Array(buffer, offset + RING_CONTROL, capacity >> 2);
    this.bytes = new Uint8Array(buffer, offset + RING_CONTROL, capacity);
    this.published = Atomics.load(this.control, TAIL);
    // A tail that is no multiple of 8 was scribbled over: the next publish repairs it, the reader resynchronizes.
    this.tail = (this.published + 7) & ~7;
    this.head = Atomics.load(this.control, HEAD);
    this.waits = false;
  }

  /**
   * Writes one record, privately until `publish()`. `kind`: 0-254. `stamp`: 32 bits.
   * False: no room now (`roomMade()` tells when there is some again). Throws RangeError when the record is
   * larger than the whole ring.
   */
  write(kind: number, stamp: number, src: Uint8Array, start: number, end: number): boolean {
    const length = RECORD_HEADER + end - start;
    const size = (length + 7) & ~7;
    if (size > this.capacity || length < RECORD_HEADER) {
      throw new RangeError(`a record of ${end - start} bytes does not fit into a ring of ${this.capacity}`);
    }
    let offset = this.tail & this.mask;
    const contiguous = this.capacity - offset;
    if (size > contiguous) {
      if (!this.fits(contiguous)) return false;
      // The padding stays even when the record itself finds no room. Otherwise a record of more than half the
      // ring could wait forever in an empty one, for padding and record together to fit.
      this.words[offset >> 2] = contiguous;
      this.words[(offset >> 2) + 1] = PADDING;
      this.tail = (this.tail + contiguous) | 0;
      offset = 0;
    }
    if (!this.fits(size)) return false;
    const word = offset >> 2;
    this.words[word] = length;
    this.words[word + 1] = kind & 0xff;
    this.words[word + 2] = stamp;
    const whole = start === 0 && end === src.length;
    this.bytes.set(
      // Not src.subarray: on a Buffer that goes through the species constructor, for 10 ns more.
      whole ? src : new Uint8Array(src.buffer, src.byteOffset + start, end - start),
      offset + RECORD_HEADER,
    );
    this.tail = (this.tail + size) | 0;
    return true;
  }

  /** Shows the reader all that was written. False when there was nothing new. */
  publish(): boolean {
    if (this.tail === this.published) return false;
    this.published = this.tail;
    Atomics.store(this.control, TAIL, this.tail);
    return true;
  }

  /** A `write()` found no room, and the reader has made some since. */
  get roomReady(): boolean {
    return this.waits && Atomics.load(this.control, WANT) === 0;
  }

  /** As `roomReady`, but true only once for each time. */
  roomMade(): boolean {
    if (!this.roomReady) return false;
    this.waits = false;
    return true;
  }

  /** Bytes in use, with what is not published yet; as of now, not as of the copy. */
  used(): number {
    return (this.tail - Atomics.load(this.control, HEAD)) | 0;
  }

  private fits(size: number): boolean {
    const most = this.capacity - size;
    // Unsigned: a head that was scribbled over reads as a full ring, until the reader puts it right.
    if ((this.tail - this.head) >>> 0 <= most) return true;
    this.head = Atomics.load(this.control, HEAD);
    if ((this.tail - this.head) >>> 0 <= most) return true;
    // `want` before the second look at the head, the reader the other way round: one of both sees the other.
    Atomics.store(this.control, WANT, 1);
    this.head = Atomics.load(this.control, HEAD);
    if ((this.tail - this.head) >>> 0 <= most) return true;
    this.waits = true;
    // Full because somebody scribbled over the tail: the reader must see the right one to put its head right.
    if (Atomics.load(this.control, TAIL) !== this.published)
      Atomics.store(this.control, TAIL, this.published);
    return false;
  }
}

export interface RingSink {
  /** One record. `src` is the whole ring's memory, valid during the call only. */
  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void;
  /** There is room again, and the writer has been waiting for it. */
  onRoom(): void;
}

/** The reading end. One per ring and process incarnation; a new one continues behind the last handled record. */
export class RingReader {
  readonly capacity: number;
  /** How many earlier readers died with the first unread record in hand. */
  readonly crashes: number;
  /** How often what lay in the ring made no sense and everything up to the tail was skipped. */
  corrupt: number;
  private readonly control: Int32Array;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly mask: number;
  private head: number;

  /** `capacity`: a power of two, 64 B to 1 GiB. `offset`: a multiple of 8. Throws RangeError otherwise. */
  constructor(buffer: ArrayBuffer, offset: number, capacity: number) {
    checkRegion(buffer, offset, capacity);
    this.capacity = capacity;
    this.mask = capacity - 1;
    this.control = new Int32Array(buffer, offset, RING_CONTROL >> 2);
    this.words = new Int32Array(buffer, offset + RING_CONTROL, capacity >> 2);
    this.bytes = new Uint8Array(buffer, offset + RING_CONTROL, capacity);
    this.corrupt = 0;
    this.head = this.successorHead();
    this.crashes = this.control[TRIED_AT] === this.head ? this.control[TRIES] : 0;
  }

  /** Nothing published is unread. */
  get empty(): boolean {
    return Atomics.load(this.control, TAIL) === this.head;
  }

  /**
   * Hands over records until `limit` bytes are passed (at least one record). Returns the bytes passed, padding
   * included: 0 = nothing there. When `sink.onRecord` throws, the records before that one are given back to the
   * writer; this reader goes on behind it, a successor begins with it. Not to be called from inside the sink.
   */
  read(sink: RingSink, limit: number): number {
    const start = this.head;
    const tail = Atomics.load(this.control, TAIL);
    if (tail === start) {
      this.repairHead(sink);
      return 0;
    }
    const published = (tail - start) | 0;
    if (published < 0 || published > this.capacity || (published & 7) !== 0) {
      this.corrupt++;
      this.head = tail;
      this.giveBack(tail, sink);
      return 0;
    }
    const { control, words, bytes, mask, capacity } = this;
    const budget = Math.min(published, limit);
    let handled = start;
    try {
      while (((handled - start) | 0) < budget) {
        const offset = handled & mask;
        const word = offset >> 2;
        const length = words[word];
        const kind = words[word + 1] & 0xff;
        const unread = (tail - handled) | 0;
        const contiguous = capacity - offset;
        // All three are multiples of 8 but length: when it fits, its rounded size fits too.
        if (length > unread || length > contiguous || length < (kind === PADDING ? 8 : RECORD_HEADER)) {
          this.corrupt++;
          handled = tail;
          this.head = tail;
          break;
        }
        const next = (handled + ((length + 7) & ~7)) | 0;
        this.head = next;
        if (kind !== PADDING) {
          control[HAND] = handled | IN_HAND;
          sink.onRecord(kind, words[word + 2] >>> 0, bytes, offset + RECORD_HEADER, offset + length);
          control[HAND] = next;
        }
        handled = next;
      }
    } finally {
      this.giveBack(handled, sink);
    }
    return (handled - start) | 0;
  }

  private giveBack(handled: number, sink: RingSink): void {
    Atomics.store(this.control, HEAD, handled);
    if (Atomics.load(this.control, WANT) === 0) return;
    Atomics.store(this.control, WANT, 0);
    sink.onRoom();
  }

  /** A head that somebody scribbled over must not keep the writer waiting in front of an empty ring. */
  private repairHead(sink: RingSink): void {
    if (Atomics.load(this.control, HEAD) === this.head) return;
    this.giveBack(this.head, sink);
  }

  private successorHead(): number {
    const control = this.control;
    const base = Atomics.load(control, HEAD);
    const hand = Atomics.load(control, HAND);
    const at = hand & ~7;
    const done = (at - base) | 0;
    const believable = done >= 0 && done <= ((Atomics.load(control, TAIL) - base) | 0);
    const head = believable ? at : base;
    if (believable && (hand & IN_HAND) !== 0) {
      control[TRIES] = control[TRIED_AT] === head ? control[TRIES] + 1 : 1;
      control[TRIED_AT] = head;
    } else if (control[TRIED_AT] !== head) {
      control[TRIES] = 0;
    }
    // Taken out of the dead hand: a reader that dies before it gets here must not count as another crash.
    control[HAND] = head;
    Atomics.store(control, HEAD, head);
    return head;
  }
}
