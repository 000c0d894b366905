/**
 * A mailbox without its journal and its network: messages that wait in five lanes, are leased to consumers, and leave when
 * they are acked. It does no input or output and reads no clock: whoever owns it journals what it is told has changed, and
 * says what time it is. `now` is monotonic milliseconds, `wall` milliseconds since the Unix epoch: a deadline must outlive the
 * process, a lease must not jump with the clock.
 *
 *   put ─▶ ready (five lanes) ─take─▶ leased ─ack─▶ gone
 *             ▲                         │ nack, lease over, consumer left
 *             └──────── retry ◀─────────┘
 *
 * Of the messages with one ordering key, one at a time is leased or waits to be tried again; the others are parked behind it. As
 * long as some are, a consumer that has acked one gets the next, so that what it knows of the key serves it again.
 */
import type { Balance } from '../wire/control.js';
import { LANE_COUNT } from '../wire/frame.js';
import { Balancer } from './balance.js';
import type { Consumer } from './consumer.js';
import { DeadlineHeap } from './deadline-heap.js';
import { EntryList } from './entry-list.js';
import { EntryState, type MailboxEntry } from './mailbox-entry.js';

export interface MailboxPolicy {
  /** Messages, and bytes of their frames, that it holds at most. */
  maxMessages: number;
  maxBytes: number;
  /** Milliseconds that a message waits at most. */
  maxAge: number;
  /** Milliseconds that a consumer has for one message. */
  lease: number;
  /** Milliseconds before a message that failed is tried again: doubled with each failure, up to the cap. */
  retryBase: number;
  retryCap: number;
  /** How its messages are shared out. */
  balance: Balance;
}

/** Messages that each lane may hand out in a round, most urgent first; of 31 handed out one at least is background, if any waits. */
const QUANTUM = [16, 8, 4, 2, 1];
const EXPIRED_PER_CHECK = 10_000;
/** Deadlines of messages that are gone are forgotten when there are more of them than this and of messages together. */
const SPARE_DEADLINES = 1024;

export interface MailboxOwner {
  /** It was dropped: its time to live, or the time that a mailbox keeps it, is over. */
  onExpired(entry: MailboxEntry): void;
  /** It will be tried again, for the `entry.failures`th time. */
  onFailed(entry: MailboxEntry): void;
}

export class Mailbox {
  policy: MailboxPolicy;
  /** Of the next message. Offsets begin at 1 and only rise. */
  nextOffset: number;
  bytes: number;
  messages: number;
  readonly #owner: MailboxOwner;
  readonly #lanes: EntryList[];
  readonly #left: number[];
  #turn: number;
  /** By offset; as many as all consumers may have in flight. */
  readonly #leased: Map<number, MailboxEntry>;
  /** In the order in which their leases end: they are all of one length. */
  readonly #leases: EntryList;
  /** What waits for its next attempt, and what must be gone by a deadline. */
  readonly #retries: DeadlineHeap<MailboxEntry>;
  readonly #deadlines: DeadlineHeap<MailboxEntry>;
  /** By key: what is parked behind the message that holds the key. At most one list for each message. */
  readonly #keys: Map<string, EntryList>;
  readonly #balancer: Balancer;
  readonly #jitter: () => number;

  /** `jitter`: numbers from 0 to 1. */
  constructor(policy: MailboxPolicy, owner: MailboxOwner, jitter: () => number = Math.random) {
    this.policy = policy;
    this.nextOffset = 1;
    this.bytes = 0;
    this.messages = 0;
    this.#owner = owner;
    this.#lanes = Array.from({ length: LANE_COUNT }, () => new EntryList());
    this.#left = [...QUANTUM];
    this.#turn = 0;
    this.#leased = new Map();
    this.#leases = new EntryList();
    this.#retries = new DeadlineHeap();
    this.#deadlines = new DeadlineHeap();
    this.#keys = new Map();
    this.#balancer = new Balancer();
    this.#jitter = jitter;
  }

  get consumers(): readonly Consumer[] {
    return this.#balancer.consumers;
  }

