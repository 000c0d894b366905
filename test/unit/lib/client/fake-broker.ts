/** A broker without a network: real frames, a scripted course. What a client sends is checked and kept for tests. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { Agent } from '../../../../lib/client/agent.js';
import { connectOver } from '../../../../lib/client/connect.js';
import type { ConnectOptions } from '../../../../lib/client/options.js';
import type { OpenTransport, Transport, TransportReader } from '../../../../lib/client/transport.js';
import { senderAnnouncement, topicAnnouncement } from '../../../../lib/wire/announcement.js';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { checksumHolds, checksumSeed } from '../../../../lib/wire/checksum.js';
import {
  type ControlKind,
  type ControlPayloads,
  type Hello,
  jsonControl,
  type Query,
  type Result,
  type Welcome,
} from '../../../../lib/wire/control.js';
import { writeDelivery } from '../../../../lib/wire/delivery.js';
import { Extensions, type OutgoingExtensions } from '../../../../lib/wire/extensions.js';
import { Encoding, Flag, FrameType, LANE_NORMAL, viewOf, writeU64 } from '../../../../lib/wire/frame.js';
import { StoredWriter } from '../../../../lib/wire/stored.js';
import { readUtf8, utf8 } from '../../../../lib/wire/text.js';
import { controlFrame, encodeControl, FrameWriter } from '../../../../lib/wire/writer.js';

export const URL = 'ws://broker.test:8081/';
const ME = 'me';

/** A publish frame as the broker sees it. */
export interface Published {
  topic: string;
  /** 0 when the topic was spelled out. */
  topicId: number;
  text: string;
  payload: Uint8Array;
  lane: number;
  encoding: number;
  flags: number;
  sequence: number;
  timestamp: number;
  sender: number;
  replyTo: string | null;
  correlation: Uint8Array | null;
  messageId: Uint8Array | null;
  ttl: number | null;
  key: string | null;
  headers: Record<string, string> | null;
  size: number;
}

/** A control frame as the broker sees it, but for the hello. */
export interface Control {
  type: number;
  ref: number;
  patterns: string[];
  query: Query | null;
  payload: Uint8Array;
}

export interface DeliverFields {
  payload?: Uint8Array | string;
  encoding?: Encoding;
  lane?: number;
  sequence?: number;
  extensions?: OutgoingExtensions;
}

const writer = new FrameWriter(1024 * 1024);
const extensions = new Extensions();

export class FakeConnection implements Transport {
  readonly url: string;
  readonly published: Published[] = [];
  readonly controls: Control[] = [];
  /** The types of frames in each message. */
  readonly batches: number[][] = [];
  readonly topics = new Map<number, string>();
  hello: Hello | null = null;
  bufferedAmount = 0;
  canPause = true;
  paused = false;
  ending: 'close' | 'abort' | null = null;
  private readonly broker: FakeBroker;
  private readonly reader: TransportReader;
  private ended = false;

  constructor(broker: FakeBroker, url: string, reader: TransportReader) {
    this.broker = broker;
    this.url = url;
    this.reader = reader;
  }

  // What the client calls.

  send(bytes: Uint8Array, done: (() => void) | null): void {
    assert.equal(this.ending, null, 'sent after its own close');
    const copy = bytes.slice();
    if (done !== null) queueMicrotask(done);
    this.take(copy);
  }

  close(): void {
    this.ending ??= 'close';
    queueMicrotask(() => this.end(1000, ''));
  }

  abort(): void {
    this.ending ??= 'abort';
    queueMicrotask(() => this.end(1006, ''));
  }

  pause(): boolean {
    this.paused = this.canPause;
    return this.canPause;
  }

  resume(): void {
    this.paused = false;
  }

  // What tests call.

  opened(): void {
    this.reader.onOpen();
  }

  writable(): void {
    this.reader.onWritable();
  }

  /** The connection ends from the broker's side. */
  end(code = 1006, reason = ''): void {
    if (this.ended) return;
    this.ended = true;
    this.reader.onClose(code, reason);
  }

  /** Frames as one message. */
  push(...frames: Uint8Array[]): void {
    this.reader.onMessage(new Uint8Array(Buffer.concat(frames)));
  }

