/**
 * The live path of a worker: from a topic to a route, from a route to sessions and peers, and at the end of each turn
 * of the event loop from their lanes to the sockets and rings. Nothing here waits, and nothing is allocated per frame of a run.
 */
import { hrtime } from 'node:process';
import type { ErrorCode } from '../lib/errors.js';
import { type Chunk, ChunkPool } from '../lib/queues/chunks.js';
import type { TelemetryBlock } from '../lib/telemetry/block.js';
import { C } from '../lib/telemetry/counters.js';
import type { Histogram } from '../lib/telemetry/histogram.js';
import { type Ledger, Reason } from '../lib/telemetry/ledger.js';
import { type Topic, TopicTable } from '../lib/topics/table.js';
import { decodeTopic, topicRoot } from '../lib/topics/topic.js';
import type { PatternTrie } from '../lib/topics/trie.js';
import { topicRuns } from '../lib/wire/batch.js';
import {
  FrameType,
  HEADER_SIZE,
  OFFSET_LANE,
  OFFSET_SENDER,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  OFFSET_TYPE,
  readU24,
  readU32,
} from '../lib/wire/frame.js';
import type { ExchangeSettings, ExchangeView } from './exchange-view.js';
import type { Peer } from './peer.js';
import type { Route, Taker } from './route.js';
import { Routing, type RoutingPort } from './routing.js';
import { type SenderId, SenderIds, workerOfSender } from './sender-ids.js';
import type { Session } from './session.js';
import { type TopicId, TopicIds } from './topic-ids.js';

/** Who publishes messages that came to this worker first. */
export interface Feeder {
  hold(): void;
  unhold(): void;
}

/** What the exchange needs of the rest of the worker. */
export interface ExchangePort extends RoutingPort {
  /** Live messages from `from`, one run, for the mailboxes of `route` that live here. */
  storeLive(route: Route, from: SenderId, src: Uint8Array, start: number, end: number): void;
  /** The turn ends: what mailboxes got is journaled, and goes on its way. */
  settle(): void;
  /** The deliver frame at `src[start…]` was shed on its way to the session. */
  giveBack(session: number, src: Uint8Array, start: number): void;
  /** The connection of a session is gone: it consumes from nothing, and no mailbox holds it. `broke`: without a goodbye. */
  leave(session: Session, broke: boolean): void;
  /** Whoever bears a sender number that this worker gave. */
  feeder(number: number): Feeder | null;
  tellHold(worker: number, sender: number, held: boolean): void;
  cutOff(session: Session): void;
  /** Nobody may be taken to know any sender. */
  forgetSenders(): void;
}

/** How often a topic must be spelled out before it gets an id: topics used once leave no trace. */
const SEEN_BEFORE_ID = 2;

export class Exchange implements ExchangeView<Session, Peer> {
  readonly settings: ExchangeSettings;
  readonly pool: ChunkPool;
  readonly topics: TopicTable<Route>;
  readonly topicIds: TopicIds<Route>;
  readonly senders: SenderIds;
  readonly trie: PatternTrie<Taker>;
  /** By worker slot; null for this one. */
  readonly peers: (Peer | null)[];
  readonly dirty: Session[];
  readonly dirtyPeers: Peer[];
  /** Backlogs that stall somebody, or shed. */
  readonly pressed: Set<Session | Peer>;
  readonly counters: Float64Array;
  /** Bytes that wait for all sessions. */
  backlogBytes: number;
  /** Monotonic milliseconds, low 32 bits; the same clock for all processes of the machine. Renewed by `tick`. */
  now: number;
  /** The same clock, whole and with its fractions. */
  clock: number;
  readonly #telemetry: TelemetryBlock;
  readonly #ledger: Ledger;
  /** One sample a turn: from the first thing that came in to the last hand-over to a socket. */
  readonly #doorToSocket: Histogram;
  #turnBegan: number;
  readonly #port: ExchangePort;
  readonly #routing: Routing;
  #scheduled: boolean;
  #unsettled: boolean;
  readonly #turn: () => void;

  constructor(settings: ExchangeSettings, port: ExchangePort, telemetry: TelemetryBlock) {
    this.settings = settings;
    this.#port = port;
    this.#telemetry = telemetry;
    this.counters = telemetry.counters;
    this.#ledger = telemetry.ledger;
    this.#doorToSocket = telemetry.doorToSocket;
    this.#turnBegan = 0;
    this.pool = new ChunkPool(settings.maxPayload);
    this.topics = new TopicTable<Route>(settings.maxTopics, () => {});
    // Half of the table is for ids, all workers' together, so that topics without one always find room.
    this.topicIds = new TopicIds<Route>(
      settings.slot,
      settings.incarnation,
      Math.max(1, Math.floor(settings.maxTopics / 2 / settings.workers)),
      (topic) => this.topics.unpin(topic),
    );
    this.senders = new SenderIds(settings.slot, settings.incarnation, () => port.forgetSenders());
    this.peers = [];
    this.#routing = new Routing(settings.node, settings.slot, this.peers, port);
    this.trie = this.#routing.trie;
    this.dirty = [];
    this.dirtyPeers = [];
    this.pressed = new Set();
    this.backlogBytes = 0;
    this.now = 0;
    this.clock = 0;
    this.#scheduled = false;
    this.#unsettled = false;
    this.#turn = () => this.endTurn();
    this.tick();
  }

