/** `POST /v1/publish/<topic>`: what the request says, checked before anything is published. */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';
import { topicProblem } from '../../lib/topics/topic.js';
import {
  DELAY_RULE,
  extensionsSize,
  isDelay,
  isTtl,
  MAX_KEY,
  MAX_MESSAGE_ID,
  type OutgoingExtensions,
  TTL_RULE,
} from '../../lib/wire/extensions.js';
import { Encoding, HEADER_SIZE, LANE_NORMAL, LANES } from '../../lib/wire/frame.js';
import { checkRetry, type Retry } from '../../lib/wire/retry.js';
import type { PublishOptions } from './port.js';
import { checkNames } from './query.js';

/** Each may also be a header, `flowbus-` and its name. */
export const PUBLISH_PARAMETERS = [
  'priority',
  'ttl',
  'key',
  'retain',
  'assured',
  'id',
  'delay',
  'maxAttempts',
  'retryBase',
  'retryCap',
] as const;
const PARAMETERS: ReadonlySet<string> = new Set(PUBLISH_PARAMETERS);

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
  const values = req.headersDistinct[name.toLowerCase()];
  if (values === undefined) return null;
  // Node hands headers over byte by byte.
  const bytes = Buffer.from(values[0], 'latin1');
  if (values.length > 1 || !isUtf8(bytes)) {
    throw new FlowbusError('BAD_OPTION', `${name} must stand once, as UTF-8.`);
  }
  return bytes.toString();
}

/** What `?name=` or the header `flowbus-name` says; null when neither is there. Both would leave open which one counts. */
function optionText(req: IncomingMessage, query: URLSearchParams, name: string): string | null {
  const header = headerText(req, `flowbus-${name}`);
  const parameter = query.get(name);
  if (header !== null && parameter !== null) {
    throw new FlowbusError(
      'BAD_OPTION',
      `${name} must stand once, as parameter or as header flowbus-${name}.`,
    );
  }
  return parameter ?? header;
}

/** What the request asks for, but for `assuredOptions`. Throws FlowbusError BAD_OPTION. */
export function publishOptions(req: IncomingMessage, query: URLSearchParams): PublishOptions {
  checkNames(query, PARAMETERS);
  const priority = optionText(req, query, 'priority');
  const lane = priority === null ? LANE_NORMAL : (LANES as readonly string[]).indexOf(priority);
  if (lane < 0) throw new FlowbusError('BAD_OPTION', `priority must be one of ${LANES.join(', ')}.`);

  const ttl = numberOf(optionText(req, query, 'ttl'));
  if (ttl !== null && !isTtl(ttl)) throw new FlowbusError('BAD_OPTION', TTL_RULE);

  const key = optionText(req, query, 'key');
  if (key !== null && (key === '' || Buffer.byteLength(key) > MAX_KEY)) {
    throw new FlowbusError('BAD_OPTION', `key must be 1 to ${MAX_KEY} bytes.`);
  }
  const delay = delayOf(req, query, ttl);
  const retry = retryOf(req, query);
  if ((delay ?? retry) !== null && !switchOf(req, query, 'assured')) {
    const what = delay === null ? 'maxAttempts, retryBase and retryCap are' : 'delay is';
    throw new FlowbusError('BAD_OPTION', `${what} for messages with assured=true.`);
  }
  return { lane, ttl, key, retain: switchOf(req, query, 'retain'), delay, retry };
}

/** Zero stands for what is no number. */
function numberOf(text: string | null): number | null {
  if (text === null) return null;
  return /^\d{1,10}$/.test(text) ? Number(text) : 0;
}

function switchOf(req: IncomingMessage, query: URLSearchParams, name: string): boolean {
  const text = optionText(req, query, name) ?? 'false';
  if (text !== 'true' && text !== 'false')
    throw new FlowbusError('BAD_OPTION', `${name} must be true or false.`);
  return text === 'true';
}

function delayOf(req: IncomingMessage, query: URLSearchParams, ttl: number | null): number | null {
  const delay = numberOf(optionText(req, query, 'delay'));
  if (delay === null) return null;
  if (!isDelay(delay)) throw new FlowbusError('BAD_OPTION', DELAY_RULE);
  if (ttl !== null && ttl <= delay) throw new FlowbusError('BAD_OPTION', 'ttl must be longer than delay.');
  return delay;
}

function retryOf(req: IncomingMessage, query: URLSearchParams): Retry | null {
  const part = (name: string): number | undefined => numberOf(optionText(req, query, name)) ?? undefined;
  const retry = { maxAttempts: part('maxAttempts'), base: part('retryBase'), cap: part('retryCap') };
  if ((retry.maxAttempts ?? retry.base ?? retry.cap) === undefined) return null;
  checkRetry(retry);
  return retry;
}

/** Whether the message is to be stored, and under which id (null: one of its own). Throws FlowbusError BAD_OPTION. */
export function assuredOptions(
  req: IncomingMessage,
  query: URLSearchParams,
): { assured: boolean; id: string | null } {
  const assured = switchOf(req, query, 'assured');
  const id = optionText(req, query, 'id');
  if (id === null) return { assured, id };
  if (!assured) throw new FlowbusError('BAD_OPTION', 'id is for messages with assured=true.');
  if (id === '' || Buffer.byteLength(id) > MAX_MESSAGE_ID)
    throw new FlowbusError('BAD_OPTION', `id must be 1 to ${MAX_MESSAGE_ID} bytes.`);
  return { assured, id };
}

export function extensionsOf({ ttl, key, delay, retry }: PublishOptions): OutgoingExtensions {
  return {
    ttl: ttl ?? undefined,
    key: key ?? undefined,
    delay: delay ?? undefined,
    retry: retry ?? undefined,
  };
}

/** The most bytes that a body may have: what topic and options leave of a frame. */
export function roomFor(topic: string, options: PublishOptions, maxPayload: number): number {
  const extensions = extensionsSize(extensionsOf(options));
  return maxPayload - HEADER_SIZE - Buffer.byteLength(topic) - extensions;
}

/** What `curl -d` says of any body at all, and browsers of forms. */
const FORM = 'application/x-www-form-urlencoded';

/** How the payload is to be read, by the content type: JSON, text, or bytes for all others; a form's is text if it can be. */
export function encodingOf(contentType: string | undefined, payload: Uint8Array): Encoding {
  const type = (contentType ?? '').split(';', 1)[0].trim().toLowerCase();
  if (type === 'application/json' || /^application\/.+\+json$/.test(type)) return Encoding.json;
  return type.startsWith('text/') || (type === FORM && isUtf8(payload)) ? Encoding.text : Encoding.bytes;
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
