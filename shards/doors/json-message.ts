/** A delivered frame as the JSON object that the text door and event streams show. */
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { DeliveryReader } from '../../lib/wire/delivery.js';
import { Extensions } from '../../lib/wire/extensions.js';
import { Flag, LANES } from '../../lib/wire/frame.js';
import { dataOf, type JsonAnswer } from '../../lib/wire/json.js';
import { type Past, PastKind, readPast } from '../../lib/wire/past.js';
import { readUtf8 } from '../../lib/wire/text.js';
import type { Exchange } from '../exchange.js';

export type JsonMessageOut = Extract<JsonAnswer, { op: 'message' }>;

const extensions = new Extensions();
/** For the message inside a deliver or a past frame. */
const inner = new BatchReader();
const delivery = new DeliveryReader();

/** The message in the deliver frame that `reader` stands on; null when it is none. */
export function deliveredOf(reader: BatchReader): JsonMessageOut | null {
  const { bytes, payloadStart, end } = reader;
  if (!delivery.read(bytes, payloadStart, end)) return null;
  inner.open(bytes, delivery.start, end, end - delivery.start);
  if (inner.next() !== Step.frame) return null;
  const topic =
    delivery.topic === '' ? readUtf8(bytes, inner.topicStart, inner.extensionsStart) : delivery.topic;
  const { mailbox, offset, attempt, repeated, lease } = delivery;
  const redelivered = Math.max(attempt - 1, repeated ? 1 : 0);
  return { ...shown(topic, delivery.from, inner), mailbox, offset, attempt, redelivered, lease };
}

/** The frame that `reader` stands on; null when this shard no longer knows its topic or sender. */
export function messageOf(exchange: Exchange, reader: BatchReader): JsonMessageOut | null {
  const topic = exchange.topicTextOf(reader.bytes, reader.start);
  const from = exchange.senderTextOf(reader.bytes, reader.start);
  return topic === null || from === null ? null : shown(topic, from, reader);
}

/** What the past frame that `outer` stands on holds; null when it is none. */
export function pastOf(outer: BatchReader): Past | null {
  return readPast(outer.bytes, outer.payloadStart, outer.end);
}

/** The message of the past in `bytes`; null when it is none. */
export function pastMessageOf(bytes: Uint8Array, past: Past | null): JsonMessageOut | null {
  if (past === null) return null;
  inner.open(bytes, past.start, past.end, past.end - past.start);
  if (inner.next() !== Step.frame) return null;
  const message = shown(past.topic, past.from, inner);
  if (past.kind === PastKind.retained) message.retained = true;
  else message.replayed = true;
  return message;
}

function shown(topic: string, from: string, reader: BatchReader): JsonMessageOut {
  const { data, encoding } = dataOf(reader.encoding, reader.bytes, reader.payloadStart, reader.end);
  const message: JsonMessageOut = {
    op: 'message',
    topic,
    from,
    data,
    timestamp: reader.timestamp,
    sequence: reader.sequence,
    priority: LANES[reader.lane],
  };
  if (encoding !== undefined) message.encoding = encoding;
  if ((reader.flags & Flag.extensions) === 0) return message;
  if (extensions.read(reader.bytes, reader.extensionsStart, reader.payloadStart) !== null) return message;
  const { headers, replyTo, correlationHex } = extensions;
  if (headers !== null) message.headers = headers;
  if (replyTo !== null) message.replyTo = replyTo;
  if (correlationHex !== null) message.correlation = correlationHex;
  return message;
}
