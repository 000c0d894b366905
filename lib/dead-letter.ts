/** A dead letter: a message that was taken out of delivery, as the shard that keeps it, the doors and the command line speak of it. */
import type { Attempt, Cause, Life } from './queues/attempts.js';

export const LETTER_KINDS = [
  'network-timeout',
  'agent-unavailable',
  'message-corruption',
  'circuit-breaker',
  'poison-message',
  'unknown-error',
] as const;
export type LetterKind = (typeof LETTER_KINDS)[number];

/**
 * What kind of dead letter a message becomes:
 *
 *   message-corruption  its checksum did not hold
 *   poison-message      different consumers failed at it, or shards of the broker died of it
 *   circuit-breaker     its time was over while the circuit breaker of every consumer was open
 *   agent-unavailable   its time was over before anybody had tried, or the last consumer that tried broke off
 *   network-timeout     the last attempt ended with the lease, without a word from a consumer that stayed connected
 *   unknown-error       the last attempt was nacked, or it is larger than the broker delivers by now
 */
export function kindOf(cause: Cause, attempts: readonly Attempt[] | null, breakersOpen: boolean): LetterKind {
  if (cause === 'checksum') return 'message-corruption';
  if (cause === 'consumers' || cause === 'crash') return 'poison-message';
  if (cause === 'too-large') return 'unknown-error';
  if (cause === 'expired' && breakersOpen) return 'circuit-breaker';
  switch (attempts?.at(-1)?.outcome) {
    case 'timeout':
      return 'network-timeout';
    case 'nack':
      return 'unknown-error';
    default:
      return 'agent-unavailable';
  }
}

/** What a list shows of a dead letter. Times are milliseconds since the Unix epoch. */
export interface LetterSummary {
  /** `<shard>-<number>`, unique on its node. */
  readonly id: string;
  readonly kind: LetterKind;
  readonly cause: Cause;
  /** The mailbox's name: `agent:<agentId>`, `group:<group>:<pattern>` or `capability:<capability>`. */
  readonly mailbox: string;
  readonly topic: string;
  readonly from: string;
  readonly storedAt: number;
  readonly diedAt: number;
  /** Attempts that failed, and what the last one that was nacked gave as reason; '' when none was, or gave none. */
  readonly failures: number;
  readonly reason: string;
  /** Bytes of its frame. */
  readonly size: number;
}

/** All of it. */
export interface LetterDetail extends LetterSummary {
  readonly priority: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly messageId: string | null;
  readonly key: string | null;
  /** As in a message of the JSON text door; `encoding` base64 where it is neither text nor JSON. */
  readonly data: unknown;
  readonly encoding?: 'base64';
  /** The last ones, oldest first. */
  readonly attempts: readonly Attempt[];
  /** What became of it before it was replayed, oldest first. */
  readonly lives: readonly Life[];
}

/** All conditions must hold; null asks nothing. */
export interface LetterFilter {
  readonly mailbox: string | null;
  readonly kind: LetterKind | null;
  /** Of its topic. */
  readonly pattern: string | null;
  /** It died then or later (ms since the epoch). */
  readonly since: number | null;
}

export interface LetterPage {
  /** Newest first. */
  readonly letters: readonly LetterSummary[];
  /** Where to go on; null = that was all. */
  readonly cursor: string | null;
  /** Shards that did not answer: what they keep is not in here. */
  readonly missing: readonly number[];
}

/** What has become of many at once. */
export interface LetterCount {
  /** Dead letters that were replayed, or purged. */
  readonly done: number;
  /** Some of those that could not be replayed, and why. */
  readonly refused: readonly { readonly id: string; readonly code: string }[];
  /** There are more: ask again. */
  readonly more: boolean;
  readonly missing: readonly number[];
}

/** By id, or all that a filter matches. */
export type LetterChoice = { readonly id: string } | { readonly filter: LetterFilter };
