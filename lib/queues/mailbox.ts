/**
 * A mailbox without its journal and its network: messages that wait in five lanes, are leased to consumers, and leave when
 * they are acked. It does no input or output and reads no clock: whoever owns it journals what it is told has changed, and
 * says what time it is. `now` is monotonic milliseconds, `wall` milliseconds since the Unix epoch: a deadline must outlive the
 * process, a lease must not jump with the clock.
 *
 *   put ─▶ (delayed ─▶) ready (five lanes) ─take─▶ leased ─ack─▶ gone
 *                          ▲                         │ nack, lease over, consumer left
 *                          └─────── resting ◀────────┤
 *                                                    └─▶ dead: too many attempts or consumers have failed, or its time is over
 *
 * What ends at a time (a delay, a lease, the rest before another attempt) is a timer in a wheel, which all mailboxes of a shard share.
 *
 * Whose deadline is near goes ahead of its turn, but never two in a row: half of what is handed out, at least, goes by lanes.
 *
 * Of the messages with one ordering key, one at a time is leased or waits to be tried again; the others are parked behind it. As
 * long as some are, a consumer that has acked one gets the next, so that what it knows of the key serves it again.
 */
import type { Balance } from '../wire/control.js';
import { LANE_COUNT } from '../wire/frame.js';
import { type Cause, deadOf, noteFailure, type Outcome, type RetryPolicy, waitOf } from './attempts.js';
import { Balancer } from './balance.js';
import { type BreakerPolicy, SLOW_SHARE } from './breaker.js';
import type { Consumer } from './consumer.js';
import { Deadlines } from './deadlines.js';
import { DEFAULT_SHARES, EntryLanes, type Shares } from './entry-lanes.js';
import { EntryList } from './entry-list.js';
import { EntryState, type MailboxEntry } from './mailbox-entry.js';
import { OrderingKeys } from './ordering-keys.js';
import type { TimingWheel } from './timing-wheel.js';

export interface MailboxPolicy extends RetryPolicy {
  /** Messages, and bytes of their frames, that it holds at most. */
  maxMessages: number;
  maxBytes: number;
  /** Milliseconds that a message waits at most, once its delay is over. */
  maxAge: number;
  /** Milliseconds that a consumer has for one message. */
  lease: number;
  /** How its messages are shared out. */
  balance: Balance;
  /** What keeps them from consumers that fail at them. */
  breaker: BreakerPolicy;
}

/** Messages that are too old and that one is looked for behind, at most: the rest goes with `expire`. */
const EXPIRED_PER_TAKE = 1000;

export interface MailboxOwner {
  /** It is in the mailbox no more, and nobody has acked it. */
  onDead(entry: MailboxEntry, cause: Cause): void;
  /** It will be tried again, for the `entry.failures`th time. */
  onFailed(entry: MailboxEntry): void;
  /** The time of one was up: there may be something to hand out. */
  onDue(): void;
}

export class Mailbox {
  policy: MailboxPolicy;
  /** Of the next message. Offsets begin at 1 and only rise. */
  nextOffset: number;
  bytes: number;
  messages: number;
  readonly #owner: MailboxOwner;
  readonly #lanes: EntryLanes;
  /** By offset; as many as all consumers may have in flight. */
  readonly #leased: Map<number, MailboxEntry>;
  /** What is delayed, or waits for its next attempt. */
  readonly #away: EntryList;
  /** How many of those are delayed. */
  #delayed: number;
  readonly #wheel: TimingWheel<MailboxEntry>;
  readonly #deadlines: Deadlines;
  /** The last message went ahead of its turn. */
  #jumped: boolean;
  readonly #keys: OrderingKeys;
  readonly #balancer: Balancer;
  readonly #jitter: () => number;

