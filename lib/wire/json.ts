/**
 * The JSON text door: a WebSocket text message is one operation. PROTOCOL.md has the contract. What comes in is
 * checked field by field; the caller has bounded its size. No Node built-ins here: browsers load it.
 */
import { FlowbusError } from '../errors.js';
import { agentAddress, capabilityAddress } from '../topics/topic.js';
import {
  type AgentRecord,
  type Consume,
  DEFAULT_PREFETCH,
  type Hello,
  MAX_AGENT_ID,
  MAX_CAPABILITIES,
  MAX_CAPABILITY,
  MAX_HEARTBEAT_INTERVAL,
  MAX_METADATA,
  MAX_PATTERNS,
  MAX_PREFETCH,
  MAX_TOKEN,
  mailboxLimits,
  type Query,
  queryFrom,
  type Replay,
} from './control.js';
import { MAX_NACK_REASON } from './delivery.js';
import {
  MAX_CORRELATION,
  MAX_DELAY,
  MAX_EXTENSION_SIZE,
  MAX_HEADER_NAME,
  MAX_HEADERS,
  MAX_KEY,
  MAX_MESSAGE_ID,
  MAX_TTL,
} from './extensions.js';
import { Fields } from './fields.js';
import { Encoding, LANE_NORMAL, LANES, MAX_TOPIC_BYTES, type Priority } from './frame.js';
import { MAX_LAST } from './past.js';
import { type Retry, retryFrom } from './retry.js';
import { fromBase64, readUtf8, toBase64, utf8 } from './text.js';

const MAX_REF = 0xffffffff;
/** JSON.parse takes nesting of any depth, but JSON.stringify runs out of stack: some thousand levels by default. */
const MAX_JSON_DEPTH = 512;
/** Milliseconds that a request may wait: one day. */
export const MAX_REQUEST_TIMEOUT = 86_400_000;

/** A payload as it will stand in a frame. */
export interface JsonPayload {
  encoding: Encoding;
  bytes: Uint8Array;
}

/** What publish, send, request and reply have in common. Null: not given. */
export interface JsonMessage {
  payload: JsonPayload;
  /** Lane number; null: that of the hello. */
  lane: number | null;
  /** Milliseconds. */
  ttl: number | null;
  key: string | null;
  headers: Record<string, string> | null;
  replyTo: string | null;
  correlation: Uint8Array | null;
  /** Milliseconds; of assured messages alone. */
  delay: number | null;
  /** How a mailbox tries it again; of assured messages alone. */
  retry: Retry | null;
  /** Keep it as the last value of its topic. */
  retain: boolean;
}

/** Where a subscription begins in the past: so many messages ago, or so many milliseconds. */
export type JsonReplayWish = Pick<Replay, 'last' | 'age'>;

/** `ref` is 0 where the client wants no answer. */
export type JsonOp =
  | { op: 'hello'; ref: number; hello: Hello }
  | { op: 'subscribe'; ref: number; patterns: string[]; replay: JsonReplayWish | null }
  | { op: 'unsubscribe'; ref: number; patterns: string[] }
  | { op: 'publish'; ref: number; topic: string; message: JsonMessage }
  | { op: 'send'; ref: number; to: string; message: JsonMessage }
  | { op: 'request'; ref: number; to: string; timeout: number | null; message: JsonMessage }
  | { op: 'reply'; ref: number; topic: string; message: JsonMessage }
  /** A publish or send that is assured. `id`: null, and the broker makes one up. */
  | { op: 'store'; ref: number; topic: string; id: string | null; message: JsonMessage }
  /** Subscribe and unsubscribe where they are about a mailbox. */
  | { op: 'consume' | 'leave'; ref: number; wish: Consume }
  | { op: 'ack'; ref: number; mailbox: number; offset: number; count: number }
  | { op: 'nack'; ref: number; mailbox: number; offset: number; reason: string }
  | { op: 'agents'; ref: number; query: Query }
  | { op: 'everywhere'; ref: number }
  | { op: 'ping'; ref: number };

export interface JsonWelcome {
  op: 'welcome';
  ref?: number;
  agentId: string;
  session: string;
  sender: number;
  node: string;
  shard: number;
  maxPayload: number;
  heartbeatInterval: number;
}

/** As in a result, but metadata is the value itself. */
export type JsonAgentRecord = Omit<AgentRecord, 'metadata'> & { metadata: unknown };

