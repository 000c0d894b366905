/**
 * The agents of the cluster, as the gateway has them between the shards and the mesh: those of this node are written into its part of the directory,
 * those of others are told to the shards. One that is on two nodes is where its epoch is higher.
 */
import { type AgentRecord, Directory } from '../lib/directory.js';
import { FlowbusError } from '../lib/errors.js';
import type { ClusterNode, Mesh, NodeState } from '../lib/mesh.js';
import { agentAddress } from '../lib/topics/topic.js';
import { decodeAgent, encodeAgent } from '../lib/wire/agent-record.js';
import type { Exchange } from './exchange.js';
import { encodeTalk, type Talk } from './talk.js';

/** Another node: what it says of its agents, also while it is given up, since it may come back with them. */
class NodePart {
  state: NodeState;
  /** Bounded by the mesh, which has them too. */
  readonly records: Map<string, AgentRecord>;

  constructor() {
    this.state = 'alive';
    this.records = new Map();
  }

  get isGone(): boolean {
    return this.state === 'dead' || this.state === 'left';
  }
}

export class ClusterAgents {
  readonly directory: Directory;
  readonly #exchange: Exchange;
  readonly #node: string;
  /** Agents here that are not offline: what is written. */
  readonly #own: Map<string, AgentRecord>;
  readonly #parts: Map<string, NodePart>;
  #mesh: Mesh | null;
  /** Agents that were told of out of turn, to be told of once more. */
  #again: Set<string>;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#node = exchange.settings.node;
    this.#own = new Map();
    this.#parts = new Map();
    this.#mesh = null;
    this.#again = new Set();
    this.directory = new Directory({
      onLost: ({ agentId, session }) => {
        if (this.#own.get(agentId)?.session === session) this.#unwrite(agentId);
      },
    });
  }

  attach(mesh: Mesh): void {
    this.#mesh = mesh;
    for (const [agentId, record] of this.#own) mesh.write(agentId, encodeAgent(record));
  }

  /** Of the whole cluster, this one first. */
  nodes(): readonly ClusterNode[] {
    return this.#mesh?.nodes() ?? [];
  }

  /** Now and then: what shards tell each other of an agent has arrived by now, and hides nothing that is told here. */
  check(): void {
    const again = this.#again;
    if (again.size === 0) return;
    this.#again = new Set();
    for (const agentId of again) this.#retell(agentId);
  }

  // What the shards say.

  heard(record: AgentRecord): void {
    if (!this.#put(record)) return;
    if (record.state === 'offline') {
      this.#unwrite(record.agentId);
      this.#recall(record.agentId);
    } else {
      this.#own.set(record.agentId, record);
      this.#mesh?.write(record.agentId, encodeAgent(record));
    }
  }

  /** The process of a shard is gone, and its agents with it. */
  shardLost(slot: number): void {
    for (const { agentId } of this.directory.removeNodeShard(this.#node, slot, Date.now())) {
      this.#moved(agentId);
      this.#unwrite(agentId);
      this.#recall(agentId);
    }
  }

  /** Tells a shard that begins with nothing of all agents of other nodes. */
  sync(tell: (bytes: Uint8Array) => void): void {
    for (const [node, part] of this.#parts) {
      if (part.isGone) continue;
      for (const record of part.records.values())
        if (this.#stands(record)) tell(encodeTalk({ t: 'agent', record }));
      if (part.state === 'suspect') tell(encodeTalk({ t: 'node', node, state: 'suspect' }));
    }
  }

  // What the mesh says.

  onRecord(node: string, agentId: string, value: Uint8Array | null): void {
    const part = this.#partOf(node);
    if (value !== null) {
      const record = this.#decode(node, agentId, value);
      if (record === null) return;
      part.records.set(agentId, record);
      if (!part.isGone) this.#apply(record);
      return;
    }
    const known = part.records.get(agentId);
    part.records.delete(agentId);
    if (known !== undefined && !part.isGone) {
      const record: AgentRecord = { ...known, state: 'offline', since: Date.now() * 1000 };
      this.#put(record);
      // Also where another outranks it here: a shard may have heard of that one before.
      this.#tell({ t: 'agent', record });
      this.#recall(agentId);
    }
    this.#forget(node, part);
  }

  onNode(node: string, state: NodeState): void {
    if (state === 'joining') return;
    const part = this.#partOf(node);
    const { state: before, isGone: wasGone } = part;
    part.state = state;
    if (part.isGone) {
      if (!wasGone) this.#nodeGone(node);
      this.#forget(node, part);
    } else if (state === 'suspect') this.#tell({ t: 'node', node, state });
    else if (before !== 'alive') for (const record of part.records.values()) this.#apply(record);
  }

  #nodeGone(node: string): void {
    const gone = this.directory.removeNodeShard(node, null, Date.now());
    this.#tell({ t: 'node', node, state: 'gone' });
    for (const { agentId } of gone) {
      this.#moved(agentId);
      this.#recall(agentId);
    }
  }

  #partOf(node: string): NodePart {
    let part = this.#parts.get(node);
    if (part === undefined) {
      part = new NodePart();
      this.#parts.set(node, part);
    }
    return part;
  }

  #forget(node: string, part: NodePart): void {
    if (part.isGone && part.records.size === 0) this.#parts.delete(node);
  }

  #decode(node: string, agentId: string, value: Uint8Array): AgentRecord | null {
    try {
      return decodeAgent(node, agentId, value);
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      this.#exchange.countError(error.code);
      return null;
    }
  }

  /** The agent is gone from where it was thought to be: it may have had a session elsewhere all the time, which that one outranked. */
  #recall(agentId: string): void {
    if (this.#retell(agentId)) this.#again.add(agentId);
  }

  #retell(agentId: string): boolean {
    let some = false;
    for (const part of this.#parts.values()) {
      const record = part.records.get(agentId);
      if (record === undefined || part.isGone) continue;
      this.#apply(record);
      some = true;
    }
    return some;
  }

  /** What another node says of an agent that is there. */
  #apply(record: AgentRecord): void {
    if (this.#put(record)) this.#tell({ t: 'agent', record });
  }

  /** False: another session outranks it, or there is no room. */
  #put(record: AgentRecord): boolean {
    const verdict = this.directory.put(record, Date.now());
    if (verdict === 'stale' || verdict === 'full') return false;
    this.#moved(record.agentId);
    return true;
  }

  /** Whether the agent is where the record says, for all that is known. */
  #stands({ agentId, node, session }: AgentRecord): boolean {
    const known = this.directory.get(agentId);
    return known !== null && known.node === node && known.session === session;
  }

  #unwrite(agentId: string): void {
    if (this.#own.delete(agentId)) this.#mesh?.write(agentId, null);
  }

  #moved(agentId: string): void {
    this.#exchange.topics.invalidate(agentAddress(agentId));
  }

  #tell(talk: Talk): void {
    const bytes = encodeTalk(talk);
    for (const peer of this.#exchange.peers) peer?.tell(bytes);
    this.#exchange.tick();
  }
}
