/**
 * Chunks: the pieces of memory that frames wait in on their way to a socket. A chunk is handed to the socket as it is,
 * so it is filled once and comes back to the pool when the write is done.
 */

/** Left free at the front of every chunk: the longest header that a server puts before a WebSocket message. */
export const HEADROOM = 10;

/** One piece of a lane: whole frames, back to back, in `bytes[start, end)`. */
export class Chunk {
  readonly bytes: Buffer;
  start: number;
  end: number;
  /** Publish frames inside; deliveries from mailboxes, announcements and other control frames are not counted. */
  frames: number;
  /**
   * Arrival times of expiring frames, as pairs (offset, milliseconds): a frame came at the time of the last mark at
   * or before its offset. Empty unless a frame that expires is inside. At most one pair a millisecond.
   */
  marks: number[] | null;
  readonly sizeClass: number;
  next: Chunk | null;

  constructor(bytes: Buffer, sizeClass: number) {
    this.bytes = bytes;
    this.start = HEADROOM;
    this.end = HEADROOM;
    this.frames = 0;
    this.marks = null;
    this.sizeClass = sizeClass;
    this.next = null;
  }

  get size(): number {
    return this.end - this.start;
  }

  get room(): number {
    return this.bytes.length - this.end;
  }
}

/** Idle connections hold no chunk, quiet ones a small one: 10,000 of them hit by one broadcast take 20 MB, not 640. */
const SMALL = 2 * 1024;
const MEDIUM = 16 * 1024;
/** Free chunks kept for reuse, per size class: 2 MiB + 4 MiB + 16 MiB at the most. */
const KEPT = [1024, 256, 256];

export class ChunkPool {
  readonly #sizes: number[];
  readonly #free: Chunk[][];

  /** `largest`: bytes of the largest chunk; nothing longer can be stored in one piece. */
  constructor(largest: number) {
    this.#sizes = [Math.min(SMALL, largest), Math.min(MEDIUM, largest), largest];
    this.#free = [[], [], []];
  }

  get largest(): number {
    return this.#sizes[2];
  }

  /** A chunk with room for `atLeast` bytes, of size class `wanted` (0 to 2) or above. */
  take(atLeast: number, wanted: number): Chunk {
    let sizeClass = wanted;
    while (sizeClass < 2 && this.#sizes[sizeClass] < atLeast) sizeClass++;
    if (atLeast > this.#sizes[sizeClass]) throw new RangeError(`${atLeast} bytes do not fit a chunk`);
    const chunk = this.#free[sizeClass].pop();
    return chunk ?? new Chunk(Buffer.allocUnsafeSlow(HEADROOM + this.#sizes[sizeClass]), sizeClass);
  }

  /** Nobody may look at the chunk's bytes any more. */
  give(chunk: Chunk): void {
    const free = this.#free[chunk.sizeClass];
    if (free.length >= KEPT[chunk.sizeClass]) return;
    chunk.start = HEADROOM;
    chunk.end = HEADROOM;
    chunk.frames = 0;
    chunk.marks = null;
    chunk.next = null;
    free.push(chunk);
  }
}
