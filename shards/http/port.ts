/** What the HTTP door needs of the shard behind it. */
import type {
  LetterChoice,
  LetterCount,
  LetterDetail,
  LetterFilter,
  LetterPage,
} from '../../lib/dead-letter.js';
import type { ErrorCode } from '../../lib/errors.js';
import type { ClusterNode } from '../../lib/mesh.js';
import type { Encoding } from '../../lib/wire/frame.js';
import type { JsonAgentRecord } from '../../lib/wire/json.js';
import type { Retry } from '../../lib/wire/retry.js';
import type { Gate } from './gate.js';

export interface PublishOptions {
  /** 0 (critical) to 4 (background); normal when the request names none. */
  readonly lane: number;
  /** Time to live, 1 to 86,400,000 milliseconds; null = unlimited. */
  readonly ttl: number | null;
  /** Ordering key, 1 to 255 bytes of UTF-8; null = none. */
  readonly key: string | null;
  /** Milliseconds before which a mailbox does not deliver it, 1 to 604,800,000; null = none. Of assured messages alone. */
  readonly delay: number | null;
  /** How a mailbox tries it again; null = as it has it. Of assured messages alone. */
  readonly retry: Retry | null;
  /** Keep it as the last value of its topic. */
  readonly retain: boolean;
}

/** All conditions must hold; null asks nothing. */
export interface AgentFilter {
  readonly id: string | null;
  readonly type: string | null;
  readonly capability: string | null;
  readonly online: boolean | null;
}

export interface AgentRecords {
  readonly records: readonly JsonAgentRecord[];
  /** Where to go on; null = that was all. */
  readonly cursor: string | null;
}

export interface Recovering {
  readonly shard: number;
  /** Messages read so far, and how much of the journal, 0 to 1. */
  readonly messages: number;
  readonly share: number;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why not, one sentence each; empty when ready. */
  readonly reasons: readonly string[];
  /** Shards of the node that are starting and still read their journals; not there when none does. */
  readonly recovering?: readonly Recovering[];
}

/** `place` is none that the client sees: it has an id alone, behind which the client will go on. */
export type StreamEvent = 'message' | 'gap' | 'goaway' | 'place';

/** Where a stream begins in the past. */
export interface StreamStart {
  /** So many messages ago, or milliseconds; at most one of both. */
  readonly last: number | null;
  readonly age: number | null;
  /** Behind the event with this id, whatever the others say; null = its reader has none yet. */
  readonly after: string | null;
}

/** The reading end of an event stream, bounded: at most 64 KiB and one event lie unsent in it. */
export interface StreamSink {
  /**
   * Sends one event; `jsonText` is one JSON object, '' for a place. False when the stream is full or closed: nothing was taken, and
   * the event is the caller's to keep or drop. Once there is room again, `onDrain` is called.
   */
  write(jsonText: string, event: StreamEvent, id: string | null): boolean;
  /** Set by the shard. Called after a refused write, when everything unsent has gone. It must not throw. */
  onDrain: (() => void) | null;
  /** The reader has gone, or `end()` was called. */
  readonly closed: boolean;
  /** Ends the response behind what was written. */
  end(): void;
}

export interface StreamHandle {
  /** The id behind which the reader goes on if the stream ends now, everything written having arrived; null = it could not say. */
  position(): string | null;
  /** The reader has gone: called exactly once, after which the sink takes nothing more. It must not throw. */
  close(): void;
}

export interface DeadLetterPort {
  /** At most `limit` letters behind the cursor, null = from the newest. */
  list(filter: LetterFilter, cursor: string | null, limit: number): Promise<LetterPage>;
  show(id: string): Promise<LetterDetail>;
  replay(choice: LetterChoice): Promise<LetterCount>;
  purge(choice: LetterChoice): Promise<LetterCount>;
}

/** `Caller` is whatever `authorise` makes of the token; the door only hands it back. */
export interface HttpDoorPort<Caller = void> {
  /** Asked first, for every request. */
  readonly gate: Gate;
  /** The largest frame (bytes). */
  readonly maxPayload: number;
  /** Rejects with FlowbusError UNAUTHORIZED. Not asked for `/healthz` and `/readyz`. */
  authorise(token: string | null): Promise<Caller>;
  /**
   * Publishes live, at most once. `topic` is valid; JSON and text are checked. The payload may be kept. Anything but
   * `ok` is answered with that code: OVERLOADED while publishers are held back.
   */
  publish(
    caller: Caller,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
  ): 'ok' | ErrorCode;
  /**
   * Stores the message in every mailbox that takes it; resolves with how many these are. Rejects with what a typed error says
   * about one that was not stored, or not everywhere: safe to repeat under the same `id` (1 to 64 bytes; null: it has none).
   */
  store(
    caller: Caller,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
    id: string | null,
  ): Promise<number>;
  /**
   * Subscribes the sink to the patterns: 1 to 64, valid, without repeats. May write to it before it resolves. Throws
   * or rejects with a FlowbusError, such as FORBIDDEN_TOPIC, LIMIT_REACHED, HISTORY_UNAVAILABLE, or BAD_OPTION for an id that is none.
   */
  openStream(
    caller: Caller,
    patterns: readonly string[],
    start: StreamStart | null,
    sink: StreamSink,
  ): StreamHandle | Promise<StreamHandle>;
  /** At most `limit` (1 to 500) records behind the cursor; null = from the first. */
  agents(filter: AgentFilter, cursor: string | null, limit: number): AgentRecords | Promise<AgentRecords>;
  readonly deadLetters: DeadLetterPort;
  /** This node first, then the others by name. Rejects with MESH_OFF, MESH_DOWN. */
  cluster(): Promise<readonly ClusterNode[]>;
  ready(): Readiness;
  /** The metrics page, see lib/telemetry/prometheus.ts. */
  metrics(): Promise<{ readonly contentType: string; readonly body: string }>;
  /** Once for each answer, when its status is sent: for the counters. */
  answered(status: number): void;
  /** Something that is no FlowbusError was thrown; the client gets status 500 and no details. For the log. */
  failed(error: unknown): void;
}
