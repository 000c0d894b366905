/**
 * The links of a node with all others, and the conversations that carry them: at most one with each peer. A peer is a process' libp2p
 * identity, a node is what it calls itself; a node's name belongs to one peer at a time.
 *
 *   stream ─ Conversation ─ Link ─ gateway          a link outlives its conversations
 */
import type { MeshGateway } from '../../lib/mesh.js';
import { Conversation, type LinkKeeper, type PeerStream } from './conversation.js';
import { type Greeting, isSameLink } from './greeting.js';
import { Link } from './link.js';

export interface LinkTiming {
  /** Milliseconds. The other side must have greeted by then. */
  greeting: number;
  ping: number;
  /** A stream on which nothing came for so long is broken, whatever the network says. */
  silence: number;
  /** A link without a stream is given up after that. */
  patience: number;
}

export const LINK_TIMING: LinkTiming = { greeting: 5000, ping: 1000, silence: 3500, patience: 30_000 };

export interface LinksObserver {
  /** A stream carries the link with this node now, or no longer. */
  onAttached(node: string, peer: string): void;
  onDetached(node: string, peer: string, reason: Error | null): void;
  onDirectory(node: string, message: Uint8Array): void;
  /** A link owes an acknowledgement: `settle` within some milliseconds. */
  onOwing(): void;
  /** Another peer has the name, which this node does not accept (`byUs`), or the other does not. */
  onRefused(peer: string, node: string, code: string, byUs: boolean): void;
}

/** Since this process began. */
export interface Traffic {
  bytesIn: number;
  bytesOut: number;
}

/** Sessions are below 2^48. */
const SESSIONS = 2 ** 48 - 1;

export class Links implements LinkKeeper {
  readonly #node: string;
  readonly #gateway: MeshGateway;
  readonly #observer: LinksObserver;
  readonly #timing: LinkTiming;
  readonly #clock: () => number;
  readonly #random: (limit: number) => number;
  /** By peer. */
  readonly #conversations: Map<string, Conversation>;
  readonly #links: Map<string, Link>;
  /** By node. */
  readonly #byNode: Map<string, Link>;
  readonly #traffic: Map<string, Traffic>;
  readonly #owing: Set<Link>;
  #pingedAt: number;
  #tickedAt: number;

  constructor(
    node: string,
    gateway: MeshGateway,
    observer: LinksObserver,
    timing: LinkTiming,
    clock: () => number,
    random: (limit: number) => number,
  ) {
    this.#node = node;
    this.#gateway = gateway;
    this.#observer = observer;
    this.#timing = timing;
    this.#clock = clock;
    this.#random = random;
    this.#conversations = new Map();
    this.#links = new Map();
    this.#byNode = new Map();
    this.#traffic = new Map();
    this.#owing = new Set();
    this.#pingedAt = clock();
    this.#tickedAt = clock();
  }

