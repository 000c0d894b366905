/**
 * Frames that wait while one connection ends and another begins bear what belongs to the old one: its topic ids,
 * its sender number, its reply address, the sequence numbers of its session. They are written anew, with the
 * topic spelled out, still unsealed.
 */

import { decodeTopic } from '../topics/topic.js';
import { BatchReader, Step } from '../wire/batch.js';
import { Extension, Extensions } from '../wire/extensions.js';
import { Flag, HEADER_SIZE, OFFSET_CHECKSUM, writeHeader } from '../wire/frame.js';
import { type OutgoingBatch, takeBatch } from './batch.js';
import type { OutgoingTopic } from './outgoing-topics.js';

export interface Rewriter {
  /** The sender number to bear. */
  readonly sender: number;
  /** Whether messages are numbered anew, in the order in which they wait. */
  readonly renumber: boolean;
  /** Microseconds since the Unix epoch: what outlived its time to live by then is dropped. */
  readonly now: number;
  /** The reply address to be replaced, and by what; null: none. */
  readonly oldReply: Uint8Array | null;
  readonly newReply: Uint8Array | null;
  /** What a topic id on these frames stands for. */
  textOf(id: number): string | null;
  topic(text: string): OutgoingTopic;
  /** Called for each frame that stays and that somebody awaits an answer to. */
  onKept(extensions: Extensions): void;
  /** Called for each that does not: too old, or too large for the new connection. */
  onDropped(reason: 'expired' | 'oversized'): void;
}

const ANY_SIZE = 0xffffffff;

/** The frames of `batches` that have not been sent, in new batches of `capacity` bytes, all but the last full. */
export function rewriteFrames(
  batches: readonly OutgoingBatch[],
  rewriter: Rewriter,
  capacity: number,
): OutgoingBatch[] {
  const reader = new BatchReader();
  const extensions = new Extensions();
  const made: OutgoingBatch[] = [];
  let target: OutgoingBatch | null = null;
  for (const batch of batches) {
    reader.open(batch.bytes, batch.sent, batch.used, ANY_SIZE);
    while (reader.next() === Step.frame) {
      const { bytes } = reader;
      if (reader.flags & Flag.extensions) {
        extensions.read(bytes, reader.extensionsStart, reader.payloadStart);
      } else extensions.clear();
      const ttl = extensions.ttl;
      if (ttl !== null && rewriter.now - reader.timestamp > ttl * 1000) {
        rewriter.onDropped('expired');
        continue;
      }
      const topic = topicOf(reader, rewriter);
      const reply = replaces(bytes, extensions, rewriter.oldReply) ? rewriter.newReply : null;
      const size = sizeOf(reader, extensions, topic, reply);
      if (size > capacity) {
        rewriter.onDropped('oversized');
        continue;
      }
      if (target === null || target.used + size > capacity) {
        target = takeBatch(capacity);
        made.push(target);
      }
      writeFrame(target, size, reader, extensions, topic, reply, rewriter);
      if (reader.flags & (Flag.wantsReply | Flag.assured)) rewriter.onKept(extensions);
    }
  }
  return made;
}

function topicOf(reader: BatchReader, rewriter: Rewriter): OutgoingTopic {
  const start = reader.topicStart;
  const text =
    reader.topicId === 0
      ? decodeTopic(reader.bytes, start, start + reader.topicLength)
      : rewriter.textOf(reader.topicId);
  // The SDK wrote these frames itself, and spells them out before an id's announcement is taken back.
  if (text === null) throw new RangeError(`topic id ${reader.topicId} has no text`);
  return rewriter.topic(text);
}

function replaces(bytes: Uint8Array, extensions: Extensions, old: Uint8Array | null): boolean {
  if (old === null || !extensions.has(Extension.replyTo)) return false;
  const start = extensions.startOf(Extension.replyTo);
  if (extensions.endOf(Extension.replyTo) - start !== old.length) return false;
  return old.every((byte, i) => bytes[start + i] === byte);
}

function sizeOf(
  reader: BatchReader,
  extensions: Extensions,
  topic: OutgoingTopic,
  reply: Uint8Array | null,
): number {
  const size = reader.end - reader.start - reader.topicLength + topic.bytes.length;
  if (reply === null) return size;
  return size + reply.length - (extensions.endOf(Extension.replyTo) - extensions.startOf(Extension.replyTo));
}

function writeFrame(
  target: OutgoingBatch,
  size: number,
  reader: BatchReader,
  extensions: Extensions,
  topic: OutgoingTopic,
  reply: Uint8Array | null,
  rewriter: Rewriter,
): void {
  const from = reader.bytes;
  const to = target.bytes;
  const o = target.used;
  writeHeader(
    target.view,
    o,
    reader.type,
    reader.flags,
    reader.lane,
    reader.encoding,
    size,
    reader.payloadSize,
    reader.timestamp,
    rewriter.renumber ? topic.next(reader.lane) : reader.sequence,
    0,
    topic.bytes.length,
    rewriter.sender,
  );
  let at = o + HEADER_SIZE;
  to.set(topic.bytes, at);
  at += topic.bytes.length;
  let rest = reader.extensionsStart;
  if (reply !== null) {
    const start = extensions.startOf(Extension.replyTo);
    // Up to the value's size field, which stands in the two bytes before it.
    to.set(from.subarray(rest, start), at);
    at += start - rest;
    to[at - 2] = reply.length;
    to[at - 1] = reply.length >>> 8;
    to.set(reply, at);
    at += reply.length;
    rest = extensions.endOf(Extension.replyTo);
  }
  to.set(from.subarray(rest, reader.end), at);
  target.view.setUint32(o + OFFSET_CHECKSUM, topic.seed, true);
  target.used = o + size;
}
