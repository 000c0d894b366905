/** One message in a mailbox: where its frame lies, and how far its delivery has come. */
import type { Attempt, Life } from './attempts.js';
import type { Consumer } from './consumer.js';
import type { Mailbox } from './mailbox.js';
import type { Timer } from './timing-wheel.js';

export const EntryState = {
  ready: 0,
  leased: 1,
  /** It failed, and waits to be tried again. */
  resting: 2,
  gone: 3,
  /** Another message with its key is with a consumer, or waits to be tried again. */
  parked: 4,
  /** Its publisher wants it delivered later. */
  delayed: 5,
} as const;
export type EntryState = (typeof EntryState)[keyof typeof EntryState];

export class MailboxEntry implements Timer<MailboxEntry> {
  readonly offset: number;
  readonly lane: number;
  /** The publisher's agentId. */
  readonly from: string;
  /** The topic, where the frame bears an id instead; '' where it spells it out. */
  readonly topic: string;
  /** The ordering key; '' is none. */
  readonly key: string;
  /** The frame as its publisher sealed it: `bytes[start, end)`. They move when a journal rewrites them. */
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Milliseconds since the Unix epoch; a deadline of Infinity is none. */
  readonly storedAt: number;
  /** Not delivered before; its age counts from there. */
  readonly readyAt: number;
  readonly deadline: number;
  /** The part of the journal that holds it. */
  segment: number;
  /** Bytes that it takes there: with the names beside it, several times the frame at worst. */
  stored: number;
  /** Attempts that failed, see attempts.ts. */
  failures: number;
  /** The consumer that failed at it last; -1: none yet. */
  failedAt: number;
  /** The last of them, and what became of it before it was replayed; null: nothing. */
  attempts: Attempt[] | null;
  lives: Life[] | null;
  /** Somebody may have got it already. */
  repeated: boolean;
  /** Others with its key wait for it. */
  holdsKey: boolean;
  /** Who acked the message of its key before it, and gets this one too if it can. */
  heir: Consumer | null;
  state: EntryState;
  consumer: Consumer | null;
  /** Null until it is put into one. */
  mailbox: Mailbox | null;
  /** When its lease, its wait for the next attempt, or its delay ends. */
  due: number;
  timerSlot: number;
  timerPrevious: MailboxEntry | null;
  timerNext: MailboxEntry | null;
  /** In the list of those that are in the same state. */
  previous: MailboxEntry | null;
  next: MailboxEntry | null;

  constructor(
    offset: number,
    lane: number,
    from: string,
    topic: string,
    key: string,
    bytes: Uint8Array,
    start: number,
    end: number,
    storedAt: number,
    deadline: number,
    segment: number,
    delay = 0,
  ) {
    this.offset = offset;
    this.lane = lane;
    this.from = from;
    this.topic = topic;
    this.key = key;
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.storedAt = storedAt;
    this.readyAt = storedAt + delay;
    this.deadline = deadline;
    this.segment = segment;
    this.stored = 0;
    this.failures = 0;
    this.failedAt = -1;
    this.attempts = null;
    this.lives = null;
    this.repeated = false;
    this.holdsKey = false;
    this.heir = null;
    this.state = EntryState.ready;
    this.consumer = null;
    this.mailbox = null;
    this.due = 0;
    this.timerSlot = -1;
    this.timerPrevious = null;
    this.timerNext = null;
    this.previous = null;
    this.next = null;
  }

  /** The same message in another mailbox, at `offset`. */
  movedTo(offset: number): MailboxEntry {
    const { lane, from, topic, key, bytes, start, end, storedAt, readyAt, deadline, segment } = this;
    const delay = readyAt - storedAt;
    const moved = new MailboxEntry(
      offset,
      lane,
      from,
      topic,
      key,
      bytes,
      start,
      end,
      storedAt,
      deadline,
      segment,
      delay,
    );
    moved.failures = this.failures;
    moved.attempts = this.attempts;
    moved.lives = this.lives;
    moved.repeated = this.repeated;
    return moved;
  }

  /** What it counts for: its frame. */
  get size(): number {
    return this.end - this.start;
  }
}
