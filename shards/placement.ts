/**
 * Which shard takes a connection. Correctness never depends on it: the directory says where an agent is.
 */
import { hash } from 'node:crypto';
import HashRing from 'hashring';

/** What placing needs to know of the shards. */
export interface ShardLoads {
  isLive(slot: number): boolean;
  /** Connections of a live shard, those on their way to it included. */
  connections(slot: number): number;
}

/** Not left to hashring: an object for each hash, and a buffer of its own, would cost four times as much as hashing. */
function sha256(key: string): Buffer {
  return Buffer.from(hash('sha256', key, 'hex'), 'hex');
}

export class Placement {
  readonly #slots: number;
  readonly #ring: HashRing;
  readonly #loads: ShardLoads;
  #next: number;

  /** `slots`: all that are configured, live or not: an agent returns to its own when that is back. */
  constructor(slots: number, loads: ShardLoads) {
    this.#slots = slots;
    this.#loads = loads;
    this.#next = 0;
    const names: string[] = [];
    for (let slot = 0; slot < slots; slot++) names.push(String(slot));
    this.#ring = new HashRing(names, sha256);
  }

  /** The slot of a live shard, or −1 when none is. The same agentId goes to the same slot while that is live. */
  place(agentId: string | null): number {
    return agentId === null ? this.#leastLoaded() : this.#byAgent(agentId);
  }

  /**
   * `range`, never `get`: `get` keeps keys in a plain object and would take agentIds such as `__proto__` for its own
   * entries. The whole ring is walked only when the first choice is down, and its agents spread over all others.
   */
  #byAgent(agentId: string): number {
    const first = Number(this.#ring.range(agentId, 1)[0]);
    if (this.#loads.isLive(first)) return first;
    for (const name of this.#ring.range(agentId, this.#slots)) {
      if (this.#loads.isLive(Number(name))) return Number(name);
    }
    return -1;
  }

  /** Among equals it goes round, so that a burst between two load reports spreads too. */
  #leastLoaded(): number {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#slots; i++) {
      const slot = (this.#next + i) % this.#slots;
      if (!this.#loads.isLive(slot)) continue;
      const connections = this.#loads.connections(slot);
      if (connections < least) {
        least = connections;
        best = slot;
      }
    }
    if (best >= 0) this.#next = (best + 1) % this.#slots;
    return best;
  }
}
