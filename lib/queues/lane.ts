/** A lane: a first-in first-out queue of whole frames, kept in chunks. Its owner keeps the bound. */
import { Flag, FrameType, OFFSET_FLAGS, OFFSET_TOTAL, OFFSET_TYPE, readU32 } from '../wire/frame.js';
import { type Chunk, ChunkPool } from './chunks.js';

export class Lane {
  head: Chunk | null;
  tail: Chunk | null;
  bytes: number;
  frames: number;
  /** Frames that expire are (or were, since the lane was last empty) inside. */
  expiring: boolean;
  /** Bytes that it may still send in this round. */
  deficit: number;
  readonly #pool: ChunkPool;

  constructor(pool: ChunkPool) {
    this.head = null;
    this.tail = null;
    this.bytes = 0;
    this.frames = 0;
    this.expiring = false;
    this.deficit = 0;
    this.#pool = pool;
  }

  /**
   * Copies the frames `src[start, end)` to the end. `frames`: how many of them are messages. `expires`: they bear a
   * time to live, and came to this node at `stamp` (milliseconds, monotonic).
   */
  append(src: Uint8Array, start: number, end: number, frames: number, expires: boolean, stamp: number): void {
    const size = end - start;
    let chunk = this.tail;
    if (chunk === null || chunk.room < size) {
      // A lane that already fills a chunk is busy: the next one may be larger.
      const fresh = this.#pool.take(size, chunk === null ? 0 : Math.min(2, chunk.sizeClass + 1));
      if (chunk === null) this.head = fresh;
      else chunk.next = fresh;
      this.tail = fresh;
      chunk = fresh;
    }
    if (expires) {
      this.expiring = true;
      if (chunk.marks === null) chunk.marks = [chunk.end, stamp];
      else if (chunk.marks[chunk.marks.length - 1] !== stamp) chunk.marks.push(chunk.end, stamp);
    }
    chunk.bytes.set(src.subarray(start, end), chunk.end);
    chunk.end += size;
    chunk.frames += frames;
    this.bytes += size;
    this.frames += frames;
  }

  /** Takes the first chunk out, whole. */
  shiftChunk(): Chunk | null {
    const chunk = this.head;
    if (chunk === null) return null;
    this.head = chunk.next;
    if (this.head === null) {
      this.tail = null;
      this.expiring = false;
    }
    chunk.next = null;
    this.bytes -= chunk.size;
    this.frames -= chunk.frames;
    return chunk;
  }

  /** The size of the first frame, 0 when the lane is empty. */
  peekSize(): number {
    const chunk = this.head;
    return chunk === null ? 0 : readU32(chunk.bytes, chunk.start + OFFSET_TOTAL);
  }

  /** When the first frame came, if it expires; 0 if it does not. */
  peekStamp(): number {
    const chunk = this.head;
    if (chunk === null || chunk.marks === null) return 0;
    if ((chunk.bytes[chunk.start + OFFSET_FLAGS] & Flag.expires) === 0) return 0;
    const marks = chunk.marks;
    while (marks.length >= 4 && marks[2] <= chunk.start) marks.splice(0, 2);
    return marks[1];
  }

  /** Drops the first frame. */
  skip(): void {
    const chunk = this.head;
    if (chunk === null) return;
    const size = readU32(chunk.bytes, chunk.start + OFFSET_TOTAL);
    const isMessage = countsAsMessage(chunk.bytes[chunk.start + OFFSET_TYPE]);
    chunk.start += size;
    this.bytes -= size;
    if (isMessage) {
      chunk.frames--;
      this.frames--;
    }
    if (chunk.start < chunk.end) return;
    this.head = chunk.next;
    if (this.head === null) {
      this.tail = null;
      this.expiring = false;
    }
    this.#pool.give(chunk);
  }

  clear(): void {
    for (let chunk = this.head; chunk !== null; ) {
      const next = chunk.next;
      this.#pool.give(chunk);
      chunk = next;
    }
    this.head = null;
    this.tail = null;
    this.bytes = 0;
    this.frames = 0;
    this.expiring = false;
  }
}

/** Stands for every lane in which nothing has waited yet: most connections never use most of theirs. Nothing is put into it. */
export const UNUSED_LANE = new Lane(new ChunkPool(0));

/** What comes from mailboxes is not counted: what is lost of it comes again. */
function countsAsMessage(type: number): boolean {
  return type === FrameType.publish || type === FrameType.past;
}
