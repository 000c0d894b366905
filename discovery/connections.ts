/**
 * Connections of libp2p, one for each peer, and the stream on each that carries the link. Two peers that dial each other at the same
 * time have two: both keep the one that the lower peer id has dialled, and of several of those the youngest.
 */
import type { Connection } from '@libp2p/interface';
import type { Host } from './host.js';
import type { Links } from './link/links.js';
import { LinkStream } from './stream.js';

export const LINK_PROTOCOL = '/flowbus/link/1';
/** Milliseconds. */
const OPEN_STREAM = 5000;
/** A connection on which nobody speaks of a link is of no use. */
const MUTE = 10_000;
/** At most this many are open at a time with one peer, for as long as it takes to replace one. */
const STREAMS = 4;

interface Known {
  readonly connection: Connection;
  readonly since: number;
  isOpening: boolean;
}

export interface ConnectionsObserver {
  /** The last connection with this peer is gone. */
  onDisconnected(peer: string): void;
}

export class Connections {
  readonly #host: Host;
  readonly #own: string;
  readonly #links: Links;
  readonly #observer: ConnectionsObserver;
  readonly #clock: () => number;
  readonly #known: Map<string, Known>;

  constructor(host: Host, links: Links, observer: ConnectionsObserver, clock: () => number) {
    this.#host = host;
    this.#own = host.peerId.toString();
    this.#links = links;
    this.#observer = observer;
    this.#clock = clock;
    this.#known = new Map();
  }

  async start(): Promise<void> {
    this.#host.addEventListener('connection:open', ({ detail }) => this.#opened(detail));
    this.#host.addEventListener('connection:close', ({ detail }) => this.#closed(detail));
    await this.#host.handle(
      LINK_PROTOCOL,
      (stream, connection) => this.#accept(new LinkStream(stream, connection)),
      {
        maxInboundStreams: STREAMS,
        maxOutboundStreams: STREAMS,
      },
    );
  }

  has(peer: string): boolean {
    return this.#known.has(peer);
  }

  /** Since when there has been a connection (ms of this node's clock); null: there is none. */
  since(peer: string): number | null {
    return this.#known.get(peer)?.since ?? null;
  }

  peers(): string[] {
    return [...this.#known.keys()];
  }

  hangUp(peer: string, reason: Error): void {
    this.#known.get(peer)?.connection.abort(reason);
  }

  /** Some times a second. */
  tick(): void {
    const now = this.#clock();
    for (const [peer, known] of this.#known) {
      if (this.#links.has(peer)) continue;
      if (now - known.since >= MUTE) known.connection.abort(new Error('It has no link.'));
      else void this.#open(peer, known);
    }
  }

  #opened(connection: Connection): void {
    if (connection.status !== 'open') return;
    const peer = connection.remotePeer.toString();
    const before = this.#known.get(peer);
    if (before !== undefined && this.#isByLower(before.connection) && !this.#isByLower(connection)) {
      connection.abort(new Error('There is another connection.'));
      return;
    }
    const known: Known = { connection, since: this.#clock(), isOpening: false };
    this.#known.set(peer, known);
    before?.connection.abort(new Error('There is another connection.'));
    void this.#open(peer, known);
  }

  #closed(connection: Connection): void {
    const peer = connection.remotePeer.toString();
    if (this.#known.get(peer)?.connection !== connection) return;
    this.#known.delete(peer);
    this.#observer.onDisconnected(peer);
  }

  #isByLower({ direction, remotePeer }: Connection): boolean {
    return (direction === 'outbound') === this.#own < remotePeer.toString();
  }

  /** The lower peer id opens the stream. */
  async #open(peer: string, known: Known): Promise<void> {
    const { connection } = known;
    if (this.#own > peer || known.isOpening) return;
    known.isOpening = true;
    try {
      const stream = await connection.newStream(LINK_PROTOCOL, { signal: AbortSignal.timeout(OPEN_STREAM) });
      if (this.#known.get(peer) === known) this.#converse(new LinkStream(stream, connection));
      else stream.abort(new Error('There is another connection.'));
    } catch (error) {
      connection.abort(error as Error);
    }
    known.isOpening = false;
  }

  #accept(stream: LinkStream): void {
    if (this.#own < stream.peer) stream.abort(new Error('The lower peer id opens the stream.'));
    else this.#converse(stream);
  }

  #converse(stream: LinkStream): void {
    stream.carry(this.#links.converse(stream));
  }
}
