/** Another worker of this node as this shard sees it: the link to it, what it knows, and what it has interest in. */
import { type LinkOut, RecordKind } from '../lib/links.js';
import { Bits } from '../lib/queues/bits.js';
import { Pressure, PressureState } from '../lib/queues/pressure.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { topicRuns } from '../lib/wire/batch.js';
import { FIRST_BULK_LANE } from '../lib/wire/frame.js';
import type { ExchangeView } from './exchange-view.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import { encodeTalk, TEXTS_PER_TALK } from './talk.js';
import type { TopicId } from './topic-ids.js';

/** Bytes that may wait for a full ring before those who feed it are stalled. */
const BACKLOG = 16 * 1024 * 1024;
/** What may wait all the same, because they cannot stop at once; the rest up to the most is the workers' own talk's. */
const MAX_LIVE = 32 * 1024 * 1024;
const MOST = 64 * 1024 * 1024;
/** Topics of which it is remembered how many messages were lost; of the others only the ledger tells. */
const MAX_LOST_TOPICS = 4096;

const PLACE = new Float64Array(1);
const PLACE_BYTES = new Uint8Array(PLACE.buffer);

interface Waiting {
  kind: RecordKind;
  stamp: number;
  bytes: Uint8Array;
  frames: number;
}

/** One of the two ordered paths of the link, and what has not fitted into it yet. */
class Path {
  readonly urgent: boolean;
  readonly knownTopics: Bits;
  readonly knownSenders: Bits;
  readonly waiting: Waiting[];
  waitingHead: number;

  constructor(urgent: boolean) {
    this.urgent = urgent;
    this.knownTopics = new Bits();
    this.knownSenders = new Bits();
    this.waiting = [];
    this.waitingHead = 0;
  }
}

export class Peer {
  readonly slot: number;
  readonly interest: Set<string>;
  readonly pressure: Pressure;
  /** Incarnation whose talk was last heard; 0 before that. */
  incarnation: number;
  /** It began with empty tables, or said that it has: what is told from now on reaches it. */
  listening: boolean;
  /** It answers barriers in time. */
  answers: boolean;
  /** It has told all its interest and agents: replies can be routed to it. */
  up: boolean;
  dirty: boolean;
  backlog: number;
  /** Senders of this shard that it holds back, with how often. */
  readonly holding: Map<number, number>;
  /** Mark of the last route that it was put into. */
  routeMark: number;
  /** Shared routes that begin with it; null: none yet. */
  routes: Route[] | null;
  readonly #out: LinkOut;
  readonly #paths: [Path, Path];
  readonly #exchange: ExchangeView<unknown, Peer>;
  #feeders: Set<number>;
  /** Messages that did not fit, by topic: what its agents are to be told of when there is room. */
  readonly #lost: Map<string, number>;

  constructor(exchange: ExchangeView<unknown, Peer>, slot: number, out: LinkOut) {
    this.#exchange = exchange;
    this.slot = slot;
    this.interest = new Set();
    this.pressure = new Pressure(BACKLOG, exchange.settings.stallLimit);
    this.incarnation = 0;
    this.listening = false;
    this.answers = true;
    this.up = false;
    this.dirty = false;
    this.backlog = 0;
    this.holding = new Map();
    this.routeMark = 0;
    this.routes = null;
    this.#out = out;
    this.#paths = [new Path(true), new Path(false)];
    this.#feeders = new Set();
    this.#lost = new Map();
  }

  /** Messages of `topic` and `lane` come next. */
  note(lane: number, topic: TopicId, stamp: number): void {
    const path = this.#paths[lane < FIRST_BULK_LANE ? 0 : 1];
    if (path.knownTopics.has(topic.index)) return;
    path.knownTopics.add(topic.index);
    this.#write(path, RecordKind.frames, stamp, topic.announcement, 0, topic.announcement.length, 0);
  }

