/** Outgoing batches: the memory that frames are written into, and that a transport sends. */
import { DEFAULT_MAX_PAYLOAD, OFFSET_TOTAL, readU32, viewOf } from '../wire/frame.js';

/** Spare batches kept for all agents of the process together: 2 MiB at the most. */
const MAX_SPARE = 32;

const spare: OutgoingBatch[] = [];

export class OutgoingBatch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Frames fill `bytes[0, used)`; those before `sent` have been given to the transport. */
  used: number;
  sent: number;
  /** To be called once nobody reads the bytes any more. */
  readonly recycle: () => void;

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
    this.view = viewOf(this.bytes);
    this.used = 0;
    this.sent = 0;
    this.recycle = () => {
      if (spare.length < MAX_SPARE && this.bytes.length === DEFAULT_MAX_PAYLOAD) spare.push(this);
    };
  }

  /**
   * The end of the last whole frame that lies within `room` bytes from `sent` on; `sent` when there is none.
   */
  fitting(room: number): number {
    if (this.used - this.sent <= room) return this.used;
    let end = this.sent;
    for (;;) {
      const next = end + readU32(this.bytes, end + OFFSET_TOTAL);
      if (next - this.sent > room) return end;
      end = next;
    }
  }
}

/**
 * An empty batch of `capacity` bytes. The usual size comes out of the spare ones where possible: fresh memory
 * must be cleared, which costs as much as a dozen messages.
 */
export function takeBatch(capacity: number): OutgoingBatch {
  const batch = capacity === DEFAULT_MAX_PAYLOAD ? spare.pop() : undefined;
  if (batch === undefined) return new OutgoingBatch(capacity);
  batch.used = 0;
  batch.sent = 0;
  return batch;
}
