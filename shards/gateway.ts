/**
 * The gateway: one more worker among the shards of a node, linked with them as they are with each other, whose takers are not agents but
 * the other nodes. What shards route to it goes to the nodes that want it, and what nodes send goes to the shards that want it.
 */
import type { BrokerConfig } from '../lib/config/index.js';
import { FlowbusError } from '../lib/errors.js';
import type { Links } from '../lib/links.js';
import type { Mesh, MeshGateway, NodeLink, NodeState } from '../lib/mesh.js';
import type { TelemetryBlock } from '../lib/telemetry/block.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import type { Logger } from '../lib/telemetry/log.js';
import { decodeTopic, isReserved, patternProblem } from '../lib/topics/topic.js';
import { avroControl } from '../lib/wire/avro.js';
import { BatchReader, Step } from '../lib/wire/batch.js';
import { checksumHolds } from '../lib/wire/checksum.js';
import { FrameType } from '../lib/wire/frame.js';
import { Arrivals } from './arrivals.js';
import { ClusterAgents } from './cluster-agents.js';
import { nodesTalk } from './cluster-view.js';
import { Exchange, type ExchangePort, type Feeder } from './exchange.js';
import { ForeignSenders } from './foreign-ids.js';
import { type History, NO_HISTORY } from './history.js';
import { Inbound, type WorkerTalk } from './inbound.js';
import { Interest } from './interest.js';
import { LinkedNode, type LinkedNodePort } from './linked-node.js';
import { Peer } from './peer.js';
import { publishProblem } from './publishing.js';
import { NodeBarriers } from './reach.js';
import { workerOfSender } from './sender-ids.js';
import type { Session } from './session.js';
import { encodeTalk, type Talk } from './talk.js';

export interface GatewayBoot {
  /** Behind those of the shards. */
  slot: number;
  workers: number;
  incarnation: number;
  node: string;
  config: BrokerConfig;
}

/** Bytes that may wait for one node before those who feed it are held, and for all nodes together. */
const NODE_BACKLOG = 16 * 1024 * 1024;
const TOTAL_BACKLOG = 1024 * 1024 * 1024;
/** Patterns that one node may have; a shard tells fewer. */
const MAX_NODE_PATTERNS = 1_048_576;

const TO_NODES = { frames: C.nodeFramesOut, bytes: C.nodeBytesOut, batches: C.nodeBatchesOut };

export class Gateway implements MeshGateway, ExchangePort, WorkerTalk, LinkedNodePort {
  readonly exchange: Exchange;
  readonly interest: Interest;
  readonly agents: ClusterAgents;
  readonly links: Links;
  readonly #node: string;
  readonly #log: Pick<Logger, 'info' | 'warn'>;
  readonly #history: History;
  readonly #inbound: Inbound;
  readonly #arrivals: Arrivals;
  readonly #senders: ForeignSenders;
  readonly #barriers: NodeBarriers;
  /** Those with a link. Bounded by the mesh. */
  readonly #linked: Map<string, LinkedNode>;
  #talkative: LinkedNode[];

  constructor(
    boot: GatewayBoot,
    links: Links,
    block: TelemetryBlock,
    log: Pick<Logger, 'info' | 'warn'>,
    history: History = NO_HISTORY,
  ) {
    const { slot, workers, incarnation, node, config } = boot;
    this.links = links;
    this.#node = node;
    this.#log = log;
    this.#history = history;
    this.#linked = new Map();
    this.#talkative = [];
    this.#barriers = new NodeBarriers();
    this.exchange = new Exchange(
      {
        node,
        slot,
        incarnation,
        workers,
        shards: config.shards,
        backlog: NODE_BACKLOG,
        totalBacklog: TOTAL_BACKLOG,
        stallLimit: config.stallLimit,
        window: config.window,
        maxPayload: config.maxPayload,
        maxTopics: config.maxTopics,
        out: TO_NODES,
      },
      this,
      block,
    );
    this.interest = new Interest(this.exchange, (patterns) => {
      for (const linked of this.#linked.values()) linked.changed(patterns);
    });
    this.agents = new ClusterAgents(this.exchange);
    this.#senders = new ForeignSenders(this.exchange);
    this.#arrivals = new Arrivals(this.exchange, this.#senders, history, (from, frame) =>
      this.#onControl(from, frame),
    );
    this.#inbound = new Inbound(this.exchange, this.interest, this, incarnation);
    for (let peer = 0; peer < workers; peer++)
      this.exchange.peers.push(peer === slot ? null : new Peer(this.exchange, peer, links.to(peer)));
  }

  /** To be called once, before the mesh says anything. */
  attach(mesh: Mesh): void {
    this.agents.attach(mesh);
  }

