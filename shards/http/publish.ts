/** `POST /v1/publish/<topic>`: what the request says, checked before anything is published. */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';
import { topicProblem } from '../../lib/topics/topic.js';
import { isTtl, TTL_RULE } from '../../lib/wire/extensions.js';
import { Encoding, LANE_NORMAL, LANES } from '../../lib/wire/frame.js';
import type { PublishOptions } from './port.js';

const MAX_KEY_BYTES = 255;

/** The topic out of the rest of the path. Throws FlowbusError BAD_TOPIC. */
export function topicOf(encoded: string): string {
  let topic: string;
  try {
    topic = decodeURIComponent(encoded);
  } catch {
    throw new FlowbusError('BAD_TOPIC', 'The topic in the path is not percent-encoded UTF-8.');
  }
  const problem = topicProblem(topic);
  if (problem !== null) throw new FlowbusError('BAD_TOPIC', `${problem}.`);
  return topic;
}

/** The header's only value as UTF-8 text; null when it is not there. */
function headerText(req: IncomingMessage, name: string): string | null {
  const values = req.headersDistinct[name];
  if (values === undefined) return null;
  // Node hands headers over byte by byte.
  const bytes = Buffer.from(values[0], 'latin1');
  if (values.length > 1 || !isUtf8(bytes)) {
    throw new FlowbusError('BAD_OPTION', `${name} must stand once, as UTF-8.`);
  }
  return bytes.toString();
}

/** The lane, time to live and key that the headers ask for. Throws FlowbusError BAD_OPTION. */
export function publishOptions(req: IncomingMessage): PublishOptions {
  const priority = headerText(req, 'flowbus-priority');
  const lane = priority === null ? LANE_NORMAL : (LANES as readonly string[]).indexOf(priority);
  if (lane < 0) throw new FlowbusError('BAD_OPTION', `flowbus-priority must be one of ${LANES.join(', ')}.`);

  const life = headerText(req, 'flowbus-ttl');
  const ttl = life === null ? null : /^\d{1,10}$/.test(life) ? Number(life) : 0;
  if (ttl !== null && !isTtl(ttl)) throw new FlowbusError('BAD_OPTION', TTL_RULE);

  const key = headerText(req, 'flowbus-key');
  if (key !== null && (key === '' || Buffer.byteLength(key) > MAX_KEY_BYTES)) {
    throw new FlowbusError('BAD_OPTION', `flowbus-key must be 1 to ${MAX_KEY_BYTES} bytes.`);
  }
  return { lane, ttl, key };
}

/** How the payload is to be read, by the content type: JSON, text, or bytes for all others. */
export function encodingOf(contentType: string | undefined): Encoding {
  const type = (contentType ?? '').split(';', 1)[0].trim().toLowerCase();
  if (type === 'application/json' || /^application\/.+\+json$/.test(type)) return Encoding.json;
  return type.startsWith('text/') ? Encoding.text : Encoding.bytes;
}

/** Throws FlowbusError BAD_UTF8 or BAD_JSON when the payload is not what its encoding says. */
export function checkPayload(payload: Uint8Array, encoding: Encoding): void {
  if (encoding !== Encoding.json && encoding !== Encoding.text) return;
  if (!isUtf8(payload)) throw new FlowbusError('BAD_UTF8', 'The body is not valid UTF-8.');
  if (encoding === Encoding.text) return;
  try {
    JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString());
  } catch (error) {
    throw new FlowbusError('BAD_JSON', `The body is not JSON: ${(error as Error).message}.`);
  }
}
