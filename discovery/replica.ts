/**
 * The directory of the cluster as one node has it: its own part, which it alone writes, and a copy of each other's. It does no
 * input or output and reads no clock: messages and the time are handed in, what is to be sent is handed out.
 *
 * - Changes of the own part are gossiped a moment later, together. Whoever misses some sees it by the numbers, and pulls.
 * - Each node gossips a heartbeat with the last number and the hash of its part, so that no loss stays unseen; and now and then
 *   two nodes compare all they know of all (anti-entropy, as in memberlist's push and pull).
 * - A node that is not heard of is suspect, then dead. Before that others are asked what they have heard: a higher beat is proof of
 *   life whoever tells it, so that a bad link between two nodes kills neither (SWIM's indirect probe). A node that learns that it is
 *   held for suspect or dead beats at once.
 */
import { Member } from './member.js';
import type {
  Changes,
  Digest,
  DirectMessage,
  GossipMessage,
  MeshMessage,
  NodeNews,
  NodeState,
  Pull,
} from './message.js';
import { Part } from './part.js';

/** How messages leave. None is sure to arrive. */
export interface Mesh {
  /** To all nodes. */
  gossip(message: GossipMessage): void;
  /** To one node; false when there is no way to it at the moment. */
  send(node: string, message: DirectMessage): boolean;
  /** Nodes to which there is a way. */
  neighbours(): readonly string[];
}

export interface ReplicaObserver {
  /** A record of another node came, changed, or went (null). */
  onRecord(node: string, key: string, value: Buffer | null): void;
  onState(node: string, state: NodeState): void;
  /** Somebody knows a later start of this node than this one: its counter was lost. This is the number to go on with, to be persisted. */
  onIncarnation(incarnation: number): void;
}

/** Milliseconds, unless it says otherwise. */
export interface ReplicaTiming {
  heartbeat: number;
  /** Changes wait that long for others. */
  coalesce: number;
  /** Unheard of for so long: suspect, and dead after so much more. */
  suspectAfter: number;
  deadAfter: number;
  /** How long the copy of a dead node's part is kept, should it come back, and how long it is remembered. */
  keepPart: number;
  forgetAfter: number;
  /** Gossip that overtook other gossip is waited for that long. */
  patience: number;
  /** An answer to a pull is waited for that long; from a node that may not have it, for less. */
  pullTimeout: number;
  guessTimeout: number;
  antiEntropy: number;
}

export const TIMING: ReplicaTiming = {
  heartbeat: 1000,
  coalesce: 50,
  suspectAfter: 3500,
  deadAfter: 4500,
  keepPart: 300_000,
  forgetAfter: 3_600_000,
  patience: 200,
  pullTimeout: 2000,
  guessTimeout: 300,
  antiEntropy: 30_000,
};

/** Nodes that are known, dead ones included; more are not taken in. */
export const MAX_NODES = 4096;
/** Bytes of changes in one message, about. */
const MESSAGE_BYTES = 32 * 1024;
/** What is gossiped of one burst of changes; the rest is pulled by those who want it. */
const BURST_MESSAGES = 16;
/** Who is asked about a suspect. */
const WITNESSES = 3;
/** Answers that are waited for at a time. */
const PULLS = 8;

export class Replica {
  readonly node: string;
  incarnation: number;
  readonly part: Part;
  readonly members: Map<string, Member>;
  readonly #mesh: Mesh;
  readonly #observer: ReplicaObserver;
  readonly #timing: ReplicaTiming;
  readonly #random: () => number;
  #beat: number;
  #gossiped: number;
  #changedAt: number;
  #beatAt: number;
  #comparedAt: number;

