/**
 * Extensions stand between topic and payload: type (u8), size (u16), value, back to back, each type at most once.
 * Unknown types from 128 on are ignored, others refused. PROTOCOL.md has the table.
 * No Node built-ins here: browsers load it.
 */
import { type ErrorCode, FlowbusError } from '../errors.js';
import { Flag, MAX_TOPIC_BYTES, readU32, writeU32 } from './frame.js';
import { checkRetry, isRetry, RETRY_SIZE, type Retry, readRetry, writeRetry } from './retry.js';
import { isUtf8, readUtf8, toHex, utf8Size, writeUtf8 } from './text.js';

export const Extension = {
  replyTo: 1,
  correlation: 2,
  messageId: 3,
  ttl: 4,
  key: 5,
  traceparent: 6,
  signature: 7,
  headers: 8,
  retry: 9,
  delay: 10,
} as const;
export type Extension = (typeof Extension)[keyof typeof Extension];

const KNOWN_TYPES = 11;
const FIRST_IGNORABLE = 128;
const PREFIX = 3;

/** Bounds of the values, in bytes. */
export const MAX_CORRELATION = 64;
export const MAX_MESSAGE_ID = 64;
export const MAX_KEY = 255;
export const TRACEPARENT_SIZE = 55;
export const MAX_SIGNATURE = 1024;
/** User headers: how many, and how long a name (bytes). The values share the extension's 65,535 bytes. */
export const MAX_HEADERS = 64;
export const MAX_HEADER_NAME = 255;
export const MAX_EXTENSION_SIZE = 0xffff;
/** The user header of a reply that says why the request could not be served. */
export const ERROR_HEADER = 'flowbus-error';
/** The longest time to live (ms): a day. The shortest is 1: what may not live at all need not be sent. */
export const MAX_TTL = 86_400_000;

/** The longest delay (ms): a week. */
export const MAX_DELAY = 604_800_000;

/** The flags that must be set exactly when the extension that each stands for is present. */
export const EXTENSION_FLAGS = Flag.expires | Flag.wantsReply | Flag.signed;

// By type: the least and the greatest size of a value, and whether it is text.
const LEAST = Uint16Array.of(0, 1, 1, 1, 4, 1, TRACEPARENT_SIZE, 1, 0, RETRY_SIZE, 4);
const GREATEST = Uint16Array.of(
  0,
  MAX_TOPIC_BYTES,
  MAX_CORRELATION,
  MAX_MESSAGE_ID,
  4,
  MAX_KEY,
  TRACEPARENT_SIZE,
  MAX_SIGNATURE,
  MAX_EXTENSION_SIZE,
  RETRY_SIZE,
  4,
);
const IS_TEXT = Uint8Array.of(0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0);

/** Whether `ttl` is a time to live (ms). */
export function isTtl(ttl: number): boolean {
  return Number.isInteger(ttl) && ttl >= 1 && ttl <= MAX_TTL;
}

/** Whether `delay` is a delay (ms). */
export function isDelay(delay: number): boolean {
  return Number.isInteger(delay) && delay >= 1 && delay <= MAX_DELAY;
}

/** Checks the pairs of a user-headers value. */
function checkHeaders(b: Uint8Array, start: number, end: number): ErrorCode | null {
  let i = start;
  for (let count = 0; i < end; count++) {
    const name = i + 1;
    const size = name + b[i];
    if (count === MAX_HEADERS || b[i] === 0 || size + 2 > end) return 'BAD_EXTENSION';
    const value = size + 2;
    i = value + (b[size] | (b[size + 1] << 8));
    if (i > end) return 'BAD_EXTENSION';
    if (!isUtf8(b, name, size) || !isUtf8(b, value, i)) return 'BAD_UTF8';
  }
  return null;
}

/**
 * Reads the extensions of one frame after the other; reuse it. What it returns as Uint8Array are views into the
 * bytes of the last `read`, valid as long as those are.
 */
export class Extensions {
  #bytes: Uint8Array;
  /** Bit n: type n is present. */
  #present: number;
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;

  constructor() {
    this.#bytes = new Uint8Array(0);
    this.#present = 0;
    this.#starts = new Uint32Array(KNOWN_TYPES);
    this.#ends = new Uint32Array(KNOWN_TYPES);
  }

