/** The shard as the HTTP door sees it. */
import { randomUUID } from 'node:crypto';
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { ClusterNode } from '../../lib/mesh.js';
import { readBlock, type TelemetryReader } from '../../lib/telemetry/block.js';
import { C } from '../../lib/telemetry/counters.js';
import { MetricsPage, type RenderedMetrics } from '../../lib/telemetry/prometheus.js';
import type { Encoding } from '../../lib/wire/frame.js';
import type { Gate } from '../http/gate.js';
import type {
  AgentFilter,
  AgentRecords,
  DeadLetterPort,
  HttpDoorPort,
  PublishOptions,
  Readiness,
  Recovering,
  StreamHandle,
  StreamSink,
  StreamStart,
} from '../http/port.js';
import { extensionsOf } from '../http/publish.js';
import type { Session } from '../session.js';
import { jsonPage } from './agents.js';
import type { DoorContext } from './context.js';
import { type Entering, Entry } from './entry.js';
import { EventStream } from './event-stream.js';
import { subscribeProblem } from './hello.js';

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

  #entering(topic: string, payload: Uint8Array, encoding: Encoding, options: PublishOptions): Entering {
    const { lane, retain } = options;
    const sequence = ++this.#sequence;
    return { topic, lane, encoding, payload, sequence, retain, extensions: extensionsOf(options) };
  }

  async openStream(
    _caller: undefined,
    patterns: readonly string[],
    start: StreamStart | null,
    sink: StreamSink,
  ): Promise<StreamHandle> {
    for (const pattern of patterns) {
      const problem = subscribeProblem(pattern);
      if (problem !== null) throw problem;
    }
    const stream = new EventStream(this.#context, sink);
    const { sessions } = this.#context;
    const session = sessions.openListener(NAME, start === null ? patterns : [], stream);
    stream.session = session;
    this.#streams.add(stream);
    this.#countStreams();
    const close = (): void => {
      this.#streams.delete(stream);
      this.#countStreams();
      this.#context.exchange.tick();
      // Its reader has gone, or is told otherwise.
      session.sink = null;
      sessions.end(session, null, '');
    };
    try {
      await (start === null ? stream.subscribed(patterns) : stream.replay(patterns, start));
    } catch (error) {
      close();
      throw error;
    }
    return { position: () => stream.position(), close };
  }

  #countStreams(): void {
    this.#context.exchange.counters[C.streams] = this.#streams.size;
  }

  agents(filter: AgentFilter, cursor: string | null, limit: number): AgentRecords {
    const query = { kind: 'agents', ...filter, cursor } as const;
    return jsonPage(this.#context.sessions.directory, query, PAGE_BYTES, limit);
  }

  cluster(): Promise<readonly ClusterNode[]> {
    return this.#context.cluster.nodes();
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
