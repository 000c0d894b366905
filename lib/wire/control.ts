/**
 * The payloads of control frames: their types, their limits, and their JSON form. The Avro form is in avro.ts.
 * Both forms pass the same checks, in both directions. No Node built-ins here: browsers load it.
 */
import { FlowbusError } from '../errors.js';
import { MAX_CORRELATION } from './extensions.js';
import { Fields } from './fields.js';
import { Encoding, HEADER_SIZE, LANE_COUNT, LANE_NORMAL, MAX_SENDER, MAX_TOPIC_BYTES } from './frame.js';
import { MAX_CURSOR } from './past.js';
import { MAX_ATTEMPTS, MAX_RETRY_BASE, MAX_RETRY_CAP } from './retry.js';
import { readUtf8, toHex, utf8 } from './text.js';

/** Limits, in bytes where nothing else is said. */
export const MAX_AGENT_ID = 64;
export const MAX_CAPABILITIES = 64;
export const MAX_CAPABILITY = 64;
export const MAX_METADATA = 4096;
export const MAX_TOKEN = 8192;
/** Patterns in one subscribe, unsubscribe or hello. */
export const MAX_PATTERNS = 1024;
/** Session names and cursors: opaque to clients. */
export const MAX_OPAQUE = 255;
export const MAX_NODE_NAME = 255;
/** Records in one result; a cursor leads to the rest. */
export const MAX_RECORDS = 1024;
export const MAX_CODE = 64;
/** UTF-16 units; longer messages are cut off, since an error must not fail for its text. */
export const MAX_MESSAGE = 1024;
export const MAX_REASON = 64;
/** Milliseconds. */
export const MAX_HEARTBEAT_INTERVAL = 3_600_000;
export const MAX_PREFETCH = 10_000;
/** Of consumers that name none. */
export const DEFAULT_PREFETCH = 256;
/** Milliseconds: an hour, and a year. */
export const MAX_LEASE = 3_600_000;
export const MAX_MAILBOX_AGE = 31_536_000_000;
export const MAX_BREAKER_FAILURES = 1000;
/** Milliseconds: a day, and an hour. */
export const MAX_BREAKER_WINDOW = 86_400_000;
export const MAX_COOL_DOWN = 3_600_000;
/** `group:`, a name, a colon and a pattern. */
export const MAX_MAILBOX_NAME = 512;
export const MAX_SHARD = 255;
const MAX_INT = 0x7fffffff;

/** What a client that comes back knows of the session that it had. */
export interface Resume {
  /** As named by its welcome. */
  session: string;
  /** How many publish frames it received since that session began, over all connections. */
  received: number;
}

export interface Hello {
  agentId: string;
  agentType: string;
  capabilities: string[];
  /** Patterns that are subscribed before the welcome is sent. */
  subscriptions: string[];
  /** The lane of the agent's publishes unless they say another (0 critical … 4 background). */
  priority: number;
  /** Milliseconds; 0 leaves it to the broker. */
  heartbeatInterval: number;
  /** JSON text, at most 4096 bytes. */
  metadata: string;
  token: string | null;
  resume: Resume | null;
}

export interface Welcome {
  agentId: string;
  session: string;
  /** The sender number that the client's publishes must bear. */
  sender: number;
  node: string;
  shard: number;
  /** The most bytes of a frame and of a batch. */
  maxPayload: number;
  /** The first credit, bytes. */
  window: number;
  /** Milliseconds, as the broker will count them. */
  heartbeatInterval: number;
  resumed: boolean;
  /** Messages lost since the session that was resumed: 0 none, -1 unknown. */
  missed: number;
  /** Whether the broker will announce topic ids. */
  topicIds: boolean;
}

export interface Patterns {
  patterns: string[];
}

/** Null fields do not narrow the search. */
export interface Query {
  kind: 'agents';
  id: string | null;
  type: string | null;
  capability: string | null;
  online: boolean | null;
  /** That of the previous result, to continue it. */
  cursor: string | null;
}

export const AGENT_STATES = ['online', 'suspect', 'offline'] as const;
export type AgentState = (typeof AGENT_STATES)[number];

export interface AgentRecord {
  agentId: string;
  agentType: string;
  capabilities: string[];
  node: string;
  shard: number;
  state: AgentState;
  /** When that state began, microseconds since the Unix epoch. */
  since: number;
  /** JSON text. */
  metadata: string;
}

export interface Result {
  records: AgentRecord[];
  /** Null: there are no more. */
  cursor: string | null;
}

export interface ErrorPayload {
  /** An ErrorCode, or one of a newer broker. */
  code: string;
  message: string;
  /** The connection is closed behind it. */
  fatal: boolean;
  /** The topic of the publish that it is about. */
  topic: string | null;
  /** The correlation of the publish that it is about. */
  correlation: Uint8Array | null;
}

