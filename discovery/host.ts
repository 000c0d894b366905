/** libp2p, set up for a mesh: TCP, encrypted by noise, several streams over one connection by yamux; gossip beside them. */
import './with-resolvers.js';
import { hkdfSync } from 'node:crypto';
import { type GossipSub, gossipsub } from '@libp2p/gossipsub';
import { type Identify, identify } from '@libp2p/identify';
import type { ConnectionGater, Libp2p, PrivateKey } from '@libp2p/interface';
import { mdns } from '@libp2p/mdns';
import { noise } from '@libp2p/noise';
import { preSharedKey } from '@libp2p/pnet';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';
import { FlowbusError } from '../lib/errors.js';

export interface HostOptions {
  key: PrivateKey;
  /** Multiaddrs. */
  listen: string;
  announce: readonly string[];
  mdns: boolean;
  secret?: string;
  /** Peers that may take part; undefined: all. */
  allow?: readonly string[];
}

export type Host = Libp2p<{ identify: Identify; gossip: GossipSub }>;

/** The one topic: the directory's. */
export const GOSSIP_TOPIC = 'flowbus/directory/1';
/** In front of each gossip: who has sent it, by chance, and a count. They tell one message from another. */
export const GOSSIP_ID_BYTES = 12;

/** A connection takes room for its streams' windows; a thousand nodes are past what a mesh of this kind is for. */
const MAX_CONNECTIONS = 1024;
/** Nodes behind one address that may come at once, and those that have come and not yet said who they are. */
const CONNECTIONS_PER_SECOND = 100;
const MAX_PENDING = 64;
/** Milliseconds until they have said it. */
const UPGRADE = 5000;
const DIAL = 5000;
const STREAM_WINDOW = 1 << 20;
const STREAM_BUFFER = 4 << 20;
/** Of gossip to one peer, which has no backpressure: a stream that has more unsent is broken, and made anew. */
const GOSSIP_BUFFER = 4 << 20;
const MAX_GOSSIP = 1 << 20;

/** A text of any length as libp2p's key of a private network. Slow on purpose would be of no use: whoever guesses has to ask a node each time. */
function networkKey(secret: string): Uint8Array {
  const key = Buffer.from(hkdfSync('sha256', secret, 'flowbus', 'mesh secret 1', 32));
  return Buffer.from(`/key/swarm/psk/1.0.0/\n/base16/\n${key.toString('hex')}`);
}

function gaterOf(allow: readonly string[] | undefined): ConnectionGater {
  if (allow === undefined) return {};
  const allowed = new Set(allow);
  const deny = (peer: { toString(): string }): boolean => !allowed.has(peer.toString());
  return { denyInboundEncryptedConnection: deny, denyOutboundEncryptedConnection: deny };
}

/** Listens. Throws MESH_LISTEN_FAILED. */
export async function createHost(options: HostOptions): Promise<Host> {
  const { key, listen, announce, secret, allow } = options;
  const host = await createLibp2p({
    privateKey: key,
    addresses: { listen: [listen], announce: [...announce] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({ streamOptions: { maxStreamWindowSize: STREAM_WINDOW, maxReadBufferLength: STREAM_BUFFER } }),
    ],
    ...(secret === undefined
      ? {}
      : { connectionProtector: preSharedKey({ psk: networkKey(secret), timeout: UPGRADE }) }),
    connectionGater: gaterOf(allow),
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      inboundConnectionThreshold: CONNECTIONS_PER_SECOND,
      maxIncomingPendingConnections: MAX_PENDING,
      inboundUpgradeTimeout: UPGRADE,
      dialTimeout: DIAL,
    },
    // Pings of our own, on the links, tell of a connection that leads nowhere.
    connectionMonitor: { enabled: false },
    peerDiscovery: options.mdns ? [mdns({ serviceTag: '_flowbus._udp.local' })] : [],
    services: {
      identify: identify(),
      gossip: gossipsub({
        allowedTopics: [GOSSIP_TOPIC],
        globalSignaturePolicy: 'StrictNoSign',
        msgIdFn: ({ data }) => data.subarray(0, GOSSIP_ID_BYTES),
        allowPublishToZeroTopicPeers: true,
        ignoreDuplicatePublishError: true,
        fallbackToFloodsub: false,
        maxInboundDataLength: MAX_GOSSIP,
        maxOutboundBufferSize: GOSSIP_BUFFER,
        // Nodes of one machine are not an attack.
        scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0 },
      }),
    },
    start: false,
  });
  try {
    await host.start();
  } catch (cause) {
    await host.stop();
    throw new FlowbusError(
      'MESH_LISTEN_FAILED',
      `The mesh cannot listen on ${listen}: ${(cause as Error).message}.`,
      {
        cause,
      },
    );
  }
  return host;
}
