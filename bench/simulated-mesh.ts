/**
 * Nodes of a cluster in one process and in simulated time: the directory's protocol as it is, over a network that delays, loses
 * and cuts. Gossip floods an overlay in which each node has some neighbours, as gossipsub's does: each passes on what it sees
 * for the first time. Messages to one node go over a stream, which loses nothing but is late when a packet was lost; nodes are
 * connected with their neighbours in the overlay, and dial others when they have something to ask of them.
 */
import { encodeMessage } from '../discovery/codec.js';
import type { DirectMessage, GossipMessage, MeshMessage, NodeState } from '../discovery/message.js';
import {
  type Mesh,
  Replica,
  type ReplicaObserver,
  type ReplicaTiming,
  TIMING,
} from '../discovery/replica.js';

export interface Weather {
  /** One way, milliseconds: each message has one between them. */
  minDelay: number;
  maxDelay: number;
  /** Share of the packets that are lost. */
  loss: number;
}

export interface SimulationOptions {
  nodes: number;
  weather: Weather;
  seed?: number;
  timing?: ReplicaTiming;
}

/** Neighbours in the gossip overlay: gossipsub's D. */
const DEGREE = 6;
/** What a message bears beside its payload: topic, source, number, framing and encryption of gossipsub over noise and yamux, about. */
const GOSSIP_OVERHEAD = 120;
const STREAM_OVERHEAD = 30;
/** A stream that lost a packet waits that long before it sends it again (ms). */
const RETRANSMIT = 200;
/** How long a way that leads nowhere looks as if it were there (ms). */
const BLACK_HOLE = 5000;
const STEP = 10;
const HORIZON = 4096;

/** What a node holds of the others, as whoever uses the directory would. */
class Observed implements ReplicaObserver {
  readonly records: Map<string, Map<string, Buffer>> = new Map();
  readonly states: Map<string, NodeState> = new Map();
  incarnation = 0;

  onRecord(node: string, key: string, value: Buffer | null): void {
    let records = this.records.get(node);
    if (records === undefined) {
      records = new Map();
      this.records.set(node, records);
    }
    if (value === null) records.delete(key);
    else records.set(key, value);
  }

  onState(node: string, state: NodeState): void {
    this.states.set(node, state);
  }

  onIncarnation(incarnation: number): void {
    this.incarnation = incarnation;
  }
}

export class SimulatedNode implements Mesh {
  readonly index: number;
  readonly name: string;
  readonly #simulation: Simulation;
  replica: Replica;
  observed: Observed;
  up: boolean;
  incarnation: number;
  side: number;
  overlay: SimulatedNode[];
  bytesOut: number;
  messagesOut: number;

  constructor(simulation: Simulation, index: number) {
    this.#simulation = simulation;
    this.index = index;
    this.name = `node-${index}`;
    this.up = true;
    this.incarnation = 1;
    this.side = 0;
    this.overlay = [];
    this.bytesOut = 0;
    this.messagesOut = 0;
    this.observed = new Observed();
    this.replica = this.begin();
  }

  begin(): Replica {
    this.observed = new Observed();
    const { now, timing, random } = this.#simulation;
    this.replica = new Replica(this.name, this.incarnation, this, this.observed, now, timing, random);
    return this.replica;
  }

  gossip(message: GossipMessage): void {
    this.#simulation.flood(this, message);
  }

  send(node: string, message: DirectMessage): boolean {
    return this.#simulation.send(this, node, message);
  }

  neighbours(): readonly string[] {
    return this.overlay.map(({ name }) => name);
  }
}

interface Flooded {
  message: GossipMessage;
  bytes: number;
  seen: Uint8Array;
}

interface Arrival {
  to: SimulatedNode;
  from: SimulatedNode;
  incarnation: number;
  message: MeshMessage | null;
  flooded: Flooded | null;
}

export class Simulation {
  now: number;
  readonly nodes: SimulatedNode[];
  readonly timing: ReplicaTiming;
  readonly random: () => number;
  weather: Weather;
  readonly #byName: Map<string, SimulatedNode>;
  /** Arrivals by the millisecond: those of the next HORIZON. */
  readonly #arrivals: Arrival[][];
  #cutAt: number;

  constructor({ nodes, weather, seed = 1, timing = TIMING }: SimulationOptions) {
    this.now = 0;
    this.timing = timing;
    this.random = mulberry32(seed);
    this.weather = weather;
    this.nodes = [];
    this.#byName = new Map();
    this.#arrivals = Array.from({ length: HORIZON }, () => []);
    this.#cutAt = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < nodes; i++) this.#add();
    this.weave();
  }

