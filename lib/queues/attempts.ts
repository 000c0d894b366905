/**
 * What is remembered of a message that failed, and when that is enough. Only messages that fail have any of it.
 *
 * An attempt fails when its consumer nacks it, lets the lease end, or breaks off: its connection is lost without a goodbye
 * while it has the message. Of all that such a consumer had, the one that it had longest is held against it: those behind it
 * waited their turn.
 */
import { retryOfFrame } from '../wire/delivery.js';
import type { MailboxEntry } from './mailbox-entry.js';

/** `timeout`: the lease ended. `left`: the consumer broke off. */
export type Outcome = 'nack' | 'timeout' | 'left';

/** One attempt that failed. */
export interface Attempt {
  /** When it failed, milliseconds since the Unix epoch. */
  at: number;
  /** The consumer's agentId. */
  consumer: string;
  outcome: Outcome;
  /** What the nack said; else ''. */
  reason: string;
}

/**
 * Why a message is taken out of delivery. `crash`: two processes of a shard died with it in hand. `too-large`: the broker began anew with a
 * smaller `maxPayload`.
 */
export type Cause = 'attempts' | 'consumers' | 'expired' | 'checksum' | 'crash' | 'too-large';

/** One time from its arrival in a mailbox to its death: a message that was replayed has several. */
export interface Life {
  storedAt: number;
  diedAt: number;
  cause: Cause;
  /** How many attempts failed; `attempts` are the last of them. */
  failures: number;
  attempts: readonly Attempt[];
}

/** Attempts, and lives, that are remembered of one message: the last ones. With its frame they fit into one record of a link. */
export const MAX_ATTEMPTS_KEPT = 10;
export const MAX_LIVES_KEPT = 4;
/** UTF-16 units of a reason, once another attempt has come after it. */
const MAX_OLD_REASON = 128;

/** How a message is tried again, where it does not say so itself. */
export interface RetryPolicy {
  /** Attempts in all; then it is dead. */
  maxAttempts: number;
  /** Milliseconds before it is tried again: doubled with each failure, up to the cap. */
  retryBase: number;
  retryCap: number;
  /** It is dead as soon as so many different consumers have failed at it; 0: however many. */
  poisonAfter: number;
}

/** Counts a failure of `entry`. */
export function noteFailure(
  entry: MailboxEntry,
  consumer: string,
  outcome: Outcome,
  reason: string,
  wall: number,
): void {
  entry.failures++;
  entry.attempts ??= [];
  remember(entry.attempts, { at: wall, consumer, outcome, reason });
}

/** Adds an attempt to those that are remembered. */
export function remember(attempts: Attempt[], attempt: Attempt): void {
  const last = attempts.at(-1);
  if (last !== undefined) last.reason = last.reason.slice(0, MAX_OLD_REASON);
  attempts.push(attempt);
  if (attempts.length > MAX_ATTEMPTS_KEPT) attempts.shift();
}

/** Why `entry`, which has just failed, is not tried again; null when it is. */
export function deadOf(entry: MailboxEntry, policy: RetryPolicy): Cause | null {
  const { poisonAfter } = policy;
  if (poisonAfter > 0 && entry.failures >= poisonAfter) {
    const consumers = new Set(entry.attempts?.map(({ consumer }) => consumer));
    if (consumers.size >= poisonAfter) return 'consumers';
  }
  const own = retryOfFrame(entry.bytes, entry.start, entry.end);
  return entry.failures >= (own?.maxAttempts ?? policy.maxAttempts) ? 'attempts' : null;
}

/** Milliseconds until the next attempt: exponential backoff, half of it by chance, so that what failed together parts. */
export function waitOf(entry: MailboxEntry, policy: RetryPolicy, jitter: number): number {
  const own = retryOfFrame(entry.bytes, entry.start, entry.end);
  const base = own?.base ?? policy.retryBase;
  const cap = own?.cap ?? policy.retryCap;
  const wait = Math.min(cap, base * 2 ** Math.min(30, entry.failures - 1));
  return wait / 2 + (wait / 2) * jitter;
}
