/** The frames that PROTOCOL.md shows in hexadecimal, built with the code that ships. */
import { senderAnnouncement, topicAnnouncement } from '../../../../lib/wire/announcement.js';
import { avroControl } from '../../../../lib/wire/avro.js';
import { checksumSeed, sealFrame } from '../../../../lib/wire/checksum.js';
import {
  type ControlCodec,
  type ControlKind,
  type ControlPayloads,
  jsonControl,
} from '../../../../lib/wire/control.js';
import {
  ACK_SIZE,
  DELIVERY_HEADER,
  nackPayload,
  writeAck,
  writeDelivery,
} from '../../../../lib/wire/delivery.js';
import {
  extensionFlags,
  extensionsSize,
  type OutgoingExtensions,
  writeExtensions,
} from '../../../../lib/wire/extensions.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  LANE_NORMAL,
  viewOf,
  writeHeader,
  writeU32,
  writeU64,
} from '../../../../lib/wire/frame.js';
import { holdFrame } from '../../../../lib/wire/node-link.js';
import {
  PastKind,
  PLACE_FRAME,
  replayingPayload,
  Stage,
  writePast,
  writePlace,
} from '../../../../lib/wire/past.js';
import { StoredWriter } from '../../../../lib/wire/stored.js';
import { utf8 } from '../../../../lib/wire/text.js';

export const AGENT = 'planner-1';
export const AGENT_NUMBER = 0x010003;
export const WORKER = 'worker-7';
export const WORKER_NUMBER = 0x020005;
export const TOPIC = 'agent.worker-7.task.assign';
export const TOPIC_ID = 0x02100005;
export const REPLY_ADDRESS = `_reply.node-a.${AGENT_NUMBER.toString(36)}.1`;
/** 2026-01-01T00:00:00Z in microseconds. */
export const TIME = 1_767_225_600_000_000;
const CORRELATION = Uint8Array.of(0, 0, 0, 1);

/** Any frame: `seed` 0 for what is no publish. */
export function frame(
  type: FrameType,
  payload: Uint8Array,
  fields: {
    flags?: number;
    encoding?: Encoding;
    lane?: number;
    sequence?: number;
    timestamp?: number;
    topicId?: number;
    topic?: string;
    sender?: number;
    seed?: number;
    extensions?: OutgoingExtensions;
  },
): Uint8Array {
  const topic = utf8(fields.topic ?? '');
  const extensions = fields.extensions ?? {};
  const payloadStart = HEADER_SIZE + topic.length + extensionsSize(extensions);
  const total = payloadStart + payload.length;
  const b = new Uint8Array(total);
  writeHeader(
    viewOf(b),
    0,
    type,
    extensionFlags(extensions) | (fields.flags ?? 0),
    fields.lane ?? 0,
    fields.encoding ?? Encoding.bytes,
    total,
    payload.length,
    fields.timestamp ?? 0,
    fields.sequence ?? 0,
    fields.topicId ?? 0,
    topic.length,
    fields.sender ?? 0,
  );
  b.set(topic, HEADER_SIZE);
  writeExtensions(b, HEADER_SIZE + topic.length, extensions);
  b.set(payload, payloadStart);
  sealFrame(b, 0, total, fields.seed ?? 0);
  return b;
}

export function control<K extends ControlKind>(
  codec: ControlCodec,
  kind: K,
  ref: number,
  value: ControlPayloads[K],
): Uint8Array {
  return frame(FrameType[kind], codec.encode(kind, value), { encoding: codec.encoding, sequence: ref });
}

function json(value: unknown): Uint8Array {
  return utf8(JSON.stringify(value));
}

function creditPayload(limit: number): Uint8Array {
  const b = new Uint8Array(8);
  writeU64(b, 0, limit);
  return b;
}

/** Mailbox 3 of shard 1. */
const MAILBOX = 0x0100_0003;
const ORDER_TOPIC = 'page.new';

/** An assured message, by topic id: how it comes out of a mailbox must not depend on ids. */
function assuredFrame(): Uint8Array {
  return frame(FrameType.publish, utf8('7'), {
    flags: Flag.assured,
    encoding: Encoding.text,
    lane: LANE_NORMAL,
    sequence: 1,
    timestamp: TIME,
    topicId: TOPIC_ID,
    sender: AGENT_NUMBER,
    extensions: { messageId: 'm-1' },
    seed: checksumSeed(AGENT, ORDER_TOPIC),
  });
}

function delivery(): Uint8Array {
  const b = new Uint8Array(256);
  const inner = assuredFrame();
  const { length } = inner;
  const end = writeDelivery(
    b,
    viewOf(b),
    0,
    LANE_NORMAL,
    MAILBOX,
    41,
    2,
    true,
    30_000,
    AGENT,
    ORDER_TOPIC,
    inner,
    0,
    length,
  );
  return b.slice(0, end);
}

