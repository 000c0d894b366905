/** A mailbox where it lives: its messages, the ids that it has seen, and its consumers by session. */
import { Consumer } from '../lib/queues/consumer.js';
import { Mailbox, type MailboxOwner, type MailboxPolicy } from '../lib/queues/mailbox.js';
import type { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { RecentIds } from '../lib/queues/recent-ids.js';
import type { TimingWheel } from '../lib/queues/timing-wheel.js';
import type { Journal } from './journal/journal.js';
import type { MailboxKind, MailboxNotice } from './mailbox-ref.js';

/** Repeats of at least that many messages back are recognised. */
const KNOWN_IDS = 65_536;

/** What the journal holds of a mailbox beside its messages. */
export interface HomeRecord {
  name: string;
  kind: MailboxKind;
  pattern: string;
  epoch: number;
  policy: MailboxPolicy;
  nextOffset: number;
}

export class Home implements MailboxOwner {
  readonly number: number;
  readonly notice: MailboxNotice;
  readonly mailbox: Mailbox;
  readonly recent: RecentIds;
  /** By the sender numbers of their sessions. */
  readonly consumers: Map<number, Consumer>;
  /** The part of the journal that says what it is. */
  segment: number;
  /** Since when it has had no consumer (ms since the epoch). */
  awaySince: number;
  /** Waits to be fed at the end of this turn. */
  dirty: boolean;
  /** Messages whose time was over since they were last counted. */
  expired: number;
  readonly #journal: Journal;
  readonly #touch: (home: Home) => void;

  /** `touch`: has it fed at the end of this turn. */
  constructor(
    journal: Journal,
    number: number,
    notice: MailboxNotice,
    policy: MailboxPolicy,
    wheel: TimingWheel<MailboxEntry>,
    touch: (home: Home) => void,
    wall: number,
  ) {
    this.#journal = journal;
    this.#touch = touch;
    this.number = number;
    this.notice = notice;
    this.mailbox = new Mailbox(policy, this, wheel);
    this.recent = new RecentIds(KNOWN_IDS);
    this.consumers = new Map();
    this.segment = 0;
    this.awaySince = wall;
    this.dirty = false;
    this.expired = 0;
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

  attach(session: number, prefetch: number): void {
    const known = this.consumers.get(session);
    if (known !== undefined) {
      known.prefetch = prefetch;
      return;
    }
    const consumer = new Consumer(session, prefetch);
    this.consumers.set(session, consumer);
    this.mailbox.attach(consumer);
  }

  /** False when it was no consumer. */
  detach(session: number, wall: number): boolean {
    const consumer = this.consumers.get(session);
    if (consumer === undefined) return false;
    this.consumers.delete(session);
    this.mailbox.detach(consumer);
    if (this.consumers.size === 0) this.awaySince = wall;
    return true;
  }

  /** A message left: the journal need not keep it. */
  left(entry: MailboxEntry): void {
    this.#journal.gone(this.number, entry);
  }

  onExpired(entry: MailboxEntry): void {
    this.expired++;
    this.left(entry);
  }

  onFailed(entry: MailboxEntry): void {
    this.#journal.failed(this.number, entry);
  }
  onDue(): void {
    this.#touch(this);
  }
}
