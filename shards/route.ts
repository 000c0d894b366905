/** Where the messages of one topic go: worked out once, kept with the topic until interest in it changes. */
import type { Peer } from './peer.js';
import type { Session } from './session.js';

/** Whoever may stand behind a pattern: a session here, or another worker where somebody subscribed. */
export type Taker = Session | Peer;

export class Route {
  readonly sessions: Session[];
  readonly peers: Peer[];

  constructor(sessions: Session[], peers: Peer[]) {
    this.sessions = sessions;
    this.peers = peers;
  }

  get empty(): boolean {
    return this.sessions.length === 0 && this.peers.length === 0;
  }
}
