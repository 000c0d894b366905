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
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_SENDER,
  OFFSET_SEQUENCE,
  OFFSET_TIMESTAMP,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  OFFSET_TYPE,
  OFFSET_VERSION,
  readU24,
  readU32,
  readU64,
  VERSION,
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
    this.#limit = 0;
    this.#largest = 0;
  }

  /** Begins with the batch `bytes[start, end)`. `largest`: the most bytes that one frame may have. */
  open(bytes: Uint8Array, start: number, end: number, largest: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = start;
    this.error = null;
    this.#limit = end;
    this.#largest = largest;
  }

  next(): Step {
    const b = this.bytes;
    const at = this.end;
    const left = this.#limit - at;
    if (left === 0) return Step.end;
    if (left < HEADER_SIZE) return this.#broken('TRUNCATED');
    if (readU32(b, at) !== MAGIC) return this.#broken('BAD_MAGIC');
    if (b[at + OFFSET_VERSION] !== VERSION) return this.#broken('BAD_VERSION');
    const total = readU32(b, at + OFFSET_TOTAL);
    const payloadSize = readU32(b, at + OFFSET_PAYLOAD_SIZE);
    const topicLength = b[at + OFFSET_TOPIC_LENGTH];
    // Both sizes are below 2^32, so their sum is exact in a double and cannot wrap.
    const known = HEADER_SIZE + topicLength + payloadSize;
    if (total < known) return this.#broken('BAD_SIZE');
    if (total > this.#largest) return this.#broken('OVERSIZED');
    if (total > left) return this.#broken('TRUNCATED');

    const flags = b[at + OFFSET_FLAGS];
    const laneByte = b[at + OFFSET_LANE];
    this.start = at;
    this.end = at + total;
    this.type = b[at + OFFSET_TYPE];
    this.flags = flags;
    this.lane = laneByte & 7;
    this.encoding = laneByte >>> 3;
    this.payloadSize = payloadSize;
    this.topicLength = topicLength;
    this.topicId = readU32(b, at + OFFSET_TOPIC_ID);
    this.sender = readU24(b, at + OFFSET_SENDER);
    if ((flags & Flag.extensions) === 0) {
      if (total !== known) return this.#broken('BAD_SIZE');
    } else if (total === known) return this.#refused('BAD_EXTENSION');
    if (this.type === 0 || this.type > LAST_FRAME_TYPE) return this.#refused('BAD_TYPE');
    if (flags > KNOWN_FLAGS || this.lane >= LANE_COUNT || this.encoding > HIGHEST_ENCODING)
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
