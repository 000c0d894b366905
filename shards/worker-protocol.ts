/**
 * What the primary and its workers say to each other: the boot data, and every message on the channel between
 * them (`process.send`, structured clone). No message of an agent ever travels here.
 */
import type { BrokerConfig } from '../lib/config/index.js';

/** The environment variable that holds the boot data, as JSON. */
export const BOOT_VARIABLE = 'FLOWBUS_BOOT';

export type LinkKind = 'shared-memory' | 'unix-socket';

/** What a worker is told when it is forked, and never changes in its life. */
export interface BootData {
  /** Which worker of the node this is: 0 … workers − 1. The shards come first (`config.shards`), then the mesh worker, if there is one. */
  slot: number;
  /** All slots of the node. */
  workers: number;
  /** 1 for the first process of this slot, one more for each that follows it. */
  incarnation: number;
  /** The node's name (config.node, or what stands for it when that is not set). */
  node: string;
  /** Unique for each run of the primary; names what that run leaves in the system. */
  instance: string;
  linkKind: LinkKind;
  /** The shared-memory segment, zero-filled by the primary; null when links are Unix sockets. */
  segmentPath: string | null;
  /** The file of createCounterFile (lib/telemetry) that stands in for the segment's telemetry; null when there is a segment. */
  counterFile: string | null;
  /** A private directory (0700) for the Unix sockets of this run. */
  socketsDir: string;
  /** By slot: the incarnation that the primary last forked there, 0 where there was none. Includes this worker's own. */
  epochs: number[];
  /** Unix time less the machine's monotonic clock (ms) when the node began: a time that no setting of the clock moves back. */
  clockOffset: number;
  /**
   * Who accepts connections. `primary`: they come as `connection` messages, and the worker does not listen.
   * `self`: the worker listens at `listen` itself (cluster's round robin stands behind it) before it says `ready`.
   */
  accept: 'primary' | 'self';
  /** Where the node listens; never port 0. */
  listen: { host: string; port: number };
  config: BrokerConfig;
}

/** A connection, with its handle as the second argument of the `message` event: see `adoptConnection`. */
export interface ConnectionMessage {
  type: 'connection';
  /** 1, 2, 3 … in the order in which the primary sent them to this worker. */
  serial: number;
  /** What the primary has read of it: at least the request line, at most 72 KiB. */
  head: Uint8Array;
}

export type PrimaryMessage =
  | ConnectionMessage
  /** To be answered with `pong` at once. */
  | { type: 'ping' }
  /** That worker is ready. Said once for each ready incarnation of each other worker, also right after one's own `ready`. */
  | { type: 'peer-up'; slot: number; incarnation: number }
  /** That worker's process has ended, whether or not it had been up. */
  | { type: 'peer-down'; slot: number; incarnation: number }
  /** No connection follows. Say goaway to the agents, flush, send `drained`, exit; killed after `timeoutMs`. */
  | { type: 'drain'; timeoutMs: number };

export type WorkerMessage =
  /** Takes connections from now on. At most 15 s after the fork, or after it last said that it is recovering. `recovered`: messages that its journal held. `addresses`: where other nodes join this one, when it is the mesh worker. */
  | { type: 'ready'; recovered: number; addresses: readonly string[] }
  /** Reads its journal, and gets on with it. */
  | { type: 'recovering' }
  /** Cannot start, or cannot go on; exits next. `code` is an error code of lib/errors. */
  | { type: 'failed'; code: string; message: string }
  | { type: 'pong' }
  /**
   * About once a second. `connections`: open now. `adopted`: the serial of the last `connection` message;
   * what the primary has sent beyond that is on its way and counts as open.
   */
  | { type: 'load'; connections: number; adopted: number }
  /** All agents were told and all was flushed; exits next. */
  | { type: 'drained' };

const WORKER_MESSAGES = new Set(['ready', 'recovering', 'failed', 'pong', 'load', 'drained']);
const PRIMARY_MESSAGES = new Set(['connection', 'ping', 'peer-up', 'peer-down', 'drain']);

function typeOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  const type = (value as { type?: unknown }).type;
  return typeof type === 'string' ? type : '';
}

export function isWorkerMessage(value: unknown): value is WorkerMessage {
  return WORKER_MESSAGES.has(typeOf(value));
}

export function isPrimaryMessage(value: unknown): value is PrimaryMessage {
  return PRIMARY_MESSAGES.has(typeOf(value));
}