  /** Begins to read the links with the shards. */
  async start(): Promise<void> {
    await this.links.start(this.#inbound);
    for (const peer of this.exchange.peers) if (peer !== null) this.#inbound.greet(peer);
    this.exchange.tick();
  }

  /** The primary says that this process has ended. */
  peerDown(slot: number, incarnation: number): void {
    const peer = this.exchange.peers[slot];
    if (peer == null) return;
    this.exchange.tick();
    this.links.drain(slot);
    this.#inbound.peerDown(peer, incarnation);
  }

  /** Several times a second. */
  check(): void {
    const { exchange } = this;
    exchange.tick();
    exchange.checkPressure();
    this.interest.check();
    this.#barriers.check();
    this.agents.check();
    const { counters } = exchange;
    counters[C.nodes] = this.#linked.size;
    counters[C.topics] = exchange.topicIds.size;
    counters[C.subscriptions] = this.interest.patterns;
  }

  /** What the agents of another node have subscribed to, as far as it is known here. */
  wantedBy(node: string): string[] {
    return [...(this.#linked.get(node)?.session.patterns ?? [])];
  }

  /** Hands over what waits, as far as the links take it. */
  close(): void {
    this.exchange.endTurn();
  }

  // What the mesh says.

  onLink(link: NodeLink): void {
    this.exchange.tick();
    const before = this.#linked.get(link.node);
    if (before !== undefined) this.#unlink(before);
    const node = new LinkedNode(this.exchange, link, this.#senders, this);
    this.#linked.set(link.node, node);
    // Addresses of agents there lead somewhere now.
    this.exchange.topics.invalidateAll();
    node.changed(this.#wanted());
    // The first barrier: all that is wanted here stands before it.
    node.raise();
    this.#log.info({ peer: link.node }, `linked with node ${link.node}`);
  }

  onLinkLost(link: NodeLink, unacknowledged: readonly Uint8Array[]): void {
    const node = this.#nodeOf(link);
    if (node === null) return;
    this.exchange.tick();
    for (const batch of unacknowledged) this.#lose(batch);
    this.#unlink(node);
    this.#log.info({ peer: link.node }, `the link with node ${link.node} has ended`);
  }

  onRoom(link: NodeLink): void {
    const node = this.#nodeOf(link);
    if (node === null) return;
    this.exchange.tick();
    node.onRoom();
  }

  onBatch(link: NodeLink, bytes: Uint8Array): void {
    const node = this.#nodeOf(link);
    if (node === null) return;
    this.exchange.tick();
    this.#arrivals.take(node, bytes);
    // What the mesh still has to do with the stream would otherwise come first: a third of the way from link to agent.
    this.exchange.endTurn();
  }

  onRecord(node: string, key: string, value: Uint8Array | null): void {
    this.exchange.tick();
    this.agents.onRecord(node, key, value);
  }

  onNode(node: string, state: NodeState): void {
    this.exchange.tick();
    this.agents.onNode(node, state);
    if (state !== 'joining') this.#log.info({ peer: node, state }, `node ${node} is ${state}`);
  }

  #nodeOf(link: NodeLink): LinkedNode | null {
    const node = this.#linked.get(link.node);
    return node?.link === link ? node : null;
  }

  #unlink(node: LinkedNode): void {
    this.#linked.delete(node.name);
    this.exchange.topics.invalidateAll();
    node.end();
    this.#barriers.passed(node, Number.POSITIVE_INFINITY);
    this.interest.unsubscribe(node.session, node.session.patterns);
  }

  /** Nobody knows whether the messages of this batch have arrived. */
  #lose(batch: Uint8Array): void {
    const reader = new BatchReader();
    reader.open(batch, 0, batch.length, batch.length);
    while (reader.next() === Step.frame)
      if (reader.type === FrameType.publish) this.exchange.dropped(batch, reader.start, Reason.nodeDown, 1);
  }

  #wanted(): Set<string> {
    // What is kept here is wanted whether or not anybody subscribed to it.
    const wanted = new Set<string>(this.#history.patterns);
    for (const peer of this.exchange.peers) for (const pattern of peer?.interest ?? []) wanted.add(pattern);
    return wanted;
  }

  #onControl(node: LinkedNode, frame: BatchReader): void {
    const { bytes, start, end } = frame;
    try {
      if (!checksumHolds(bytes, start, end - start, 0)) throw new FlowbusError('CHECKSUM_MISMATCH');
      this.#control(node, frame);
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      this.exchange.countError(error.code);
    }
  }

  #control(node: LinkedNode, frame: BatchReader): void {
    const { bytes, payloadStart, end, sequence } = frame;
    switch (frame.type) {
      case FrameType.topic: {
        const text = decodeTopic(bytes, frame.topicStart, frame.extensionsStart);
        if (text === null || frame.topicId === 0 || publishProblem(text) !== null)
          throw new FlowbusError('BAD_TOPIC');
        node.ids.learnTopic(frame.topicId, text);
        break;
      }
      case FrameType.sender: {
        const text = decodeTopic(bytes, payloadStart, end);
        if (text === null || text === '' || frame.sender === 0) throw new FlowbusError('BAD_CONTROL');
        node.ids.learnSender(frame.sender, text);
        break;
      }
      case FrameType.subscribe:
        this.#subscribe(node, avroControl.decode('subscribe', bytes, payloadStart, end).patterns);
        break;
      case FrameType.unsubscribe: {
        const { patterns } = avroControl.decode('unsubscribe', bytes, payloadStart, end);
        this.interest.unsubscribe(node.session, patterns);
        break;
      }
      case FrameType.ping:
        node.synced = true;
        this.interest.settled().then(() => node.passed(sequence));
        break;
      case FrameType.pong:
        this.#barriers.passed(node, sequence);
        break;
      case FrameType.hold:
        if (frame.payloadSize !== 1) throw new FlowbusError('BAD_CONTROL');
        this.#hold(node, frame.sender, bytes[payloadStart] !== 0);
        break;
      case FrameType.error:
        node.session.knownTopics.clear();
        node.session.knownSenders.clear();
        break;
      default:
        throw new FlowbusError('BAD_TYPE');
    }
  }

