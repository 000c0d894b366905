/**
 * What goes to and fro between a mailbox and its consumers: the deliver frame, which has a message inside, and acks.
 * PROTOCOL.md has the contract. No Node built-ins here: browsers load it.
 *
 *   deliver  0 mailbox (u32) · 4 offset (u64) · 12 attempt (u16) · 14 flags (1: may be a repeat) · 15 size of the sender ·
 *            16 lease (u32, ms) · 20 size of the topic (0: in the frame) · 21 zero · 24 sender · topic · the publish frame
 */

import { sealFrame } from './checksum.js';
import { Extension, endOfExtension, findExtension } from './extensions.js';
import {
  copyBytes,
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  OFFSET_FLAGS,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_TOPIC_LENGTH,
  readU32,
  readU64,
  writeHeader,
  writeU32,
  writeU64,
} from './frame.js';
import { type Retry, readRetry } from './retry.js';
import { LastText, readUtf8, utf8Size, writeUtf8 } from './text.js';

export const DELIVERY_HEADER = 24;
/** What a deliver frame has beside the message: assured messages are that much smaller than maxPayload. */
export const DELIVERY_MARGIN = 512;
/** One run of offsets in an ack frame. */
export const ACK_SIZE = 16;
/** Before the reason in a nack frame. */
export const NACK_HEADER = 12;
export const MAX_NACK_REASON = 1024;
const REPEATED = 1;
/** Reasons are for people: what is no UTF-8 in them becomes U+FFFD. */
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/** Writes a deliver frame at `o` of `b`, of which `view` is a view, around the publish frame `src[start, end)`; returns where it ends. */
export function writeDelivery(
  b: Uint8Array,
  view: DataView,
  o: number,
  lane: number,
  mailbox: number,
  offset: number,
  attempt: number,
  repeated: boolean,
  lease: number,
  from: string,
  topic: string,
  src: Uint8Array,
  start: number,
  end: number,
): number {
  const p = o + HEADER_SIZE;
  let at = writeUtf8(b, p + DELIVERY_HEADER, from);
  const fromSize = at - p - DELIVERY_HEADER;
  const topicStart = at;
  if (topic !== '') at = writeUtf8(b, at, topic);
  const topicSize = at - topicStart;
  const messageStart = at;
  copyBytes(src, start, end, b, at);
  at += end - start;
  writeHeader(view, o, FrameType.deliver, 0, lane, Encoding.bytes, at - o, at - p, 0, 0, 0, 0, 0);
  writeU32(b, p, mailbox);
  writeU64(b, p + 4, offset);
  b[p + 12] = attempt;
  b[p + 13] = attempt >>> 8;
  b[p + 14] = repeated ? REPEATED : 0;
  b[p + 15] = fromSize;
  writeU32(b, p + 16, lease);
  b[p + 20] = topicSize;
  b[p + 21] = 0;
  b[p + 22] = 0;
  b[p + 23] = 0;
  // The message has a checksum of its own.
  sealFrame(b, o, messageStart - o, 0);
  return at;
}

/** The ordering key of the publish frame `b[start, end)`, which was checked before; '' without. */
export function keyOfFrame(b: Uint8Array, start: number, end: number): string {
  const key = find(b, start, end, Extension.key);
  return key < 0 ? '' : readUtf8(b, key, endOfExtension(b, key));
}

/** Milliseconds before which the publish frame `b[start, end)`, which was checked before, must not be delivered; 0 without. */
export function delayOfFrame(b: Uint8Array, start: number, end: number): number {
  const delay = find(b, start, end, Extension.delay);
  return delay < 0 ? 0 : readU32(b, delay);
}

/** Where the message id of the publish frame `b[start, end)` begins, which was checked before; -1 without. See `endOfExtension`. */
export function idOfFrame(b: Uint8Array, start: number, end: number): number {
  return find(b, start, end, Extension.messageId);
}

