/** Frames as no encoder would make them. */
import { avroControl } from '../../lib/wire/avro.js';
import { sealFrame } from '../../lib/wire/checksum.js';
import type { Hello } from '../../lib/wire/control.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  OFFSET_FLAGS,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  readU32,
  writeU32,
} from '../../lib/wire/frame.js';
import { controlFrame, encodeControl } from '../../lib/wire/writer.js';

export const HELLO: Hello = {
  agentId: 'attacker',
  agentType: 'agent',
  capabilities: [],
  subscriptions: [],
  priority: 2,
  heartbeatInterval: 0,
  metadata: '{}',
  token: null,
  resume: null,
};

/** A hello frame, a good one unless `fields` are out of its limits, which the encoder refuses: see `rawHello`. */
export function helloFrame(fields: Partial<Hello> = {}): Uint8Array {
  return encodeControl(avroControl, 'hello', 1, { ...HELLO, ...fields });
}

/** A hello in JSON with fields of any kind. */
export function rawHello(fields: object): Uint8Array {
  return jsonFrame(FrameType.hello, JSON.stringify({ agentId: 'attacker', ...fields }));
}

/** A control frame whose payload claims to be JSON. */
export function jsonFrame(type: FrameType, text: string): Uint8Array {
  return controlFrame(type, 1, Encoding.json, Buffer.from(text));
}

export function u32(value: number): [number, number, number, number] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

/** A copy with other bytes at `offset`, the checksum as it was. */
export function changed(frame: Uint8Array, offset: number, ...bytes: number[]): Uint8Array {
  const copy = frame.slice();
  copy.set(bytes, offset);
  return copy;
}

/** A copy of a control frame with other bytes at `offset`, and the checksum of those. */
export function changedControl(frame: Uint8Array, offset: number, ...bytes: number[]): Uint8Array {
  const copy = changed(frame, offset, ...bytes);
  sealFrame(copy, 0, copy.length, 0);
  return copy;
}

/** One extension as it stands in a frame; `size` is what it claims. */
export function extension(type: number, value: Uint8Array | string, size?: number): Uint8Array {
  const bytes = Buffer.from(value);
  const claimed = size ?? bytes.length;
  return Buffer.concat([Buffer.from([type, claimed & 255, claimed >>> 8]), bytes]);
}

/** A copy of a publish frame without extensions, with these bytes in their place. */
export function withExtensions(frame: Uint8Array, bytes: Uint8Array, flags = 0): Uint8Array {
  const at = HEADER_SIZE + frame[OFFSET_TOPIC_LENGTH];
  const copy = Buffer.concat([frame.subarray(0, at), bytes, frame.subarray(at)]);
  writeU32(copy, OFFSET_TOTAL, readU32(frame, OFFSET_TOTAL) + bytes.length);
  copy[OFFSET_FLAGS] |= Flag.extensions | flags;
  return copy;
}

/** A copy of a publish frame with other bytes as its topic, at most 255, and perhaps a topic id. */
export function withTopic(frame: Uint8Array, topic: Uint8Array | string, id = 0): Uint8Array {
  const before = frame[OFFSET_TOPIC_LENGTH];
  const bytes = Buffer.from(topic);
  const copy = Buffer.concat([frame.subarray(0, HEADER_SIZE), bytes, frame.subarray(HEADER_SIZE + before)]);
  writeU32(copy, OFFSET_TOTAL, readU32(frame, OFFSET_TOTAL) - before + bytes.length);
  writeU32(copy, OFFSET_TOPIC_ID, id);
  copy[OFFSET_TOPIC_LENGTH] = bytes.length;
  return copy;
}
