/** Where the messages of one topic go: worked out once, kept with the topic until interest in it changes. */
import type { MailboxRef } from './mailbox-ref.js';
import type { Peer } from './peer.js';
import type { Session } from './session.js';

/** Whoever may stand behind a pattern: a session here, another worker where somebody subscribed, or a mailbox. */
export type Taker = Session | Peer | MailboxRef | JoiningSession;

/**
 * A session on its way into a pattern: what the history keeps it gets from there until it has caught up; what that does not keep goes to it
 * at once. The worker gets all of it.
 */
export class JoiningSession {
  readonly session: Session;
  readonly pattern: string;
  routeMark: number;

  constructor(session: Session, pattern: string) {
    this.session = session;
    this.pattern = pattern;
    this.routeMark = 0;
  }
}

const NONE: MailboxRef[] = [];
/** Shared routes that are remembered with one taker. */
const MAX_SHARED = 4;

export class Route {
  readonly sessions: Session[];
  /** Whom a live message is forwarded to. */
  readonly peers: Peer[];
  readonly mailboxes: MailboxRef[];
  /** Those of the peers where sessions want it; the others have nothing but mailboxes that do. */
  readonly watchers: Peer[];
  /** The messages go into the history as well. */
  kept: boolean;
  /** All topics with these takers have this very route, so their messages may leave as one run. */
  shared: boolean;

  constructor(sessions: Session[], peers: Peer[], mailboxes: MailboxRef[] = NONE, watchers: Peer[] = peers) {
    this.sessions = sessions;
    this.peers = peers;
    this.mailboxes = mailboxes;
    this.watchers = watchers;
    this.kept = false;
    this.shared = false;
  }

  get empty(): boolean {
    return this.sessions.length === 0 && this.peers.length === 0;
  }

  /** The one for all topics with these takers. */
  static shared(sessions: Session[], peers: Peer[]): Route {
    const first = sessions.length === 0 ? peers[0] : sessions[0];
    if (first === undefined) return new Route(sessions, peers);
    first.routes ??= [];
    for (const route of first.routes)
      if (same(route.sessions, sessions) && same(route.peers, peers)) return route;
    const route = new Route(sessions, peers);
    route.shared = true;
    if (first.routes.length === MAX_SHARED) first.routes.shift();
    first.routes.push(route);
    return route;
  }
}

function same<T>(these: readonly T[], those: readonly T[]): boolean {
  return these.length === those.length && these.every((one, i) => one === those[i]);
}