  /** `wheel`: calls `due` of the mailbox of what it fires. `jitter`: numbers from 0 to 1. */
  constructor(
    policy: MailboxPolicy,
    owner: MailboxOwner,
    wheel: TimingWheel<MailboxEntry>,
    shares: Shares = DEFAULT_SHARES,
    jitter: () => number = Math.random,
  ) {
    this.policy = policy;
    this.nextOffset = 1;
    this.bytes = 0;
    this.messages = 0;
    this.#owner = owner;
    this.#lanes = new EntryLanes(shares);
    this.#leased = new Map();
    this.#away = new EntryList();
    this.#delayed = 0;
    this.#wheel = wheel;
    this.#deadlines = new Deadlines();
    this.#jumped = false;
    this.#keys = new OrderingKeys();
    this.#balancer = new Balancer();
    this.#jitter = jitter;
  }

  get consumers(): readonly Consumer[] {
    return this.#balancer.consumers;
  }

  get inFlight(): number {
    return this.#leased.size;
  }

  /** Its less urgent lanes get more, so that it does not fill up with what they hold. */
  set boosted(boosted: boolean) {
    this.#lanes.boosted = boosted;
  }

  /** How full it is, from 0 to 1. */
  get part(): number {
    const { maxMessages, maxBytes } = this.policy;
    return Math.max(this.messages / maxMessages, this.bytes / maxBytes);
  }

  get delayed(): number {
    return this.#delayed;
  }

  get waiting(): number {
    return this.messages - this.#leased.size;
  }

  /** Whether a message of `size` bytes may come in. */
  hasRoom(size: number): boolean {
    return this.messages < this.policy.maxMessages && this.bytes + size <= this.policy.maxBytes;
  }

  /** Takes a message in, at its offset. Whether there is room was asked before: what a journal held comes back in any case. */
  put(entry: MailboxEntry): void {
    this.#receive(entry);
    this.#deadlines.add(entry, this.messages);
    this.#lanes.append(entry);
  }

  /** The same for one that must not be handed out before `due`, on the clock of `now`. */
  putLater(entry: MailboxEntry, due: number): void {
    this.#receive(entry);
    this.#restUntil(entry, EntryState.delayed, due);
  }

  /** Takes back what could not be journaled; nobody has got it. */
  withdraw(entry: MailboxEntry): void {
    if (entry.state !== EntryState.gone) this.#remove(entry);
  }

  attach(consumer: Consumer): void {
    this.#balancer.add(consumer);
  }

