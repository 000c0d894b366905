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

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#node = exchange.settings.node;
    this.#own = new Map();
    this.#parts = new Map();
    this.#mesh = null;
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

  // What the shards say.

  heard(record: AgentRecord): void {
    if (!this.#put(record)) return;
    if (record.state === 'offline') this.#unwrite(record.agentId);
    else {
      this.#own.set(record.agentId, record);
      this.#mesh?.write(record.agentId, encodeAgent(record));
    }
  }

  /** The process of a shard is gone, and its agents with it. */
  shardLost(slot: number): void {
    for (const { agentId } of this.directory.removeNodeShard(this.#node, slot, Date.now())) {
      this.#moved(agentId);
      this.#unwrite(agentId);
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
    if (known !== undefined && !part.isGone && this.#stands(known))
      this.#apply({ ...known, state: 'offline', since: Date.now() * 1000 });
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
    for (const { agentId } of this.directory.removeNodeShard(node, null, Date.now())) this.#moved(agentId);
    this.#tell({ t: 'node', node, state: 'gone' });
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

  /** What another node says of an agent that is, or was, there. */
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