function ackRuns(): Uint8Array {
  const b = new Uint8Array(2 * ACK_SIZE);
  writeAck(b, 0, MAILBOX, 41, 3);
  writeAck(b, ACK_SIZE, MAILBOX, 50, 1);
  return b;
}

function storedAck(): Uint8Array {
  const acks = new StoredWriter(64);
  const id = (text: string) => new TextEncoder().encode(text);
  for (const [text, mailboxes] of [
    ['m-1', 1],
    ['m-2', 2],
    ['job-0001', 1],
    ['job-1001', 1],
    ['job-2001', 1],
  ] as const)
    acks.add(id(text), 0, text.length, mailboxes);
  return acks.bytes.slice(0, acks.size);
}

function handle(): Uint8Array {
  const b = new Uint8Array(4);
  writeU32(b, 0, MAILBOX);
  return b;
}

const HELLO: ControlPayloads['hello'] = {
  agentId: AGENT,
  agentType: 'planner',
  capabilities: ['plan'],
  subscriptions: ['agent.*.task.**'],
  priority: LANE_NORMAL,
  heartbeatInterval: 15_000,
  metadata: '{}',
  token: null,
  resume: null,
};

export const CONTROL_VALUES: { readonly [K in ControlKind]: ControlPayloads[K] } = {
  hello: HELLO,
  welcome: {
    agentId: AGENT,
    session: '7f3a',
    sender: AGENT_NUMBER,
    node: 'node-a',
    shard: 0,
    maxPayload: 65_536,
    window: 262_144,
    heartbeatInterval: 15_000,
    resumed: false,
    missed: 0,
    topicIds: true,
  },
  subscribe: { patterns: ['agent.*.task.**', 'fleet.*'] },
  unsubscribe: { patterns: ['fleet.*'] },
  query: { kind: 'agents', id: null, type: null, capability: 'ocr', online: true, cursor: null },
  result: {
    records: [
      {
        agentId: WORKER,
        agentType: 'worker',
        capabilities: ['ocr'],
        node: 'node-a',
        shard: 1,
        state: 'online',
        since: TIME,
        metadata: '{}',
      },
    ],
    cursor: null,
  },
  error: {
    code: 'UNKNOWN_AGENT',
    message: 'worker-9 is not online.',
    fatal: false,
    topic: '_agent.worker-9',
    correlation: CORRELATION,
  },
  goaway: { code: 'SHUTTING_DOWN', message: 'The broker is shutting down.', reconnect: true },
  gap: { missed: 12, reason: 'shed' },
  consume: {
    mailbox: 'group',
    group: 'ocr',
    pattern: 'page.*',
    capability: null,
    prefetch: 256,
    lease: 30_000,
    maxAge: 0,
    maxMessages: 0,
    balance: 'round-robin',
    breaker: null,
    maxAttempts: 3,
    retryBase: 500,
    retryCap: 0,
  },
  consuming: { mailbox: MAILBOX },
  breaker: { mailbox: MAILBOX, name: 'group:ocr:page.*', state: 'open', reason: 'timeout', coolDown: 5000 },
  pressure: { mailbox: 'group:ocr:page.*', active: true },
  replay: { pattern: 'orders.*', stream: 3, last: 100, age: null, cursor: null },
};

/** The name of a history. */
const HISTORY = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** What `publish-assured` bears, replayed 1.5 s after it came to shard 1. */
function past(): Uint8Array {
  const texts = utf8(`${AGENT}${ORDER_TOPIC}`);
  const message = assuredFrame();
  const src = new Uint8Array(texts.length + message.length);
  src.set(texts);
  src.set(message, texts.length);
  const out = new Uint8Array(256);
  const { length } = texts;
  const end = writePast(
    out,
    viewOf(out),
    0,
    3,
    PastKind.replayed,
    1,
    41,
    1500,
    src,
    AGENT.length,
    length,
    length,
    src.length,
  );
  return out.slice(0, end);
}

function place(): Uint8Array {
  const out = new Uint8Array(PLACE_FRAME);
  writePlace(out, viewOf(out), 0, LANE_NORMAL, 1, 42, 2);
  return out;
}

const seed = checksumSeed(AGENT, TOPIC);

export interface Vector {
  readonly bytes: Uint8Array;
  /** The checksum's texts, for publish frames. */
  readonly from?: string;
  readonly topic?: string;
  /** Where what the checksum covers ends; by default that is where the frame ends. */
  readonly covered?: number;
}