  /**
   * Its unacked messages are tried again, in their order and at once: that it left says nothing about them. `broke`: it left
   * without a goodbye, and that is held against the one that it had longest.
   */
  detach(consumer: Consumer, broke: boolean, wall: number): void {
    if (!this.#balancer.remove(consumer)) return;
    consumer.left = true;
    const back: MailboxEntry[] = [];
    for (let entry = consumer.leases.head; entry !== null; entry = entry.next) back.push(entry);
    if (broke && back.length > 0 && this.#failed(back[0], 'left', '', wall)) back.shift();
    back.sort((a, b) => b.offset - a.offset);
    for (const entry of back) {
      this.#unlease(entry);
      this.#lanes.prepend(entry);
    }
  }

  /** Who is to get the next message, as the policy balances them; null when none of them may get one now. */
  nextConsumer(now: number): Consumer | null {
    return this.#balancer.pick(this.policy.balance, now);
  }

  /**
   * Leases the next message to `next`, or to whom its key is with: `consumer` of the entry says. Null when none is ready, or
   * too many stand before it that have expired: those are never handed out.
   */
  take(next: Consumer, now: number, wall: number): MailboxEntry | null {
    for (let expired = 0; ; ) {
      const entry = this.#next(wall);
      if (entry === null) return null;
      if (this.#isOver(entry, wall)) {
        if (expired++ === EXPIRED_PER_TAKE) return null;
        this.#expire(entry);
        continue;
      }
      this.#lanes.remove(entry);
      // What holds its key and comes back stands at the front, with nothing of its key before it.
      if (entry.key !== '' && !entry.holdsKey && !this.#keys.hold(entry)) {
        entry.state = EntryState.parked;
        continue;
      }
      const { heir } = entry;
      const consumer = heir?.mayTake(now) ? heir : next;
      entry.heir = null;
      entry.state = EntryState.leased;
      entry.consumer = consumer;
      this.#balancer.gave(consumer);
      consumer.gave();
      consumer.breaker.gave(entry.offset);
      consumer.inFlight++;
      consumer.inFlightBytes += entry.size;
      this.#leased.set(entry.offset, entry);
      consumer.leases.append(entry);
      this.#wheel.add(entry, now + this.policy.lease);
      return entry;
    }
  }

  /** The message is done. Null when this consumer does not hold it (any more): then nothing changes. */
  ack(consumer: Consumer, offset: number, now: number): MailboxEntry | null {
    const entry = this.#leased.get(offset);
    if (entry === undefined || entry.consumer !== consumer) return null;
    if (this.#isSlow(entry, now)) consumer.breaker.failed(offset, 'slow-ack', false, now);
    else consumer.breaker.succeeded(offset);
    consumer.retry();
    this.#remove(entry, consumer);
    return entry;
  }

  /** The message failed, and is tried again later, or dead. Null as for `ack`. */
  nack(consumer: Consumer, offset: number, reason: string, now: number, wall: number): MailboxEntry | null {
    const entry = this.#leased.get(offset);
    if (entry === undefined || entry.consumer !== consumer) return null;
    this.#fail(entry, 'nack', reason, now, wall);
    return entry;
  }

  /**
   * The message did not reach its consumer, whose way is full: it waits again where it did, and that is no failure. The consumer is
   * blocked. `repeated`: whether somebody may have got it before. Null as for `ack`.
   */
  giveBack(consumer: Consumer, offset: number, repeated: boolean): MailboxEntry | null {
    const entry = this.#leased.get(offset);
    if (entry === undefined || entry.consumer !== consumer) return null;
    consumer.block();
    this.#unlease(entry);
    entry.repeated = repeated;
    this.#lanes.restore(entry);
    return entry;
  }

  /** The time of `entry` is up, which is of this mailbox: its lease ends, its delay is over, or it is tried again. */
  due(entry: MailboxEntry, now: number, wall: number): void {
    if (entry.state === EntryState.leased) this.#fail(entry, 'timeout', '', now, wall);
    else {
      const { state } = entry;
      this.#return(entry);
      entry.state = EntryState.ready;
      if (state === EntryState.delayed) {
        // Its deadline, if it has one, is later than its delay.
        this.#deadlines.add(entry, this.messages);
        this.#lanes.append(entry);
      } else this.#lanes.prepend(entry);
    }
    this.#owner.onDue();
  }

  /** Now and then: tries those who were blocked. */
  retry(): void {
    for (const consumer of this.consumers) consumer.retry();
  }

  /** Drops what is too old, in at most `most` steps; returns how many it took. As many as `most`: there may be more. */
  expire(wall: number, most: number): number {
    let steps = 0;
    for (; steps < most; steps++) {
      const entry = this.#deadlines.pop(wall);
      if (entry === null) break;
      // A consumer may still be at work on it: what it does not ack is dropped when it comes back.
      if (entry.state !== EntryState.leased && entry.state !== EntryState.gone) this.#expire(entry);
    }
    // The oldest stand first, but for what came back.
    for (let lane = 0; lane < LANE_COUNT; lane++) {
      for (; steps < most; steps++) {
        const entry = this.#lanes.first(lane);
        if (entry === null || !this.#isOver(entry, wall)) break;
        this.#expire(entry);
      }
    }
    return steps;
  }

  /** All messages, in no order. */
  *entries(): Generator<MailboxEntry> {
    yield* this.#lanes.values();
    for (const { leases } of this.consumers)
      for (let entry = leases.head; entry !== null; entry = entry.next) yield entry;
    for (let entry = this.#away.head; entry !== null; entry = entry.next) yield entry;
    yield* this.#keys.values();
  }

  #receive(entry: MailboxEntry): void {
    if (entry.offset >= this.nextOffset) this.nextOffset = entry.offset + 1;
    entry.mailbox = this;
    this.messages++;
    this.bytes += entry.size;
  }

  /** Until `due` it is not handed out. */
  #restUntil(entry: MailboxEntry, state: EntryState, due: number): void {
    entry.state = state;
    if (state === EntryState.delayed) this.#delayed++;
    this.#away.append(entry);
    this.#wheel.add(entry, due);
  }

  #return(entry: MailboxEntry): void {
    if (entry.state === EntryState.delayed) this.#delayed--;
    this.#away.remove(entry);
    this.#wheel.cancel(entry);
  }

  /** What is to be handed out next; it stays where it is. */
  #next(wall: number): MailboxEntry | null {
    const urgent = this.#jumped ? null : this.#deadlines.urgent(wall);
    this.#jumped = urgent !== null;
    return urgent ?? this.#lanes.next();
  }

  #expire(entry: MailboxEntry): void {
    this.#remove(entry);
    this.#owner.onDead(entry, 'expired');
  }

