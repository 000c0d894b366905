/**
 * The frame: 40 bytes of header, then topic, extensions and payload. A binary WebSocket message is a batch,
 * one or more frames back to back. All integers are little-endian. PROTOCOL.md is the contract.
 *
 *  offset size
 *    0     4   magic "FLOW"
 *    4     1   version (1)
 *    5     1   type             FrameType
 *    6     1   flags            Flag
 *    7     1   lane (bits 0-2), payload encoding (bits 3-7)
 *    8     4   total size       header + topic + extensions + payload
 *   12     4   payload size
 *   16     8   timestamp        microseconds since the Unix epoch
 *   24     4   sequence         publish: per session, topic and lane; control frames: the reference that the answer repeats
 *   28     4   checksum         CRC-32 of bytes 0-27 and 40-end, see checksum.ts
 *   32     4   topic id         hop field; 0 = the topic is spelled out
 *   36     1   topic length
 *   37     3   sender number    hop field; 0 = the bus itself
 *   40         topic · extensions · payload
 */
export const HEADER_SIZE = 40;
/** "FLOW" read as a little-endian 32-bit integer. */
export const MAGIC = 0x574f4c46;
export const VERSION = 1;

export const OFFSET_VERSION = 4;
export const OFFSET_TYPE = 5;
export const OFFSET_FLAGS = 6;
export const OFFSET_LANE = 7;
export const OFFSET_TOTAL = 8;
export const OFFSET_PAYLOAD_SIZE = 12;
export const OFFSET_TIMESTAMP = 16;
export const OFFSET_SEQUENCE = 24;
export const OFFSET_CHECKSUM = 28;
export const OFFSET_TOPIC_ID = 32;
export const OFFSET_TOPIC_LENGTH = 36;
export const OFFSET_SENDER = 37;

/** The largest frame, and the largest batch, unless the broker's `maxPayload` says otherwise (bytes). */
export const DEFAULT_MAX_PAYLOAD = 64 * 1024;

export const FrameType = {
  hello: 1,
  welcome: 2,
  subscribe: 3,
  unsubscribe: 4,
  publish: 5,
  deliver: 6,
  ack: 7,
  nack: 8,
  credit: 9,
  ping: 10,
  pong: 11,
  error: 12,
  goaway: 13,
  topic: 14,
  sender: 15,
  query: 16,
  result: 17,
  gap: 18,
  consume: 19,
  consuming: 20,
  leave: 21,
  breaker: 22,
  pressure: 23,
  replay: 24,
  past: 25,
  replaying: 26,
  place: 27,
  hold: 28,
  everywhere: 29,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];
export const LAST_FRAME_TYPE = FrameType.everywhere;

export const Flag = {
  assured: 1,
  /** Extensions stand between topic and payload. */
  extensions: 2,
  compressed: 4,
  signed: 8,
  /** A time-to-live extension is present: whoever queues the frame must look at it. */
  expires: 16,
  /** A reply-to extension is present: the bus answers with an error when nobody takes the frame. */
  wantsReply: 32,
  /** Keep it for those who subscribe later, in place of what the topic had. */
  retain: 64,
} as const;
export const KNOWN_FLAGS = 127;

/** Lanes from most to least urgent; the number is what stands on the wire. */
export const LANES = ['critical', 'high', 'normal', 'low', 'background'] as const;
export type Priority = (typeof LANES)[number];
export const LANE_COUNT = 5;
export const LANE_NORMAL = 2;
/** Lanes below this number use a link's urgent ring. */
export const FIRST_BULK_LANE = 2;

export const Encoding = { bytes: 0, text: 1, json: 2, avro: 3 } as const;
export type Encoding = (typeof Encoding)[keyof typeof Encoding];

/** Bounds of a sender number (24 bits) and of a topic (bytes, levels). */
export const MAX_SENDER = 0xffffff;
export const MAX_TOPIC_BYTES = 255;
export const MAX_TOPIC_LEVELS = 16;

export function readU32(b: Uint8Array, o: number): number {
  return (b[o] | (b[o + 1] << 8) | (b[o + 2] << 16) | (b[o + 3] << 24)) >>> 0;
}

export function writeU32(b: Uint8Array, o: number, v: number): void {
  b[o] = v;
  b[o + 1] = v >>> 8;
  b[o + 2] = v >>> 16;
  b[o + 3] = v >>> 24;
}

export function readU24(b: Uint8Array, o: number): number {
  return b[o] | (b[o + 1] << 8) | (b[o + 2] << 16);
}

export function writeU24(b: Uint8Array, o: number, v: number): void {
  b[o] = v;
  b[o + 1] = v >>> 8;
  b[o + 2] = v >>> 16;
}

/** A 64-bit unsigned value as a double: exact up to 2^53, which as microseconds lasts until the year 2255. */
export function readU64(b: Uint8Array, o: number): number {
  return readU32(b, o + 4) * 0x1_0000_0000 + readU32(b, o);
}

export function writeU64(b: Uint8Array, o: number, v: number): void {
  const high = Math.floor(v / 0x1_0000_0000);
  writeU32(b, o, v - high * 0x1_0000_0000);
  writeU32(b, o + 4, high);
}

/** Below this size a loop costs less than the view that a call needs. */
const SMALL = 256;

/** Copies `from[start, end)` to `to[at…]`. */
export function copyBytes(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > SMALL) to.set(from.subarray(start, end), at);
  else for (let i = start, o = at; i < end; i++, o++) to[o] = from[i];
}

/** The same bytes as words, whatever their alignment: one store or load of four bytes instead of four of one. */
export function viewOf(b: Uint8Array): DataView {
  return new DataView(b.buffer, b.byteOffset, b.byteLength);
}

/**
 * Writes a header at `o`; the checksum is left zero for `sealFrame`.
 * Sizes are in bytes; the caller has checked that `HEADER_SIZE + topic + extensions + payload` fits.
 */
export function writeHeader(
  view: DataView,
  o: number,
  type: number,
  flags: number,
  lane: number,
  encoding: number,
  total: number,
  payloadSize: number,
  timestamp: number,
  sequence: number,
  topicId: number,
  topicLength: number,
  sender: number,
): void {
  view.setUint32(o, MAGIC, true);
  view.setUint32(
    o + OFFSET_VERSION,
    VERSION | (type << 8) | (flags << 16) | ((lane | (encoding << 3)) << 24),
    true,
  );
  view.setUint32(o + OFFSET_TOTAL, total, true);
  view.setUint32(o + OFFSET_PAYLOAD_SIZE, payloadSize, true);
  const high = Math.floor(timestamp / 0x1_0000_0000);
  view.setUint32(o + OFFSET_TIMESTAMP, timestamp - high * 0x1_0000_0000, true);
  view.setUint32(o + OFFSET_TIMESTAMP + 4, high, true);
  view.setUint32(o + OFFSET_SEQUENCE, sequence, true);
  view.setUint32(o + OFFSET_CHECKSUM, 0, true);
  view.setUint32(o + OFFSET_TOPIC_ID, topicId, true);
  view.setUint32(o + OFFSET_TOPIC_LENGTH, topicLength | (sender << 8), true);
}