  control<K extends ControlKind>(kind: K, payload: ControlPayloads[K], ref = 0): void {
    this.push(encodeControl(jsonControl, kind, ref, payload));
  }

  welcome(changes: Partial<Welcome> = {}): void {
    this.control('welcome', { ...this.broker.welcome, ...changes }, 1);
  }

  credit(limit: number): void {
    const payload = new Uint8Array(8);
    writeU64(payload, 0, limit);
    this.push(controlFrame(FrameType.credit, 0, Encoding.bytes, payload));
  }

  ack(ref: number): void {
    this.push(controlFrame(FrameType.ack, ref, Encoding.bytes));
  }

  /** The ack of an assured publish, which bears its message id. */
  stored(id: Uint8Array, count: number): void {
    const acks = new StoredWriter(128);
    acks.add(id, 0, id.length, count);
    this.push(controlFrame(FrameType.ack, 0, Encoding.bytes, acks.bytes.slice(0, acks.size)));
  }

  /** A message from mailbox 9. */
  mailbox(topic: string, payload: string, offset: number, attempt = 1): void {
    const message = new FrameWriter(65_536).publish({
      topic,
      sender: 0,
      from: 'other',
      lane: 2,
      encoding: Encoding.text,
      payload: utf8(payload),
    });
    const frame = new Uint8Array(1024);
    const end = writeDelivery(
      frame,
      viewOf(frame),
      0,
      2,
      9,
      offset,
      attempt,
      attempt > 1,
      1000,
      'other',
      '',
      message,
      0,
      message.length,
    );
    this.push(frame.slice(0, end));
  }

  error(code: string, changes: Partial<ControlPayloads['error']> = {}, ref = 0): void {
    const error = {
      code,
      message: `it is ${code}`,
      fatal: false,
      topic: null,
      correlation: null,
      ...changes,
    };
    this.control('error', error, ref);
  }

  announceTopic(id: number, topic: string): void {
    this.topics.set(id, topic);
    this.push(topicAnnouncement(id, utf8(topic)));
  }

  announceSender(number: number, agentId: string): void {
    this.push(senderAnnouncement(number, agentId));
  }

  /** A message with its topic spelled out, from an agent that is announced along with it. */
  deliver(topic: string, from: string, number: number, fields: DeliverFields = {}): void {
    this.push(senderAnnouncement(number, from), message(topic, from, number, fields));
  }

  /** Answers a request. */
  reply(request: Published, payload: string, headers?: Record<string, string>): void {
    assert.ok(request.replyTo !== null && request.correlation !== null);
    this.deliver(request.replyTo, 'worker', 77, {
      payload,
      extensions: { correlation: request.correlation, headers },
    });
  }

  texts(): string[] {
    return this.published.map(({ text }) => text);
  }

  of(type: number): Control[] {
    return this.controls.filter((control) => control.type === type);
  }

