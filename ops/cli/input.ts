/** Payloads from arguments and standard input. */
import { isUtf8 } from 'node:buffer';
import { EncodedPayload } from '../../lib/client/payload.js';
import { FlowbusError } from '../../lib/errors.js';
import { DEFAULT_MAX_PAYLOAD, Encoding } from '../../lib/wire/frame.js';
import { oneLineJson } from './text.js';

/** No broker takes a payload of this size or more, so nothing longer has to be held. */
export const MAX_INPUT = DEFAULT_MAX_PAYLOAD;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

function tooLarge(what: string): FlowbusError {
  return new FlowbusError('PAYLOAD_TOO_LARGE', `${what} is longer than ${MAX_INPUT} bytes`);
}

/** The lines of a stream without their ends (LF or CRLF). Throws PAYLOAD_TOO_LARGE, naming the line. */
export async function* readLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array(0);
  let number = 1;
  for await (const chunk of stream) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED, rest.length); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      const line = bytes.subarray(start, end > start && bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end);
      if (line.length > MAX_INPUT) throw tooLarge(`line ${number} of standard input`);
      yield line;
      number++;
      start = end + 1;
    }
    rest = bytes.subarray(start);
    // One more for a carriage return whose line feed is still to come.
    if (rest.length > MAX_INPUT + 1) throw tooLarge(`line ${number} of standard input`);
  }
  if (rest.length > MAX_INPUT) throw tooLarge(`line ${number} of standard input`);
  if (rest.length > 0) yield rest;
}

/** All of a stream. Throws PAYLOAD_TOO_LARGE. */
export async function readWhole(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > MAX_INPUT) throw tooLarge('standard input');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export const ENCODINGS = ['auto', 'text', 'json', 'bytes'] as const;
export type EncodingChoice = (typeof ENCODINGS)[number];

/**
 * The bytes exactly as they are, with what they are called. `auto`: a JSON object or array is JSON, other UTF-8 is
 * text, all else bytes. Throws BAD_OPTION when they are not what was chosen.
 */
export function encodeInput(bytes: Uint8Array, choice: EncodingChoice): EncodedPayload {
  if (choice === 'bytes') return new EncodedPayload(bytes, Encoding.bytes);
  if (!isUtf8(bytes)) {
    if (choice === 'auto') return new EncodedPayload(bytes, Encoding.bytes);
    throw new FlowbusError('BAD_OPTION', `--encoding ${choice}: the payload is not UTF-8`);
  }
  if (choice === 'text') return new EncodedPayload(bytes, Encoding.text);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  const isJson = (choice === 'json' || /^\s*[{[]/.test(text)) && oneLineJson(text) !== undefined;
  if (choice === 'json' && !isJson) {
    throw new FlowbusError('BAD_OPTION', '--encoding json: the payload is not JSON');
  }
  return new EncodedPayload(bytes, isJson ? Encoding.json : Encoding.text);
}