  #isOver(entry: MailboxEntry, wall: number): boolean {
    return entry.deadline <= wall || entry.readyAt + this.policy.maxAge <= wall;
  }

  /** Whether an ack of it is so late that it counts against its consumer. */
  #isSlow(entry: MailboxEntry, now: number): boolean {
    const { lease, breaker } = this.policy;
    return now > entry.due - lease + (breaker.slowAck || lease * SLOW_SHARE);
  }

  #fail(entry: MailboxEntry, outcome: 'nack' | 'timeout', reason: string, now: number, wall: number): void {
    const { id, breaker } = entry.consumer!;
    breaker.failed(entry.offset, outcome, outcome === 'nack' && entry.failedAt === id, now);
    entry.failedAt = id;
    if (this.#failed(entry, outcome, reason, wall)) return;
    this.#unlease(entry);
    this.#restUntil(entry, EntryState.resting, now + waitOf(entry, this.policy, this.#jitter()));
  }

  /** Counts a failure of what is leased; true when it is dead by that, and in no list any more. */
  #failed(entry: MailboxEntry, outcome: Outcome, reason: string, wall: number): boolean {
    noteFailure(entry, entry.consumer!.name, outcome, reason, wall);
    const cause = deadOf(entry, this.policy);
    if (cause === null) {
      this.#owner.onFailed(entry);
      return false;
    }
    this.#remove(entry);
    this.#owner.onDead(entry, cause);
    return true;
  }

  #unlease(entry: MailboxEntry): void {
    const consumer = entry.consumer!;
    consumer.inFlight--;
    consumer.inFlightBytes -= entry.size;
    consumer.breaker.released(entry.offset);
    entry.consumer = null;
    entry.repeated = true;
    entry.state = EntryState.ready;
    consumer.leases.remove(entry);
    this.#leased.delete(entry.offset);
    this.#wheel.cancel(entry);
  }

  /** `by`: who has acked it, if it was that. */
  #remove(entry: MailboxEntry, by: Consumer | null = null): void {
    const { state } = entry;
    if (state === EntryState.leased) this.#unlease(entry);
    else if (state === EntryState.ready) this.#lanes.remove(entry);
    else if (state === EntryState.parked) this.#keys.remove(entry);
    else if (state !== EntryState.gone) this.#return(entry);
    entry.state = EntryState.gone;
    this.messages--;
    this.bytes -= entry.size;
    if (entry.holdsKey) this.#passKey(entry, by);
  }

  /** The message that held the key is gone: the next one with it takes its place, and goes to `heir` if it can. */
  #passKey(entry: MailboxEntry, heir: Consumer | null): void {
    const next = this.#keys.pass(entry);
    if (next === null) return;
    next.heir = heir;
    next.state = EntryState.ready;
    this.#lanes.prepend(next);
  }
}
