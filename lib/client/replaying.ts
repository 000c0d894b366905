/** Subscriptions that begin with messages of the past, and go on where they stopped when a connection was lost. */
import { FlowbusError } from '../errors.js';
import type { Replay } from '../wire/control.js';
import { MAX_LAST, Progress, Stage, type Replaying as StageNotice } from '../wire/past.js';
import { badOption, checkInteger, checkNames } from './options.js';

/** Where a subscription begins: so many messages ago, or at a time (a Date, or milliseconds ago). */
export type ReplayOption = number | { last: number } | { since: Date | number };

/** What the option asks for. Throws BAD_OPTION. */
export function checkReplay(value: unknown): Pick<Replay, 'last' | 'age'> {
  if (typeof value === 'number') return { last: checkInteger('replay', value, 0, MAX_LAST), age: null };
  if (typeof value !== 'object' || value === null)
    throw badOption('replay', value, 'a number of messages, { last } or { since }');
  checkNames('replay.', value, ['last', 'since']);
  const { last, since } = value as { last?: unknown; since?: unknown };
  if ((last === undefined) === (since === undefined))
    throw new FlowbusError('BAD_OPTION', 'replay needs one of last and since.');
  if (since === undefined) return { last: checkInteger('replay.last', last, 0, MAX_LAST), age: null };
  const age = since instanceof Date ? Math.max(0, Date.now() - since.getTime()) : since;
  return { last: null, age: checkInteger('replay.since', age, 0, Number.MAX_SAFE_INTEGER) };
}

/** One subscription's way through the history. All of it is decided as messages come in, before they wait for handlers. */
export class Replaying {
  readonly pattern: string;
  /** What its messages of the past bear. */
  readonly stream: number;
  /** The broker has been asked and has not answered. */
  asking: boolean;
  readonly #last: number | null;
  readonly #age: number | null;
  readonly #askedAt: number;
  readonly #progress: Progress;
  /** The history that `#progress` is about; null before the broker has begun. */
  #history: string | null;
  /** It has caught up: live messages count. */
  #open: boolean;

  constructor(pattern: string, stream: number, { last, age }: Pick<Replay, 'last' | 'age'>) {
    this.pattern = pattern;
    this.stream = stream;
    this.asking = false;
    this.#last = last;
    this.#age = age;
    this.#askedAt = performance.now();
    this.#progress = new Progress();
    this.#history = null;
    this.#open = false;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** What to ask the broker for, now. `heardAt`: when it was heard last. */
  wish(heardAt: number): Replay {
    const { pattern, stream } = this;
    this.#open = false;
    if (this.#history === null) {
      const age = this.#age === null ? null : Math.ceil(this.#age + performance.now() - this.#askedAt);
      return { pattern, stream, last: this.#last, age, cursor: null };
    }
    const age = Math.ceil(performance.now() - heardAt);
    return { pattern, stream, last: null, age, cursor: this.#progress.cursor(this.#history) };
  }

  /** The broker begins, or has caught up. */
  onStage({ stage, history, places }: StageNotice): void {
    if (history !== this.#history) this.#progress.clear();
    this.#history = history;
    for (const [slot, place] of places.entries()) this.#progress.reachAll(slot, place);
    this.#open = stage === Stage.caughtUp;
  }

  /** Whether a message of the past is for it: once. */
  takesPast(slot: number, lane: number, place: number): boolean {
    if (!this.#progress.wants(slot, lane, place)) return false;
    this.#progress.reachAll(slot, place + 1);
    return true;
  }

  /** Whether a live message without a place is for it. Before the broker has begun, none is. */
  takesUnplaced(isKept: boolean): boolean {
    return this.#open || (this.#history !== null && !isKept);
  }

  /** Whether a live message is for it: that of the past, which it gets as such, is not. */
  takesLive(slot: number, lane: number, place: number): boolean {
    if (!this.#open || !this.#progress.wants(slot, lane, place)) return false;
    this.#progress.reach(slot, lane, place + 1);
    return true;
  }
}

/**
 * Those of `targets` that begin in the past and take the live message at a place, 0 for none. `isKept`: others on its topic had a place, so that what
 * has none comes from before this connection, and from the history as well.
 */
export function takersOf(
  targets: readonly { readonly replaying: Replaying | null }[],
  slot: number,
  lane: number,
  place: number,
  isKept: boolean,
): readonly Replaying[] {
  const takers: Replaying[] = [];
  for (const { replaying } of targets) {
    if (replaying === null) continue;
    const takes = place === 0 ? replaying.takesUnplaced(isKept) : replaying.takesLive(slot, lane, place);
    if (takes) takers.push(replaying);
  }
  return takers;
}