export interface Goaway {
  code: string;
  message: string;
  /** Whether connecting again makes sense. */
  reconnect: boolean;
}

export const GAP_REASONS = ['shed', 'resume', 'session-lost', 'history'] as const;

export interface Gap {
  /** How many messages; -1 unknown. */
  missed: number;
  /** One of GAP_REASONS, or one of a newer broker. */
  reason: string;
}

export const MAILBOX_KINDS = ['agent', 'group', 'capability'] as const;

/** How a mailbox shares its messages out to its consumers: first to who has the least unacked, or in turn. */
export const BALANCES = ['least-in-flight', 'round-robin'] as const;
export type Balance = (typeof BALANCES)[number];

/** See PROTOCOL.md: an open one keeps messages from a consumer that fails at them. */
export const BREAKER_STATES = ['closed', 'open', 'half-open'] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];
/** Why it has changed: what failed last, that the time to wait is over, or that it works again. */
export const BREAKER_REASONS = ['nack', 'slow-ack', 'timeout', 'cool-down', 'recovered'] as const;
export type BreakerReason = (typeof BREAKER_REASONS)[number];

/** How the circuit breakers of a mailbox's consumers work; 0: as the mailbox has it. */
export interface BreakerWish {
  /** How many failures open one; -1: none do. */
  failures: number;
  /** Milliseconds. */
  window: number;
  coolDown: number;
  slowAck: number;
}

/** A wish to consume from a mailbox, which is made if there is none. */
export interface Consume {
  mailbox: (typeof MAILBOX_KINDS)[number];
  /** The group's name, one topic level, and the pattern whose messages it shares; null for other mailboxes. */
  group: string | null;
  pattern: string | null;
  /** One that the agent has; null for other mailboxes. */
  capability: string | null;
  /** Messages that the connection may have unacked at a time. */
  prefetch: number;
  /** Milliseconds, and messages; 0: as the mailbox has it. */
  lease: number;
  maxAge: number;
  maxMessages: number;
  /** Null: as the mailbox has it. */
  balance: Balance | null;
  breaker: BreakerWish | null;
  /** Attempts, and milliseconds; 0 likewise. */
  maxAttempts: number;
  retryBase: number;
  retryCap: number;
}

export interface Consuming {
  /** The handle that deliveries, acks and leave bear. */
  mailbox: number;
}

/** A mailbox that this agent publishes to is under pressure, or is no more. */
export interface MailboxPressure {
  /** Its name. */
  mailbox: string;
  active: boolean;
}

/** The circuit breaker between a mailbox and this consumer has changed. */
export interface BreakerChange {
  /** The mailbox's handle, and its name, such as `group:ocr:page.*`. */
  mailbox: number;
  name: string;
  state: BreakerState;
  /** One of BREAKER_REASONS, or one of a newer broker. */
  reason: string;
  /** Milliseconds until it is half-open, if it is open. */
  coolDown: number;
}

/** A wish to subscribe to a pattern, beginning with messages of the past: what the fields that are not null say, the cursor first. */
export interface Replay {
  pattern: string;
  /** What the client calls it: its messages of the past bear the number. */
  stream: number;
  /** So many messages. */
  last: number | null;
  /** Those that came in the last so many milliseconds. With a cursor: since when the client has been away. */
  age: number | null;
  /** Those that the client does not have: see past.ts. */
  cursor: Uint8Array | null;
}

/** The control frames that bear a structured payload; named like their frame types. */
export interface ControlPayloads {
  hello: Hello;
  welcome: Welcome;
  subscribe: Patterns;
  unsubscribe: Patterns;
  query: Query;
  result: Result;
  error: ErrorPayload;
  goaway: Goaway;
  gap: Gap;
  consume: Consume;
  consuming: Consuming;
  breaker: BreakerChange;
  pressure: MailboxPressure;
  replay: Replay;
}
export type ControlKind = keyof ControlPayloads;

/** One encoding of control payloads. Both methods throw BAD_CONTROL naming the field. */
export interface ControlCodec {
  /** What stands in the header of a frame with such a payload. */
  readonly encoding: Encoding;
  encode<K extends ControlKind>(kind: K, value: ControlPayloads[K]): Uint8Array;
  /** Reads `b[start, end)`, and keeps no reference to it. */
  decode<K extends ControlKind>(kind: K, b: Uint8Array, start: number, end: number): ControlPayloads[K];
}

function patterns(f: Fields): Patterns {
  return { patterns: f.texts('patterns', MAX_PATTERNS, 1, MAX_TOPIC_BYTES) };
}