  #subscribe(node: LinkedNode, patterns: readonly string[]): void {
    const { session } = node;
    const valid = patterns.filter((pattern) => patternProblem(pattern) === null && !isReserved(pattern));
    if (valid.length < patterns.length) this.exchange.countError('BAD_PATTERN');
    if (session.patterns.size + valid.length > MAX_NODE_PATTERNS) throw new FlowbusError('LIMIT_REACHED');
    this.interest.subscribe(session, valid);
  }

  /** A taker there is full. */
  #hold(node: LinkedNode, number: number, held: boolean): void {
    if (workerOfSender(number) >= this.exchange.settings.shards) throw new FlowbusError('BAD_CONTROL');
    if (held === node.holding.has(number)) return;
    if (held) {
      node.holding.add(number);
      this.exchange.hold(number);
    } else {
      node.holding.delete(number);
      this.exchange.unhold(number);
    }
  }

  // What the shards say.

  heard(peer: Peer, talk: Talk): void {
    if (talk.t === 'agent') this.agents.heard(talk.record);
    else if (talk.t === 'reach') this.#barriers.asked(peer, talk.n, this.#linked.values());
    else if (talk.t === 'cluster')
      for (const piece of nodesTalk(talk.ref, this.agents.nodes())) peer.tell(encodeTalk(piece));
  }

  /** No mailbox lives here. */
  record(): void {}

  sync(peer: Peer): void {
    this.agents.sync((bytes) => peer.tell(bytes));
  }

  up(peer: Peer): void {
    peer.up = true;
  }

  lost(slot: number): void {
    this.#barriers.peerLost(this.exchange.peers[slot]!);
    this.agents.shardLost(slot);
  }

  // What the exchange asks.

  locate(agentId: string): Session | Peer | null {
    const record = this.agents.directory.get(agentId);
    if (record === null || record.state === 'offline') return null;
    return record.node === this.#node ? this.exchange.peers[record.shard] : this.wayTo(record.node);
  }

  wayTo(node: string): Session | null {
    return this.#linked.get(node)?.session ?? null;
  }

  keeps(topic: string): boolean {
    return this.#history.keeps(topic);
  }

  mailboxOf(): null {
    return null;
  }

  /** Nobody answers a node itself. */
  bearer(): null {
    return null;
  }

  /** An agent of another node, which is told so. */
  feeder(number: number): Feeder | null {
    return this.#senders.bearer(number);
  }

  tellHold(worker: number, sender: number, held: boolean): void {
    this.exchange.peers[worker]?.tell(encodeTalk({ t: held ? 'hold' : 'release', sender }));
  }

  storeLive(): void {}

  settle(): void {
    const talkative = this.#talkative;
    this.#talkative = [];
    for (const node of talkative) node.say();
  }

  giveBack(): void {}

  leave(): void {}

  /** A node is given no answers that it could leave unread. */
  cutOff(): void {}

  forgetSenders(): void {
    for (const { session } of this.#linked.values()) session.knownSenders.clear();
    for (const peer of this.exchange.peers) peer?.forgetSenders();
  }

  // What linked nodes ask.

  wants(pattern: string): boolean {
    for (const peer of this.exchange.peers) if (peer?.interest.has(pattern)) return true;
    return this.#history.patterns.includes(pattern);
  }

  willSay(node: LinkedNode): void {
    this.#talkative.push(node);
    this.exchange.unsettle();
  }
}