  /** Sends messages: the frames `src[start, end)`, all of one lane and sender; of one topic, or of several that were noted. `place`: where in the history they stand, 0 nowhere. */
  forward(
    lane: number,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    stamp: number,
    from: SenderId,
    topic: TopicId | null,
    place: number,
  ): void {
    const most = this.pressure.state === PressureState.shedding ? this.pressure.shedAt : MAX_LIVE;
    if (this.backlog + (end - start) > most) {
      this.#exchange.dropped(src, start, Reason.linkFull, frames);
      this.#countLost(src, start, frames);
      return;
    }
    const path = this.#paths[lane < FIRST_BULK_LANE ? 0 : 1];
    if (topic !== null) this.note(lane, topic, stamp);
    if (!path.knownSenders.has(from.index)) {
      path.knownSenders.add(from.index);
      this.#write(path, RecordKind.frames, stamp, from.announcement, 0, from.announcement.length, 0);
    }
    if (place !== 0) {
      PLACE[0] = place;
      this.#write(path, RecordKind.place, stamp, PLACE_BYTES, 0, PLACE_BYTES.length, 0);
    }
    this.#write(path, RecordKind.frames, stamp, src, start, end, frames);
    if (this.backlog < this.pressure.high) return;
    if (this.pressure.filled(this.backlog, this.#exchange.now)) this.#exchange.pressed.add(this);
    if (this.pressure.state !== PressureState.pressed || from.number === 0 || this.#feeders.has(from.number))
      return;
    this.#feeders.add(from.number);
    this.#exchange.hold(from.number);
  }

  /** One message of the workers' own talk; dropped only beyond 64 MiB of it. */
  tell(bytes: Uint8Array): void {
    if (this.listening) this.#write(this.#paths[0], RecordKind.control, 0, bytes, 0, bytes.length, 0);
  }

  /** Messages on their way to, and from, mailboxes. False: too much waits for the link already. */
  send(kind: RecordKind, urgent: boolean, src: Uint8Array, start: number, end: number): boolean {
    if (!this.listening || this.backlog > MAX_LIVE) return false;
    this.#write(this.#paths[urgent ? 0 : 1], kind, 0, src, start, end, 0);
    return true;
  }

  /** Says on one path where a new incarnation begins, or that one was noticed. */
  reset(urgent: boolean, bytes: Uint8Array): void {
    this.#write(this.#paths[urgent ? 0 : 1], RecordKind.reset, 0, bytes, 0, bytes.length, 0);
  }

  forgetKnown(urgent: boolean): void {
    const path = this.#paths[urgent ? 0 : 1];
    path.knownTopics.clear();
    path.knownSenders.clear();
  }

  forgetSenders(): void {
    for (const path of this.#paths) path.knownSenders.clear();
  }

  /** Asks to be flushed at the end of this turn. */
  touch(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.#exchange.dirtyPeers.push(this);
  }

  /** Once a turn: what waited goes first, then the peer is woken. */
  flush(now: number): void {
    this.dirty = false;
    if (this.backlog !== 0) {
      const before = this.backlog;
      for (const path of this.#paths) this.#retry(path);
      if (this.backlog !== before && this.pressure.drained(this.backlog, now)) this.release();
      if (this.#lost.size !== 0 && this.pressure.state === PressureState.open) this.#tellLost();
    }
    this.#out.flush();
  }

  check(now: number): void {
    if (this.pressure.check(now)) this.release();
  }

  release(): void {
    this.#exchange.pressed.delete(this);
    const feeders = this.#feeders;
    this.#feeders = new Set();
    for (const number of feeders) this.#exchange.unhold(number);
  }

  /** Its process is gone: what waited for it is lost, and counted. */
  lost(): void {
    this.answers = true;
    this.up = false;
    this.listening = false;
    for (const path of this.#paths) {
      for (let i = path.waitingHead; i < path.waiting.length; i++) {
        const record = path.waiting[i];
        if (record.frames > 0) this.#exchange.dropped(record.bytes, 0, Reason.shardDown, record.frames);
      }
      path.waiting.length = 0;
      path.waitingHead = 0;
      path.knownTopics.clear();
      path.knownSenders.clear();
    }
    this.backlog = 0;
    this.#lost.clear();
    if (this.pressure.drained(0, this.#exchange.now)) this.release();
    for (const [number, times] of this.holding) {
      for (let i = 0; i < times; i++) this.#exchange.unhold(number);
    }
    this.holding.clear();
  }

  #countLost(src: Uint8Array, start: number, frames: number): void {
    for (const run of topicRuns(src, start, frames)) {
      const topic = this.#exchange.topicTextOf(src, run.at);
      if (topic === null) continue;
      const before = this.#lost.get(topic);
      if (before !== undefined || this.#lost.size < MAX_LOST_TOPICS)
        this.#lost.set(topic, (before ?? 0) + run.frames);
    }
  }

  #tellLost(): void {
    const topics = [...this.#lost];
    this.#lost.clear();
    for (let i = 0; i < topics.length; i += TEXTS_PER_TALK)
      this.tell(encodeTalk({ t: 'lost', topics: topics.slice(i, i + TEXTS_PER_TALK) }));
  }

  #write(
    path: Path,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
  ): void {
    this.touch();
    if (path.waiting.length === 0 && this.#out.write(path.urgent, kind, stamp, src, start, end)) {
      this.#exchange.countToLink(frames, end - start);
      return;
    }
    if (path.waiting.length === 0) this.#exchange.countLinkStall();
    // It has not read for long, and is about to be restarted: then it is told everything anew.
    if (this.backlog > MOST) return;
    // A slice of a Buffer would only be a view.
    const bytes = Uint8Array.prototype.slice.call(src, start, end);
    path.waiting.push({ kind, stamp, bytes, frames });
    this.backlog += end - start;
  }

  #retry(path: Path): void {
    const waiting = path.waiting;
    let i = path.waitingHead;
    for (; i < waiting.length; i++) {
      const { kind, stamp, bytes, frames } = waiting[i];
      if (!this.#out.write(path.urgent, kind, stamp, bytes, 0, bytes.length)) break;
      this.backlog -= bytes.length;
      this.#exchange.countToLink(frames, bytes.length);
    }
    path.waitingHead = i;
    if (i === waiting.length) {
      waiting.length = 0;
      path.waitingHead = 0;
    } else if (i > 1024) {
      waiting.splice(0, i);
      path.waitingHead = 0;
    }
  }
}