function resume(f: Fields | null): Resume | null {
  if (f === null) return null;
  return {
    session: f.text('session', 1, MAX_OPAQUE),
    received: f.integer('received', 0, Number.MAX_SAFE_INTEGER),
  };
}

/** Only agentId has no default. */
function hello(f: Fields): Hello {
  return {
    agentId: f.text('agentId', 1, MAX_AGENT_ID),
    agentType: f.text('agentType', 1, MAX_AGENT_ID, 'agent'),
    capabilities: f.texts('capabilities', MAX_CAPABILITIES, 1, MAX_CAPABILITY, []),
    subscriptions: f.texts('subscriptions', MAX_PATTERNS, 1, MAX_TOPIC_BYTES, []),
    priority: f.integer('priority', 0, LANE_COUNT - 1, LANE_NORMAL),
    heartbeatInterval: f.integer('heartbeatInterval', 0, MAX_HEARTBEAT_INTERVAL, 0),
    metadata: f.text('metadata', 0, MAX_METADATA, '{}'),
    token: f.textOrNull('token', 1, MAX_TOKEN),
    resume: resume(f.object('resume')),
  };
}

function welcome(f: Fields): Welcome {
  return {
    agentId: f.text('agentId', 1, MAX_AGENT_ID),
    session: f.text('session', 1, MAX_OPAQUE),
    sender: f.integer('sender', 1, MAX_SENDER),
    node: f.text('node', 1, MAX_NODE_NAME),
    shard: f.integer('shard', 0, MAX_SHARD),
    maxPayload: f.integer('maxPayload', HEADER_SIZE, MAX_INT),
    window: f.integer('window', 0, MAX_INT),
    heartbeatInterval: f.integer('heartbeatInterval', 1, MAX_HEARTBEAT_INTERVAL),
    resumed: f.boolean('resumed'),
    missed: f.integer('missed', -1, Number.MAX_SAFE_INTEGER),
    topicIds: f.boolean('topicIds'),
  };
}

/** A query out of its fields, all of which may be absent. */
export function queryFrom(f: Fields): Query {
  return {
    kind: f.oneOf('kind', ['agents'], 'agents'),
    id: f.textOrNull('id', 1, MAX_AGENT_ID),
    type: f.textOrNull('type', 1, MAX_AGENT_ID),
    capability: f.textOrNull('capability', 1, MAX_CAPABILITY),
    online: f.booleanOrNull('online'),
    cursor: f.textOrNull('cursor', 1, MAX_OPAQUE),
  };
}

function agentRecord(f: Fields): AgentRecord {
  return {
    agentId: f.text('agentId', 1, MAX_AGENT_ID),
    agentType: f.text('agentType', 1, MAX_AGENT_ID),
    capabilities: f.texts('capabilities', MAX_CAPABILITIES, 1, MAX_CAPABILITY),
    node: f.text('node', 1, MAX_NODE_NAME),
    shard: f.integer('shard', 0, MAX_SHARD),
    state: f.oneOf('state', AGENT_STATES),
    since: f.integer('since', 0, Number.MAX_SAFE_INTEGER),
    metadata: f.text('metadata', 0, MAX_METADATA),
  };
}

function result(f: Fields): Result {
  return {
    records: f.objects('records', MAX_RECORDS, agentRecord),
    cursor: f.textOrNull('cursor', 1, MAX_OPAQUE),
  };
}

function message(f: Fields): string {
  const text = f.text('message', 0, MAX_INT);
  if (text.length <= MAX_MESSAGE) return text;
  const splitsPair = (text.charCodeAt(MAX_MESSAGE - 1) & 0xfc00) === 0xd800;
  return text.slice(0, splitsPair ? MAX_MESSAGE - 1 : MAX_MESSAGE);
}

function error(f: Fields): ErrorPayload {
  return {
    code: f.text('code', 1, MAX_CODE),
    message: message(f),
    fatal: f.boolean('fatal'),
    topic: f.textOrNull('topic', 0, MAX_TOPIC_BYTES),
    correlation: f.bytesOrNull('correlation', 0, MAX_CORRELATION),
  };
}

function goaway(f: Fields): Goaway {
  return {
    code: f.text('code', 1, MAX_CODE),
    message: message(f),
    reconnect: f.boolean('reconnect'),
  };
}

function gap(f: Fields): Gap {
  return {
    missed: f.integer('missed', -1, Number.MAX_SAFE_INTEGER),
    reason: f.text('reason', 1, MAX_REASON),
  };
}

function breakerWish(f: Fields | null): BreakerWish | null {
  if (f === null) return null;
  return {
    failures: f.integer('failures', -1, MAX_BREAKER_FAILURES, 0),
    window: f.integer('window', 0, MAX_BREAKER_WINDOW, 0),
    coolDown: f.integer('coolDown', 0, MAX_COOL_DOWN, 0),
    slowAck: f.integer('slowAck', 0, MAX_LEASE, 0),
  };
}

