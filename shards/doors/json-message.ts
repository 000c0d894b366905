/** A delivered frame as the JSON object that the text door and event streams show. */
import type { BatchReader } from '../../lib/wire/batch.js';
import { Extensions } from '../../lib/wire/extensions.js';
import { Flag, LANES } from '../../lib/wire/frame.js';
import { dataOf, type JsonAnswer } from '../../lib/wire/json.js';
import type { Exchange } from '../exchange.js';

export type JsonMessageOut = Extract<JsonAnswer, { op: 'message' }>;

const extensions = new Extensions();

/** The frame that `reader` stands on; null when this shard no longer knows its topic or sender. */
export function messageOf(exchange: Exchange, reader: BatchReader): JsonMessageOut | null {
  const topic = exchange.topicTextOf(reader.bytes, reader.start);
  const from = exchange.senderTextOf(reader.bytes, reader.start);
  if (topic === null || from === null) return null;
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