  constructor(
    node: string,
    incarnation: number,
    mesh: Mesh,
    observer: ReplicaObserver,
    now: number,
    timing: ReplicaTiming = TIMING,
    random: () => number = Math.random,
  ) {
    this.node = node;
    this.incarnation = incarnation;
    this.part = new Part();
    this.members = new Map();
    this.#mesh = mesh;
    this.#observer = observer;
    this.#timing = timing;
    this.#random = random;
    this.#beat = 0;
    this.#gossiped = 0;
    this.#changedAt = Number.POSITIVE_INFINITY;
    this.#beatAt = now;
    // Not all at once, when all have begun at once.
    this.#comparedAt = now - random() * timing.antiEntropy;
  }

  /** Sets a record of this node's own part, or removes it (null). */
  write(key: string, value: Buffer | null, now: number): void {
    if (this.part.write(key, value) !== null && this.#changedAt === Number.POSITIVE_INFINITY)
      this.#changedAt = now;
  }

  /** There is a way to `node` now. */
  connected(node: string): void {
    this.#mesh.send(node, this.#digest(true));
  }

  /** Something came from `node` itself at that time, on another way than the directory's: it lives. */
  heard(node: string, at: number): void {
    const member = this.members.get(node);
    if (member === undefined || at <= member.heardAt || member.state === 'left' || member.state === 'dead')
      return;
    member.heardAt = at;
    this.#become(member, 'alive');
  }

  leave(): void {
    this.#mesh.gossip({
      type: 'farewell',
      node: this.node,
      incarnation: this.incarnation,
      beat: ++this.#beat,
    });
  }

  /** Several times a second. */
  tick(now: number): void {
    const timing = this.#timing;
    if (now - this.#changedAt >= timing.coalesce) this.#gossipChanges();
    if (now - this.#beatAt >= timing.heartbeat) this.#heartbeat(now);
    if (now - this.#comparedAt >= timing.antiEntropy) {
      this.#comparedAt = now;
      for (const node of this.#some(1)) this.#mesh.send(node, this.#digest(true));
    }
    let pulls = 0;
    for (const member of this.members.values()) {
      this.#watch(member, now);
      if (member.behindSince === Number.POSITIVE_INFINITY) continue;
      if (now - member.pulledAt < timing.pullTimeout) pulls++;
      else if (pulls < PULLS && now - member.behindSince >= timing.patience) {
        pulls++;
        this.#pull(member, now);
      }
    }
  }

  /** `from`: who sent it to this node; null: it was gossip. */
  receive(from: string | null, message: MeshMessage, now: number): void {
    switch (message.type) {
      case 'heartbeat':
        this.#hear(message, 'alive', message.node, now);
        break;
      case 'farewell':
        this.#farewell(message.node, message.incarnation, message.beat, now);
        break;
      case 'changes':
        this.#changes(from, message, now);
        break;
      case 'pull':
        if (from !== null) this.#serve(from, message);
        break;
      case 'digest':
        if (from !== null) this.#compare(from, message, now);
        break;
    }
  }

  /** The member, if it is to be listened to; a later incarnation of it begins with nothing. */
  #member(node: string, incarnation: number, now: number): Member | null {
    if (node === this.node) return null;
    let member = this.members.get(node);
    if (member === undefined) {
      if (this.members.size >= MAX_NODES) return null;
      member = new Member(node, incarnation, now);
      this.members.set(node, member);
      this.#observer.onState(node, 'alive');
    } else if (incarnation > member.incarnation) {
      this.#clear(member);
      member.incarnation = incarnation;
      member.beat = 0;
      member.heardAt = now;
      this.#become(member, 'alive');
    }
    return incarnation === member.incarnation ? member : null;
  }

  #hear(news: NodeNews, state: NodeState, source: string, now: number): void {
    if (news.node === this.node) {
      this.#heardOfMyself(news, state, now);
      return;
    }
    const isKnown = this.members.has(news.node);
    const member = this.#member(news.node, news.incarnation, now);
    if (member === null) return;
    if (news.beat > member.beat) {
      member.beat = news.beat;
      // That somebody has died or left is news of the past, where it is news at all.
      if (state === 'alive' || state === 'suspect') {
        member.heardAt = now;
        this.#become(member, 'alive');
      } else if (!isKnown) this.#become(member, state);
    }
    if (news.sequence > member.sequence) {
      member.sequence = news.sequence;
      member.hash = news.hash;
      member.source = source;
    } else if (news.sequence === member.sequence) member.hash = news.hash;
    this.#measure(member, now);
  }

  #heardOfMyself(news: NodeNews, state: NodeState, now: number): void {
    if (news.incarnation > this.incarnation) {
      this.incarnation = news.incarnation + 1;
      this.#observer.onIncarnation(this.incarnation);
      this.#heartbeat(now);
    } else if (news.incarnation === this.incarnation && state !== 'alive') {
      this.#beat = Math.max(this.#beat, news.beat);
      this.#heartbeat(now);
    }
  }

  #farewell(node: string, incarnation: number, beat: number, now: number): void {
    const member = this.members.get(node);
    if (member === undefined || !member.isNews(incarnation, beat)) return;
    member.incarnation = incarnation;
    member.beat = beat;
    member.heardAt = now;
    this.#become(member, 'left');
    this.#clear(member);
  }

  #changes(from: string | null, message: Changes, now: number): void {
    const member = this.#member(message.node, message.incarnation, now);
    if (member === null || member.state === 'left') return;
    if (message.reset) {
      if (member.incoming === null || message.from === 0) member.incoming = new Part();
      member.incoming.floor = message.floor;
      member.resetFloor = message.floor;
    }
    const target = member.target;
    if (message.to > member.sequence) {
      member.sequence = message.to;
      member.source = from ?? message.node;
    }
    if (message.from <= target.sequence) {
      for (const change of message.changes)
        if (target.apply(change) && target === member.part)
          this.#observer.onRecord(member.node, change.key, change.value);
      target.reach(message.to);
      if (target === member.incoming && message.last) this.#complete(member, target);
    }
    // Gossip bears no hash: the next heartbeat does.
    if (target.sequence === member.sequence) member.hash = target.hash;
    const pulled = member.pulledAt !== Number.NEGATIVE_INFINITY && from === member.source;
    if (pulled) member.pulledAt = Number.NEGATIVE_INFINITY;
    this.#measure(member, now);
    if (pulled && !message.last) this.#pull(member, now);
  }

  /** The new copy takes the place of the old one. */
  #complete(member: Member, part: Part): void {
    const old = member.part;
    member.part = part;
    member.incoming = null;
    member.resetFloor = 0;
    member.differs = false;
    for (const { key } of old.live())
      if (part.get(key) === null) this.#observer.onRecord(member.node, key, null);
    for (const { key, value } of part.live()) {
      const known = old.get(key);
      if (known === null || Buffer.compare(known, value) !== 0)
        this.#observer.onRecord(member.node, key, value);
    }
  }

  #measure(member: Member, now: number): void {
    if (!member.isBehind) {
      member.behindSince = Number.POSITIVE_INFINITY;
      return;
    }
    if (member.behindSince === Number.POSITIVE_INFINITY) member.behindSince = now;
    if (member.incoming === null && member.part.sequence === member.sequence) member.differs = true;
  }

  #pull(member: Member, now: number): void {
    const { node, incarnation } = member;
    const since = member.differs && member.incoming === null ? 0 : member.target.sequence;
    const pull: Pull = { type: 'pull', node, incarnation, since, floor: member.resetFloor };
    member.pulledAt = now;
    // The owner first, then whoever has said to have more.
    if (member.state === 'alive' && this.#mesh.send(node, pull)) {
      member.source = node;
      return;
    }
    if (this.#mesh.send(member.source, pull)) return;
    for (const other of this.#some(1)) {
      member.source = other;
      // A guess: whoever knows nothing does not answer, and the next one is asked soon.
      member.pulledAt = now - this.#timing.pullTimeout + this.#timing.guessTimeout;
      this.#mesh.send(other, pull);
    }
  }

  #serve(from: string, { node, incarnation, since, floor }: Pull): void {
    const member = this.members.get(node);
    const part = node === this.node ? this.part : member?.part;
    if (part === undefined || incarnation !== (node === this.node ? this.incarnation : member!.incarnation))
      return;
    const goesOn = since > 0 && (since >= part.floor || floor === part.floor);
    const begin = goesOn ? since : 0;
    const { changes, to, last } = part.since(begin, MESSAGE_BYTES);
    const reset = !goesOn || floor > 0;
    this.#mesh.send(from, {
      type: 'changes',
      node,
      incarnation,
      from: begin,
      to,
      reset,
      floor: part.floor,
      last,
      changes,
    });
  }

  #compare(from: string, { answer, nodes }: Digest, now: number): void {
    for (const news of nodes) this.#hear(news, news.state, from, now);
    if (answer) this.#mesh.send(from, this.#digest(false));
  }

  #digest(answer: boolean): Digest {
    const { node, incarnation, part } = this;
    const nodes: Digest['nodes'] = [
      { node, incarnation, beat: ++this.#beat, sequence: part.sequence, hash: part.hash, state: 'alive' },
    ];
    for (const member of this.members.values()) nodes.push({ ...member.news(), state: member.state });
    return { type: 'digest', answer, nodes };
  }

  #heartbeat(now: number): void {
    this.#beatAt = now;
    // What it says must not overtake the changes that it counts.
    this.#gossipChanges();
    const { node, incarnation, part } = this;
    const { sequence, hash } = part;
    this.#mesh.gossip({ type: 'heartbeat', node, incarnation, beat: ++this.#beat, sequence, hash });
  }

  #gossipChanges(): void {
    this.#changedAt = Number.POSITIVE_INFINITY;
    const { node, incarnation, part } = this;
    for (let sent = 0; this.#gossiped < part.sequence && sent < BURST_MESSAGES; sent++) {
      const from = this.#gossiped;
      const { changes, to, last } = part.since(from, MESSAGE_BYTES);
      this.#gossiped = to;
      this.#mesh.gossip({
        type: 'changes',
        node,
        incarnation,
        from,
        to,
        reset: false,
        floor: 0,
        last,
        changes,
      });
    }
    this.#gossiped = part.sequence;
  }

  #watch(member: Member, now: number): void {
    const { suspectAfter, deadAfter, keepPart, forgetAfter } = this.#timing;
    const silent = now - member.heardAt;
    if (member.state === 'alive' && silent >= suspectAfter) {
      this.#become(member, 'suspect');
      const digest = this.#digest(true);
      this.#mesh.send(member.node, digest);
      for (const witness of this.#some(WITNESSES)) this.#mesh.send(witness, digest);
    } else if (member.state === 'suspect' && silent >= suspectAfter + deadAfter) this.#become(member, 'dead');
    else if (member.state === 'dead' && silent >= keepPart && member.part.sequence > 0) this.#clear(member);
    if ((member.state === 'dead' || member.state === 'left') && silent >= forgetAfter)
      this.members.delete(member.node);
  }

  #become(member: Member, state: NodeState): void {
    if (member.state === state) return;
    member.state = state;
    this.#observer.onState(member.node, state);
  }

  #clear(member: Member): void {
    for (const { key } of member.part.live()) this.#observer.onRecord(member.node, key, null);
    member.part = new Part();
    member.incoming = null;
    member.resetFloor = 0;
    member.sequence = 0;
    member.hash = 0;
    member.differs = false;
    member.behindSince = Number.POSITIVE_INFINITY;
    member.pulledAt = Number.NEGATIVE_INFINITY;
  }

  /** So many neighbours, by chance. */
  #some(count: number): string[] {
    const neighbours = [...this.#mesh.neighbours()];
    for (let i = 0; i < count && i < neighbours.length; i++) {
      const at = i + Math.floor(this.#random() * (neighbours.length - i));
      [neighbours[i], neighbours[at]] = [neighbours[at], neighbours[i]];
    }
    return neighbours.slice(0, count);
  }
}
