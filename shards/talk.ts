/**
 * What the workers of a node say to each other on their links, beside the messages they forward: JSON, since none of
 * it is per message. Everything is told in order on the urgent path; a worker knows no more of a peer than that.
 */
import type { AgentRecord } from '../lib/directory.js';
import type { ClusterNode } from '../lib/mesh.js';
import type { BreakerChange } from '../lib/wire/control.js';
import type { PressureNotice } from './backpressure.js';
import type { LetterAnswer, LetterAsk } from './dead-letter-desk.js';
import type { ConsumeSpec } from './intake.js';
import type { MailboxNotice } from './mailbox-ref.js';

export type Talk =
  /** Patterns that have got their first, or lost their last, subscriber there. */
  | { t: 'interest'; add: string[]; remove: string[] }
  /** An agent came, changed its state, or left (state offline): one of that worker, or of another node if it is the gateway. */
  | { t: 'agent'; record: AgentRecord }
  /** Another node is not heard for a while, or given up. */
  | { t: 'node'; node: string; state: 'suspect' | 'gone' }
  /** Mailboxes that live there, or have ceased to. `renew`: these, and what follows until `synced`, are all. */
  | { t: 'mailboxes'; add: MailboxNotice[]; remove: number[]; renew: boolean }
  /** A session there wants to consume from a mailbox here, and the answer; or wants to no more. `ref` 0: without an answer. */
  | { t: 'consume'; ref: number; session: number; spec: ConsumeSpec }
  | { t: 'consuming'; ref: number; handle: number; code: string | null; message: string }
  | { t: 'leave'; session: number; handle: number; broke: boolean }
  /** The circuit breaker between a mailbox here and a session there has changed. */
  | { t: 'breaker'; session: number; change: BreakerChange }
  /** The pressure of a mailbox there has changed. */
  | { t: 'pressure'; notice: PressureNotice }
  /** About dead letters there, or in a mailbox there; and the answer. */
  | { t: 'ask'; ref: number; ask: LetterAsk }
  | { t: 'letters'; ref: number; answer: LetterAnswer }
  /** A shard asks the mesh worker which nodes there are; and the answer, in pieces. */
  | { t: 'cluster'; ref: number }
  | { t: 'nodes'; ref: number; nodes: readonly ClusterNode[]; last: boolean }
  /** The answer to a reset begins with all interest, mailboxes and agents; this ends it. */
  | { t: 'synced' }
  /** Please answer when everything before this is applied. */
  | { t: 'barrier'; n: number }
  | { t: 'applied'; n: number }
  /** To the gateway: please answer when every node has applied what was told before. */
  | { t: 'reach'; n: number }
  | { t: 'reached'; n: number }
  /** A taker there is full: no more credit for this sender of yours. */
  | { t: 'hold'; sender: number }
  | { t: 'release'; sender: number }
  /** Messages that did not fit into the link: how many of each topic. */
  | { t: 'lost'; topics: [topic: string, frames: number][] };

/**
 * The `reset` record, first on each path of a new incarnation. The peer forgets what the dead one had said on that path
 * and answers with a reset of its own, so that the new one knows where what was meant for the dead one ends.
 */
export interface Reset {
  incarnation: number;
  answer: boolean;
}

export function encodeTalk(talk: Talk | Reset): Uint8Array {
  return Buffer.from(JSON.stringify(talk));
}

/** `bytes[start, end)` were written by `encodeTalk` of the same build: workers of one node are forked from one file. */
export function decodeTalk<T extends Talk | Reset>(bytes: Uint8Array, start: number, end: number): T {
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString()) as T;
}

/** Patterns, or topics, per message: 255 bytes each, quoted, stay below the largest record. */
export const TEXTS_PER_TALK = 400;
