/** Two nodes with their links, and streams between them that deliver when they are told to, piecemeal, and break anywhere. */
import type { Conversation, PeerStream } from '../../../../discovery/link/conversation.js';
import { LINK_TIMING, Links, type LinksObserver } from '../../../../discovery/link/links.js';
import type { MeshGateway, NodeLink, NodeState } from '../../../../lib/mesh.js';

export interface World {
  now: number;
}

/** Takes so much before it is full (bytes). */
const ROOM = 4096;

class QueueStream implements PeerStream {
  readonly peer: string;
  queued: Buffer;
  other: Conversation | null;
  own: Conversation | null;
  isOpen: boolean;

  constructor(peer: string) {
    this.peer = peer;
    this.queued = Buffer.alloc(0);
    this.other = null;
    this.own = null;
    this.isOpen = true;
  }

  get isFull(): boolean {
    return this.queued.length >= ROOM;
  }

  write(bytes: Uint8Array): void {
    if (this.isOpen) this.queued = Buffer.concat([this.queued, bytes]);
  }

  end(): void {}

  abort(): void {
    this.isOpen = false;
  }

  deliver(count: number): void {
    const bytes = this.queued.subarray(0, count);
    this.queued = this.queued.subarray(count);
    if (bytes.length > 0) this.other?.read(bytes);
    if (!this.isFull) this.own?.writable();
  }
}

/** One life of a link, as its gateway saw it. */
export interface Life {
  sent: string[];
  received: string[];
  /** Null: it has not ended, or its process has. */
  unacknowledged: string[] | null;
  crashed: boolean;
}

export class Side implements MeshGateway, LinksObserver {
  readonly name: string;
  readonly #begin: () => Links;
  links: Links;
  readonly lives: Life[];
  /** What must not be. */
  readonly wrong: string[];
  readonly refused: string[];
  readonly states: string[];
  link: NodeLink | null;
  directory: string[];

  constructor(name: string, world: World, seed: number, node = name) {
    this.name = name;
    this.lives = [];
    this.wrong = [];
    this.refused = [];
    this.states = [];
    this.directory = [];
    this.link = null;
    let session = seed;
    this.#begin = () =>
      new Links(
        node,
        this,
        this,
        LINK_TIMING,
        () => world.now,
        () => session++,
      );
    this.links = this.#begin();
  }

  /** Another process of the same name and key: it knows nothing. */
  restart(): void {
    if (this.link !== null) this.life.crashed = true;
    this.link = null;
    this.links = this.#begin();
  }

  get life(): Life {
    return this.lives[this.lives.length - 1];
  }

  send(text: string): void {
    if (this.link === null) return;
    const bytes = Buffer.from(`<${text}>`);
    this.life.sent.push(text);
    this.link.send(bytes, 1, bytes.length - 1);
  }

  onLink(link: NodeLink): void {
    if (this.link !== null) this.wrong.push('a link began in another');
    this.lives.push({ sent: [], received: [], unacknowledged: null, crashed: false });
    this.link = link;
  }

  onLinkLost(link: NodeLink, unacknowledged: readonly Uint8Array[]): void {
    if (link === this.link) this.link = null;
    else this.wrong.push('a link ended that was none');
    this.life.unacknowledged = unacknowledged.map((bytes) => Buffer.from(bytes).toString());
  }

  onRoom(): void {}

  onBatch(link: NodeLink, bytes: Uint8Array): void {
    if (link !== this.link) this.wrong.push('a batch came on a link that has ended');
    this.life.received.push(Buffer.from(bytes).toString());
  }

  onRecord(): void {}
  onNode(_node: string, _state: NodeState): void {}
  onAttached(): void {
    this.states.push('attached');
  }

  onDetached(): void {
    this.states.push('detached');
  }

  onDirectory(_node: string, message: Uint8Array): void {
    this.directory.push(Buffer.from(message).toString());
  }

  onOwing(): void {}
  onRefused(_peer: string, node: string, code: string, byUs: boolean): void {
    this.refused.push(`${node} ${code} ${byUs ? 'by us' : 'by them'}`);
  }
}

/** The streams between two sides: one at a time. */
export class Cable {
  readonly #a: Side;
  readonly #b: Side;
  #streams: [QueueStream, QueueStream] | null;

  constructor(a: Side, b: Side) {
    this.#a = a;
    this.#b = b;
    this.#streams = null;
  }

  /** A stream that is there is left to the links: they end it. */
  open(): void {
    const ab = new QueueStream(this.#b.name);
    const ba = new QueueStream(this.#a.name);
    this.#streams = [ab, ba];
    ab.own = this.#a.links.converse(ab);
    ba.own = this.#b.links.converse(ba);
    ab.other = ba.own;
    ba.other = ab.own;
  }

  /** Bytes of the one direction, if there is a stream. */
  deliver(direction: 0 | 1, count: number): void {
    this.#streams?.[direction].deliver(count);
    if (this.#streams?.some(({ isOpen }) => !isOpen)) this.cut();
  }

  /** As if the side that sends in this direction had written it, in front of all that it did. */
  inject(direction: 0 | 1, bytes: Uint8Array): void {
    this.#streams?.[direction].other?.read(bytes);
    if (this.#streams?.some(({ isOpen }) => !isOpen)) this.cut();
  }

  /** Until nothing is on its way. */
  flow(): void {
    for (let moved = true; moved; ) {
      this.#a.links.settle();
      this.#b.links.settle();
      moved = this.#streams?.some(({ queued }) => queued.length > 0) ?? false;
      this.deliver(0, 1 << 20);
      this.deliver(1, 1 << 20);
    }
  }

  /** What was on its way is lost. */
  cut(): void {
    const streams = this.#streams;
    this.#streams = null;
    for (const { own } of streams ?? []) own?.closed(null);
  }
}
