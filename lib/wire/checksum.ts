/**
 * CRC-32 (ISO-HDLC, the one of zip and Ethernet), eight bytes a step: "Slicing-by-8", Kounavis and Berry, 2005.
 * In plain JavaScript because a call out of it costs more than a small frame takes here.
 */
import { HEADER_SIZE, OFFSET_CHECKSUM, readU32, writeU32 } from './frame.js';

/** For each of 256 bytes, and 0 to 15 zero bytes behind it; the first eight serve here, all in checksum.wat. */
export const TABLE = new Int32Array(16 * 256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  TABLE[n] = c;
}
for (let n = 256; n < TABLE.length; n++) {
  const previous = TABLE[n - 256];
  TABLE[n] = (previous >>> 8) ^ TABLE[previous & 255];
}

/** CRC-32 of `b[start, end)`, continuing from `crc` (0 to begin). Returns an unsigned 32-bit integer. */
export function crc32(b: Uint8Array, start: number, end: number, crc: number): number {
  let c = ~crc;
  let i = start;
  for (const last = end - 8; i <= last; i += 8) {
    c ^= b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24);
    c =
      TABLE[1792 + (c & 255)] ^
      TABLE[1536 + ((c >>> 8) & 255)] ^
      TABLE[1280 + ((c >>> 16) & 255)] ^
      TABLE[1024 + (c >>> 24)] ^
      TABLE[768 + b[i + 4]] ^
      TABLE[512 + b[i + 5]] ^
      TABLE[256 + b[i + 6]] ^
      TABLE[b[i + 7]];
  }
  for (; i < end; i++) c = TABLE[(c ^ b[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

const SEPARATOR = Uint8Array.of(0);
const encoder = new TextEncoder();

/**
 * The seed of publish and deliver frames: CRC-32 of sender, a zero byte, topic, all as UTF-8 text. It ties the
 * checksum to the texts, so that it holds from end to end although the ids in the header change at a hop.
 * Cache it per pair. Every other frame type has seed 0.
 */
export function checksumSeed(sender: string, topic: string): number {
  return seedOn(senderSeed(sender), encoder.encode(topic));
}

/** The part of it that depends on the sender alone. */
export function senderSeed(sender: string): number {
  const s = encoder.encode(sender);
  return crc32(SEPARATOR, 0, 1, crc32(s, 0, s.length, 0));
}

/** The seed of this sender on `topic`, as UTF-8. */
export function seedOn(senderPart: number, topic: Uint8Array): number {
  return crc32(topic, 0, topic.length, senderPart);
}

/** Remembers the seed of the pair that was asked for last: neighbours mostly have the same. */
export class Seeds {
  #sender: string;
  #topic: string;
  #seed: number;

  constructor() {
    this.#sender = '';
    this.#topic = '';
    this.#seed = checksumSeed('', '');
  }

  of(sender: string, topic: string): number {
    if (sender !== this.#sender || topic !== this.#topic) {
      this.#seed = checksumSeed(sender, topic);
      this.#sender = sender;
      this.#topic = topic;
    }
    return this.#seed;
  }
}

/** The checksum that the frame at `b[o, o + total)` must bear: bytes 0-27 and 40-end, from `seed`. */
export function frameChecksum(b: Uint8Array, o: number, total: number, seed: number): number {
  return crc32(b, o + HEADER_SIZE, o + total, crc32(b, o, o + OFFSET_CHECKSUM, seed));
}

/** Computes and writes the checksum of a finished frame. */
export function sealFrame(b: Uint8Array, o: number, total: number, seed: number): void {
  writeU32(b, o + OFFSET_CHECKSUM, frameChecksum(b, o, total, seed));
}

export function checksumHolds(b: Uint8Array, o: number, total: number, seed: number): boolean {
  return readU32(b, o + OFFSET_CHECKSUM) === frameChecksum(b, o, total, seed);
}