  /**
   * Checks all of `b[start, end)` and notes where each value is. Returns null, or what is wrong: BAD_EXTENSION,
   * UNKNOWN_EXTENSION or BAD_UTF8; then it holds no extensions. Never throws.
   */
  read(b: Uint8Array, start: number, end: number): ErrorCode | null {
    const code = this.#scan(b, start, end);
    if (code !== null) this.#present = 0;
    return code;
  }

  #scan(b: Uint8Array, start: number, end: number): ErrorCode | null {
    this.#bytes = b;
    this.#present = 0;
    let i = start;
    while (i < end) {
      if (end - i < PREFIX) return 'BAD_EXTENSION';
      const type = b[i];
      const size = b[i + 1] | (b[i + 2] << 8);
      const value = i + PREFIX;
      i = value + size;
      if (i > end) return 'BAD_EXTENSION';
      if (type >= FIRST_IGNORABLE) continue;
      if (type === 0 || type >= KNOWN_TYPES || GREATEST[type] === 0) return 'UNKNOWN_EXTENSION';
      const bit = 1 << type;
      if ((this.#present & bit) !== 0 || size < LEAST[type] || size > GREATEST[type]) return 'BAD_EXTENSION';
      if (IS_TEXT[type] === 1 && !isUtf8(b, value, i)) return 'BAD_UTF8';
      if (type === Extension.ttl && !isTtl(readU32(b, value))) return 'BAD_EXTENSION';
      if (type === Extension.delay && !isDelay(readU32(b, value))) return 'BAD_EXTENSION';
      if (type === Extension.retry && !isRetry(b, value)) return 'BAD_EXTENSION';
      if (type === Extension.headers) {
        const code = checkHeaders(b, value, i);
        if (code !== null) return code;
      }
      this.#present |= bit;
      this.#starts[type] = value;
      this.#ends[type] = i;
    }
    return null;
  }

  /** Forgets the last read, for frames without extensions. */
  clear(): void {
    this.#present = 0;
  }

  has(type: Extension): boolean {
    return (this.#present & (1 << type)) !== 0;
  }

  /** Where the value of `type` begins and ends in the bytes that were read. Meaningful only if `has(type)`. */
  startOf(type: Extension): number {
    return this.#starts[type];
  }

  endOf(type: Extension): number {
    return this.#ends[type];
  }

  /** Which of EXTENSION_FLAGS the frame must bear; any difference is BAD_FLAGS. */
  get flags(): number {
    return (
      (this.has(Extension.ttl) ? Flag.expires : 0) |
      (this.has(Extension.replyTo) ? Flag.wantsReply : 0) |
      (this.has(Extension.signature) ? Flag.signed : 0)
    );
  }

  #text(type: Extension): string | null {
    return this.has(type) ? readUtf8(this.#bytes, this.#starts[type], this.#ends[type]) : null;
  }

  #view(type: Extension): Uint8Array | null {
    return this.has(type) ? this.#bytes.subarray(this.#starts[type], this.#ends[type]) : null;
  }

  get replyTo(): string | null {
    return this.#text(Extension.replyTo);
  }

  get correlation(): Uint8Array | null {
    return this.#view(Extension.correlation);
  }

  /** The correlation as a key for maps. */
  get correlationHex(): string | null {
    const type = Extension.correlation;
    return this.has(type) ? toHex(this.#bytes, this.#starts[type], this.#ends[type]) : null;
  }

  get messageId(): Uint8Array | null {
    return this.#view(Extension.messageId);
  }

  /** Time to live, milliseconds from the arrival at a node. */
  get ttl(): number | null {
    return this.has(Extension.ttl) ? readU32(this.#bytes, this.#starts[Extension.ttl]) : null;
  }

  /** Milliseconds from the arrival at the broker, before which a mailbox does not deliver it. */
  get delay(): number | null {
    return this.has(Extension.delay) ? readU32(this.#bytes, this.#starts[Extension.delay]) : null;
  }

  get key(): string | null {
    return this.#text(Extension.key);
  }

  get traceparent(): string | null {
    return this.#text(Extension.traceparent);
  }

  get signature(): Uint8Array | null {
    return this.#view(Extension.signature);
  }

  get retry(): Retry | null {
    return this.has(Extension.retry) ? readRetry(this.#bytes, this.#starts[Extension.retry]) : null;
  }

  /** User headers, made anew at each call. Of a repeated name the last one counts. */
  get headers(): Record<string, string> | null {
    if (!this.has(Extension.headers)) return null;
    const b = this.#bytes;
    const end = this.#ends[Extension.headers];
    const pairs: [string, string][] = [];
    for (let i = this.#starts[Extension.headers]; i < end; ) {
      const size = i + 1 + b[i];
      const next = size + 2 + (b[size] | (b[size + 1] << 8));
      pairs.push([readUtf8(b, i + 1, size), readUtf8(b, size + 2, next)]);
      i = next;
    }
    // Defines own properties: a header named "__proto__" is just a header.
    return Object.fromEntries(pairs);
  }
}

/** Where the value of `type` stands in `b[start, end)`, extensions that were checked before; -1 where it does not. */
export function findExtension(b: Uint8Array, start: number, end: number, type: Extension): number {
  for (let i = start; i < end; i = endOfExtension(b, i + PREFIX)) if (b[i] === type) return i + PREFIX;
  return -1;
}

/** Where the value that begins at `value` ends. */
export function endOfExtension(b: Uint8Array, value: number): number {
  return value + (b[value - 2] | (b[value - 1] << 8));
}

/** What a sender attaches. Absent and undefined mean the same. */
export interface OutgoingExtensions {
  /** Where answers go: a topic, 1..255 bytes; bytes are taken as UTF-8 without a check. */
  replyTo?: string | Uint8Array;
  /** 1..64 bytes that the answer repeats. */
  correlation?: Uint8Array;
  /** 1..64 bytes (a text: as UTF-8). */
  messageId?: string | Uint8Array;
  /** Time to live, whole milliseconds, 1..86,400,000. */
  ttl?: number;
  /** Messages with the same key stay in order, 1..255 bytes. */
  key?: string;
  /** W3C trace context, 55 bytes. */
  traceparent?: string;
  /** 1..1024 bytes. */
  signature?: Uint8Array;
  /** At most 64, names of 1..255 bytes, 65,535 bytes in all. */
  headers?: Readonly<Record<string, string>>;
  /** For mailboxes: not delivered before, whole milliseconds, 1..604,800,000, and less than `ttl`. */
  delay?: number;
  /** For mailboxes: how it is tried again when it failed. */
  retry?: Retry | undefined;
}

export const TTL_RULE = `ttl must be whole milliseconds, 1 to ${MAX_TTL}.`;
export const DELAY_RULE = `delay must be whole milliseconds, 1 to ${MAX_DELAY}.`;

function refuse(name: string, least: number, greatest: number): never {
  throw new FlowbusError(
    'BAD_OPTION',
    `${name} must be ${least} to ${greatest} bytes of valid text or data.`,
  );
}

function sizeOf(value: string | Uint8Array | undefined, name: string, type: Extension): number {
  if (value === undefined) return 0;
  const size = typeof value === 'string' ? utf8Size(value) : value.length;
  if (size < LEAST[type] || size > GREATEST[type]) refuse(name, LEAST[type], GREATEST[type]);
  return PREFIX + size;
}

function headersSize(headers: Readonly<Record<string, string>>): number {
  let size = 0;
  let count = 0;
  for (const name of Object.keys(headers)) {
    const nameSize = utf8Size(name);
    const valueSize = utf8Size(headers[name]);
    if (++count > MAX_HEADERS) throw new FlowbusError('BAD_OPTION', `More than ${MAX_HEADERS} headers.`);
    if (nameSize < 1 || nameSize > MAX_HEADER_NAME) refuse('A header name', 1, MAX_HEADER_NAME);
    if (valueSize < 0 || valueSize > MAX_EXTENSION_SIZE) refuse(`Header ${name}`, 0, MAX_EXTENSION_SIZE);
    size += 1 + nameSize + 2 + valueSize;
  }
  if (size > MAX_EXTENSION_SIZE) refuse('All headers', 0, MAX_EXTENSION_SIZE);
  return size;
}

/** The size of the extensions in bytes. Throws BAD_OPTION when one is out of its limits. */
export function extensionsSize(e: OutgoingExtensions): number {
  let size =
    sizeOf(e.replyTo, 'replyTo', Extension.replyTo) +
    sizeOf(e.correlation, 'correlation', Extension.correlation) +
    sizeOf(e.messageId, 'messageId', Extension.messageId) +
    sizeOf(e.key, 'key', Extension.key) +
    sizeOf(e.traceparent, 'traceparent', Extension.traceparent) +
    sizeOf(e.signature, 'signature', Extension.signature);
  if (e.ttl !== undefined) {
    if (!isTtl(e.ttl)) throw new FlowbusError('BAD_OPTION', TTL_RULE);
    size += PREFIX + 4;
  }
  if (e.headers !== undefined) size += PREFIX + headersSize(e.headers);
  if (e.retry !== undefined) {
    checkRetry(e.retry);
    size += PREFIX + RETRY_SIZE;
  }
  if (e.delay !== undefined) {
    if (!isDelay(e.delay)) throw new FlowbusError('BAD_OPTION', DELAY_RULE);
    if (e.ttl !== undefined && e.ttl <= e.delay)
      throw new FlowbusError(
        'BAD_OPTION',
        'ttl must be longer than delay: both begin when the message arrives.',
      );
    size += PREFIX + 4;
  }
  return size;
}

/** The flags that go with the extensions, Flag.extensions included. */
export function extensionFlags(e: OutgoingExtensions): number {
  const flags =
    (e.ttl === undefined ? 0 : Flag.expires | Flag.extensions) |
    (e.replyTo === undefined ? 0 : Flag.wantsReply | Flag.extensions) |
    (e.signature === undefined ? 0 : Flag.signed | Flag.extensions);
  const others = e.correlation ?? e.messageId ?? e.key ?? e.traceparent ?? e.headers ?? e.retry ?? e.delay;
  return others === undefined ? flags : flags | Flag.extensions;
}

function writeSize(b: Uint8Array, o: number, size: number): void {
  b[o] = size;
  b[o + 1] = size >>> 8;
}

function writeValue(
  b: Uint8Array,
  o: number,
  type: Extension,
  value: string | Uint8Array | undefined,
): number {
  if (value === undefined) return o;
  let end = o + PREFIX;
  if (typeof value === 'string') end = writeUtf8(b, end, value);
  else {
    b.set(value, end);
    end += value.length;
  }
  b[o] = type;
  writeSize(b, o + 1, end - o - PREFIX);
  return end;
}

function writeNumber(b: Uint8Array, o: number, type: Extension, value: number): number {
  b[o] = type;
  writeSize(b, o + 1, 4);
  writeU32(b, o + PREFIX, value);
  return o + PREFIX + 4;
}

function writeHeaders(b: Uint8Array, o: number, headers: Readonly<Record<string, string>>): number {
  let end = o + PREFIX;
  for (const name of Object.keys(headers)) {
    const size = writeUtf8(b, end + 1, name);
    b[end] = size - end - 1;
    end = writeUtf8(b, size + 2, headers[name]);
    writeSize(b, size, end - size - 2);
  }
  b[o] = Extension.headers;
  writeSize(b, o + 1, end - o - PREFIX);
  return end;
}

/**
 * Writes at `o` what `extensionsSize` has measured and found good; returns the offset behind it. In ascending
 * order of type, so that equal extensions are equal bytes.
 */
export function writeExtensions(b: Uint8Array, o: number, e: OutgoingExtensions): number {
  let end = writeValue(b, o, Extension.replyTo, e.replyTo);
  end = writeValue(b, end, Extension.correlation, e.correlation);
  end = writeValue(b, end, Extension.messageId, e.messageId);
  if (e.ttl !== undefined) end = writeNumber(b, end, Extension.ttl, e.ttl);
  end = writeValue(b, end, Extension.key, e.key);
  end = writeValue(b, end, Extension.traceparent, e.traceparent);
  end = writeValue(b, end, Extension.signature, e.signature);
  if (e.headers !== undefined) end = writeHeaders(b, end, e.headers);
  if (e.retry !== undefined) {
    b[end] = Extension.retry;
    writeSize(b, end + 1, RETRY_SIZE);
    writeRetry(b, end + PREFIX, e.retry);
    end += PREFIX + RETRY_SIZE;
  }
  return e.delay === undefined ? end : writeNumber(b, end, Extension.delay, e.delay);
}
