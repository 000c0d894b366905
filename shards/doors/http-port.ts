/** The shard as the HTTP door sees it. */
import { randomUUID } from 'node:crypto';
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { Chunk } from '../../lib/queues/chunks.js';
import { readBlock, type TelemetryReader } from '../../lib/telemetry/block.js';
import { C } from '../../lib/telemetry/counters.js';
import { MetricsPage, type RenderedMetrics } from '../../lib/telemetry/prometheus.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { type Encoding, FrameType } from '../../lib/wire/frame.js';
import type { Gate } from '../http/gate.js';
import type {
  AgentFilter,
  AgentRecords,
  DeadLetterPort,
  HttpDoorPort,
  PublishOptions,
  Readiness,
  Recovering,
  StreamEvent,
  StreamHandle,
  StreamSink,
} from '../http/port.js';
import type { Session, Sink } from '../session.js';
import { jsonPage } from './agents.js';
import type { DoorContext } from './context.js';
import { type Entering, Entry } from './entry.js';
import { subscribeProblem } from './hello.js';
import { messageOf } from './json-message.js';

/** The name that messages published over HTTP are from; no agent may bear it. */
const NAME = 'http';
/** Bytes of a page of agents: HTTP has no frame to fit it into. */
const PAGE_BYTES = 1024 * 1024;

export class HttpPort implements HttpDoorPort {
  readonly gate: Gate;
  readonly maxPayload: number;
  readonly deadLetters: DeadLetterPort;
  readonly #context: DoorContext;
  readonly #entry: Entry;
  readonly #publisher: Session;
  readonly #telemetry: TelemetryReader;
  readonly #page: MetricsPage;
  readonly #notReady: () => string[];
  readonly #onFailure: (error: unknown) => void;
  readonly #streams: Set<EventStream>;
  #sequence: number;

  constructor(
    context: DoorContext,
    telemetry: TelemetryReader,
    notReady: () => string[],
    onFailure: (error: unknown) => void,
  ) {
    this.gate = context.gate;
    this.maxPayload = context.maxPayload;
    this.deadLetters = context.desk;
    this.#context = context;
    this.#entry = new Entry(context);
    this.#publisher = context.sessions.openPublisher(NAME);
    this.#telemetry = telemetry;
    this.#page = new MetricsPage(telemetry);
    this.#notReady = notReady;
    this.#onFailure = onFailure;
    this.#streams = new Set();
    this.#sequence = 0;
  }

  async authorise(token: string | null): Promise<void> {
    await this.#context.authorise?.(token, null);
  }

  publish(
    _caller: undefined,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
  ): 'ok' | ErrorCode {
    const publisher = this.#publisher;
    if (publisher.holds > 0 && publisher.published >= publisher.limit) return 'OVERLOADED';
    const entering = this.#entering(topic, payload, encoding, options);
    const { code, bytes } = this.#entry.publish(publisher.sender, entering);
    publisher.charge(bytes);
    return code ?? 'ok';
  }

