/**
 * Walks the frames of one batch. It looks at nothing but the header, so it can be trusted with any bytes: every
 * offset that it hands out lies inside the batch. Reused for batch after batch; all state is in its fields.
 */
import {
  Flag,
  HEADER_SIZE,
  KNOWN_FLAGS,
  LANE_COUNT,
  LAST_FRAME_TYPE,
  MAGIC,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_SEQUENCE,
  OFFSET_TIMESTAMP,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  OFFSET_VERSION,
  readU32,
  readU64,
  VERSION,
  viewOf,
} from './frame.js';

export const Step = {
  end: 0,
  frame: 1,
  /** This frame cannot be taken, the batch goes on behind it. `error` says why. */
  refused: 2,
  /** The rest of the batch cannot be read. `error` says why. */
  broken: 3,
} as const;
export type Step = (typeof Step)[keyof typeof Step];

export type BatchError =
  | 'TRUNCATED'
  | 'BAD_MAGIC'
  | 'BAD_VERSION'
  | 'BAD_SIZE'
  | 'OVERSIZED'
  | 'BAD_TYPE'
  | 'BAD_FLAGS'
  | 'BAD_EXTENSION'
  | 'BAD_TOPIC';

const HIGHEST_ENCODING = 3;

/** Of `frames` whole frames from `start` on, how many in a row have one topic (or spell theirs out), and where these begin. */
export function* topicRuns(
  bytes: Uint8Array,
  start: number,
  frames: number,
): Generator<{ at: number; frames: number }> {
  let at = start;
  for (let left = frames; left > 0; ) {
    const begin = at;
    const topicId = readU32(bytes, at + OFFSET_TOPIC_ID);
    let count = 0;
    do {
      count++;
      at += readU32(bytes, at + OFFSET_TOTAL);
    } while (count < left && topicId !== 0 && readU32(bytes, at + OFFSET_TOPIC_ID) === topicId);
    left -= count;
    yield { at: begin, frames: count };
  }
}

export class BatchReader {
  bytes: Uint8Array;
  /** The current frame is `bytes[start, end)`. */
  start: number;
  end: number;
  type: number;
  flags: number;
  lane: number;
  encoding: number;
  payloadSize: number;
  topicId: number;
  topicLength: number;
  sender: number;
  error: BatchError | null;
  #view: DataView;
  #limit: number;
  #largest: number;

  constructor() {
    this.bytes = new Uint8Array(0);
    this.start = 0;
    this.end = 0;
    this.type = 0;
    this.flags = 0;
    this.lane = 0;
    this.encoding = 0;
    this.payloadSize = 0;
    this.topicId = 0;
    this.topicLength = 0;
    this.sender = 0;
    this.error = null;
    this.#view = viewOf(this.bytes);
    this.#limit = 0;
    this.#largest = 0;
  }

  /** Begins with the batch `bytes[start, end)`. `largest`: the most bytes that one frame may have. */
  open(bytes: Uint8Array, start: number, end: number, largest: number): void {
    // A ring's memory comes again and again, and a view costs as much as reading two frames.
    if (bytes !== this.bytes) {
      this.bytes = bytes;
      this.#view = viewOf(bytes);
    }
    this.start = start;
    this.end = start;
    this.error = null;
    this.#limit = end;
    this.#largest = largest;
  }

  next(): Step {
    const view = this.#view;
    const at = this.end;
    const left = this.#limit - at;
    if (left === 0) return Step.end;
    if (left < HEADER_SIZE) return this.#broken('TRUNCATED');
    if (view.getUint32(at, true) !== MAGIC) return this.#broken('BAD_MAGIC');
    const kinds = view.getUint32(at + OFFSET_VERSION, true);
    if ((kinds & 0xff) !== VERSION) return this.#broken('BAD_VERSION');
    const total = view.getUint32(at + OFFSET_TOTAL, true);
    const payloadSize = view.getUint32(at + OFFSET_PAYLOAD_SIZE, true);
    const origin = view.getUint32(at + OFFSET_TOPIC_LENGTH, true);
    const topicLength = origin & 0xff;
    // Both sizes are below 2^32, so their sum is exact in a double and cannot wrap.
    const known = HEADER_SIZE + topicLength + payloadSize;
    if (total < known) return this.#broken('BAD_SIZE');
    if (total > this.#largest) return this.#broken('OVERSIZED');
    if (total > left) return this.#broken('TRUNCATED');

    const type = (kinds >>> 8) & 0xff;
    const flags = (kinds >>> 16) & 0xff;
    const lane = (kinds >>> 24) & 7;
    const encoding = kinds >>> 27;
    this.start = at;
    this.end = at + total;
    this.type = type;
    this.flags = flags;
    this.lane = lane;
    this.encoding = encoding;
    this.payloadSize = payloadSize;
    this.topicLength = topicLength;
    this.topicId = view.getUint32(at + OFFSET_TOPIC_ID, true);
    this.sender = origin >>> 8;
    if ((flags & Flag.extensions) === 0) {
      if (total !== known) return this.#broken('BAD_SIZE');
    } else if (total === known) return this.#refused('BAD_EXTENSION');
    if (type === 0 || type > LAST_FRAME_TYPE) return this.#refused('BAD_TYPE');
    if (flags > KNOWN_FLAGS || lane >= LANE_COUNT || encoding > HIGHEST_ENCODING)
      return this.#refused('BAD_FLAGS');
    return Step.frame;
  }

  /** Fields that few readers need are read on demand. */
  get sequence(): number {
    return readU32(this.bytes, this.start + OFFSET_SEQUENCE);
  }

  get timestamp(): number {
    return readU64(this.bytes, this.start + OFFSET_TIMESTAMP);
  }

  get topicStart(): number {
    return this.start + HEADER_SIZE;
  }

  get extensionsStart(): number {
    return this.start + HEADER_SIZE + this.topicLength;
  }

  get payloadStart(): number {
    return this.end - this.payloadSize;
  }

  #refused(error: BatchError): Step {
    this.error = error;
    return Step.refused;
  }

  #broken(error: BatchError): Step {
    this.error = error;
    this.start = this.end;
    this.end = this.#limit;
    return Step.broken;
  }
}