  private take(bytes: Uint8Array): void {
    const reader = new BatchReader();
    const types: number[] = [];
    reader.open(bytes, 0, bytes.length, this.broker.welcome.maxPayload);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      assert.equal(step, Step.frame, `the client sent a bad frame: ${reader.error}`);
      types.push(reader.type);
      if (reader.type === FrameType.publish) this.published.push(this.readPublish(reader));
      else this.readControl(reader);
    }
    this.batches.push(types);
  }

  private readPublish(reader: BatchReader): Published {
    const { bytes, start, end, payloadStart } = reader;
    const topic =
      reader.topicId === 0
        ? readUtf8(bytes, reader.topicStart, reader.extensionsStart)
        : this.topics.get(reader.topicId);
    assert.ok(topic !== undefined, 'the client used an id that was not announced');
    const from = this.hello?.agentId ?? '';
    assert.ok(checksumHolds(bytes, start, end - start, checksumSeed(from, topic)), 'bad checksum');
    if (reader.flags & Flag.extensions) {
      assert.equal(extensions.read(bytes, reader.extensionsStart, payloadStart), null);
    } else extensions.clear();
    const payload = bytes.subarray(payloadStart, end);
    return {
      topic,
      topicId: reader.topicId,
      text: new TextDecoder().decode(payload),
      payload,
      lane: reader.lane,
      encoding: reader.encoding,
      flags: reader.flags,
      sequence: reader.sequence,
      timestamp: reader.timestamp,
      sender: reader.sender,
      replyTo: extensions.replyTo,
      correlation: extensions.correlation,
      messageId: extensions.messageId,
      ttl: extensions.ttl,
      key: extensions.key,
      headers: extensions.headers,
      size: end - start,
    };
  }

  private readControl(reader: BatchReader): void {
    const { bytes, start, end, payloadStart, type } = reader;
    const ref = reader.sequence;
    assert.ok(checksumHolds(bytes, start, end - start, 0), 'bad checksum');
    if (type === FrameType.hello) {
      this.hello = jsonControl.decode('hello', bytes, payloadStart, end);
      if (this.broker.greets) queueMicrotask(() => this.welcome());
      return;
    }
    const asksPatterns = type === FrameType.subscribe || type === FrameType.unsubscribe;
    this.controls.push({
      type,
      ref,
      patterns: asksPatterns ? jsonControl.decode('subscribe', bytes, payloadStart, end).patterns : [],
      query: type === FrameType.query ? jsonControl.decode('query', bytes, payloadStart, end) : null,
      payload: bytes.slice(payloadStart, end),
    });
    if (!this.broker.answers) return;
    if (asksPatterns || type === FrameType.everywhere) queueMicrotask(() => this.ack(ref));
    if (type === FrameType.consume) queueMicrotask(() => this.control('consuming', { mailbox: 9 }, ref));
    if (type === FrameType.ping)
      queueMicrotask(() => this.push(controlFrame(FrameType.pong, ref, Encoding.bytes)));
  }
}

export class FakeBroker {
  readonly connections: FakeConnection[] = [];
  readonly welcome: Welcome;
  /** Opens transports by itself, says welcome by itself, answers subscribe, unsubscribe and ping by itself. */
  opens = true;
  greets = true;
  answers = true;
  readonly open: OpenTransport;

  constructor(changes: Partial<Welcome> = {}) {
    this.welcome = {
      agentId: ME,
      session: 'session-1',
      sender: 5,
      node: 'node-a',
      shard: 0,
      maxPayload: 65_536,
      window: 1_000_000,
      heartbeatInterval: 15_000,
      resumed: false,
      missed: 0,
      topicIds: true,
      ...changes,
    };
    this.open = (url, reader) => {
      const connection = new FakeConnection(this, url, reader);
      this.connections.push(connection);
      if (this.opens) queueMicrotask(() => connection.opened());
      return connection;
    };
  }

  /** The connection made last. */
  get last(): FakeConnection {
    const last = this.connections.at(-1);
    assert.ok(last !== undefined, 'nobody has connected');
    return last;
  }

  /** An agent named `me` with a live connection. */
  connect(options: ConnectOptions = {}, urls: string | string[] = URL): Promise<Agent> {
    return connectOver(this.open, jsonControl, urls, { agentId: ME, ...options });
  }

  result(records: Result['records'], cursor: string | null = null): Result {
    return { records, cursor };
  }
}

export function record(
  agentId: string,
  changes: Partial<Result['records'][number]> = {},
): Result['records'][number] {
  return {
    agentId,
    agentType: 'agent',
    capabilities: [],
    node: 'node-a',
    shard: 0,
    state: 'online',
    since: 1,
    metadata: '{}',
    ...changes,
  };
}

/** A publish frame from the broker, its topic spelled out. */
export function message(topic: string, from: string, sender: number, fields: DeliverFields = {}): Uint8Array {
  const { payload = '', lane = LANE_NORMAL, sequence = 1 } = fields;
  const bytes = typeof payload === 'string' ? utf8(payload) : payload;
  const encoding = fields.encoding ?? (typeof payload === 'string' ? Encoding.text : Encoding.bytes);
  return writer.publish({
    topic,
    sender,
    from,
    lane,
    encoding,
    payload: bytes,
    sequence,
    extensions: fields.extensions,
  });
}

/** Waits until something holds, for at most two seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 2000;
  while (!holds()) {
    assert.ok(performance.now() < end, `never came true: ${what}`);
    await turn();
  }
}

/** Lets everything that is ready run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await turn();
}

export { turn };
