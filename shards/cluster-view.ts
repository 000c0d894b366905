/** The nodes of the cluster, for whoever asks a shard: the mesh worker knows them, and is asked over its link. */
import { FlowbusError } from '../lib/errors.js';
import type { ClusterNode } from '../lib/mesh.js';
import type { Exchange } from './exchange.js';
import { encodeTalk, type Talk } from './talk.js';

/** How long the mesh worker may take to answer (ms). */
const PATIENCE = 3000;
/** Questions that wait for their answers. */
const MAX_ASKED = 1024;
/** In one message of the workers' talk; with so many addresses of each it stays below the largest record. */
const NODES_PER_TALK = 32;
const MAX_ADDRESSES = 8;

interface Asked {
  readonly nodes: ClusterNode[];
  /** Null: no answer. */
  readonly done: (nodes: readonly ClusterNode[] | null) => void;
  readonly timer: NodeJS.Timeout;
}

export class ClusterView {
  readonly #exchange: Exchange;
  readonly #slot: number | null;
  readonly #asked: Map<number, Asked>;
  #lastRef: number;

  /** `slot`: the mesh worker's; null: there is none. */
  constructor(exchange: Exchange, slot: number | null) {
    this.#exchange = exchange;
    this.#slot = slot;
    this.#asked = new Map();
    this.#lastRef = 0;
  }

  /** This node first, then the others by name. Rejects with MESH_OFF, MESH_DOWN. */
  async nodes(): Promise<readonly ClusterNode[]> {
    if (this.#slot === null) throw new FlowbusError('MESH_OFF');
    const nodes = await this.#ask(this.#slot);
    if (nodes === null) throw new FlowbusError('MESH_DOWN');
    return nodes;
  }

  answered(ref: number, nodes: readonly ClusterNode[], last: boolean): void {
    const asked = this.#asked.get(ref);
    if (asked === undefined) return;
    asked.nodes.push(...nodes);
    if (last) this.#settle(ref, asked, asked.nodes);
  }

  peerLost(slot: number): void {
    if (slot !== this.#slot) return;
    for (const [ref, asked] of [...this.#asked]) this.#settle(ref, asked, null);
  }

  #ask(slot: number): Promise<readonly ClusterNode[] | null> {
    const peer = this.#exchange.peers[slot];
    if (!peer?.listening || this.#asked.size >= MAX_ASKED) return Promise.resolve(null);
    const ref = ++this.#lastRef;
    return new Promise((resolve) => {
      const asked = {
        nodes: [],
        done: resolve,
        timer: setTimeout(() => this.#settle(ref, asked, null), PATIENCE),
      };
      this.#asked.set(ref, asked);
      peer.tell(encodeTalk({ t: 'cluster', ref }));
      this.#exchange.tick();
    });
  }

  #settle(ref: number, asked: Asked, nodes: readonly ClusterNode[] | null): void {
    this.#asked.delete(ref);
    clearTimeout(asked.timer);
    asked.done(nodes);
  }
}

/** The answer to a shard's question, in pieces. */
export function* nodesTalk(ref: number, nodes: readonly ClusterNode[]): Generator<Talk> {
  for (let i = 0; i === 0 || i < nodes.length; i += NODES_PER_TALK) {
    const piece = nodes.slice(i, i + NODES_PER_TALK);
    yield {
      t: 'nodes',
      ref,
      nodes: piece.map((node) => ({ ...node, addresses: node.addresses.slice(0, MAX_ADDRESSES) })),
      last: i + NODES_PER_TALK >= nodes.length,
    };
  }
}
