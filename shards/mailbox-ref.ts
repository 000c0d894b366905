/** A mailbox as the route table sees it, wherever on the node it lives: a taker like a session or a peer. */
import type { Consume } from '../lib/wire/control.js';
import type { PressedMailbox } from './backpressure.js';
import type { Home } from './home.js';

export type MailboxKind = Consume['mailbox'];

/** What the workers tell each other of a mailbox. */
export interface MailboxNotice {
  handle: number;
  name: string;
  kind: MailboxKind;
  /** The topics that it takes. */
  pattern: string;
  epoch: number;
}

/** The worker slot that is a mailbox's home stands in its handle: 8 bits, with the number in the journal of the slot behind it. */
export const MAX_MAILBOX_NUMBER = 0xff_ffff;

export function handleOf(slot: number, number: number): number {
  return ((slot << 24) | number) >>> 0;
}

export function slotOfHandle(handle: number): number {
  return handle >>> 24;
}

/** `name`: the agent, the group or the capability. Names of two kinds never meet; a group has a mailbox for each pattern. */
export function mailboxName(kind: MailboxKind, name: string, pattern: string): string {
  return kind === 'group' ? `group:${name}:${pattern}` : `${kind}:${name}`;
}

export class MailboxRef {
  readonly notice: MailboxNotice;
  readonly slot: number;
  /** Where it lives, if that is this worker. */
  readonly home: Home | null;
  /** Whom it presses here; null while it is under no pressure. */
  pressed: PressedMailbox | null;
  /** Mark of the last route that it was put into. */
  routeMark: number;

  constructor(notice: MailboxNotice, home: Home | null) {
    this.notice = notice;
    this.slot = slotOfHandle(notice.handle);
    this.home = home;
    this.pressed = null;
    this.routeMark = 0;
  }

  /** Groups take whatever is published on their pattern; live messages to an agent, or one that can, are not for a mailbox. */
  get takesLive(): boolean {
    return this.notice.kind === 'group';
  }
}
