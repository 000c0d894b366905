/** What nodes say to each other about the directory. Heartbeats, changes and farewells are gossip; the others go to one node. */
import type { Change } from './part.js';

/** Of a node; `digest` and `heartbeat` bear it. Nobody but the node itself makes the beat of it rise, so a higher one is later news. */
export interface NodeNews {
  node: string;
  /** How often it has started: persisted by the node. */
  incarnation: number;
  beat: number;
  /** Of its part, the last change and the hash of its records. */
  sequence: number;
  hash: number;
}

export interface Heartbeat extends NodeNews {
  type: 'heartbeat';
}

/** It goes on purpose: nobody need wait for it. */
export interface Farewell {
  type: 'farewell';
  node: string;
  incarnation: number;
  beat: number;
}

/** What changed in the part of `node` behind `from`, up to `to`. */
export interface Changes {
  type: 'changes';
  node: string;
  incarnation: number;
  from: number;
  to: number;
  /** The copy begins anew with these: from 0, and without what the owner's tombstones no longer tell up to `floor`. */
  reset: boolean;
  floor: number;
  /** There is no more to pull at the moment. */
  last: boolean;
  changes: Change[];
}

/** Asks for what changed behind `since`; 0: everything. `floor`: that of the reset that this goes on with; 0: none. */
export interface Pull {
  type: 'pull';
  node: string;
  incarnation: number;
  since: number;
  floor: number;
}

export type NodeState = 'alive' | 'suspect' | 'dead' | 'left';

/** All nodes that the sender knows. `answer`: it wants to have the receiver's. */
export interface Digest {
  type: 'digest';
  answer: boolean;
  nodes: (NodeNews & { state: NodeState })[];
}

export type GossipMessage = Heartbeat | Farewell | Changes;
export type DirectMessage = Pull | Changes | Digest;
export type MeshMessage = GossipMessage | DirectMessage;
