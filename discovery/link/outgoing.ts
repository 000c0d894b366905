/**
 * The batches that one node has for another, until it knows that they have arrived. Each has a number, from 1:
 *
 *   acknowledged …│ gone, at most WINDOW bytes │ unsent      │
 *                 └ first kept                 └ next to go  └ appended here
 *
 * When the stream breaks, what has gone is unsent again but for what the other side says it has (rewind), so nothing is lost.
 */
import { MAX_NODE_BATCH, MAX_NODE_UNSENT } from '../../lib/mesh.js';
import { FRAME_HEADER, FrameType, writeFrameHeader } from './frame.js';

/**
 * Bytes that may be on their way without an acknowledgement. So much a second and round trip: 40 MB/s over 100 ms; and so much is
 * in front of an urgent message when the other side stops reading.
 */
export const WINDOW = 4 << 20;
/** Batches that go together in one write, since a write costs the same whatever its size: one Noise message, less its tag and yamux' header. */
const WRITE_BYTES = 65_000;
const NONE = Buffer.alloc(0);

export class Outgoing {
  /** Frames, oldest first: from `#first` on they are kept, from `#next` on they are unsent. Those before `#first` have been acknowledged. */
  #frames: Buffer[];
  #first: number;
  #next: number;
  /** Of the frame at `#first`. */
  #number: number;
  /** Bytes of batches, without headers. */
  unsent: number;
  gone: number;

  constructor() {
    this.#frames = [];
    this.#first = 0;
    this.#next = 0;
    this.#number = 1;
    this.unsent = 0;
    this.gone = 0;
  }

  /** The number of the last batch that has gone; 0: none. */
  get sent(): number {
    return this.#number + (this.#next - this.#first) - 1;
  }

  /** Copies a batch. Throws RangeError when it is too large, or too much is unsent. */
  append(src: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length > MAX_NODE_BATCH)
      throw new RangeError(`A batch has ${MAX_NODE_BATCH} bytes at most, not ${length}.`);
    if (this.unsent + length > MAX_NODE_UNSENT)
      throw new RangeError(`At most ${MAX_NODE_UNSENT} bytes may wait on a link: look at \`unsent\` first.`);
    const frame = Buffer.allocUnsafe(FRAME_HEADER + length);
    writeFrameHeader(frame, 0, FrameType.batch, length, this.#number + (this.#frames.length - this.#first));
    frame.set(src.subarray(start, end), FRAME_HEADER);
    this.#frames.push(frame);
    this.unsent += length;
  }

  /** The frames to be written next, and from now on gone; null: there are none, or the window is full. Whoever gets them leaves them as they are. */
  take(): Uint8Array | null {
    const begin = this.#next;
    let bytes = 0;
    while (this.#next < this.#frames.length && this.gone < WINDOW) {
      const frame = this.#frames[this.#next];
      if (bytes > 0 && bytes + frame.length > WRITE_BYTES) break;
      bytes += frame.length;
      this.#next++;
      this.unsent -= frame.length - FRAME_HEADER;
      this.gone += frame.length - FRAME_HEADER;
    }
    const count = this.#next - begin;
    if (count === 0) return null;
    return count === 1 ? this.#frames[begin] : Buffer.concat(this.#frames.slice(begin, this.#next), bytes);
  }

  /** The other side has everything up to `number`. False: it cannot have it, since it has not gone. */
  acknowledge(number: number): boolean {
    if (number > this.sent) return false;
    while (this.#number <= number) {
      this.gone -= this.#frames[this.#first].length - FRAME_HEADER;
      this.#frames[this.#first] = NONE;
      this.#first++;
      this.#number++;
    }
    // Not at every acknowledgement, so that the rest is moved seldom.
    if (this.#first === this.#frames.length || this.#first >= 1024) {
      this.#frames = this.#frames.slice(this.#first);
      this.#next -= this.#first;
      this.#first = 0;
    }
    return true;
  }

  /** A new stream: the other side has everything up to `number`, and what is behind that goes again. False as with acknowledge. */
  rewind(number: number): boolean {
    if (!this.acknowledge(number)) return false;
    this.unsent += this.gone;
    this.gone = 0;
    this.#next = this.#first;
    return true;
  }

  /** The batches that were not acknowledged, oldest first. */
  kept(): Uint8Array[] {
    return this.#frames.slice(this.#first).map((frame) => frame.subarray(FRAME_HEADER));
  }
}