  #add(): SimulatedNode {
    const node = new SimulatedNode(this, this.nodes.length);
    this.nodes.push(node);
    this.#byName.set(node.name, node);
    return node;
  }

  /** Lets so many milliseconds pass. */
  run(time: number): void {
    const end = this.now + time;
    while (this.now < end) {
      const due = this.#arrivals[this.now % HORIZON];
      this.#arrivals[this.now % HORIZON] = [];
      for (const arrival of due) this.#arrive(arrival);
      for (let i = this.now % STEP; i < this.nodes.length; i += STEP)
        if (this.nodes[i].up) this.nodes[i].replica.tick(this.now);
      this.now++;
    }
  }

  /** Until it holds, looked at every 50 ms; returns how long it took, or null when it did not within `limit`. */
  until(holds: () => boolean, limit: number): number | null {
    const begin = this.now;
    while (this.now - begin < limit) {
      if (holds()) return this.now - begin;
      this.run(50);
    }
    return holds() ? this.now - begin : null;
  }

  kill(node: SimulatedNode): void {
    node.up = false;
    this.weave();
  }

  /** It comes back with nothing but its number. */
  restart(node: SimulatedNode): void {
    node.up = true;
    node.incarnation++;
    node.begin();
    this.weave();
    this.greet(node);
  }

  /** Its connections stand. */
  greet(node: SimulatedNode): void {
    for (const { name } of node.overlay) node.replica.connected(name);
  }

  /** From now on, those for which `sideOf` differs do not hear of each other. */
  cut(sideOf: (node: SimulatedNode) => number): void {
    for (const node of this.nodes) node.side = sideOf(node);
    this.#cutAt = this.now;
    this.weave();
  }

  heal(): void {
    for (const node of this.nodes) node.side = 0;
    this.weave();
    for (const node of this.nodes) if (node.up) this.greet(node);
  }

  /** Whether all nodes that are up see all of the others' records, alive, and nothing else of theirs. */
  agrees(among: readonly SimulatedNode[] = this.nodes.filter(({ up }) => up)): boolean {
    for (const a of among) {
      for (const b of among) {
        if (a === b) continue;
        const member = a.replica.members.get(b.name);
        if (member === undefined || member.state !== 'alive') return false;
        const own = b.replica.part;
        if (member.part.sequence !== own.sequence || member.part.hash !== own.hash) return false;
        if ((a.observed.records.get(b.name)?.size ?? 0) !== own.count) return false;
      }
    }
    return true;
  }

  /** Each node gets neighbours among those that it can hear, about DEGREE, and none stays alone. */
  weave(): void {
    const sides = new Map<number, SimulatedNode[]>();
    for (const node of this.nodes) {
      node.overlay = [];
      if (node.up) sides.set(node.side, [...(sides.get(node.side) ?? []), node]);
    }
    for (const nodes of sides.values()) {
      const count = nodes.length;
      const ring = [...nodes];
      for (let round = 0; round < DEGREE / 2 && count > 1; round++) {
        for (let i = count - 1; i > 0; i--) {
          const at = Math.floor(this.random() * (i + 1));
          [ring[i], ring[at]] = [ring[at], ring[i]];
        }
        for (let i = 0; i < count; i++) connect(ring[i], ring[(i + 1) % count]);
      }
    }
  }

  flood(from: SimulatedNode, message: GossipMessage): void {
    const bytes = encodeMessage(message).length + GOSSIP_OVERHEAD;
    const flooded: Flooded = { message, bytes, seen: new Uint8Array(this.nodes.length) };
    flooded.seen[from.index] = 1;
    this.#pass(from, from, flooded);
  }

  send(from: SimulatedNode, name: string, message: DirectMessage): boolean {
    const to = this.#byName.get(name);
    if (to === undefined || !to.up || !this.#seemsReachable(from, to)) return false;
    from.bytesOut += encodeMessage(message).length + STREAM_OVERHEAD;
    from.messagesOut++;
    if (to.side !== from.side) return true;
    let delay = this.#delay();
    while (this.random() < this.weather.loss && delay < HORIZON / 2) delay += RETRANSMIT;
    this.#schedule(delay, { to, from, incarnation: to.incarnation, message, flooded: null });
    return true;
  }

  #seemsReachable(from: SimulatedNode, to: SimulatedNode): boolean {
    return from.side === to.side || this.now - this.#cutAt < BLACK_HOLE;
  }

  #pass(at: SimulatedNode, back: SimulatedNode, flooded: Flooded): void {
    for (const to of at.overlay) {
      if (to === back) continue;
      at.bytesOut += flooded.bytes;
      at.messagesOut++;
      if (this.random() < this.weather.loss) continue;
      this.#schedule(this.#delay(), {
        to,
        from: at,
        incarnation: to.incarnation,
        message: null,
        flooded,
      });
    }
  }

  #arrive({ to, from, incarnation, message, flooded }: Arrival): void {
    if (!to.up || to.incarnation !== incarnation || to.side !== from.side) return;
    if (message !== null) {
      to.replica.receive(from.name, message, this.now);
      return;
    }
    if (flooded === null || flooded.seen[to.index] === 1) return;
    flooded.seen[to.index] = 1;
    to.replica.receive(null, flooded.message, this.now);
    this.#pass(to, from, flooded);
  }

  #delay(): number {
    const { minDelay, maxDelay } = this.weather;
    return minDelay + Math.floor(this.random() * (maxDelay - minDelay + 1));
  }

  #schedule(delay: number, arrival: Arrival): void {
    this.#arrivals[(this.now + Math.max(1, Math.min(HORIZON - 1, delay))) % HORIZON].push(arrival);
  }
}

function connect(a: SimulatedNode, b: SimulatedNode): void {
  if (a === b || a.overlay.includes(b)) return;
  a.overlay.push(b);
  b.overlay.push(a);
}

/** Tommy Ettinger's mulberry32: numbers from 0 to 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