/** What the publish frame `b[start, end)`, which was checked before, says about being tried again; null: nothing. */
export function retryOfFrame(b: Uint8Array, start: number, end: number): Retry | null {
  const value = find(b, start, end, Extension.retry);
  return value < 0 ? null : readRetry(b, value);
}

function find(b: Uint8Array, start: number, end: number, type: Extension): number {
  if ((b[start + OFFSET_FLAGS] & Flag.extensions) === 0) return -1;
  const extensions = start + HEADER_SIZE + b[start + OFFSET_TOPIC_LENGTH];
  return findExtension(b, extensions, end - readU32(b, start + OFFSET_PAYLOAD_SIZE), type);
}

/** What stands before the message in one deliver frame after the other. */
export class DeliveryReader {
  mailbox: number;
  offset: number;
  /** From 1 on. */
  attempt: number;
  /** Somebody may have got it before. */
  repeated: boolean;
  lease: number;
  from: string;
  /** '' when the frame spells it out. */
  topic: string;
  /** The publish frame begins here, and ends where the deliver frame ends. */
  start: number;
  readonly #from: LastText;
  readonly #topic: LastText;

  constructor() {
    this.mailbox = 0;
    this.offset = 0;
    this.attempt = 0;
    this.repeated = false;
    this.lease = 0;
    this.from = '';
    this.topic = '';
    this.start = 0;
    this.#from = new LastText();
    this.#topic = new LastText();
  }

  /** Reads the payload `b[start, end)` of a deliver frame; false when it is none. */
  read(b: Uint8Array, start: number, end: number): boolean {
    if (end - start < DELIVERY_HEADER + HEADER_SIZE) return false;
    const from = start + DELIVERY_HEADER;
    const topic = from + b[start + 15];
    const frame = topic + b[start + 20];
    if (frame + HEADER_SIZE > end) return false;
    const fromText = this.#from.read(b, from, topic);
    const topicText = topic === frame ? '' : this.#topic.read(b, topic, frame);
    if (fromText === null || topicText === null) return false;
    this.mailbox = readU32(b, start);
    this.offset = readU64(b, start + 4);
    this.attempt = b[start + 12] | (b[start + 13] << 8);
    this.repeated = isRepeated(b, start);
    this.lease = readU32(b, start + 16);
    this.from = fromText;
    this.topic = topicText;
    this.start = frame;
    return true;
  }
}

/** The offset that the payload of a deliver frame at `o` bears. */
export function offsetOf(b: Uint8Array, o: number): number {
  return readU64(b, o + 4);
}

/** Whether the payload of a deliver frame at `o` says that somebody may have got the message before. */
export function isRepeated(b: Uint8Array, o: number): boolean {
  return (b[o + 14] & REPEATED) !== 0;
}

/** Writes one run of an ack: `count` messages of a mailbox from `offset` on. */
export function writeAck(b: Uint8Array, o: number, mailbox: number, offset: number, count: number): void {
  writeU32(b, o, mailbox);
  writeU64(b, o + 4, offset);
  writeU32(b, o + 12, count);
}

/** The payload of a nack frame. A reason beyond its bound is cut off. */
export function nackPayload(mailbox: number, offset: number, reason: string): Uint8Array {
  let text = reason;
  while (utf8Size(text) > MAX_NACK_REASON) text = text.slice(0, Math.floor(text.length / 2));
  const b = new Uint8Array(NACK_HEADER + Math.max(0, utf8Size(text)));
  writeU32(b, 0, mailbox);
  writeU64(b, 4, offset);
  if (b.length > NACK_HEADER) writeUtf8(b, NACK_HEADER, text);
  return b;
}

/** Why, out of the payload `b[start, end)` of a nack frame, as one line: no control characters, and within its bound. */
export function nackReason(b: Uint8Array, start: number, end: number): string {
  const from = start + NACK_HEADER;
  const text = lenient.decode(b.subarray(from, Math.min(end, from + MAX_NACK_REASON)));
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ');
}
