/** The exchange as sessions and peers see it: what they share with each other, and whom they tell what happens to them. */
import type { Chunk, ChunkPool } from '../lib/queues/chunks.js';
import type { Reason } from '../lib/telemetry/ledger.js';
import type { SenderIds } from './sender-ids.js';
import type { TopicId } from './topic-ids.js';

export interface ExchangeSettings {
  node: string;
  slot: number;
  incarnation: number;
  /** All worker slots of the node: those of shards, and that of the gateway to other nodes behind them if there is one. */
  workers: number;
  shards: number;
  /** Bytes that may wait for one connection. */
  backlog: number;
  /** Bytes that may wait for all connections of this shard together. */
  totalBacklog: number;
  /** Milliseconds that a backlog without progress may stall its feeders. */
  stallLimit: number;
  /** Publish credit of a connection, bytes. */
  window: number;
  maxPayload: number;
  maxTopics: number;
  /** Where what leaves for sessions is counted: agents, or other nodes. */
  out: OutCells;
}

/** Cells of counters. */
export interface OutCells {
  readonly frames: number;
  readonly bytes: number;
  readonly batches: number;
}

/** `S` is the session, `P` the peer: they are told of, not asked. */
export interface ExchangeView<S, P> {
  readonly settings: ExchangeSettings;
  readonly pool: ChunkPool;
  readonly topicIds: { find(id: number): TopicId | undefined };
  readonly senders: SenderIds;
  /** Sessions and peers to flush at the end of this turn. */
  readonly dirty: S[];
  readonly dirtyPeers: P[];
  /** Backlogs that stall somebody, or shed. */
  readonly pressed: Set<S | P>;
  /** Bytes that wait for all sessions. */
  backlogBytes: number;
  /** Monotonic milliseconds, low 32 bits; the same clock for all processes of the machine. Renewed by `tick`. */
  readonly now: number;
  /** A slow taker asks that the agent with this number gets no more credit. */
  hold(number: number): void;
  unhold(number: number): void;
  cutOff(session: S): void;
  /** The connection of a session is gone: it consumes from no mailbox, and none holds it. `broke`: without a goodbye. */
  leave(session: S, broke: boolean): void;
  /** A link was found full. */
  countLinkStall(): void;
  countOut(frames: number, bytes: number): void;
  countToLink(frames: number, bytes: number): void;
  /** The topic of a frame, spelled out or by id; null when this worker does not know it (any more). */
  topicTextOf(bytes: Uint8Array, start: number): string | null;
  /** The `frames` messages from `bytes[start…]` on are not delivered to somebody. */
  dropped(bytes: Uint8Array, start: number, reason: Reason, frames: number): void;
  /** `consumer`: the session whose deliveries go back to their mailboxes; else those come again when they are missed. */
  droppedChunk(chunk: Chunk, reason?: Reason, consumer?: number): void;
}