  /** Reads the clock, and makes sure that what this turn causes is flushed when it ends. */
  tick(): number {
    const t = hrtime();
    this.clock = t[0] * 1000 + t[1] / 1e6;
    this.now = Math.floor(this.clock) >>> 0;
    if (!this.#scheduled) {
      this.#scheduled = true;
      this.#turnBegan = t[0] * 1e6 + t[1] / 1e3;
      setImmediate(this.#turn);
    }
    return this.now;
  }

  /** Mailboxes have something to do when this turn ends. */
  unsettle(): void {
    this.#unsettled = true;
    if (!this.#scheduled) this.tick();
  }

  /** Flushes everything that this turn has put in line. */
  endTurn(): void {
    this.#scheduled = false;
    if (this.#unsettled) {
      this.#unsettled = false;
      this.#port.settle();
    }
    const dirty = this.dirty;
    const count = dirty.length;
    for (let i = 0; i < count; i++) dirty[i].flush(this.now);
    if (dirty.length === count) dirty.length = 0;
    else {
      // Those that have more than a turn's share, or were caused by a flush.
      dirty.splice(0, count);
      this.tick();
    }
    const peers = this.dirtyPeers;
    for (let i = 0; i < peers.length; i++) peers[i].flush(this.now);
    peers.length = 0;
    if (count !== 0) {
      const t = hrtime();
      this.#doorToSocket.record(t[0] * 1e6 + t[1] / 1e3 - this.#turnBegan);
    }
  }

  /** The worker with the ways to other nodes; null: there is none, or this is it. */
  get gateway(): Peer | null {
    return this.peers[this.settings.shards] ?? null;
  }

  /** A link has room again: what waits for it is tried at the end of this turn. */
  retry(): void {
    for (const peer of this.peers) if (peer !== null && peer.backlog !== 0) peer.touch();
  }

  /** The topic of a frame that spells it out; `text` is valid. Null: the table is full of topics in use. */
  topic(text: string): Topic<Route> | null {
    return this.topics.get(text) ?? this.topics.add(text);
  }

  /** Counts a topic that was spelled out, and gives it an id when that begins to pay. */
  seen(topic: Topic<Route>): TopicId<Route> | null {
    return topic.id !== 0 || ++topic.hits >= SEEN_BEFORE_ID ? this.idOf(topic) : null;
  }

  /** The id of a topic that is known to be used; null when there is none left. */
  idOf(topic: Topic<Route>): TopicId<Route> | null {
    if (topic.id !== 0) return this.topicIds.find(topic.id) ?? null;
    const id = this.topicIds.allot(topic);
    if (id !== null) this.topics.pin(topic);
    return id;
  }

  routeOf(topic: Topic<Route>): Route {
    const route = topic.route;
    if (route !== null) {
      this.counters[C.routeHits]++;
      return route;
    }
    this.counters[C.routeMisses]++;
    const found = this.route(topic.text);
    topic.route = found;
    return found;
  }

  /** Everybody who takes messages of `topic`, once each. That of a reply holds until the next one. */
  route(topic: string): Route {
    return this.#routing.route(topic);
  }

  /**
   * Sends the frames `src[start, end)` along the route: `frames` messages of one lane and sender, and of one topic, or of several that were noted. `stamp`: when they
   * came to this node. `place`: where in the history they stand, 0 nowhere. `onward`: also to other workers, which is for the worker that they came to.
   */
  deliver(
    route: Route,
    topic: TopicId<Route> | null,
    from: SenderId,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    lane: number,
    expires: boolean,
    stamp: number,
    place: number,
    onward: boolean,
  ): void {
    const sessions = route.sessions;
    for (let i = 0; i < sessions.length; i++)
      sessions[i].offer(lane, src, start, end, frames, expires, stamp, from, topic, place);
    if (route.mailboxes.length !== 0) this.#port.storeLive(route, from, src, start, end);
    if (onward) this.forward(route, topic, from, src, start, end, frames, lane, stamp, place);
  }

  /** The same for the other workers alone. */
  forward(
    route: Route,
    topic: TopicId<Route> | null,
    from: SenderId,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    lane: number,
    stamp: number,
    place: number,
  ): void {
    const peers = route.peers;
    for (let i = 0; i < peers.length; i++)
      peers[i].forward(lane, src, start, end, frames, stamp, from, topic, place);
  }

  /** A slow taker asks that the agent with this number gets no more credit. */
  hold(number: number): void {
    this.#setHold(number, true);
  }

  unhold(number: number): void {
    this.#setHold(number, false);
  }

  #setHold(number: number, held: boolean): void {
    const worker = workerOfSender(number);
    if (worker !== this.settings.slot) {
      this.#port.tellHold(worker, number, held);
      return;
    }
    const feeder = this.#port.feeder(number);
    if (feeder === null) return;
    if (held) {
      this.counters[C.holdsTotal]++;
      feeder.hold();
    } else feeder.unhold();
  }

  /** Now and then: takes from those that make no progress the right to stall others. */
  checkPressure(): void {
    for (const backlog of this.pressed) backlog.check(this.now);
  }

  cutOff(session: Session): void {
    this.#port.cutOff(session);
  }

  leave(session: Session, broke: boolean): void {
    this.#port.leave(session, broke);
  }

  countLinkStall(): void {
    this.counters[C.linkStalls]++;
  }

  /** An error that was told to an agent. */
  countError(code: ErrorCode): void {
    this.counters[C.protocolErrors]++;
    this.#telemetry.countError(code);
  }

  countOut(frames: number, bytes: number): void {
    const { out } = this.settings;
    this.counters[out.frames] += frames;
    this.counters[out.bytes] += bytes;
    this.counters[out.batches]++;
  }

  countToLink(frames: number, bytes: number): void {
    this.counters[C.linkFramesOut] += frames;
    this.counters[C.linkBytesOut] += bytes;
  }

  /**
   * Whether messages of topic `next` have the same takers as those of topic `before`, so that both may be in one run. Then the takers
   * know `before`, and it is for `deliver` to tell them the last topic of the run. `onward` as there.
   */
  joins(before: number, next: number, lane: number, onward: boolean): boolean {
    const first = this.topicIds.find(before);
    const second = this.topicIds.find(next);
    if (first === undefined || second === undefined) return false;
    const route = this.routeOf(first.topic);
    if (!route.shared || this.routeOf(second.topic) !== route) return false;
    for (let i = 0; i < route.sessions.length; i++) route.sessions[i].note(first);
    if (onward) for (let i = 0; i < route.peers.length; i++) route.peers[i].note(lane, first, this.now);
    return true;
  }

  /** The `frames` messages from `bytes[start…]` on are not delivered to somebody. */
  dropped(bytes: Uint8Array, start: number, reason: Reason, frames: number): void {
    for (const run of topicRuns(bytes, start, frames)) this.#dropped(bytes, run.at, reason, run.frames);
  }

  /** Messages of one topic. */
  #dropped(bytes: Uint8Array, start: number, reason: Reason, frames: number): void {
    if (reason === Reason.shed) this.counters[C.shedsCritical + (bytes[start + OFFSET_LANE] & 7)] += frames;
    if (bytes[start + OFFSET_TOPIC_LENGTH] === 0) {
      const id = this.topicIds.find(readU32(bytes, start + OFFSET_TOPIC_ID));
      if (id !== undefined) {
        if (id.ledgerRow < 0) id.ledgerRow = this.#ledger.row(topicRoot(id.topic.text));
        this.#ledger.add(id.ledgerRow, reason, frames);
        return;
      }
    }
    this.droppedOn(this.topicTextOf(bytes, start) ?? '', reason, frames);
  }

