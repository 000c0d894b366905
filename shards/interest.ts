/**
 * Who subscribed to what: sessions here, with reference counts per pattern, and through them other workers, which
 * hear of a pattern's first and last subscriber only.
 */
import type { Exchange } from './exchange.js';
import type { Peer } from './peer.js';
import type { JoiningSession } from './route.js';
import type { Session } from './session.js';
import { encodeTalk, type Talk, TEXTS_PER_TALK } from './talk.js';

/**
 * A peer that has not answered a barrier after so many checks stands still: nobody waits for it until it answers again. It hears
 * of everything in order all the same, and is restarted when it goes on.
 */
const PATIENCE = 8;

interface Barrier {
  /** Checks that it has seen. */
  checks: number;
  readonly waiting: Set<number>;
  readonly done: Promise<void>;
  readonly resolve: () => void;
}

export class Interest {
  readonly #exchange: Exchange;
  /** Subscribers here per pattern. Bounded by what each session may subscribe to. */
  readonly #counts: Map<string, number>;
  readonly #barriers: Map<number, Barrier>;
  #lastBarrier: number;
  /** The barrier that this turn's changes wait for; told to the peers when the turn ends. */
  #next: Barrier | null;

  readonly #onHeard: (patterns: readonly string[]) => void;

  /** `onHeard`: peers have said something of these patterns. */
  constructor(exchange: Exchange, onHeard: (patterns: readonly string[]) => void = noop) {
    this.#exchange = exchange;
    this.#onHeard = onHeard;
    this.#counts = new Map();
    this.#barriers = new Map();
    this.#lastBarrier = 0;
    this.#next = null;
  }

  get patterns(): number {
    return this.#counts.size;
  }

  /** Patterns are valid, and few enough; those the session has already are passed over. */
  subscribe(session: Session, patterns: readonly string[]): void {
    const first: string[] = [];
    for (const pattern of patterns) {
      if (session.patterns.has(pattern)) continue;
      session.patterns.add(pattern);
      this.#exchange.trie.add(pattern, session);
      this.#exchange.topics.invalidate(pattern);
      const count = this.#counts.get(pattern) ?? 0;
      this.#counts.set(pattern, count + 1);
      if (count === 0) first.push(pattern);
    }
    if (first.length > 0) this.#tellAll(first, []);
  }

  unsubscribe(session: Session, patterns: Iterable<string>): void {
    const last: string[] = [];
    for (const pattern of [...patterns]) {
      if (!session.patterns.delete(pattern)) continue;
      this.#exchange.trie.remove(pattern, session);
      this.#exchange.topics.invalidate(pattern);
      if (this.#forget(pattern)) last.push(pattern);
    }
    if (last.length > 0) this.#tellAll([], last);
  }

  /** A session that is about to subscribe; to be taken back by `unjoin`. */
  join(joining: JoiningSession): void {
    const { pattern } = joining;
    this.#exchange.trie.add(pattern, joining);
    this.#exchange.topics.invalidate(pattern);
    const count = this.#counts.get(pattern) ?? 0;
    this.#counts.set(pattern, count + 1);
    if (count === 0) this.#tellAll([pattern], []);
  }

  unjoin(joining: JoiningSession): void {
    const { pattern } = joining;
    this.#exchange.trie.remove(pattern, joining);
    this.#exchange.topics.invalidate(pattern);
    if (this.#forget(pattern)) this.#tellAll([], [pattern]);
  }

  /** What a peer said of its own subscribers. */
  heard(peer: Peer, add: readonly string[], remove: readonly string[]): void {
    for (const pattern of add) {
      if (peer.interest.has(pattern)) continue;
      peer.interest.add(pattern);
      this.#exchange.trie.add(pattern, peer);
      this.#exchange.topics.invalidate(pattern);
    }
    for (const pattern of remove) {
      if (!peer.interest.delete(pattern)) continue;
      this.#exchange.trie.remove(pattern, peer);
      this.#exchange.topics.invalidate(pattern);
    }
    this.#onHeard(add);
    this.#onHeard(remove);
  }

  /** A peer is gone, or starts anew. */
  forget(peer: Peer): void {
    this.heard(peer, [], [...peer.interest]);
    for (const [n, barrier] of this.#barriers) this.#passed(n, barrier, peer.slot);
  }

  /** Tells one peer everything. */
  sync(peer: Peer): void {
    for (const talk of interestTalk([...this.#counts.keys()], [])) peer.tell(encodeTalk(talk));
  }

  /** Resolves when every live peer has applied all that was told so far, but for those that stand still. */
  settled(): Promise<void> {
    // Also those that have not told everything yet: they may have agents by now, who publish.
    const peers = this.#exchange.peers.filter((peer) => peer?.listening);
    if (peers.length === 0) return DONE;
    if (this.#next !== null) return this.#next.done;
    let resolve = noop;
    const done = new Promise<void>((r) => {
      resolve = r;
    });
    const barrier: Barrier = { checks: 0, waiting: new Set(), done, resolve };
    this.#next = barrier;
    // Everything else that this turn tells goes ahead of it.
    queueMicrotask(() => this.#raise(barrier));
    return done;
  }

  /** A peer has applied all that came before barrier `n`. */
  applied(n: number, slot: number): void {
    const peer = this.#exchange.peers[slot];
    if (peer != null) peer.answers = true;
    const barrier = this.#barriers.get(n);
    if (barrier !== undefined) this.#passed(n, barrier, slot);
  }

  /** Now and then. */
  check(): void {
    for (const [n, barrier] of this.#barriers) {
      if (++barrier.checks <= PATIENCE) continue;
      for (const slot of barrier.waiting) {
        this.#exchange.peers[slot]!.answers = false;
        this.#passed(n, barrier, slot);
      }
    }
  }

  /** True: it was the last one here. */
  #forget(pattern: string): boolean {
    const count = this.#counts.get(pattern)!;
    if (count > 1) this.#counts.set(pattern, count - 1);
    else this.#counts.delete(pattern);
    return count === 1;
  }

  #raise(barrier: Barrier): void {
    this.#next = null;
    const n = ++this.#lastBarrier;
    const talk = encodeTalk({ t: 'barrier', n });
    for (const peer of this.#exchange.peers) {
      if (!peer?.listening) continue;
      if (peer.answers) barrier.waiting.add(peer.slot);
      peer.tell(talk);
    }
    if (barrier.waiting.size === 0) barrier.resolve();
    else this.#barriers.set(n, barrier);
    this.#exchange.tick();
  }

  #passed(n: number, barrier: Barrier, slot: number): void {
    if (!barrier.waiting.delete(slot) || barrier.waiting.size > 0) return;
    this.#barriers.delete(n);
    barrier.resolve();
  }

  #tellAll(add: string[], remove: string[]): void {
    for (const talk of interestTalk(add, remove)) {
      const bytes = encodeTalk(talk);
      for (const peer of this.#exchange.peers) peer?.tell(bytes);
    }
    this.#exchange.tick();
  }
}

function* interestTalk(add: string[], remove: string[]): Generator<Talk> {
  for (let i = 0; i < Math.max(add.length, remove.length); i += TEXTS_PER_TALK) {
    yield {
      t: 'interest',
      add: add.slice(i, i + TEXTS_PER_TALK),
      remove: remove.slice(i, i + TEXTS_PER_TALK),
    };
  }
}

const DONE = Promise.resolve();
function noop(): void {}