/** What the broker sends. */
export type JsonAnswer =
  | JsonWelcome
  | {
      op: 'message';
      topic: string;
      from: string;
      data: unknown;
      timestamp: number;
      sequence: number;
      priority: Priority;
      headers?: Record<string, string>;
      replyTo?: string;
      /** Hexadecimal. */
      correlation?: string;
      /** Out of the history; the last value of its topic. */
      replayed?: true;
      retained?: true;
      /** `data` is base64. */
      encoding?: 'base64';
      /** Of a message from a mailbox: where it stands there, and how often it came before. */
      mailbox?: number;
      offset?: number;
      attempt?: number;
      redelivered?: number;
      /** Milliseconds until it goes to somebody else, unless it is acked. */
      lease?: number;
    }
  | { op: 'stored'; ref?: number; id: string; stored: number }
  | { op: 'consuming'; ref?: number; mailbox: number }
  | { op: 'ack'; ref: number }
  | { op: 'agents'; ref?: number; records: JsonAgentRecord[]; cursor: string | null }
  | { op: 'reply'; ref: number; from: string; data: unknown; encoding?: 'base64' }
  | { op: 'error'; ref?: number; code: string; message: string; fatal: boolean; id?: string }
  | { op: 'goaway'; code: string; message: string; reconnect: boolean }
  | { op: 'gap'; missed: number; reason: string }
  | { op: 'pong'; ref?: number };