  /** The same for messages whose topic is `text`; '': it is not known. */
  droppedOn(text: string, reason: Reason, frames: number): void {
    this.#ledger.count(topicRoot(text), reason, frames);
  }

  droppedChunk(chunk: Chunk, reason: Reason = Reason.shed, consumer = 0): void {
    const deliveries: number[] = [];
    for (let at = chunk.start; at < chunk.end; ) {
      const type = chunk.bytes[at + OFFSET_TYPE];
      if (type === FrameType.publish || type === FrameType.past) this.dropped(chunk.bytes, at, reason, 1);
      else if (type === FrameType.deliver && consumer !== 0) deliveries.push(at);
      at += readU32(chunk.bytes, at + OFFSET_TOTAL);
    }
    // The last first: each goes before the one that came back before it.
    for (let i = deliveries.length - 1; i >= 0; i--)
      this.#port.giveBack(consumer, chunk.bytes, deliveries[i]);
    this.pool.give(chunk);
  }

  /** The topic of a frame, spelled out or by id; null when this worker does not know it (any more). */
  topicTextOf(bytes: Uint8Array, start: number): string | null {
    const length = bytes[start + OFFSET_TOPIC_LENGTH];
    if (length !== 0) return decodeTopic(bytes, start + HEADER_SIZE, start + HEADER_SIZE + length);
    return this.topicIds.find(readU32(bytes, start + OFFSET_TOPIC_ID))?.topic.text ?? null;
  }

  senderTextOf(bytes: Uint8Array, start: number): string | null {
    return this.senders.find(readU24(bytes, start + OFFSET_SENDER))?.text ?? null;
  }
}
