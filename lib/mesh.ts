/**
 * Where the broker of a node and the mesh meet. `shards/` has the gateway: a worker whose takers are the other nodes, as a
 * shard's are its agents. `discovery/` has the mesh, which finds the nodes and carries bytes between them. `ops/` puts the two
 * together in one process, the mesh worker. Neither knows of the other more than this.
 *
 *   shards ══ links ══ gateway ── Mesh, MeshGateway ── mesh ══ streams ══ mesh of the other node
 */

/**
 * `joining`: an address is known, and nothing else yet. `suspect`: not heard for a while, its messages wait. `dead`: given up. `left`: it has said
 * goodbye.
 */
export type NodeState = 'joining' | 'alive' | 'suspect' | 'dead' | 'left';

/** What `flowbus cluster` shows of a node; of this one too. */
export interface ClusterNode {
  readonly node: string;
  readonly state: NodeState;
  /** When it entered this state (milliseconds since the Unix epoch, by this node's clock). */
  readonly since: number;
  /** How often it has started; 0: not known. */
  readonly incarnation: number;
  /** Where it can be joined. */
  readonly addresses: readonly string[];
  /** Of a ping over the mesh (ms); null: not measured, or this node. */
  readonly roundTrip: number | null;
  /** Agents in its part of the directory. */
  readonly agents: number;
  /** Over the links with it since this process began. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The largest batch that a link carries (bytes). */
export const MAX_NODE_BATCH = 128 * 1024;

/** The most that may be unsent on a link (bytes). */
export const MAX_NODE_UNSENT = 8 << 20;

/** The largest record of the directory, key and value together (bytes). */
export const MAX_NODE_RECORD = 64 * 1024;

/**
 * The way to one other node: batches in order, each once. It outlives the streams that carry it (what was not acknowledged is sent
 * again on the next one) and ends when either process ends or the node is given up.
 */
export interface NodeLink {
  readonly node: string;
  /** Bytes that were handed over and have not gone yet, as a socket has them. While there is no stream they wait; so whoever sends looks here first. */
  readonly unsent: number;
  /** Copies the batch `src[start, end)`. Throws RangeError past MAX_NODE_BATCH bytes, and when more than MAX_NODE_UNSENT would be unsent. */
  send(src: Uint8Array, start: number, end: number): void;
}

/** What the mesh tells the gateway. None of it may throw. */
export interface MeshGateway {
  /** A link begins: neither side has said anything on it. An earlier one with this node has ended. */
  onLink(link: NodeLink): void;
  /** It has ended: nothing comes any more. `unacknowledged`: the batches of which nobody knows whether they arrived, oldest first. */
  onLinkLost(link: NodeLink, unacknowledged: readonly Uint8Array[]): void;
  /** `unsent` of the link has gone down. */
  onRoom(link: NodeLink): void;
  /** A batch from the other side. `bytes` are valid during the call only. */
  onBatch(link: NodeLink, bytes: Uint8Array): void;
  /** A record of another node's part of the directory came, changed, or went (null). */
  onRecord(node: string, key: string, value: Uint8Array | null): void;
  onNode(node: string, state: NodeState): void;
}

/** What the gateway asks of the mesh. */
export interface Mesh {
  /** Sets a record of this node's own part of the directory, or removes it (null). Throws RangeError past MAX_NODE_RECORD, and when the key is empty. */
  write(key: string, value: Uint8Array | null): void;
  /** This node first, then the others by name. */
  nodes(): ClusterNode[];
}
