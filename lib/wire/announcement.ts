/** Topic and sender announcements: what an id in a header stands for on the path that they travel. */
import { sealFrame } from './checksum.js';
import { Encoding, FrameType, HEADER_SIZE, viewOf, writeHeader } from './frame.js';

const encoder = new TextEncoder();

/** The frame that says: topic id `id` stands for `topic` (UTF-8). */
export function topicAnnouncement(id: number, topic: Uint8Array): Uint8Array {
  const total = HEADER_SIZE + topic.length;
  const frame = new Uint8Array(total);
  writeHeader(viewOf(frame), 0, FrameType.topic, 0, 0, Encoding.bytes, total, 0, 0, 0, id, topic.length, 0);
  frame.set(topic, HEADER_SIZE);
  sealFrame(frame, 0, total, 0);
  return frame;
}

/** The frame that says: sender number `number` stands for the agent `agentId`. */
export function senderAnnouncement(number: number, agentId: string): Uint8Array {
  const text = encoder.encode(agentId);
  const total = HEADER_SIZE + text.length;
  const frame = new Uint8Array(total);
  writeHeader(
    viewOf(frame),
    0,
    FrameType.sender,
    0,
    0,
    Encoding.text,
    total,
    text.length,
    0,
    0,
    0,
    0,
    number,
  );
  frame.set(text, HEADER_SIZE);
  sealFrame(frame, 0, total, 0);
  return frame;
}
