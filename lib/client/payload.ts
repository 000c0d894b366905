/** From what a user hands over to the bytes of a payload. */
import { describe, FlowbusError } from '../errors.js';
import { Encoding } from '../wire/frame.js';
import { utf8Size, writeUtf8 } from '../wire/text.js';

/**
 * What can be sent: bytes (copied during the call), text, or anything that JSON can express.
 * The encoding travels along, so a subscriber can tell a text from bytes.
 */
export type Payload =
  | Uint8Array
  | ArrayBuffer
  | ArrayBufferView
  | string
  | number
  | boolean
  | null
  | Data
  | { readonly [name: string]: unknown };

/** Functions have this symbol, and no data has. */
type NoFunction = object & { readonly [Symbol.hasInstance]?: never };
/** Any object but functions, and promises: what somebody forgot to call or to await. */
type Data = NoFunction & { readonly then?: string | number | boolean | null | undefined | NoFunction };

/** Up to here a loop in JavaScript beats a call out of it (UTF-16 units; bytes). */
const LOOPED_TEXT = 24;
const LOOPED_BYTES = 64;

/**
 * Texts of up to so many UTF-16 units are encoded into memory that is there already. Shared by all agents of the
 * process: what `measure` puts there, `write` takes within the same call.
 */
const SCRATCH_TEXT = 4096;
const scratch = new Uint8Array(3 * SCRATCH_TEXT);
const encoder = new TextEncoder();

/** A payload that has been turned into bytes before, to be sent later. */
export class EncodedPayload {
  readonly bytes: Uint8Array;
  readonly encoding: Encoding;

  constructor(bytes: Uint8Array, encoding: Encoding) {
    this.bytes = bytes;
    this.encoding = encoding;
  }
}

/** Measures and writes one payload after the other. */
export class Body {
  encoding: Encoding;
  private size: number;
  private text: string;
  /** Null: `text` is to be written. */
  private bytes: Uint8Array | null;

  constructor() {
    this.encoding = Encoding.bytes;
    this.size = 0;
    this.text = '';
    this.bytes = null;
  }

  /** The size of `payload` in bytes; the next `write` writes it. Throws BAD_OPTION when it cannot be encoded. */
  measure(payload: Payload): number {
    if (payload instanceof Uint8Array) return this.setBytes(payload, Encoding.bytes);
    if (typeof payload === 'string') return this.setText(payload, Encoding.text);
    if (payload instanceof EncodedPayload) return this.setBytes(payload.bytes, payload.encoding);
    if (payload instanceof ArrayBuffer) return this.setBytes(new Uint8Array(payload), Encoding.bytes);
    if (ArrayBuffer.isView(payload)) {
      return this.setBytes(
        new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength),
        Encoding.bytes,
      );
    }
    return this.setText(toJson(payload), Encoding.json);
  }

  write(b: Uint8Array, o: number): void {
    const { bytes, size } = this;
    if (bytes === null) {
      writeUtf8(b, o, this.text);
      this.text = '';
      return;
    }
    if (size <= LOOPED_BYTES) for (let i = 0; i < size; i++) b[o + i] = bytes[i];
    else if (bytes.length === size) b.set(bytes, o);
    else b.set(bytes.subarray(0, size), o);
    this.bytes = null;
  }

  private setBytes(bytes: Uint8Array, encoding: Encoding): number {
    this.bytes = bytes;
    this.size = bytes.length;
    this.encoding = encoding;
    return this.size;
  }

  private setText(text: string, encoding: Encoding): number {
    this.encoding = encoding;
    const { length } = text;
    if (length <= LOOPED_TEXT) {
      const size = utf8Size(text);
      if (size >= 0) {
        this.text = text;
        this.bytes = null;
        this.size = size;
        return size;
      }
    }
    // In both ways lone surrogates become U+FFFD, as everywhere on the web.
    if (length > SCRATCH_TEXT) return this.setBytes(encoder.encode(text), encoding);
    this.bytes = scratch;
    this.size = encoder.encodeInto(text, scratch).written;
    return this.size;
  }
}

/** A payload as bytes of its own, independent of what happens to the original. */
export function encodePayload(payload: Payload): EncodedPayload {
  const body = new Body();
  const bytes = new Uint8Array(body.measure(payload));
  body.write(bytes, 0);
  return new EncodedPayload(bytes, body.encoding);
}

/** What JSON would silently make `{}` or null of; null when it would not. */
function opaque(payload: unknown): string | null {
  if (typeof payload === 'number') return Number.isFinite(payload) ? null : String(payload);
  if (typeof payload === 'function') return 'a function';
  if (typeof payload !== 'object' || payload === null) return null;
  const prototype = Object.getPrototypeOf(payload);
  if (prototype === Object.prototype || prototype === Array.prototype) return null;
  if ('then' in payload && typeof payload.then === 'function') return 'a promise';
  if ('toJSON' in payload && typeof payload.toJSON === 'function') return null;
  const kind = OPAQUE.find((type) => payload instanceof type);
  return kind === undefined ? null : `of the class ${kind.name}`;
}

const OPAQUE = [Map, Set, Error, Blob];
const MUST_BE = 'but must be bytes, a text or something that JSON can express.';

function toJson(payload: unknown): string {
  const what = opaque(payload);
  if (what !== null) throw new FlowbusError('BAD_OPTION', `The payload is ${what}, ${MUST_BE}`);
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (cause) {
    throw new FlowbusError('BAD_OPTION', `The payload cannot be expressed in JSON: ${describe(cause)}`, {
      cause,
    });
  }
  if (text === undefined) {
    throw new FlowbusError(
      'BAD_OPTION',
      `The payload is ${payload === undefined ? 'undefined' : `a ${typeof payload}`}, ${MUST_BE}`,
    );
  }
  return text;
}