function consume(f: Fields): Consume {
  return {
    mailbox: f.oneOf('mailbox', MAILBOX_KINDS),
    group: f.textOrNull('group', 1, MAX_AGENT_ID),
    pattern: f.textOrNull('pattern', 1, MAX_TOPIC_BYTES),
    capability: f.textOrNull('capability', 1, MAX_CAPABILITY),
    prefetch: f.integer('prefetch', 1, MAX_PREFETCH),
    ...mailboxLimits(f),
  };
}

/** What a wish to consume says of the mailbox itself, in frames and at the JSON door alike. */
export function mailboxLimits(
  f: Fields,
): Omit<Consume, 'mailbox' | 'group' | 'pattern' | 'capability' | 'prefetch'> {
  return {
    lease: f.integer('lease', 0, MAX_LEASE, 0),
    maxAge: f.integer('maxAge', 0, MAX_MAILBOX_AGE, 0),
    maxMessages: f.integer('maxMessages', 0, MAX_INT, 0),
    balance: (f.any('balance') ?? null) === null ? null : f.oneOf('balance', BALANCES),
    breaker: breakerWish(f.object('breaker')),
    maxAttempts: f.integer('maxAttempts', 0, MAX_ATTEMPTS, 0),
    retryBase: f.integer('retryBase', 0, MAX_RETRY_BASE, 0),
    retryCap: f.integer('retryCap', 0, MAX_RETRY_CAP, 0),
  };
}

function consuming(f: Fields): Consuming {
  return { mailbox: f.integer('mailbox', 0, 0xffffffff) };
}

function pressure(f: Fields): MailboxPressure {
  return { mailbox: f.text('mailbox', 1, MAX_MAILBOX_NAME), active: f.boolean('active') };
}

function breaker(f: Fields): BreakerChange {
  return {
    mailbox: f.integer('mailbox', 0, 0xffffffff),
    name: f.text('name', 1, MAX_MAILBOX_NAME),
    state: f.oneOf('state', BREAKER_STATES),
    reason: f.text('reason', 1, MAX_REASON),
    coolDown: f.integer('coolDown', 0, MAX_INT),
  };
}

function replay(f: Fields): Replay {
  return {
    pattern: f.text('pattern', 1, MAX_TOPIC_BYTES),
    stream: f.integer('stream', 0, 0xffffffff, 0),
    last: f.integerOrNull('last', 0, MAX_INT),
    age: f.integerOrNull('age', 0, Number.MAX_SAFE_INTEGER),
    cursor: f.bytesOrNull('cursor', 8, MAX_CURSOR),
  };
}

const SHAPES: { readonly [K in ControlKind]: (f: Fields) => ControlPayloads[K] } = {
  hello,
  welcome,
  subscribe: patterns,
  unsubscribe: patterns,
  query: queryFrom,
  result,
  error,
  goaway,
  gap,
  consume,
  consuming,
  breaker,
  pressure,
  replay,
};

export const CONTROL_KINDS = Object.keys(SHAPES) as ControlKind[];

/** A copy of `value` with just the fields of its kind, all of them checked. Throws BAD_CONTROL. */
export function checkControl<K extends ControlKind>(kind: K, value: unknown): ControlPayloads[K] {
  const shape: (f: Fields) => ControlPayloads[K] = SHAPES[kind];
  return shape(new Fields(value, 'BAD_CONTROL', kind));
}

/** An agent record from elsewhere, such as the payload of a presence message. Throws BAD_CONTROL. */
export function checkAgentRecord(value: unknown): AgentRecord {
  return agentRecord(new Fields(value, 'BAD_CONTROL', 'record'));
}

function bytesAsHex(_name: string, value: unknown): unknown {
  return value instanceof Uint8Array ? toHex(value) : value;
}

class JsonControl implements ControlCodec {
  readonly encoding = Encoding.json;

  encode<K extends ControlKind>(kind: K, value: ControlPayloads[K]): Uint8Array {
    return utf8(JSON.stringify(checkControl(kind, value), bytesAsHex));
  }

  decode<K extends ControlKind>(kind: K, b: Uint8Array, start: number, end: number): ControlPayloads[K] {
    let value: unknown;
    try {
      value = JSON.parse(readUtf8(b, start, end));
    } catch (cause) {
      throw new FlowbusError('BAD_CONTROL', `The payload of the ${kind} frame is not JSON.`, { cause });
    }
    return checkControl(kind, value);
  }
}

/** Control payloads as JSON; bytes are hexadecimal. */
export const jsonControl: ControlCodec = new JsonControl();
