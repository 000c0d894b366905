/** What comes in over the links: messages for whoever is behind this worker, and what the other workers have to say. */
import { type LinkReader, RecordKind } from '../lib/links.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { decodeTopic, isAddress, REPLY_PREFIX } from '../lib/topics/topic.js';
import { BatchReader, Step } from '../lib/wire/batch.js';
import { Flag, FrameType, HEADER_SIZE, OFFSET_TOPIC_ID, OFFSET_TOTAL, readU32 } from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { Interest } from './interest.js';
import type { Peer } from './peer.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import { decodeTalk, encodeTalk, type Reset, type Talk } from './talk.js';
import type { TopicId } from './topic-ids.js';

/** What a shard and a gateway hear differently. */
export interface WorkerTalk {
  heard(peer: Peer, talk: Talk): void;
  /** A record that is neither messages nor talk: about mailboxes. */
  record(peer: Peer, kind: RecordKind, src: Uint8Array, start: number, end: number): void;
  /** Tells a peer that begins with nothing what it must know beside interest. */
  sync(peer: Peer): void;
  /** The peer has told everything. */
  up(peer: Peer): void;
  /** The process of the peer is gone, or begins anew. */
  lost(slot: number): void;
}

export class Inbound implements LinkReader {
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  readonly #worker: WorkerTalk;
  readonly #incarnation: number;
  readonly #reader: BatchReader;
  /** Per peer and path: the peer has noticed this incarnation, so what comes is for it. */
  readonly #live: boolean[];
  /** Per peer: the incarnation whose reset came on the urgent path, and the one whose came on the bulk path before that. */
  readonly #greeted: number[];
  readonly #early: number[];
  /** Per peer and path: the place of the messages that come next; 0: nowhere. */
  readonly #places: number[];
  /** The next record is the first of its batch. */
  #begins: boolean;
  /** The frames counted last have several topics. */
  #mixed: boolean;
  /** When messages were last read (monotonic ms). */
  lastFrames: number;

  constructor(exchange: Exchange, interest: Interest, worker: WorkerTalk, incarnation: number) {
    this.#exchange = exchange;
    this.#interest = interest;
    this.#worker = worker;
    this.#incarnation = incarnation;
    this.#reader = new BatchReader();
    this.#live = [];
    this.#greeted = [];
    this.#early = [];
    this.#places = [];
    this.#begins = true;
    this.#mixed = false;
    this.lastFrames = 0;
  }

