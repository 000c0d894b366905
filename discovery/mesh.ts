/** The mesh: what `ops/` starts in the mesh worker's process, beside a gateway to the shards. */
import { randomInt } from 'node:crypto';
import { FlowbusError } from '../lib/errors.js';
import type { ClusterNode, Mesh, MeshGateway } from '../lib/mesh.js';
import { addressOf, parseAddress } from './address.js';
import { DIALER_TIMING, type DialerTiming } from './dialer.js';
import { createHost } from './host.js';
import { loadIdentity } from './identity.js';
import { LINK_TIMING, type LinkTiming } from './link/links.js';
import { MeshNode } from './node.js';
import { type ReplicaTiming, TIMING } from './replica.js';

/** What a pino logger has. */
export interface MeshLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface MeshTiming {
  replica: ReplicaTiming;
  links: LinkTiming;
  dialer: DialerTiming;
  /** How long `close` waits for acknowledgements (ms). */
  drain: number;
}

export const MESH_TIMING: MeshTiming = {
  replica: TIMING,
  links: LINK_TIMING,
  dialer: DIALER_TIMING,
  drain: 2000,
};

export interface MeshOptions {
  /** This node's name, of which there is one in a cluster. */
  node: string;
  /** Where key, number of starts and last known peers are kept; made if it is missing. Null: nowhere, each start is a new peer. */
  identityDir: string | null;
  /** An IP address to listen on. Without a secret whoever reaches it can join, so: 127.0.0.1, or a network of its own. */
  host: string;
  /** 0: the system chooses. */
  port: number;
  /** What others are told to dial, as `host:port` or multiaddr; empty: where it listens. */
  announce: readonly string[];
  /** Nodes to join, one of which suffices; its own address may be among them. */
  join: readonly string[];
  /** Looks for nodes on the LAN, and lets itself be found. */
  mdns: boolean;
  /** Only nodes with the same one can connect. Any text; as long as a good password for machines. */
  secret?: string;
  /** Peer ids that may take part; undefined: all. */
  allow?: readonly string[];
  log: MeshLog;
  timing?: MeshTiming;
}

export interface RunningMesh extends Mesh {
  /** libp2p's name of this node's key. */
  readonly peerId: string;
  /** Where it can be joined, as multiaddrs: what is announced, or where it listens. */
  readonly addresses: readonly string[];
  /** Says goodbye, when what it has sent was acknowledged or some time has passed. The gateway hears of the end of each link. */
  close(): Promise<void>;
  /** The cluster as this node sees it: this node first, then the others by name, then the addresses where nobody has answered yet. */
  nodes(): ClusterNode[];
}

/** Throws BAD_CONFIG (an empty secret), BAD_NODE_ADDRESS, BAD_IDENTITY, MESH_LISTEN_FAILED. That others cannot be reached is no error: they are tried again. */
export async function startMesh(options: MeshOptions, gateway: MeshGateway): Promise<RunningMesh> {
  const { identityDir, host, port, mdns, secret, allow, timing = MESH_TIMING } = options;
  if (secret === '')
    throw new FlowbusError('BAD_CONFIG', "The mesh's secret is empty: give one, or none at all.");
  const join = options.join.map(parseAddress);
  const announce = options.announce.map(parseAddress);
  const identity = await loadIdentity(identityDir);
  const listen = addressOf(host, port);
  const libp2p = await createHost({ key: identity.key, listen, announce, mdns, secret, allow });
  const node = new MeshNode(options.node, libp2p, identity, gateway, timing, options.log, randomInt);
  await node.start(join, mdns);
  return node;
}
