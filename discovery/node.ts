/** This node in the mesh: connections, links, gossip, directory and dialer, put together. */
import { multiaddr } from '@multiformats/multiaddr';
import { type ClusterNode, MAX_NODE_RECORD, type MeshGateway } from '../lib/mesh.js';
import { parseAddress } from './address.js';
import { decodeMessage, encodeMessage } from './codec.js';
import { Connections } from './connections.js';
import { CONTACT_KEY, type Contact, decodeContact, encodeContact, MAX_ADDRESSES } from './contact.js';
import { Dialer } from './dialer.js';
import { Gossip } from './gossip.js';
import type { Host } from './host.js';
import type { Identity } from './identity.js';
import { Links } from './link/links.js';
import type { MeshLog, MeshTiming, RunningMesh } from './mesh.js';
import type { DirectMessage, GossipMessage, NodeState } from './message.js';
import { Replica } from './replica.js';

/** Milliseconds. */
const TICK = 50;
const SLOW_TICK = 250;
const CURE_TICK = 1000;
/** Gossip takes a moment to begin on a new connection, and longer on a busy machine. */
const GOSSIP_BEGINS = 3000;
/** Acknowledgements of so long go together. */
const ACK_DELAY = 20;
const DIAL_TIMEOUT = 6000;
/** The farewell has left the process by then. */
const LINGER = 50;
/** Peers that are remembered for the next life. */
const REMEMBERED = 256;
/** Refusals that were logged; then they may be logged again. */
const MAX_REFUSALS = 256;

export class MeshNode implements RunningMesh {
  readonly peerId: string;
  readonly addresses: readonly string[];
  readonly #name: string;
  readonly #host: Host;
  readonly #identity: Identity;
  readonly #gateway: MeshGateway;
  readonly #timing: MeshTiming;
  readonly #log: MeshLog;
  readonly #links: Links;
  readonly #connections: Connections;
  readonly #gossip: Gossip;
  readonly #replica: Replica;
  readonly #dialer: Dialer;
  readonly #startedAt: number;
  /** By node: since when it is in its state (ms since the Unix epoch), and where it can be reached. As many as the directory has members. */
  readonly #since: Map<string, number>;
  readonly #contacts: Map<string, Contact>;
  readonly #refusals: Set<string>;
  #contactsChanged: boolean;
  #isClosing: boolean;
  #curedAt: number;
  #timers: NodeJS.Timeout[];
  #ackTimer: NodeJS.Timeout | null;