/** JSON data as a payload: a text as text, anything else as JSON; with `base64`, the bytes. Throws BAD_JSON. */
export function payloadOf(data: unknown, base64: boolean): JsonPayload {
  if (base64) {
    const bytes = typeof data === 'string' ? fromBase64(data) : null;
    if (bytes === null) throw new FlowbusError('BAD_JSON', 'data must be base64.');
    return { encoding: Encoding.bytes, bytes };
  }
  if (typeof data === 'string') return { encoding: Encoding.text, bytes: utf8(data) };
  try {
    return { encoding: Encoding.json, bytes: utf8(JSON.stringify(data)) };
  } catch (cause) {
    throw new FlowbusError('BAD_JSON', 'data is nested too deep.', { cause });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Whether brackets outside of strings nest deeper than what can be written again. */
function tooDeep(b: Uint8Array, start: number, end: number): boolean {
  let depth = 0;
  let inString = false;
  for (let i = start; i < end; i++) {
    const c = b[i];
    if (inString) {
      if (c === BACKSLASH) i++;
      else if (c === QUOTE) inString = false;
    } else if (c === QUOTE) inString = true;
    // Setting bit 5 makes [ and ] the same as { and }.
    else if ((c | 0x20) === 0x7b && ++depth > MAX_JSON_DEPTH) return true;
    else if ((c | 0x20) === 0x7d) depth--;
  }
  return false;
}

/**
 * The payload `b[start, end)` as JSON data. Bytes, Avro, and what is not the text or JSON that it claims to be, or
 * is nested deeper than 512 levels, become base64.
 */
export function dataOf(
  encoding: number,
  b: Uint8Array,
  start: number,
  end: number,
): { data: unknown; encoding?: 'base64' } {
  try {
    if (encoding === Encoding.text) return { data: readUtf8(b, start, end) };
    if (encoding === Encoding.json && !tooDeep(b, start, end)) {
      return { data: JSON.parse(readUtf8(b, start, end)) as unknown };
    }
  } catch {
    // Its publisher broke its word; what it sent still arrives.
  }
  return { data: toBase64(b, start, end), encoding: 'base64' };
}

/** A record for readers of JSON. Its metadata is JSON, as the hello was checked; nested deeper than 512 levels it stays a text. */
export function jsonRecord(record: AgentRecord): JsonAgentRecord {
  const text = utf8(record.metadata);
  if (tooDeep(text, 0, text.length)) return record;
  return { ...record, metadata: JSON.parse(record.metadata) as unknown };
}

const OPS = [
  'hello',
  'subscribe',
  'unsubscribe',
  'publish',
  'send',
  'request',
  'reply',
  'agents',
  'ack',
  'nack',
  'everywhere',
  'ping',
] as const;

function laneOf(f: Fields): number | null {
  return (f.any('priority') ?? null) === null ? null : LANES.indexOf(f.oneOf('priority', LANES));
}

function messageOf(f: Fields, assured: boolean): JsonMessage {
  const data = f.any('data');
  if (data === undefined) f.refuse('data', 'given');
  const ttl = f.integerOrNull('ttl', 1, MAX_TTL);
  const delay = f.integerOrNull('delay', 1, MAX_DELAY);
  const retry = retryFrom(f);
  if (delay !== null && !assured) f.refuse('delay', 'absent unless assured is true');
  if (retry !== null && !assured) f.refuse('retry', 'absent unless assured is true');
  if (delay !== null && ttl !== null && ttl <= delay) f.refuse('ttl', 'longer than delay');
  const base64 = (f.any('encoding') ?? null) !== null && f.oneOf('encoding', ['base64']) === 'base64';
  return {
    payload: payloadOf(data, base64),
    lane: laneOf(f),
    ttl,
    key: f.textOrNull('key', 1, MAX_KEY),
    headers: f.textsByName('headers', MAX_HEADERS, MAX_HEADER_NAME, MAX_EXTENSION_SIZE),
    replyTo: f.textOrNull('replyTo', 1, MAX_TOPIC_BYTES),
    correlation: f.bytesOrNull('correlation', 1, MAX_CORRELATION),
    delay,
    retry,
    retain: f.booleanOrNull('retain') ?? false,
  };
}

function patternsOf(f: Fields): string[] {
  const several = f.any('patterns') !== undefined;
  if (several && f.any('pattern') !== undefined) f.refuse('pattern', 'absent where patterns is given');
  if (several) return f.texts('patterns', MAX_PATTERNS, 1, MAX_TOPIC_BYTES);
  return [f.text('pattern', 1, MAX_TOPIC_BYTES)];
}

function replayOf(f: Fields): JsonReplayWish | null {
  const value = f.any('replay') ?? null;
  if (value === null) return null;
  if (typeof value === 'number') return { last: f.integer('replay', 0, MAX_LAST), age: null };
  const wish = f.object('replay')!;
  const last = wish.integerOrNull('last', 0, MAX_LAST);
  const age = wish.integerOrNull('since', 0, Number.MAX_SAFE_INTEGER);
  if ((last === null) === (age === null)) f.refuse('replay', 'a number, or have one of last and since');
  return { last, age };
}

function metadataOf(f: Fields): string {
  f.object('metadata');
  const { bytes } = payloadOf(f.any('metadata') ?? {}, false);
  if (bytes.length > MAX_METADATA) f.refuse('metadata', `at most ${MAX_METADATA} bytes as JSON`);
  return readUtf8(bytes, 0, bytes.length);
}

/** The mailbox that a subscribe or unsubscribe is about; null when it is about live messages. */
function wishOf(f: Fields): Consume | null {
  const own = f.boolean('mailbox', false);
  const group = f.textOrNull('group', 1, MAX_AGENT_ID);
  const capability = f.textOrNull('capability', 1, MAX_CAPABILITY);
  if (!own && group === null && capability === null) return null;
  if (own && group !== null) f.refuse('group', 'absent where mailbox is true');
  if (capability !== null && (own || group !== null)) f.refuse('capability', 'without group and mailbox');
  if (group === null && f.any('pattern') !== undefined) f.refuse('pattern', 'absent, but with a group');
  if (f.any('patterns') !== undefined) f.refuse('patterns', 'absent where a mailbox is meant');
  return {
    mailbox: own ? 'agent' : group !== null ? 'group' : 'capability',
    group,
    pattern: group === null ? null : f.text('pattern', 1, MAX_TOPIC_BYTES),
    capability,
    prefetch: f.integer('prefetch', 1, MAX_PREFETCH, DEFAULT_PREFETCH),
    ...mailboxLimits(f),
  };
}

function subscriptionOf(f: Fields, op: 'subscribe' | 'unsubscribe', ref: number): JsonOp {
  const wish = wishOf(f);
  if (wish === null) {
    const patterns = patternsOf(f);
    return op === 'subscribe' ? { op, ref, patterns, replay: replayOf(f) } : { op, ref, patterns };
  }
  if ((f.any('replay') ?? null) !== null) f.refuse('replay', 'absent where a mailbox is meant');
  return { op: op === 'subscribe' ? 'consume' : 'leave', ref, wish };
}

/** The operation of a publish on `topic`: one that is assured goes another way. */
function publishOf(f: Fields, ref: number, topic: string): JsonOp | null {
  const id = f.textOrNull('id', 1, MAX_MESSAGE_ID);
  if (f.boolean('assured', false)) return { op: 'store', ref, topic, id, message: messageOf(f, true) };
  if (id !== null) f.refuse('id', 'absent unless assured is true');
  return null;
}

function placeOf(f: Fields): { mailbox: number; offset: number } {
  return {
    mailbox: f.integer('mailbox', 0, MAX_REF),
    offset: f.integer('offset', 1, Number.MAX_SAFE_INTEGER),
  };
}

/** Unlike in a hello frame, metadata is an object, priority a name, and agentId may be absent: it is '' then. */
function helloOf(f: Fields): Hello {
  return {
    agentId: f.any('agentId') === undefined ? '' : f.text('agentId', 1, MAX_AGENT_ID),
    agentType: f.text('agentType', 1, MAX_AGENT_ID, 'agent'),
    capabilities: f.texts('capabilities', MAX_CAPABILITIES, 1, MAX_CAPABILITY, []),
    subscriptions: f.texts('subscriptions', MAX_PATTERNS, 1, MAX_TOPIC_BYTES, []),
    priority: laneOf(f) ?? LANE_NORMAL,
    heartbeatInterval: f.integer('heartbeatInterval', 0, MAX_HEARTBEAT_INTERVAL, 0),
    metadata: metadataOf(f),
    token: f.textOrNull('token', 1, MAX_TOKEN),
    resume: null,
  };
}

/** Reads one operation. Throws BAD_JSON naming the field. Topics, patterns and names are checked by their users. */
export function parseOp(text: string): JsonOp {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FlowbusError('BAD_JSON', 'The text message is not JSON.', { cause });
  }
  const op = new Fields(value, 'BAD_JSON', 'message').oneOf('op', OPS);
  const f = new Fields(value, 'BAD_JSON', op);
  // A request without a reference could not be told apart from others when it is answered.
  const ref = op === 'request' ? f.integer('ref', 1, MAX_REF) : f.integer('ref', 0, MAX_REF, 0);
  switch (op) {
    case 'hello':
      return { op, ref, hello: helloOf(f) };
    case 'subscribe':
    case 'unsubscribe':
      return subscriptionOf(f, op, ref);
    case 'publish': {
      const topic = f.text('topic', 1, MAX_TOPIC_BYTES);
      return publishOf(f, ref, topic) ?? { op, ref, topic, message: messageOf(f, false) };
    }
    case 'send': {
      const capability = f.textOrNull('capability', 1, MAX_CAPABILITY);
      if (capability !== null) {
        if (f.any('to') !== undefined) f.refuse('to', 'absent where a capability is meant');
        return (
          publishOf(f, ref, capabilityAddress(capability)) ??
          f.refuse('assured', 'true where a capability is meant')
        );
      }
      const to = f.text('to', 1, MAX_AGENT_ID);
      return publishOf(f, ref, agentAddress(to)) ?? { op, ref, to, message: messageOf(f, false) };
    }
    case 'request': {
      const timeout = f.integerOrNull('timeout', 1, MAX_REQUEST_TIMEOUT);
      return { op, ref, to: f.text('to', 1, MAX_AGENT_ID), timeout, message: messageOf(f, false) };
    }
    case 'reply':
      return { op, ref, topic: f.text('replyTo', 1, MAX_TOPIC_BYTES), message: replyOf(f) };
    case 'agents':
      return { op, ref, query: queryFrom(f) };
    case 'ack':
      return { op, ref, ...placeOf(f), count: f.integer('count', 1, MAX_PREFETCH, 1) };
    case 'nack':
      return { op, ref, ...placeOf(f), reason: f.textOrNull('reason', 0, MAX_NACK_REASON) ?? '' };
    case 'everywhere':
    case 'ping':
      return { op, ref };
  }
}

/** The reference in a text that `parseOp` refused; 0 unless it is an object that has a valid one. */
export function referenceIn(text: string): number {
  try {
    return new Fields(JSON.parse(text), 'BAD_JSON', 'message').integer('ref', 0, MAX_REF, 0);
  } catch {
    return 0;
  }
}

/** A reply goes to the address that the request named; it asks for no reply itself. */
function replyOf(f: Fields): JsonMessage {
  return { ...messageOf(f, false), replyTo: null };
}
