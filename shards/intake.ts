/** What mailboxes are asked, and what they tell: a message that has come, somebody who wants to consume, and whom that concerns. */
import type { ErrorCode } from '../lib/errors.js';
import type { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import type { Home } from './home.js';
import type { MailboxKind, MailboxNotice } from './mailbox-ref.js';

/** What somebody who wants to consume says. */
export interface ConsumeSpec {
  kind: MailboxKind;
  /** The agent, or the group. */
  name: string;
  pattern: string;
  prefetch: number;
  /** Milliseconds, and messages; 0: as the mailbox has it. */
  lease: number;
  maxAge: number;
  maxMessages: number;
}

export interface MailboxPort {
  /** Hands a deliver frame to a session, wherever it is. */
  deliver(session: number, lane: number, src: Uint8Array, start: number, end: number): void;
  /** Tells the worker that a message came from what has become of it. */
  stored(slot: number, token: number, stored: number, code: ErrorCode | null): void;
  /** Tells the other workers. */
  announce(add: MailboxNotice[], remove: number[]): void;
}

/** A message that has come, and who waits to hear that it is stored; nobody, if `slot` is negative. */
export class Intake {
  readonly slot: number;
  readonly token: number;
  stored: number;
  code: ErrorCode | null;
  readonly homes: Home[];
  readonly entries: MailboxEntry[];
  readonly id: string;

  constructor(slot: number, token: number, id: string) {
    this.slot = slot;
    this.token = token;
    this.stored = 0;
    this.code = null;
    this.homes = [];
    this.entries = [];
    this.id = id;
  }
}

/** The slot of an intake that nobody waits for. */
export const NOBODY = -1;