  get inFlight(): number {
    return this.#leased.size;
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
    if (entry.offset >= this.nextOffset) this.nextOffset = entry.offset + 1;
    this.messages++;
    this.bytes += entry.size;
    this.#deadlines.push(entry, entry.deadline);
    if (this.#deadlines.size > 2 * this.messages + SPARE_DEADLINES) this.#deadlines.retain(isHere);
    this.#lanes[entry.lane].append(entry);
  }

  /** Takes back what could not be journaled; nobody has got it. */
  withdraw(entry: MailboxEntry): void {
    if (entry.state !== EntryState.gone) this.#remove(entry);
  }

  attach(consumer: Consumer): void {
    this.#balancer.add(consumer);
  }

  /** Its unacked messages are tried again, in their order and at once: that it left says nothing about them. */
  detach(consumer: Consumer): void {
    if (!this.#balancer.remove(consumer)) return;
    consumer.left = true;
    const back: MailboxEntry[] = [];
    for (let entry = this.#leases.head; entry !== null; entry = entry.next)
      if (entry.consumer === consumer) back.push(entry);
    back.sort((a, b) => b.offset - a.offset);
    for (const entry of back) {
      this.#unlease(entry);
      this.#lanes[entry.lane].prepend(entry);
    }
  }

  /** Who is to get the next message, as the policy balances them; null when none of them may get one now. */
  nextConsumer(): Consumer | null {
    return this.#balancer.pick(this.policy.balance);
  }

  /**
   * Leases the next message to `next`, or to whom its key is with: `consumer` of the entry says. Null when none is ready. What
   * has expired is never handed out.
   */
  take(next: Consumer, now: number, wall: number): MailboxEntry | null {
    for (;;) {
      const entry = this.#next();
      if (entry === null) return null;
      if (this.#isOver(entry, wall)) {
        this.#expire(entry);
        continue;
      }
      this.#lanes[entry.lane].remove(entry);
      // What holds its key and comes back stands at the front, with nothing of its key before it.
      if (entry.key !== '' && !entry.holdsKey && this.#park(entry)) continue;
      const { heir } = entry;
      const consumer = heir?.isFree ? heir : next;
      entry.heir = null;
      entry.state = EntryState.leased;
      entry.consumer = consumer;
      this.#balancer.gave(consumer);
      entry.due = now + this.policy.lease;
      consumer.inFlight++;
      consumer.inFlightBytes += entry.size;
      this.#leased.set(entry.offset, entry);
      this.#leases.append(entry);
      return entry;
    }
  }

  /** The message is done. Null when this consumer does not hold it (any more): then nothing changes. */
  ack(consumer: Consumer, offset: number): MailboxEntry | null {
    const entry = this.#leased.get(offset);
    if (entry === undefined || entry.consumer !== consumer) return null;
    this.#remove(entry, consumer);
    return entry;
  }

  /** The message failed, and is tried again later. Null as for `ack`. */
  nack(consumer: Consumer, offset: number, now: number): MailboxEntry | null {
    const entry = this.#leased.get(offset);
    if (entry === undefined || entry.consumer !== consumer) return null;
    this.#fail(entry, now);
    return entry;
  }

  /** Now and then: ends leases, brings back what waited to be tried again, drops what is too old. */
  check(now: number, wall: number): void {
    for (let entry = this.#leases.head; entry !== null && entry.due <= now; entry = this.#leases.head)
      this.#fail(entry, now);
    for (let entry = this.#retries.pop(now); entry !== null; entry = this.#retries.pop(now)) {
      if (entry.state !== EntryState.resting) continue;
      entry.state = EntryState.ready;
      this.#lanes[entry.lane].prepend(entry);
    }
    for (let entry = this.#deadlines.pop(wall); entry !== null; entry = this.#deadlines.pop(wall)) {
      // A consumer may still be at work on it: what it does not ack is dropped when it comes back.
      if (entry.state !== EntryState.leased && entry.state !== EntryState.gone) this.#expire(entry);
    }
    // The oldest stand first, but for what came back.
    let left = EXPIRED_PER_CHECK;
    for (const lane of this.#lanes) {
      while (lane.head !== null && this.#isOver(lane.head, wall) && left-- > 0) this.#expire(lane.head);
    }
  }

  /** All messages, in no order. */
  *entries(): Generator<MailboxEntry> {
    for (const lane of this.#lanes)
      for (let entry = lane.head; entry !== null; entry = entry.next) yield entry;
    for (let entry = this.#leases.head; entry !== null; entry = entry.next) yield entry;
    for (const entry of this.#retries.values()) if (entry.state === EntryState.resting) yield entry;
    for (const parked of this.#keys.values())
      for (let entry = parked.head; entry !== null; entry = entry.next) yield entry;
  }

  /** False when the key was free: the message holds it from now on. */
  #park(entry: MailboxEntry): boolean {
    const parked = this.#keys.get(entry.key);
    if (parked === undefined) {
      this.#keys.set(entry.key, new EntryList());
      entry.holdsKey = true;
      return false;
    }
    entry.state = EntryState.parked;
    parked.append(entry);
    return true;
  }

  /** The message that held the key is gone: the next one with it takes its place, and goes to `heir` if it can. */
  #passKey(entry: MailboxEntry, heir: Consumer | null): void {
    const parked = this.#keys.get(entry.key)!;
    const next = parked.head;
    if (next === null) {
      this.#keys.delete(entry.key);
      return;
    }
    parked.remove(next);
    next.holdsKey = true;
    next.heir = heir;
    next.state = EntryState.ready;
    this.#lanes[next.lane].prepend(next);
  }

  #expire(entry: MailboxEntry): void {
    this.#remove(entry);
    this.#owner.onExpired(entry);
  }

  #isOver(entry: MailboxEntry, wall: number): boolean {
    return entry.deadline <= wall || entry.storedAt + this.policy.maxAge <= wall;
  }

  /** The first message of the lane whose turn it is; lanes without messages lose theirs. */
  #next(): MailboxEntry | null {
    for (let tried = 0; tried <= LANE_COUNT; ) {
      const turn = this.#turn;
      const first = this.#lanes[turn].head;
      if (first !== null && this.#left[turn] > 0) {
        this.#left[turn]--;
        return first;
      }
      this.#left[turn] = QUANTUM[turn];
      this.#turn = turn === LANE_COUNT - 1 ? 0 : turn + 1;
      tried++;
    }
    return null;
  }

  #fail(entry: MailboxEntry, now: number): void {
    this.#unlease(entry);
    entry.failures++;
    const { retryBase, retryCap } = this.policy;
    const wait = Math.min(retryCap, retryBase * 2 ** Math.min(30, entry.failures - 1));
    entry.state = EntryState.resting;
    // Half of it by chance, so that what failed together does not come back together.
    this.#retries.push(entry, now + wait / 2 + (wait / 2) * this.#jitter());
    this.#owner.onFailed(entry);
  }

  #unlease(entry: MailboxEntry): void {
    const consumer = entry.consumer!;
    consumer.inFlight--;
    consumer.inFlightBytes -= entry.size;
    entry.consumer = null;
    entry.repeated = true;
    entry.state = EntryState.ready;
    this.#leases.remove(entry);
    this.#leased.delete(entry.offset);
  }

  /** `by`: who has acked it, if it was that. */
  #remove(entry: MailboxEntry, by: Consumer | null = null): void {
    const { state } = entry;
    if (state === EntryState.leased) this.#unlease(entry);
    else if (state === EntryState.ready) this.#lanes[entry.lane].remove(entry);
    else if (state === EntryState.parked) this.#keys.get(entry.key)!.remove(entry);
    entry.state = EntryState.gone;
    this.messages--;
    this.bytes -= entry.size;
    if (entry.holdsKey) this.#passKey(entry, by);
  }
}

function isHere(entry: MailboxEntry): boolean {
  return entry.state !== EntryState.gone;
}
