/**
 * What stands on the stream between two nodes: frames back to back, little-endian.
 *
 *  offset size
 *    0     1   type
 *    1     3   length of what follows the header
 *    4     6   number: of a batch, from 1 on each link; of the last batch that came (ack); of a ping, and of its pong; otherwise 0
 *   10         greeting: Avro (schemas/greeting.avsc) · batch: as it was handed over · directory: a message (codec.ts) · refusal: an error code
 *
 * A greeting is the first frame of either side, and stands nowhere else.
 */
import { FlowbusError } from '../../lib/errors.js';
import { MAX_NODE_BATCH } from '../../lib/mesh.js';

export const FRAME_HEADER = 10;

export const FrameType = {
  greeting: 0,
  batch: 1,
  ack: 2,
  directory: 3,
  ping: 4,
  pong: 5,
  refusal: 6,
} as const;

/** The largest message of the directory: a digest of 4,096 nodes with names of 255 bytes is 1.2 MiB. */
export const MAX_DIRECTORY_MESSAGE = 2 << 20;
const MAX_GREETING = 1024;
const MAX_REFUSAL = 64;

/** Of what follows the header, by type. */
const MAX_LENGTH: readonly number[] = [
  MAX_GREETING,
  MAX_NODE_BATCH,
  0,
  MAX_DIRECTORY_MESSAGE,
  0,
  0,
  MAX_REFUSAL,
];
const NONE = new Uint8Array(0);

export function writeFrameHeader(
  dst: Buffer,
  at: number,
  type: number,
  length: number,
  number: number,
): void {
  dst[at] = type;
  dst.writeUIntLE(length, at + 1, 3);
  dst.writeUIntLE(number, at + 4, 6);
}

/** A frame of its own; batches are framed where they are kept (outgoing.ts). */
export function frameOf(type: number, number: number, bytes: Uint8Array = NONE): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER + bytes.length);
  writeFrameHeader(frame, 0, type, bytes.length, number);
  frame.set(bytes, FRAME_HEADER);
  return frame;
}

export interface FrameReceiver {
  /** `bytes` are valid during the call only. False: no more frames of this stream, please. */
  onFrame(type: number, number: number, bytes: Uint8Array): boolean;
}

/** Finds the frames in a stream, however it is cut. A frame that lies in one piece is not copied. */
export class FrameReader {
  readonly #receiver: FrameReceiver;
  readonly #header: Buffer;
  #headerFilled: number;
  /** Of the frame that has begun: it is put together here, when it comes in pieces. Grows to the largest that came. */
  #body: Buffer;
  #bodyFilled: number;
  #length: number;
  #open: boolean;

  constructor(receiver: FrameReceiver) {
    this.#receiver = receiver;
    this.#header = Buffer.alloc(FRAME_HEADER);
    this.#headerFilled = 0;
    this.#body = Buffer.alloc(0);
    this.#bodyFilled = 0;
    this.#length = 0;
    this.#open = true;
  }

  /** Throws BAD_CONTROL when these are no frames. */
  read(chunk: Uint8Array): void {
    let at = 0;
    while (this.#open) {
      const missing = FRAME_HEADER - this.#headerFilled;
      if (missing > 0) {
        const taken = Math.min(missing, chunk.length - at);
        this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled);
        this.#headerFilled += taken;
        at += taken;
        if (taken < missing) return;
        this.#length = this.#checkedLength();
      }
      const rest = this.#length - this.#bodyFilled;
      if (this.#bodyFilled === 0 && chunk.length - at >= rest) {
        this.#deliver(chunk.subarray(at, at + rest));
        at += rest;
        continue;
      }
      const taken = Math.min(rest, chunk.length - at);
      if (this.#body.length < this.#length) this.#grow();
      this.#body.set(chunk.subarray(at, at + taken), this.#bodyFilled);
      this.#bodyFilled += taken;
      at += taken;
      if (taken < rest) return;
      this.#deliver(this.#body.subarray(0, this.#length));
    }
  }

  #deliver(bytes: Uint8Array): void {
    this.#headerFilled = 0;
    this.#bodyFilled = 0;
    this.#open = this.#receiver.onFrame(this.#header[0], this.#header.readUIntLE(4, 6), bytes);
  }

  #checkedLength(): number {
    const type = this.#header[0];
    const length = this.#header.readUIntLE(1, 3);
    if (type >= MAX_LENGTH.length)
      throw new FlowbusError(
        'BAD_CONTROL',
        `A frame of a node link of the type ${type}, which is not known.`,
      );
    if (length > MAX_LENGTH[type])
      throw new FlowbusError(
        'BAD_CONTROL',
        `A frame of a node link of ${length} bytes, where ${MAX_LENGTH[type]} are allowed.`,
      );
    return length;
  }

  #grow(): void {
    const body = Buffer.allocUnsafeSlow(this.#length);
    body.set(this.#body.subarray(0, this.#bodyFilled));
    this.#body = body;
  }
}
