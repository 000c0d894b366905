/** What the harness asks of a bus, ours or another: a server to start, clients that publish, subscribe and call. */
import type { Priority } from '../../lib/client/index.js';

/** A client as its users have it, at its best settings. */
export interface BusClient {
  /** The shard that it is on; null where a bus has none. */
  readonly shard: number | null;
  /** What a reader of the figures should know: errors, gaps, lost connections. Bounded. */
  readonly notes: readonly string[];
  /** Messages that the bus has told it were left out; null: this bus tells nobody. */
  readonly missed: number | null;
  /**
   * False: enough for now, await `drained()`. The payload is the caller's again at once: clients that keep it must copy it.
   * Text and priorities are flowbus's own, and not asked of the clients of others.
   */
  publish(topic: string, payload: Uint8Array | string, priority?: Priority): boolean;
  drained(): Promise<void>;
  /** Resolves when every message published from then on comes. `onMessage` gets nothing: most clients pay for what they hand out. */
  count(pattern: string, onMessage: () => void): Promise<void>;
  receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void>;
  /** Answers requests to the name of this client with their payload. Null: the bus knows no requests. */
  readonly answer: (() => Promise<void>) | null;
  /** Resolves with the answer of the client of this name. */
  readonly request: ((name: string, payload: Uint8Array) => Promise<unknown>) | null;
  /** Null: the bus stores nothing. */
  readonly assured: AssuredClient | null;
  /** Resolves when the server has everything that was published. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Messages that are stored until a consumer has acked them. */
export interface AssuredClient {
  /** What is published on `topic` from then on is stored, whether or not somebody consumes it. */
  keep(topic: string): Promise<void>;
  /** Resolves when the message is stored. The payload is the caller's again at once. */
  publish(topic: string, payload: Uint8Array): Promise<unknown>;
  /** Takes what is stored of `topic`, where `keep` was called before, and acks each message behind its handler. */
  consume(topic: string, onMessage: (payload: Uint8Array) => void): Promise<void>;
}

/** How long an ack of the server may take (ms): a bus that cannot keep up is to have bad figures, and not to fail. */
export const STORE_TIMEOUT = 60_000;

/** Messages that a consumer may have unacked at a time. */
export const PREFETCH = 10_000;

export interface BusServer {
  readonly url: string;
  readonly version: string;
  /** Of a server that is in a cluster. */
  readonly member?: Member;
  /** Processes whose time and memory count, now. */
  pids(): number[];
  stop(): Promise<void>;
}

/** A server as the node of a cluster. */
export interface Member {
  /** Where other nodes join it. */
  readonly address: string;
  /** The process that speaks with other nodes; null where it is none of its own. */
  pid(): number | null;
  /** Whether there is a link with another node. */
  linked(): Promise<boolean>;
}

export interface StartOptions {
  /** flowbus: shards; null is one per core. */
  shards: number | null;
  /** flowbus: the kind of links between shards. */
  links: 'auto' | 'shared-memory' | 'unix-socket';
}

export interface ServerOptions extends StartOptions {
  /** The directory for what it stores, which may have come from a server before; null: it stores nothing. */
  data: string | null;
  /** The cluster that it is to be in; null: none. */
  cluster: Membership | null;
}

/** For those buses whose servers tell that they are members. */
export interface Membership {
  /** The name of the node, which no other one has. */
  node: string;
  /** Where others are; empty for the first one. */
  join: readonly string[];
  /** flowbus: what all of them share; null: nothing. */
  secret: string | null;
}

export interface Bus {
  /** Rejects with BusMissing when it is not installed. Resolves when it serves. */
  start(options: ServerOptions): Promise<BusServer>;
  connect(url: string, name: string): Promise<BusClient>;
}

/** The bus is not on this machine; the message says how to get it. */
export class BusMissing extends Error {
  /** In every such message, which may have come from another process. */
  static readonly MARK = 'is not installed';

  constructor(program: string) {
    super(`${program} ${BusMissing.MARK}; ops/install-peers gets it from Debian's packages`);
  }
}

/** Notes that one client keeps. */
const MAX_NOTES = 10;

export class Notes {
  readonly lines: string[] = [];

  add(line: string): void {
    if (this.lines.length < MAX_NOTES) this.lines.push(line);
  }
}

/** Messages that a client without flow control of its own has on their way before it waits for the server. */
export const WINDOW = 4096;

export const BUS_NAMES = ['flowbus', 'nats', 'nats-ws', 'redis', 'mosquitto', 'aedes', 'socket.io'] as const;
/** `jetstream`: nats-server as the store of assured messages, which is another task than that of the others. */
export type BusName = (typeof BUS_NAMES)[number] | 'jetstream';

/** How a client speaks: as the users of a bus do, or JSON to flowbus's text door. */
export type ClientName = BusName | 'flowbus-json';