  /** Says to a peer, first on both paths, that this incarnation begins with nothing. */
  greet(peer: Peer): void {
    const bytes = encodeTalk({ incarnation: this.#incarnation, answer: false });
    peer.reset(true, bytes);
    peer.reset(false, bytes);
  }

  onRecord(
    from: number,
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): void {
    const peer = this.#exchange.peers[from];
    if (peer == null) return;
    if (this.#begins) {
      this.#begins = false;
      this.#exchange.tick();
    }
    if (kind === RecordKind.frames) this.#frames(peer, urgent, stamp, src, start, end);
    else if (kind === RecordKind.control) {
      // What comes before the peer has noticed this process was told to its predecessor, and is not true any more.
      if (this.#live[pathOf(peer.slot, true)]) this.#talk(peer, decodeTalk<Talk>(src, start, end));
    } else if (kind === RecordKind.place) {
      PLACE_BYTES.set(src.subarray(start, end));
      this.#places[pathOf(peer.slot, urgent)] = PLACE[0];
    } else if (kind === RecordKind.reset) this.#reset(peer, urgent, decodeTalk<Reset>(src, start, end));
    else if (this.#live[peer.slot * 2 + (urgent ? 0 : 1)]) this.#worker.record(peer, kind, src, start, end);
  }

  onBatchEnd(): void {
    this.#begins = true;
    this.#exchange.retry();
    this.#exchange.endTurn();
  }

  /** The process of worker `slot` with this incarnation has ended; what it left in its rings was read. */
  peerDown(peer: Peer, incarnation: number): void {
    // A successor may have been heard already.
    if (incarnation < peer.incarnation) return;
    this.#forget(peer);
    peer.lost();
    this.#worker.lost(peer.slot);
  }

  /** One record holds frames of one lane and sender, or one announcement; of one topic, unless all their topics have ids. */
  #frames(peer: Peer, urgent: boolean, stamp: number, src: Uint8Array, start: number, end: number): void {
    const exchange = this.#exchange;
    const reader = this.#reader;
    exchange.counters[C.linkBytesIn] += end - start;
    this.lastFrames = exchange.now;
    reader.open(src, start, end, end - start);
    if (reader.next() !== Step.frame) {
      exchange.counters[C.protocolErrors]++;
      return;
    }
    if (reader.type === FrameType.topic) {
      this.#learnTopic(peer, reader);
      return;
    }
    if (reader.type === FrameType.sender) {
      this.#learnSender(peer, reader);
      return;
    }
    if (reader.type !== FrameType.publish) return;
    const frames = this.#count(reader.topicId, src, start, end);
    if (frames === 0) {
      exchange.counters[C.protocolErrors]++;
      return;
    }
    exchange.counters[C.linkFramesIn] += frames;
    const path = pathOf(peer.slot, urgent);
    const place = this.#places[path] ?? 0;
    this.#places[path] = 0;
    if (!this.#live[path]) exchange.dropped(src, start, Reason.shardDown, frames);
    else if (this.#mixed) this.#split(peer, stamp, src, start, end);
    else this.#deliver(peer, stamp, place, src, start, end, frames, reader.topicId);
  }

  /** The door has looked at each header, so the sizes alone are followed here; 0 when they do not lead to the end. */
  #count(topicId: number, src: Uint8Array, start: number, end: number): number {
    let frames = 0;
    let at = start;
    let mixed = false;
    while (at < end) {
      const total = readU32(src, at + OFFSET_TOTAL);
      if (total < HEADER_SIZE) return 0;
      if (readU32(src, at + OFFSET_TOPIC_ID) !== topicId) mixed = true;
      at += total;
      frames++;
    }
    this.#mixed = mixed;
    return at === end ? frames : 0;
  }

  /** Messages of several topics: as runs of those that have the same takers here. */
  #split(peer: Peer, stamp: number, src: Uint8Array, start: number, end: number): void {
    const exchange = this.#exchange;
    const { lane } = this.#reader;
    let topicId = this.#reader.topicId;
    let begin = start;
    let frames = 0;
    for (let at = start; at < end; at += readU32(src, at + OFFSET_TOTAL)) {
      const next = readU32(src, at + OFFSET_TOPIC_ID);
      if (next !== topicId && !exchange.joins(topicId, next, lane, false)) {
        this.#deliver(peer, stamp, 0, src, begin, at, frames, topicId);
        begin = at;
        frames = 0;
      }
      topicId = next;
      frames++;
    }
    this.#deliver(peer, stamp, 0, src, begin, end, frames, topicId);
  }

  /** `topicId`: the last one of the frames, of which `#reader` has stood on the first of all. */
  #deliver(
    peer: Peer,
    stamp: number,
    place: number,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    topicId: number,
  ): void {
    const exchange = this.#exchange;
    const reader = this.#reader;
    const sender = this.#senderOf(peer, reader.sender);
    let id: TopicId<Route> | null = null;
    let route = null;
    let text: string | null = null;
    if (topicId !== 0) {
      id = exchange.topicIds.find(topicId) ?? null;
      if (id !== null) {
        text = id.topic.text;
        route = exchange.routeOf(id.topic);
      }
    } else {
      text = decodeTopic(src, reader.topicStart, reader.extensionsStart);
      const topic = text === null || text.startsWith(REPLY_PREFIX) ? null : exchange.topic(text);
      if (topic !== null) route = exchange.routeOf(topic);
      else if (text !== null) route = exchange.route(text);
    }
    if (route === null || sender === undefined) {
      exchange.dropped(src, start, Reason.invalid, frames);
      return;
    }
    // Gone, or somewhere else by now.
    if (route.sessions.length === 0 && route.mailboxes.length === 0 && isAddress(text!))
      exchange.dropped(src, start, Reason.noAgent, frames);
    exchange.deliver(
      route,
      id,
      sender,
      src,
      start,
      end,
      frames,
      reader.lane,
      (reader.flags & Flag.expires) !== 0,
      stamp,
      place,
      false,
    );
  }

  #senderOf(peer: Peer, number: number): SenderId | undefined {
    const sender = this.#exchange.senders.find(number);
    return sender === undefined || number === 0 || this.#exchange.senders.belongs(number, peer.slot)
      ? sender
      : undefined;
  }

  #learnTopic(peer: Peer, reader: BatchReader): void {
    const exchange = this.#exchange;
    const text = decodeTopic(reader.bytes, reader.topicStart, reader.extensionsStart);
    if (text === null || !exchange.topicIds.belongs(reader.topicId, peer.slot)) return;
    if (exchange.topicIds.find(reader.topicId)?.topic.text === text) return;
    const topic = exchange.topic(text);
    if (topic === null) return;
    exchange.topics.pin(topic);
    exchange.topicIds.learn(reader.topicId, topic);
  }