export const VECTORS: Readonly<Record<string, Vector>> = {
  'hello-avro': { bytes: control(avroControl, 'hello', 1, HELLO) },
  'hello-json': { bytes: control(jsonControl, 'hello', 1, HELLO) },
  welcome: { bytes: control(avroControl, 'welcome', 1, CONTROL_VALUES.welcome) },
  subscribe: { bytes: control(avroControl, 'subscribe', 2, CONTROL_VALUES.subscribe) },
  ack: { bytes: frame(FrameType.ack, new Uint8Array(0), { sequence: 2 }) },
  unsubscribe: { bytes: control(avroControl, 'unsubscribe', 3, CONTROL_VALUES.unsubscribe) },
  'publish-spelled': {
    from: AGENT,
    topic: TOPIC,
    bytes: frame(FrameType.publish, json({ task: 42 }), {
      encoding: Encoding.json,
      lane: 1,
      sequence: 1,
      timestamp: TIME,
      topic: TOPIC,
      sender: AGENT_NUMBER,
      seed,
    }),
  },
  topic: { bytes: topicAnnouncement(TOPIC_ID, utf8(TOPIC)) },
  hold: { bytes: holdFrame(131_077, true) },
  'publish-assured': { from: AGENT, topic: ORDER_TOPIC, bytes: assuredFrame() },
  stored: { bytes: frame(FrameType.ack, storedAck(), {}) },
  consume: { bytes: control(avroControl, 'consume', 8, CONTROL_VALUES.consume) },
  consuming: { bytes: control(avroControl, 'consuming', 8, CONTROL_VALUES.consuming) },
  breaker: { bytes: control(avroControl, 'breaker', 0, CONTROL_VALUES.breaker) },
  pressure: { bytes: control(avroControl, 'pressure', 0, CONTROL_VALUES.pressure) },
  deliver: {
    bytes: delivery(),
    covered: HEADER_SIZE + DELIVERY_HEADER + AGENT.length + ORDER_TOPIC.length,
  },
  'consumer-ack': { bytes: frame(FrameType.ack, ackRuns(), {}) },
  nack: { bytes: frame(FrameType.nack, nackPayload(MAILBOX, 44, 'no paper'), {}) },
  replay: { bytes: control(avroControl, 'replay', 10, CONTROL_VALUES.replay) },
  past: { bytes: past() },
  replaying: {
    bytes: frame(FrameType.replaying, replayingPayload(3, Stage.caughtUp, HISTORY, [17, 42]), {}),
  },
  place: { bytes: place() },
  leave: { bytes: frame(FrameType.leave, handle(), { sequence: 9 }) },
  'publish-by-id': {
    from: AGENT,
    topic: TOPIC,
    bytes: frame(FrameType.publish, json({ task: 43 }), {
      encoding: Encoding.json,
      lane: 1,
      sequence: 2,
      timestamp: TIME + 1000,
      topicId: TOPIC_ID,
      sender: AGENT_NUMBER,
      seed,
    }),
  },
  sender: { bytes: senderAnnouncement(WORKER_NUMBER, WORKER) },
  request: {
    from: AGENT,
    topic: `_agent.${WORKER}`,
    bytes: frame(FrameType.publish, utf8('status?'), {
      encoding: Encoding.text,
      lane: LANE_NORMAL,
      sequence: 1,
      timestamp: TIME,
      topic: `_agent.${WORKER}`,
      sender: AGENT_NUMBER,
      seed: checksumSeed(AGENT, `_agent.${WORKER}`),
      extensions: { replyTo: REPLY_ADDRESS, correlation: CORRELATION, ttl: 1000 },
    }),
  },
  reply: {
    from: WORKER,
    topic: REPLY_ADDRESS,
    bytes: frame(FrameType.publish, utf8('idle'), {
      encoding: Encoding.text,
      lane: LANE_NORMAL,
      sequence: 1,
      timestamp: TIME + 800,
      topic: REPLY_ADDRESS,
      sender: WORKER_NUMBER,
      seed: checksumSeed(WORKER, REPLY_ADDRESS),
      extensions: { correlation: CORRELATION },
    }),
  },
  'publish-extensions': {
    from: AGENT,
    topic: 'fleet.log',
    bytes: frame(FrameType.publish, Uint8Array.of(1, 2, 3), {
      lane: 4,
      sequence: 1,
      timestamp: TIME,
      topic: 'fleet.log',
      sender: AGENT_NUMBER,
      seed: checksumSeed(AGENT, 'fleet.log'),
      extensions: {
        messageId: 'm-1',
        key: 'robot-3',
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
        headers: { unit: 'mm', größe: '7' },
        retry: { maxAttempts: 3, base: 500 },
      },
    }),
  },
  credit: { bytes: frame(FrameType.credit, creditPayload(524_288), {}) },
  ping: { bytes: frame(FrameType.ping, utf8('tick'), { sequence: 7 }) },
  pong: { bytes: frame(FrameType.pong, utf8('tick'), { sequence: 7 }) },
  query: { bytes: control(avroControl, 'query', 4, CONTROL_VALUES.query) },
  result: { bytes: control(avroControl, 'result', 4, CONTROL_VALUES.result) },
  error: { bytes: control(avroControl, 'error', 0, CONTROL_VALUES.error) },
  'error-json': { bytes: control(jsonControl, 'error', 0, CONTROL_VALUES.error) },
  goaway: { bytes: control(avroControl, 'goaway', 0, CONTROL_VALUES.goaway) },
  gap: { bytes: control(avroControl, 'gap', 0, CONTROL_VALUES.gap) },
};
