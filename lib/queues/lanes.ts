/**
 * What waits for one connection: a control lane, always first, and the five lanes of messages behind it, drained by
 * deficit round robin (Shreedhar and Varghese, 1995), so that a backlog of one lane delays no more urgent one and
 * starves no less urgent one.
 */
import { LANE_COUNT, OFFSET_TOTAL, readU32 } from '../wire/frame.js';
import { readTimeToLive } from '../wire/ttl.js';
import type { Chunk, ChunkPool } from './chunks.js';
import { Lane, UNUSED_LANE } from './lane.js';

/**
 * Bytes that each lane may send per round. A round is 31 KiB, so every 64 KiB that leave a backlogged connection
 * hold about 2 KiB of background.
 */
const QUANTUM = [16 * 1024, 8 * 1024, 4 * 1024, 2 * 1024, 1024];

const NO_LANES: readonly Lane[] = Array.from({ length: LANE_COUNT }, () => UNUSED_LANE);

export interface LanesOwner {
  /** One frame that had waited past its time to live was dropped. */
  onExpired(bytes: Uint8Array, start: number, end: number, lane: number): void;
}

export class Lanes {
  control: Lane;
  lanes: readonly Lane[];
  /** Bytes and messages in the five lanes; the control lane is not counted. */
  bytes: number;
  frames: number;
  #turn: number;
  readonly #pool: ChunkPool;
  readonly #owner: LanesOwner;

  constructor(pool: ChunkPool, owner: LanesOwner) {
    this.control = UNUSED_LANE;
    this.lanes = NO_LANES;
    this.bytes = 0;
    this.frames = 0;
    this.#turn = 0;
    this.#pool = pool;
    this.#owner = owner;
  }

  get empty(): boolean {
    return this.bytes === 0 && this.control.bytes === 0;
  }

  /** Bytes that can be appended in one piece, at most. */
  get largest(): number {
    return this.#pool.largest;
  }

  append(
    lane: number,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    expires: boolean,
    stamp: number,
  ) {
    let queue = this.lanes[lane];
    if (queue === UNUSED_LANE) queue = this.#begin(lane);
    queue.append(src, start, end, frames, expires, stamp);
    this.bytes += end - start;
    this.frames += frames;
  }

  appendControl(src: Uint8Array): void {
    if (this.control === UNUSED_LANE) this.control = new Lane(this.#pool);
    this.control.append(src, 0, src.length, 0, false, 0);
  }

  /**
   * The next piece to send, of at most `budget` bytes, or null when nothing waits or nothing fits. The caller owns the chunk and
   * gives it back to the pool. `now`: milliseconds on the clock of `append`'s stamps.
   */
  take(budget: number, now: number): Chunk | null {
    if (this.control.bytes === 0) {
      const only = this.#onlyLane();
      if (only !== null && !only.expiring && only.head !== null && only.head.size <= budget) {
        const chunk = only.shiftChunk()!;
        this.bytes -= chunk.size;
        this.frames -= chunk.frames;
        return chunk;
      }
    }
    return this.#gather(Math.min(budget, this.#pool.largest), now);
  }

  /** Drops the oldest chunk of the least urgent lane that is less urgent than `lane`; null when there is none. */
  shed(lane: number): Chunk | null {
    for (let i = LANE_COUNT - 1; i > lane; i--) {
      const chunk = this.lanes[i].shiftChunk();
      if (chunk === null) continue;
      this.bytes -= chunk.size;
      this.frames -= chunk.frames;
      return chunk;
    }
    return null;
  }

  clear(): void {
    this.control.clear();
    for (const lane of this.lanes) lane.clear();
    this.bytes = 0;
    this.frames = 0;
  }

  #begin(lane: number): Lane {
    const begun = new Lane(this.#pool);
    this.lanes = this.lanes.with(lane, begun);
    return begun;
  }

  /** The lane that holds everything that waits, or null when several do, or none. */
  #onlyLane(): Lane | null {
    for (const lane of this.lanes) if (lane.bytes !== 0) return lane.bytes === this.bytes ? lane : null;
    return null;
  }

  #gather(budget: number, now: number): Chunk | null {
    const wanted = Math.min(budget, this.control.bytes + this.bytes);
    if (wanted === 0) return null;
    const out = this.#pool.take(wanted, 0);
    while (this.control.bytes !== 0 && this.control.peekSize() <= Math.min(budget - out.size, out.room))
      move(this.control, out);
    if (this.control.bytes === 0) this.#rounds(out, budget, now);
    if (out.size !== 0) return out;
    this.#pool.give(out);
    return null;
  }

  /** Rounds of the five lanes until the budget is full; the next call goes on where this one stopped. */
  #rounds(out: Chunk, budget: number, now: number): void {
    while (this.bytes !== 0) {
      const turn = this.#turn;
      const lane = this.lanes[turn];
      if (lane.bytes !== 0) lane.deficit += QUANTUM[turn];
      while (lane.bytes !== 0) {
        const size = lane.peekSize();
        if (lane.expiring && this.#expire(lane, turn, size, now)) continue;
        if (size > lane.deficit) break;
        if (size > budget - out.size || size > out.room) {
          // Its quantum was granted already: take it back, the lane's turn begins anew at the next call.
          lane.deficit -= QUANTUM[turn];
          return;
        }
        lane.deficit -= size;
        this.bytes -= size;
        const before = lane.frames;
        move(lane, out);
        this.frames -= before - lane.frames;
      }
      if (lane.bytes === 0) lane.deficit = 0;
      this.#turn = turn === LANE_COUNT - 1 ? 0 : turn + 1;
    }
  }

  #expire(lane: Lane, index: number, size: number, now: number): boolean {
    const stamp = lane.peekStamp();
    if (stamp === 0) return false;
    const chunk = lane.head!;
    // Signed: another worker may have read the clock later than this one, and the clock wraps.
    if (((now - stamp) | 0) < readTimeToLive(chunk.bytes, chunk.start)) return false;
    this.#owner.onExpired(chunk.bytes, chunk.start, chunk.start + size, index);
    const before = lane.frames;
    lane.skip();
    this.bytes -= size;
    this.frames -= before - lane.frames;
    return true;
  }
}

/** Moves the first frame of `lane` to the end of `out`, which has room for it. */
function move(lane: Lane, out: Chunk): void {
  const chunk = lane.head!;
  const end = chunk.start + readU32(chunk.bytes, chunk.start + OFFSET_TOTAL);
  out.bytes.set(chunk.bytes.subarray(chunk.start, end), out.end);
  out.end += end - chunk.start;
  const before = lane.frames;
  lane.skip();
  out.frames += before - lane.frames;
}
