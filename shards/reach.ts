/**
 * When the other nodes have applied what agents here subscribed to. A shard asks the gateway, which has told it to them in order; the gateway
 * raises a barrier on each link, which the node there answers when all its shards have applied what came before.
 */
import type { Exchange } from './exchange.js';
import type { Interest } from './interest.js';
import type { LinkedNode } from './linked-node.js';
import type { Peer } from './peer.js';
import { encodeTalk } from './talk.js';

/** A node that has not answered after so many checks is not waited for until it answers again; nor, a little later, is a gateway. */
const NODE_PATIENCE = 8;
const GATEWAY_PATIENCE = 12;

class Wait {
  readonly done: Promise<void>;
  resolve: () => void;
  checks: number;

  constructor() {
    this.resolve = () => {};
    this.checks = 0;
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
}

/** On a shard. It asks one question at a time; whoever comes meanwhile waits for the next one. */
export class Reach {
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  #asked: Wait | null;
  #next: Wait | null;
  #last: number;

  constructor(exchange: Exchange, interest: Interest) {
    this.#exchange = exchange;
    this.#interest = interest;
    this.#asked = null;
    this.#next = null;
    this.#last = 0;
  }

  /** Resolves when all shards here, and every node that can be reached, have applied all that was told so far; but for those that stand still. */
  async everywhere(): Promise<void> {
    const near = this.#interest.settled();
    if (this.#exchange.gateway?.up) {
      this.#next ??= new Wait();
      const { done } = this.#next;
      if (this.#asked === null) this.#ask();
      await done;
    }
    await near;
  }

  /** The gateway answers. */
  reached(n: number): void {
    if (n === this.#last) this.#answered();
  }

  /** The gateway is gone: no other node can be reached. */
  gatewayLost(): void {
    this.#next?.resolve();
    this.#next = null;
    this.#answered();
  }

  /** Now and then. */
  check(): void {
    if (this.#asked !== null && ++this.#asked.checks > GATEWAY_PATIENCE) this.#answered();
  }

  #answered(): void {
    this.#asked?.resolve();
    this.#asked = null;
    if (this.#next !== null) this.#ask();
  }

  #ask(): void {
    this.#asked = this.#next;
    this.#next = null;
    this.#exchange.gateway!.tell(encodeTalk({ t: 'reach', n: ++this.#last }));
    this.#exchange.tick();
  }
}

/** The question of a shard, and the nodes that have not answered it, with the barriers that they have to pass. */
interface Question {
  n: number;
  checks: number;
  readonly nodes: Map<LinkedNode, number>;
}

/** On the gateway. */
export class NodeBarriers {
  /** One for each shard at most. */
  readonly #questions: Map<Peer, Question>;

  constructor() {
    this.#questions = new Map();
  }

  /** A shard asks, which has told before what it is about. */
  asked(peer: Peer, n: number, linked: Iterable<LinkedNode>): void {
    const nodes = new Map<LinkedNode, number>();
    for (const node of linked) {
      const barrier = node.raise();
      if (node.answers) nodes.set(node, barrier);
    }
    this.#questions.set(peer, { n, checks: 0, nodes });
    this.#look(peer);
  }

  /** A node has answered a barrier, or is gone. */
  passed(node: LinkedNode, barrier: number): void {
    node.answers = true;
    for (const [peer, { nodes }] of this.#questions) {
      if (barrier < (nodes.get(node) ?? Number.POSITIVE_INFINITY)) continue;
      nodes.delete(node);
      this.#look(peer);
    }
  }

  peerLost(peer: Peer): void {
    this.#questions.delete(peer);
  }

  /** Now and then. */
  check(): void {
    for (const [peer, question] of this.#questions) {
      if (++question.checks <= NODE_PATIENCE) continue;
      for (const node of question.nodes.keys()) node.answers = false;
      question.nodes.clear();
      this.#look(peer);
    }
  }

  #look(peer: Peer): void {
    const question = this.#questions.get(peer)!;
    if (question.nodes.size !== 0) return;
    this.#questions.delete(peer);
    peer.tell(encodeTalk({ t: 'reached', n: question.n }));
  }
}
