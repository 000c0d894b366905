/** The one extension that a queue must read: the time to live of a frame that waits. */
import { Extension } from './extensions.js';
import { HEADER_SIZE, OFFSET_PAYLOAD_SIZE, OFFSET_TOPIC_LENGTH, OFFSET_TOTAL, readU32 } from './frame.js';

/** Milliseconds that the frame at `b[o…]` (already validated) may live; Infinity without the extension. */
export function readTimeToLive(b: Uint8Array, o: number): number {
  const end = o + readU32(b, o + OFFSET_TOTAL) - readU32(b, o + OFFSET_PAYLOAD_SIZE);
  let at = o + HEADER_SIZE + b[o + OFFSET_TOPIC_LENGTH];
  while (at + 3 <= end) {
    const size = b[at + 1] | (b[at + 2] << 8);
    if (b[at] === Extension.ttl && size === 4 && at + 7 <= end) return readU32(b, at + 3);
    at += 3 + size;
  }
  return Number.POSITIVE_INFINITY;
}