  #learnSender(peer: Peer, reader: BatchReader): void {
    if (!this.#exchange.senders.belongs(reader.sender, peer.slot)) return;
    const text = decodeTopic(reader.bytes, reader.payloadStart, reader.end);
    if (text !== null) this.#exchange.senders.learn(reader.sender, text);
  }

  #talk(peer: Peer, talk: Talk): void {
    switch (talk.t) {
      case 'interest':
        this.#interest.heard(peer, talk.add, talk.remove);
        break;
      case 'synced':
        this.#worker.up(peer);
        break;
      case 'barrier':
        peer.tell(encodeTalk({ t: 'applied', n: talk.n }));
        break;
      case 'applied':
        this.#interest.applied(talk.n, peer.slot);
        break;
      case 'hold':
        peer.holding.set(talk.sender, (peer.holding.get(talk.sender) ?? 0) + 1);
        this.#exchange.hold(talk.sender);
        break;
      case 'release': {
        const times = peer.holding.get(talk.sender) ?? 0;
        if (times === 0) break;
        if (times === 1) peer.holding.delete(talk.sender);
        else peer.holding.set(talk.sender, times - 1);
        this.#exchange.unhold(talk.sender);
        break;
      }
      case 'lost':
        for (const [topic, frames] of talk.topics) {
          for (const session of this.#exchange.route(topic).sessions) session.missing(frames);
        }
        break;
      default:
        this.#worker.heard(peer, talk);
    }
  }

  #reset(peer: Peer, urgent: boolean, { incarnation, answer }: Reset): void {
    const { slot } = peer;
    if (answer) this.#noticed(peer, urgent, incarnation);
    else if (urgent) {
      // It begins with nothing: what we know of it, and what we believe it to know, is of its predecessor.
      this.#forget(peer);
      peer.lost();
      this.#worker.lost(slot);
      this.#greeted[slot] = incarnation;
      this.#welcome(peer, true, incarnation);
      if (this.#early[slot] === incarnation) this.#welcome(peer, false, incarnation);
    } else if (this.#greeted[slot] === incarnation) this.#welcome(peer, false, incarnation);
    // The paths have no mutual order, and the answer must not be among what the urgent reset makes us forget.
    else this.#early[slot] = incarnation;
  }

  #welcome(peer: Peer, urgent: boolean, incarnation: number): void {
    peer.forgetKnown(urgent);
    peer.reset(urgent, encodeTalk({ incarnation: this.#incarnation, answer: true }));
    this.#noticed(peer, urgent, incarnation);
  }

  #noticed(peer: Peer, urgent: boolean, incarnation: number): void {
    peer.incarnation = incarnation;
    this.#live[peer.slot * 2 + (urgent ? 0 : 1)] = true;
    if (urgent) this.#sync(peer);
  }

  #sync(peer: Peer): void {
    peer.listening = true;
    this.#interest.sync(peer);
    this.#worker.sync(peer);
    peer.tell(encodeTalk({ t: 'synced' }));
  }

  #forget(peer: Peer): void {
    this.#interest.forget(peer);
    this.#live[peer.slot * 2] = false;
    this.#live[peer.slot * 2 + 1] = false;
  }
}

const PLACE = new Float64Array(1);
const PLACE_BYTES = new Uint8Array(PLACE.buffer);

function pathOf(slot: number, urgent: boolean): number {
  return slot * 2 + (urgent ? 0 : 1);
}
