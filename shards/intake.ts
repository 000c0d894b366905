/** What mailboxes are asked, and what they tell: a message that has come, somebody who wants to consume, and whom that concerns. */
import type { ErrorCode } from '../lib/errors.js';
import type { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import type { Balance, BreakerChange, BreakerWish } from '../lib/wire/control.js';
import type { PressureNotice } from './backpressure.js';
import type { Home } from './home.js';
import type { MailboxKind, MailboxNotice } from './mailbox-ref.js';

/** What somebody who wants to consume says. */
export interface ConsumeSpec {
  kind: MailboxKind;
  /** The agent, the group, or the capability. */
  name: string;
  pattern: string;
  /** Its agentId. */
  consumer: string;
  prefetch: number;
  /** Milliseconds, messages, and attempts; 0: as the mailbox has it. */
  lease: number;
  maxAge: number;
  maxMessages: number;
  /** Null: as the mailbox has it. */
  balance: Balance | null;
  breaker: BreakerWish | null;
  maxAttempts: number;
  retryBase: number;
  retryCap: number;
}

export interface MailboxPort {
  /**
   * Hands deliver frames of one mailbox and lane, which fit into one piece of memory, to a session, wherever it is. `round`: that of the
   * consumer. False: the way there is full.
   */
  deliver(session: number, lane: number, src: Uint8Array, start: number, end: number, round: number): boolean;
  /** Tells the worker that a message came from what has become of it. */
  stored(slot: number, token: number, stored: number, code: ErrorCode | null): void;
  /** Tells a session, wherever it is, of a change of its circuit breaker. */
  onBreaker(session: number, agentId: string, change: BreakerChange): void;
  /** Tells everybody, this worker too, how a mailbox that lives here is. */
  onPressure(notice: PressureNotice): void;
  /** Tells the other workers. */
  announce(add: MailboxNotice[], remove: number[]): void;
}

/** The slot of an intake that nobody waits for: a live message, whose repeats are not known. */
export const NOBODY = -1;

/** A message that has come, and who waits to hear that it is stored. */
export class Intake {
  slot: number;
  token: number;
  stored: number;
  code: ErrorCode | null;
  /** Mailboxes that have taken it in. */
  taken: number;
  // Mostly there is one mailbox, and no need for lists.
  #home: Home | null;
  #entry: MailboxEntry | null;
  #others: [Home, MailboxEntry][] | null;

  constructor() {
    this.slot = NOBODY;
    this.token = 0;
    this.stored = 0;
    this.code = null;
    this.taken = 0;
    this.#home = null;
    this.#entry = null;
    this.#others = null;
  }

  /** It is used again and again. */
  begin(slot: number, token: number): void {
    this.slot = slot;
    this.token = token;
    this.stored = 0;
    this.code = null;
    this.taken = 0;
    this.#home = null;
    this.#entry = null;
    this.#others = null;
  }

  took(home: Home, entry: MailboxEntry): void {
    if (this.taken++ === 0) {
      this.#home = home;
      this.#entry = entry;
      return;
    }
    this.#others ??= [];
    this.#others.push([home, entry]);
  }

  forEach(act: (home: Home, entry: MailboxEntry) => void): void {
    if (this.#home !== null && this.#entry !== null) act(this.#home, this.#entry);
    for (const [home, entry] of this.#others ?? []) act(home, entry);
  }
}