  constructor(
    name: string,
    host: Host,
    identity: Identity,
    gateway: MeshGateway,
    timing: MeshTiming,
    log: MeshLog,
    random: (limit: number) => number,
  ) {
    this.#name = name;
    this.#host = host;
    this.#identity = identity;
    this.#gateway = gateway;
    this.#timing = timing;
    this.#log = log;
    this.peerId = host.peerId.toString();
    this.addresses = host.getMultiaddrs().map((address) => parseAddress(address.toString()));
    this.#startedAt = Date.now();
    this.#since = new Map();
    this.#contacts = new Map();
    this.#refusals = new Set();
    this.#contactsChanged = false;
    this.#isClosing = false;
    this.#curedAt = clock();
    this.#timers = [];
    this.#ackTimer = null;
    this.#links = new Links(name, gateway, this, timing.links, clock, random);
    this.#connections = new Connections(host, this.#links, this, clock);
    this.#gossip = new Gossip(
      host,
      (peer) => this.#links.isAttached(peer),
      (bytes) => this.#onGossip(bytes),
    );
    this.#replica = new Replica(name, identity.incarnation, this, this, clock(), timing.replica);
    this.#dialer = new Dialer(this.peerId, this, timing.dialer);
  }

  async start(join: readonly string[], mdns: boolean): Promise<void> {
    const own: Contact = { peer: this.peerId, addresses: reachable(this.addresses).slice(0, MAX_ADDRESSES) };
    this.#replica.write(CONTACT_KEY, encodeContact(own), clock());
    for (const address of join) this.#dialer.know(address, null, 'join', clock());
    for (const contact of this.#identity.contacts()) this.#learn(contact);
    if (mdns)
      this.#host.addEventListener('peer:discovery', ({ detail: { id, multiaddrs } }) =>
        this.#learn({ peer: id.toString(), addresses: multiaddrs.map(String).slice(0, MAX_ADDRESSES) }),
      );
    await this.#connections.start();
    this.#timers = [
      setInterval(() => this.#replica.tick(clock()), TICK),
      setInterval(() => this.#slowTick(), SLOW_TICK),
      setInterval(() => this.#cureTick(), CURE_TICK),
    ];
    this.#slowTick();
    this.#log.info({ peer: this.peerId, addresses: this.addresses }, 'mesh: listening');
  }

  write(key: string, value: Uint8Array | null): void {
    if (key === CONTACT_KEY) throw new RangeError('The empty key of the directory is not for others.');
    if (Buffer.byteLength(key) + (value?.length ?? 0) > MAX_NODE_RECORD)
      throw new RangeError(`A record of the directory has ${MAX_NODE_RECORD} bytes at most.`);
    this.#replica.write(key, value === null ? null : Buffer.from(value), clock());
  }

  nodes(): ClusterNode[] {
    const own: ClusterNode = {
      node: this.#name,
      state: 'alive',
      since: this.#startedAt,
      incarnation: this.#replica.incarnation,
      addresses: this.addresses,
      roundTrip: null,
      agents: this.#replica.part.count - 1,
      bytesIn: 0,
      bytesOut: 0,
    };
    const others = [...this.#replica.members.values()].map(
      ({ node, state, incarnation, part }): ClusterNode => ({
        node,
        state,
        since: this.#since.get(node) ?? this.#startedAt,
        incarnation,
        addresses: this.#contacts.get(node)?.addresses ?? [],
        roundTrip: this.#links.roundTrip(node),
        agents: Math.max(0, part.count - 1),
        ...this.#links.traffic(node),
      }),
    );
    others.sort((a, b) => (a.node < b.node ? -1 : 1));
    return [own, ...others, ...this.#dialer.unanswered().map((address) => this.#joining(address))];
  }

  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const end = clock() + this.#timing.drain;
    while (this.#links.isBusy && clock() < end) await pause(ACK_DELAY);
    this.#links.settle();
    this.#replica.leave();
    await pause(LINGER);
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#ackTimer !== null) clearTimeout(this.#ackTimer);
    this.#keepContacts();
    this.#links.giveUpAll();
    await this.#host.stop();
  }

  // What the directory asks of the mesh.

  gossip(message: GossipMessage): void {
    const bytes = encodeMessage(message);
    this.#gossip.publish(bytes);
    // There will be no other chance to hear it.
    if (message.type === 'farewell')
      for (const node of this.neighbours()) this.#links.sendDirectory(node, bytes);
  }

  send(node: string, message: DirectMessage): boolean {
    return this.#links.sendDirectory(node, encodeMessage(message));
  }

  neighbours(): readonly string[] {
    return Array.from(this.#links.attached(), ({ node }) => node);
  }

  // What the directory tells.

  onRecord(node: string, key: string, value: Buffer | null): void {
    if (key === CONTACT_KEY) this.#onContact(node, value);
    else this.#gateway.onRecord(node, key, value);
  }

  onState(node: string, state: NodeState): void {
    this.#since.set(node, Date.now());
    this.#log.debug({ other: node, state }, 'mesh: node');
    this.#gateway.onNode(node, state);
    if (state === 'dead' || state === 'left') this.#links.giveUp(node);
    const contact = this.#contacts.get(node);
    if (state === 'left' && contact !== undefined) this.#dialer.forget(contact.peer);
  }

  onIncarnation(incarnation: number): void {
    try {
      this.#identity.keepIncarnation(incarnation);
    } catch (error) {
      this.#log.error({ err: error }, 'mesh: the number of this start cannot be kept');
    }
  }

  // What links and connections tell.

  onAttached(node: string, peer: string): void {
    this.#log.debug({ other: node, peer }, 'mesh: linked');
    this.#replica.connected(node);
  }

  onDetached(node: string, peer: string, reason: Error | null): void {
    this.#log.debug({ other: node, peer, reason: reason?.message }, 'mesh: stream lost');
  }

  onDirectory(node: string, bytes: Uint8Array): void {
    this.#replica.receive(node, decodeMessage(bytes), clock());
  }

  onOwing(): void {
    this.#ackTimer = setTimeout(() => this.#links.settle(), ACK_DELAY);
  }

  onRefused(peer: string, node: string, code: string, byUs: boolean): void {
    this.#dialer.refused(peer, clock());
    const key = `${peer} ${node} ${code}`;
    if (this.#refusals.has(key)) return;
    if (this.#refusals.size >= MAX_REFUSALS) this.#refusals.clear();
    this.#refusals.add(key);
    const message = byUs
      ? `mesh: refused a peer that calls itself ${node}, as another node does: give each node a name of its own`
      : `mesh: the cluster refuses this node, since another one is called ${node} too: give each node a name of its own`;
    this.#log.error({ code, peer, other: node }, message);
  }

  onDisconnected(peer: string): void {
    this.#dialer.lost(peer, clock());
  }

  // What the dialer asks and tells.

  async dial(address: string): Promise<string> {
    try {
      const signal = AbortSignal.timeout(DIAL_TIMEOUT);
      const { remotePeer } = await this.#host.dial(multiaddr(address), { signal });
      return remotePeer.toString();
    } catch (error) {
      if ((error as Error).message.includes('Can not dial self')) return this.peerId;
      throw error;
    }
  }

  isConnected(peer: string): boolean {
    return this.#connections.has(peer);
  }

  onUnreachable(address: string, { message }: Error): void {
    this.#log.info(
      { address, reason: message },
      'mesh: cannot be reached yet, and is tried again until it can',
    );
  }

  onReachable(address: string): void {
    this.#log.info({ address }, 'mesh: joined');
  }

  #onGossip(bytes: Uint8Array): void {
    try {
      this.#replica.receive(null, decodeMessage(bytes), clock());
    } catch (error) {
      this.#log.debug({ err: error }, 'mesh: gossip that cannot be read');
    }
  }

  #onContact(node: string, value: Buffer | null): void {
    const before = this.#contacts.get(node);
    if (value === null) {
      this.#contacts.delete(node);
      return;
    }
    try {
      const contact = decodeContact(value);
      if (before !== undefined && before.peer !== contact.peer) this.#dialer.forget(before.peer);
      this.#contacts.set(node, contact);
      this.#contactsChanged = true;
      this.#learn(contact);
    } catch (error) {
      this.#log.warn({ err: error, other: node }, 'mesh: the contact of a node cannot be read');
    }
  }

  #learn({ peer, addresses }: Contact): void {
    for (const address of addresses) {
      try {
        this.#dialer.know(parseAddress(address), peer, 'learned', clock());
      } catch {
        // Another kind of address than TCP: of no use here.
      }
    }
  }

  #joining(address: string): ClusterNode {
    return {
      node: address,
      state: 'joining',
      since: this.#startedAt,
      incarnation: 0,
      addresses: [address],
      roundTrip: null,
      agents: 0,
      bytesIn: 0,
      bytesOut: 0,
    };
  }

  #slowTick(): void {
    this.#links.tick();
    // Who speaks on a link lives, whatever has become of gossip.
    for (const { node, heardAt } of this.#links.attached()) this.#replica.heard(node, heardAt);
    this.#connections.tick();
    if (!this.#isClosing) this.#dialer.tick(clock());
  }

  #cureTick(): void {
    const now = clock();
    // A process that is held up sees late what is there.
    const heldUp = now - this.#curedAt > 2 * CURE_TICK;
    this.#curedAt = now;
    if (!heldUp) this.#cure(now);
    for (const node of this.#since.keys()) if (!this.#replica.members.has(node)) this.#forget(node);
    if (this.#contactsChanged) this.#keepContacts();
  }

  #cure(now: number): void {
    const settled = this.#connections.peers().filter((peer) => {
      const since = this.#connections.since(peer);
      return since !== null && now - since >= GOSSIP_BEGINS && this.#links.isAttached(peer);
    });
    for (const peer of this.#gossip.broken(settled)) {
      this.#log.debug({ peer }, 'mesh: gossip is broken, the connection is made anew');
      this.#connections.hangUp(peer, new Error('Its gossip is broken.'));
    }
  }

  #forget(node: string): void {
    const contact = this.#contacts.get(node);
    if (contact !== undefined) this.#dialer.forget(contact.peer);
    this.#contacts.delete(node);
    this.#since.delete(node);
    this.#links.forget(node);
  }

  #keepContacts(): void {
    this.#contactsChanged = false;
    try {
      this.#identity.keepContacts([...this.#contacts.values()].slice(-REMEMBERED));
    } catch (error) {
      this.#log.error({ err: error }, 'mesh: the known nodes cannot be kept');
    }
  }
}

/** What others can dial: loopback only where there is nothing else, since there they would meet another node, or themselves. */
function reachable(addresses: readonly string[]): string[] {
  const beyond = addresses.filter((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address));
  return beyond.length > 0 ? beyond : [...addresses];
}

/** Milliseconds of a clock that only goes forward. */
function clock(): number {
  return performance.now();
}

function pause(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
}
