/** The routing decision: from the text of a topic to everybody who takes its messages. */
import { AGENT_PREFIX, CAPABILITY_PREFIX, REPLY_PREFIX } from '../lib/topics/topic.js';
import { PatternTrie } from '../lib/topics/trie.js';
import { MailboxRef } from './mailbox-ref.js';
import type { Peer } from './peer.js';
import { JoiningSession, Route, type Taker } from './route.js';
import { MAX_SENDER, workerOfSender } from './sender-ids.js';
import { Session } from './session.js';

/** What routing asks the rest of the worker. */
export interface RoutingPort {
  /** Where agent `agentId` is: a session here, a peer, or nowhere. */
  locate(agentId: string): Session | Peer | null;
  /** The way to another node; null: there is none. */
  wayTo(node: string): Session | Peer | null;
  /** Whether messages on `topic` go into the history. */
  keeps(topic: string): boolean;
  /** The mailbox of an agent or a capability, if it has one. */
  mailboxOf(kind: 'agent' | 'capability', name: string): MailboxRef | null;
  /** The session of this worker that bears the sender number. */
  bearer(number: number): Session | null;
}

export class Routing {
  readonly trie: PatternTrie<Taker>;
  readonly #slot: number;
  /** What the reply addresses of this node begin with. */
  readonly #ownReplies: string;
  readonly #peers: readonly (Peer | null)[];
  readonly #port: RoutingPort;
  readonly #found: Taker[];
  #mark: number;
  readonly #reply: Route;

  /** `peers`: by worker slot; null for this one. */
  constructor(node: string, slot: number, peers: readonly (Peer | null)[], port: RoutingPort) {
    this.trie = new PatternTrie<Taker>();
    this.#slot = slot;
    this.#ownReplies = `${REPLY_PREFIX}${node}.`;
    this.#peers = peers;
    this.#port = port;
    this.#found = [];
    this.#mark = 0;
    this.#reply = new Route([], []);
  }

  /** Everybody who takes messages of `topic`, once each. That of a reply holds until the next one. */
  route(topic: string): Route {
    if (topic.startsWith(AGENT_PREFIX)) {
      const agentId = topic.slice(AGENT_PREFIX.length);
      return routeTo(this.#port.locate(agentId), this.#port.mailboxOf('agent', agentId));
    }
    if (topic.startsWith(CAPABILITY_PREFIX)) {
      const capability = topic.slice(CAPABILITY_PREFIX.length);
      return routeTo(null, this.#port.mailboxOf('capability', capability));
    }
    if (topic.startsWith(REPLY_PREFIX)) return this.#replyRoute(topic);
    const found = this.#found;
    found.length = 0;
    this.trie.collect(topic, found);
    const mark = ++this.#mark;
    const sessions: Session[] = [];
    const peers: Peer[] = [];
    const mailboxes: MailboxRef[] = [];
    const kept = this.#port.keeps(topic);
    for (const one of found) {
      const taker = one instanceof JoiningSession ? one.session : one;
      if (kept && taker !== one) continue;
      if (taker.routeMark === mark) continue;
      taker.routeMark = mark;
      if (taker instanceof Session) sessions.push(taker);
      else if (taker instanceof MailboxRef) mailboxes.push(taker);
      else peers.push(taker);
    }
    found.length = 0;
    const route =
      mailboxes.length === 0
        ? kept
          ? new Route(sessions, peers)
          : Route.shared(sessions, peers)
        : new Route(sessions, this.#withHomes(peers, mailboxes, mark), mailboxes, peers);
    route.kept = kept;
    return route;
  }

  /** Those peers, and those where one of the mailboxes lives. */
  #withHomes(peers: Peer[], mailboxes: MailboxRef[], mark: number): Peer[] {
    const all = [...peers];
    for (const { slot } of mailboxes) {
      const peer = this.#peers[slot] ?? null;
      if (peer === null || peer.routeMark === mark) continue;
      peer.routeMark = mark;
      all.push(peer);
    }
    return all;
  }

  /** No interest needed: the address says where to go. */
  #replyRoute(topic: string): Route {
    const { sessions, peers } = this.#reply;
    sessions.length = 0;
    peers.length = 0;
    const taker = this.#takerOfReply(topic);
    if (taker instanceof Session) sessions.push(taker);
    else if (taker !== null) peers.push(taker);
    return this.#reply;
  }

  #takerOfReply(topic: string): Session | Peer | null {
    const own = this.#ownReplies;
    if (!topic.startsWith(own))
      return this.#port.wayTo(topic.slice(REPLY_PREFIX.length, topic.indexOf('.', REPLY_PREFIX.length)));
    const number = senderOfReply(topic, own.length);
    const worker = workerOfSender(number);
    if (worker === this.#slot) return this.#port.bearer(number);
    const peer = this.#peers[worker] ?? null;
    return peer?.up ? peer : null;
  }
}

const DOT = 46;

/** The number in `_reply.<node>.<sender number, base 36>.<what the caller likes>`, behind `start`; 0, the bus itself, when there is none. */
function senderOfReply(topic: string, start: number): number {
  let number = 0;
  for (let i = start; i < topic.length; i++) {
    const code = topic.charCodeAt(i);
    if (code === DOT) return number;
    const digit = code >= 97 ? code - 87 : code - 48;
    if (digit < 0 || digit > 35 || (digit > 9 && code < 97)) return 0;
    number = number * 36 + digit;
    if (number > MAX_SENDER) return 0;
  }
  return number;
}

function routeTo(taker: Session | Peer | null, mailbox: MailboxRef | null): Route {
  const sessions = taker instanceof Session ? [taker] : [];
  const peers = taker === null || taker instanceof Session ? [] : [taker];
  return mailbox === null ? new Route(sessions, peers) : new Route(sessions, peers, [mailbox]);
}
