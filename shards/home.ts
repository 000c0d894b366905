/** A mailbox where it lives: its messages, the ids that it has seen, and its consumers by session. */
import { kindOf } from '../lib/dead-letter.js';
import type { Cause } from '../lib/queues/attempts.js';
import { Breaker } from '../lib/queues/breaker.js';
import { Consumer } from '../lib/queues/consumer.js';
import type { Shares } from '../lib/queues/entry-lanes.js';
import { EMERGENCY, Fullness, FullnessState } from '../lib/queues/fullness.js';
import { Mailbox, type MailboxOwner, type MailboxPolicy } from '../lib/queues/mailbox.js';
import { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { type IdBudget, RecentIds } from '../lib/queues/recent-ids.js';
import type { TimingWheel } from '../lib/queues/timing-wheel.js';
import type { BreakerReason } from '../lib/wire/control.js';
import { OFFSET_LANE } from '../lib/wire/frame.js';
import type { PressureNotice } from './backpressure.js';
import type { DeadLetters } from './dead-letters.js';
import type { Integrity } from './integrity.js';
import type { HomeRecord } from './journal/home-record.js';
import type { Journal } from './journal/journal.js';
import type { MailboxNotice } from './mailbox-ref.js';

/** Repeats of at least that many messages back are recognised. */
export const KNOWN_IDS = 65_536;
/** Bytes for all of a shard: the whole window of 64 busy mailboxes. */
export const KNOWN_IDS_BYTES = 128 * 1024 * 1024;

/** Whom a mailbox tells what happens in it. */
export interface HomeOffice {
  /** There may be something to hand out at the end of this turn. */
  touch(home: Home): void;
  /** The circuit breaker of a consumer has changed. */
  onBreaker(home: Home, consumer: Consumer, reason: BreakerReason): void;
}

/** What all mailboxes of a slot stand on. */
export interface HomeGround {
  readonly journal: Journal;
  readonly letters: DeadLetters;
  readonly wheel: TimingWheel<MailboxEntry>;
  readonly shares: Shares;
  readonly office: HomeOffice;
  /** Milliseconds that it may hold live publishers without progress. */
  readonly stallLimit: number;
  /** Bytes of a frame that can be delivered. */
  readonly largest: number;
  readonly ids: IdBudget;
}

export class Home implements MailboxOwner {
  readonly number: number;
  readonly notice: MailboxNotice;
  readonly mailbox: Mailbox;
  readonly recent: RecentIds;
  /** By the sender numbers of their sessions. */
  readonly consumers: Map<number, Consumer>;
  /** Those whose circuit breakers are not closed. */
  broken: number;
  /** The part of the journal that says what it is. */
  segment: number;
  /** Since when it has had no consumer (ms since the epoch). */
  awaySince: number;
  /** Waits to be fed at the end of this turn. */
  dirty: boolean;
  /** Messages whose time was over since they were last counted. */
  expired: number;
  readonly fullness: Fullness;
  /** Messages left since it was last weighed, or it became larger. */
  #progress: boolean;
  readonly #journal: Journal;
  readonly #letters: DeadLetters;
  readonly #office: HomeOffice;
  readonly #largest: number;

  /** `recent`: the ids that it has seen, if it was there before. */
  constructor(
    ground: HomeGround,
    number: number,
    notice: MailboxNotice,
    policy: MailboxPolicy,
    wall: number,
    recent = new RecentIds(KNOWN_IDS, ground.ids),
  ) {
    this.#journal = ground.journal;
    this.#letters = ground.letters;
    this.#office = ground.office;
    this.#largest = ground.largest;
    this.number = number;
    this.notice = notice;
    this.mailbox = new Mailbox(policy, this, ground.wheel, ground.shares);
    this.recent = recent;
    this.consumers = new Map();
    this.broken = 0;
    this.segment = 0;
    this.awaySince = wall;
    this.dirty = false;
    this.expired = 0;
    this.fullness = new Fullness(ground.stallLimit);
    this.#progress = false;
  }

  /** What other shards are told of its pressure. */
  get pressure(): PressureNotice {
    const { state, holds } = this.fullness;
    return { handle: this.notice.handle, active: state !== FullnessState.open, holds };
  }

  /** In an emergency it has room for assured messages only. */
  get takesLive(): boolean {
    return this.fullness.state !== FullnessState.emergency && this.mailbox.part < EMERGENCY;
  }

  /** After messages came or left: true when its pressure has changed. `now`: on the exchange's clock. */
  weigh(now: number): boolean {
    const changed = this.fullness.weigh(this.mailbox.part, this.#progress, now);
    this.#progress = false;
    if (changed) this.mailbox.boosted = this.fullness.state !== FullnessState.open;
    return changed;
  }

  /** Writes down what it is. */
  record(): void {
    const { name, kind, pattern, epoch } = this.notice;
    const record: HomeRecord = {
      name,
      kind,
      pattern,
      epoch,
      policy: this.mailbox.policy,
      nextOffset: this.mailbox.nextOffset,
    };
    this.#journal.mailbox(this.number, JSON.stringify(record));
    this.segment = this.#journal.segment;
  }

  /** Changes what it is like. Leases that run stay as they are. */
  reform(policy: MailboxPolicy): void {
    this.mailbox.policy = policy;
    this.#progress = true;
    for (const { breaker } of this.consumers.values()) breaker.adopt(policy.breaker);
    this.record();
  }

  /** Whether it has consumers, and none of them is to be trusted with a message. */
  get breakersOpen(): boolean {
    return this.broken > 0 && this.broken === this.consumers.size;
  }

  /** Takes a message in: at once, or when its delay is over. */
  put(entry: MailboxEntry, wall: number): void {
    const wait = entry.readyAt - wall;
    if (wait > 0) this.mailbox.putLater(entry, performance.now() + wait);
    else this.mailbox.put(entry);
  }

  /** Takes back what a journal holds, if that is still what its publisher sealed, and `maxPayload` has not become too small for it. */
  takeBack(entry: MailboxEntry, wall: number, integrity: Integrity): void {
    const { from, topic, bytes, start, end } = entry;
    if (!integrity.holds(from, topic, bytes, start, end)) this.onDead(entry, 'checksum');
    else if (entry.size > this.#largest) this.onDead(entry, 'too-large');
    else this.put(entry, wall);
  }

  /** Makes a dead letter of what came for this mailbox, and was never in it. */
  bury(from: string, topic: string, src: Uint8Array, start: number, end: number, cause: Cause): void {
    const lane = src[start + OFFSET_LANE] & 7;
    const never = Number.POSITIVE_INFINITY;
    const entry = new MailboxEntry(0, lane, from, topic, '', src, start, end, Date.now(), never, 0);
    this.#letters.add(entry, this.notice.name, kindOf(cause, null, false), cause, () => {});
  }

  attach(session: number, name: string, prefetch: number): void {
    const known = this.consumers.get(session);
    if (known !== undefined) {
      known.prefetch = prefetch;
      return;
    }
    const breaker = new Breaker(this.mailbox.policy.breaker, (reason) => {
      this.#recount();
      this.#office.onBreaker(this, consumer, reason);
    });
    const consumer = new Consumer(session, name, prefetch, breaker);
    this.consumers.set(session, consumer);
    this.mailbox.attach(consumer);
  }

  /** False when it was no consumer. `broke`: its connection was lost without a goodbye. */
  detach(session: number, broke: boolean, wall: number): boolean {
    const consumer = this.consumers.get(session);
    if (consumer === undefined) return false;
    this.consumers.delete(session);
    this.mailbox.detach(consumer, broke, wall);
    this.#recount();
    if (this.consumers.size === 0) this.awaySince = wall;
    return true;
  }

  /** A message left: the journal need not keep it. */
  left(entry: MailboxEntry): void {
    this.#progress = true;
    this.#journal.gone(this.number, entry);
  }

  onDead(entry: MailboxEntry, cause: Cause): void {
    if (cause === 'expired') this.expired++;
    const kind = kindOf(cause, entry.attempts, this.breakersOpen);
    // It goes from the journal when it is safe as a letter.
    this.#letters.add(entry, this.notice.name, kind, cause, () => this.left(entry));
  }

  onFailed(entry: MailboxEntry): void {
    this.#journal.failed(this.number, entry);
  }

  onDue(): void {
    this.#office.touch(this);
  }

  #recount(): void {
    this.broken = 0;
    for (const { breaker } of this.consumers.values()) if (breaker.state !== 'closed') this.broken++;
  }
}