  store(
    _caller: undefined,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
    id: string | null,
  ): Promise<number> {
    const publisher = this.#publisher;
    const message = this.#entering(topic, payload, encoding, options);
    const extensions = { ...message.extensions, messageId: id ?? randomUUID() };
    return new Promise((resolve, reject) => {
      const bytes = this.#entry.store(publisher, { ...message, extensions }, (stored, code) => {
        if (code === null) resolve(stored);
        else reject(new FlowbusError(code));
      });
      publisher.charge(bytes);
    });
  }

  #entering(
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    { lane, ttl, key, delay }: PublishOptions,
  ): Entering {
    return {
      topic,
      lane,
      encoding,
      payload,
      sequence: ++this.#sequence,
      extensions: { ttl: ttl ?? undefined, key: key ?? undefined, delay: delay ?? undefined },
    };
  }

  async openStream(_caller: undefined, patterns: readonly string[], sink: StreamSink): Promise<StreamHandle> {
    for (const pattern of patterns) {
      const problem = subscribeProblem(pattern);
      if (problem !== null) throw problem;
    }
    const stream = new EventStream(this.#context, sink);
    const session = this.#context.sessions.openListener(NAME, patterns, stream);
    stream.session = session;
    this.#streams.add(stream);
    this.#countStreams();
    await this.#context.interest.settled();
    return {
      close: () => {
        this.#streams.delete(stream);
        this.#countStreams();
        this.#context.exchange.tick();
        this.#context.sessions.end(session, null, '');
      },
    };
  }

  #countStreams(): void {
    this.#context.exchange.counters[C.streams] = this.#streams.size;
  }

  agents(filter: AgentFilter, cursor: string | null, limit: number): AgentRecords {
    const query = { kind: 'agents', ...filter, cursor } as const;
    return jsonPage(this.#context.sessions.directory, query, PAGE_BYTES, limit);
  }

  ready(): Readiness {
    const reasons = this.#notReady();
    const recovering = recoveringShards(this.#telemetry);
    return { ready: reasons.length === 0, reasons, ...(recovering.length > 0 && { recovering }) };
  }

  metrics(): Promise<RenderedMetrics> {
    return this.#page.render();
  }

  answered(status: number): void {
    const { counters } = this.#context.exchange;
    counters[status < 400 ? C.httpSuccesses : status < 500 ? C.httpRefusals : C.httpFailures]++;
  }

  failed(error: unknown): void {
    this.#onFailure(error);
  }
}

/** Read from their gauges: they have no ear for questions meanwhile. */
export function recoveringShards(telemetry: TelemetryReader): Recovering[] {
  return telemetry.blocks().flatMap((region) => {
    const counters = readBlock(region)?.counters;
    const unread = counters?.[C.journalUnread] ?? 0;
    if (counters === undefined || unread === 0) return [];
    const share = Math.round(1000 * (1 - unread)) / 1000;
    return [{ shard: Number(region.worker), messages: counters[C.mailboxMessages], share }];
  });
}

/** What a session has for a reader of server-sent events. */
class EventStream implements Sink {
  readonly announces = false;
  session: Session | null;
  readonly #context: DoorContext;
  readonly #sink: StreamSink;
  readonly #reader: BatchReader;
  /** Events that the stream had no room for: what one chunk holds at most, and gaps. */
  #held: { text: string; event: StreamEvent }[];

  constructor(context: DoorContext, sink: StreamSink) {
    this.session = null;
    this.#context = context;
    this.#sink = sink;
    this.#reader = new BatchReader();
    this.#held = [];
    sink.onDrain = () => this.#onDrain();
  }

  /** While something is held there is room for nothing. */
  get unsent(): number {
    return this.#held.length === 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  send(chunk: Chunk): void {
    const { exchange } = this.#context;
    const reader = this.#reader;
    reader.open(chunk.bytes, chunk.start, chunk.end, chunk.size);
    for (let step = reader.next(); step === Step.frame; step = reader.next()) {
      if (reader.type !== FrameType.publish) continue;
      const message = messageOf(exchange, reader);
      if (message === null) continue;
      this.#write(JSON.stringify(message), 'message');
    }
    exchange.pool.give(chunk);
  }

  credit(): void {}

  gap(missed: number, reason: string): void {
    const { counters } = this.#context.exchange;
    counters[C.gapFrames]++;
    counters[C.gapMessages] += missed;
    this.#write(JSON.stringify({ op: 'gap', missed, reason }), 'gap');
  }

  pause(): void {}

  resume(): void {}

  probe(): void {}

  close(code: ErrorCode | null, message: string, reconnect: boolean): void {
    if (code !== null) this.#sink.write(JSON.stringify({ op: 'goaway', code, message, reconnect }), 'goaway');
    this.#sink.end();
  }

  #write(text: string, event: StreamEvent): void {
    if (this.#held.length > 0 || !this.#sink.write(text, event)) this.#held.push({ text, event });
  }

  #onDrain(): void {
    let taken = 0;
    for (const { text, event } of this.#held) {
      if (!this.#sink.write(text, event)) break;
      taken++;
    }
    this.#held.splice(0, taken);
    if (this.#held.length > 0 || this.session === null) return;
    this.#context.exchange.tick();
    this.session.touch();
  }
}
