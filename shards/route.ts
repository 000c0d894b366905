/** Where the messages of one topic go: worked out once, kept with the topic until interest in it changes. */
import type { MailboxRef } from './mailbox-ref.js';
import type { Peer } from './peer.js';
import type { Session } from './session.js';

/** Whoever may stand behind a pattern: a session here, another worker where somebody subscribed, or a mailbox. */
export type Taker = Session | Peer | MailboxRef;

const NONE: MailboxRef[] = [];

export class Route {
  readonly sessions: Session[];
  /** Whom a live message is forwarded to. */
  readonly peers: Peer[];
  readonly mailboxes: MailboxRef[];
  /** Those of the peers where sessions want it; the others have nothing but mailboxes that do. */
  readonly watchers: Peer[];

  constructor(sessions: Session[], peers: Peer[], mailboxes: MailboxRef[] = NONE, watchers: Peer[] = peers) {
    this.sessions = sessions;
    this.peers = peers;
    this.mailboxes = mailboxes;
    this.watchers = watchers;
  }

  get empty(): boolean {
    return this.sessions.length === 0 && this.peers.length === 0;
  }
}