  /** A stream with a peer: it takes the place of the one before. */
  converse(stream: PeerStream): Conversation {
    this.#conversations.get(stream.peer)?.fail(new Error('There is a new stream.'));
    const link = this.#links.get(stream.peer);
    const greeting: Greeting = {
      node: this.#node,
      session: link?.session ?? 1 + this.#random(SESSIONS),
      peerSession: link?.peerSession ?? 0,
      received: link?.received ?? 0,
    };
    const conversation = new Conversation(stream, greeting, this, this.#clock);
    this.#conversations.set(stream.peer, conversation);
    return conversation;
  }

  /** Whether there is a stream with this peer, greeted or not. */
  has(peer: string): boolean {
    return this.#conversations.has(peer);
  }

  /** Whether both have greeted. */
  isAttached(peer: string): boolean {
    return this.#attached(peer) !== null;
  }

  /** Nodes whose link has a stream, and when something came on it last. */
  *attached(): Generator<{ node: string; heardAt: number }> {
    for (const { link, heardAt } of this.#conversations.values())
      if (link !== null) yield { node: link.node, heardAt };
  }

  /** A message of the directory; false: there is no way, or it is full. */
  sendDirectory(node: string, message: Uint8Array): boolean {
    const link = this.#byNode.get(node);
    if (link === undefined) return false;
    return this.#attached(link.peer)?.sendDirectory(message) ?? false;
  }

  roundTrip(node: string): number | null {
    const link = this.#byNode.get(node);
    return link === undefined ? null : (this.#attached(link.peer)?.roundTrip ?? null);
  }

  traffic(node: string): Traffic {
    const { bytesIn, bytesOut } = this.#traffic.get(node) ?? { bytesIn: 0, bytesOut: 0 };
    const link = this.#byNode.get(node);
    const conversation = link === undefined ? null : this.#attached(link.peer);
    return {
      bytesIn: bytesIn + (conversation?.bytesIn ?? 0),
      bytesOut: bytesOut + (conversation?.bytesOut ?? 0),
    };
  }

  /** Some times a second. */
  tick(): void {
    const { greeting, ping, silence, patience } = this.#timing;
    const now = this.#clock();
    // A process that was held up has not heard what came meanwhile: that is no silence.
    const heldUp = now - this.#tickedAt > silence / 2;
    this.#tickedAt = now;
    const pings = now - this.#pingedAt >= ping;
    if (pings) this.#pingedAt = now;
    for (const conversation of [...this.#conversations.values()]) {
      if (heldUp) conversation.heardAt = now;
      if (conversation.link === null) {
        if (!heldUp && now - conversation.begunAt >= greeting)
          conversation.fail(new Error('It does not greet.'));
      } else if (now - conversation.heardAt >= silence) conversation.fail(new Error('It is silent.'));
      else if (pings) conversation.ping();
    }
    for (const link of [...this.#links.values()])
      if (link.detachedAt > 0 && now - link.detachedAt >= patience) this.giveUp(link.node);
  }

  /** Sends what acknowledgements are owed. */
  settle(): void {
    for (const link of this.#owing) link.settle(true);
    this.#owing.clear();
  }

  /** The node is given up, or has left: its link ends, and its conversation, which may just have greeted with what is no longer so. */
  giveUp(node: string): void {
    const link = this.#byNode.get(node);
    if (link === undefined) return;
    this.#end(link);
    this.#conversations.get(link.peer)?.fail(new Error('The node was given up.'));
  }

  giveUpAll(): void {
    for (const { node } of [...this.#links.values()]) this.giveUp(node);
    for (const conversation of [...this.#conversations.values()])
      conversation.fail(new Error('This node leaves the mesh.'));
  }

  /** What nobody will ask for again. */
  forget(node: string): void {
    this.#traffic.delete(node);
  }

  /** Whether some link has batches that were not acknowledged, and a stream to send them on. */
  get isBusy(): boolean {
    for (const { link } of this.#conversations.values())
      if (link !== null && link.outgoing.unsent + link.outgoing.gone > 0) return true;
    return false;
  }

  onGreeting(conversation: Conversation, greeting: Greeting): Link | 'NODE_NAME_TAKEN' {
    const { peer } = conversation.stream;
    const { node } = greeting;
    const other = this.#byNode.get(node);
    const isTaken = other !== undefined && other.peer !== peer && this.#attached(other.peer) !== null;
    if (node === this.#node || isTaken) {
      this.#observer.onRefused(peer, node, 'NODE_NAME_TAKEN', true);
      return 'NODE_NAME_TAKEN';
    }
    const link = this.#links.get(peer);
    if (link !== undefined) {
      if (link.node === node && isSameLink(conversation.greeting, greeting)) return link;
      this.#end(link);
    }
    if (other !== undefined && other !== link) this.giveUp(node);
    const begun = new Link(node, peer, conversation.greeting.session, greeting.session);
    this.#links.set(peer, begun);
    this.#byNode.set(node, begun);
    this.#gateway.onLink(begun);
    return begun;
  }

  onAttached({ stream }: Conversation, { node }: Link): void {
    this.#observer.onAttached(node, stream.peer);
  }

  onBatch(link: Link, bytes: Uint8Array): void {
    this.#gateway.onBatch(link, bytes);
  }

  onRoom(link: Link): void {
    this.#gateway.onRoom(link);
  }

  onDirectory(link: Link, bytes: Uint8Array): void {
    this.#observer.onDirectory(link.node, bytes);
  }

  onOwing(link: Link): void {
    if (this.#owing.size === 0) this.#observer.onOwing();
    this.#owing.add(link);
  }

  onRefused({ stream, link }: Conversation, code: string): void {
    this.#observer.onRefused(stream.peer, this.#node, code, false);
    if (link !== null) this.giveUp(link.node);
  }

  onOver(conversation: Conversation, reason: Error | null): void {
    const { stream, link, bytesIn, bytesOut } = conversation;
    if (this.#conversations.get(stream.peer) === conversation) this.#conversations.delete(stream.peer);
    if (link === null) return;
    const traffic = this.#traffic.get(link.node) ?? { bytesIn: 0, bytesOut: 0 };
    traffic.bytesIn += bytesIn;
    traffic.bytesOut += bytesOut;
    this.#traffic.set(link.node, traffic);
    link.detach(this.#clock());
    this.#observer.onDetached(link.node, stream.peer, reason);
  }

  #attached(peer: string): Conversation | null {
    const conversation = this.#conversations.get(peer);
    return conversation !== undefined && conversation.link !== null ? conversation : null;
  }

  #end(link: Link): void {
    this.#links.delete(link.peer);
    this.#byNode.delete(link.node);
    this.#owing.delete(link);
    this.#gateway.onLinkLost(link, link.outgoing.kept());
  }
}
