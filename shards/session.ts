/**
 * A session: one agent on this shard, with its subscriptions, what waits for it, and its credit to publish. It
 * outlives a lost connection for the resume window; the connection itself is its sink.
 */
import type { AgentRecord } from '../lib/directory.js';
import type { ErrorCode } from '../lib/errors.js';
import { Bits } from '../lib/queues/bits.js';
import type { Chunk } from '../lib/queues/chunks.js';
import { Lanes, type LanesOwner } from '../lib/queues/lanes.js';
import { Pressure, PressureState } from '../lib/queues/pressure.js';
import { Reason } from '../lib/telemetry/ledger.js';
import type { BreakerChange, MailboxPressure } from '../lib/wire/control.js';
import { OFFSET_SENDER, OFFSET_TOPIC_ID, OFFSET_TOTAL, readU24, readU32 } from '../lib/wire/frame.js';
import type { ExchangeView } from './exchange-view.js';
import { appendPlaced } from './history.js';
import type { ConsumeSpec } from './intake.js';
import type { Refusal } from './publishing.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import type { TopicId } from './topic-ids.js';

/** What carries a session's frames to its agent: a binary or JSON WebSocket, or an event stream. */
export interface Sink {
  /** Whether it speaks ids, and must be told what they stand for. */
  readonly announces: boolean;
  /** Bytes handed over and not yet taken by the system. */
  readonly unsent: number;
  /** Takes the chunk and gives it back to the pool when it is written. */
  send(chunk: Chunk): void;
  credit(limit: number): void;
  gap(missed: number, reason: string): void;
  /** Says that an assured publish was refused; doors that take none have no such method. */
  refuse?(refusal: Refusal): void;
  /** Tells of a circuit breaker; doors by which nobody consumes have no such method. */
  breaker?(change: BreakerChange): void;
  /** Tells that a mailbox that it publishes to is under pressure, or is no more; doors that take no assured messages do not. */
  pressure?(change: MailboxPressure): void;
  pause(): void;
  resume(): void;
  /** Asks the other side for a sign of life. */
  probe(): void;
  /** Ends the connection. `code`: an error code for a goaway before it; null when the other side has left. */
  close(code: ErrorCode | null, message: string, reconnect: boolean): void;
}

/** Messages of the past on their way to a session. */
export interface SessionReplay {
  readonly patterns: readonly string[];
  /** Puts up to so many bytes in line, or one message if the socket is empty. */
  feed(budget: number, socketEmpty: boolean): Feed;
  /** All that it put in line has left, and it had caught up: live messages follow. */
  finish(): void;
}

/** What a replay has for its session: nothing yet, more to come, or no more at this moment. */
export const Feed = { waits: 0, goesOn: 1, caughtUp: 2 } as const;
export type Feed = (typeof Feed)[keyof typeof Feed];

/** Bytes that may lie unsent in a socket; the rest waits in lanes, where the order can still change. */
const MAX_UNSENT = 64 * 1024;
/** Below this much room a send is not worth its system call while another is under way. */
const MIN_ROOM = 16 * 1024;
/** Bytes written for one connection in one turn before the others have theirs. */
const TURN_BYTES = 256 * 1024;
/** A client that provokes answers and never reads them is cut off at this many bytes of them. */
const MAX_ANSWERS = 1024 * 1024;
/** Credit begins small and doubles up to the configured window while it is used up without anybody holding it. */
export const FIRST_WINDOW = 256 * 1024;

export class Session implements LanesOwner {
  readonly id: string;
  readonly sender: SenderId;
  agent: AgentRecord;
  readonly patterns: Set<string>;
  readonly lanes: Lanes;
  readonly pressure: Pressure;
  readonly knownTopics: Bits;
  readonly knownSenders: Bits;
  sink: Sink | null;
  announces: boolean;
  /** Waits in the exchange's list of sessions to flush. */
  dirty: boolean;
  /** The lane of its publishes that name none. */
  lane: number;
  heartbeatInterval: number;
  /** When its connection was last heard (monotonic ms). */
  heard: number;
  /** When its connection was lost; 0 while there is one. */
  lostAt: number;
  /** Messages handed to its connections since the session began. */
  delivered: number;
  /** Messages that it did not get since it was last told. */
  missed: number;
  /** Bytes published on this connection, and how far it may go. */
  published: number;
  limit: number;
  window: number;
  /** How many slow takers hold it back. */
  holds: number;
  paused: boolean;
  ended: boolean;
  /** From which mailboxes its connection consumes, by handle; null: from none. At most MAX_CONSUMED. */
  consumes: Map<number, ConsumeSpec> | null;
  /** By mailbox of another worker, the last round of deliveries that found no room here; null: there was always some. */
  refused: Map<number, number> | null;
  /** Replays that are under way, fed one after the other; null: none. */
  replays: Set<SessionReplay> | null;
  /** It is told where in the history its messages stand. */
  placed: boolean;
  /** Mark of the last route that it was put into: keeps it from standing there twice. */
  routeMark: number;
  /** Shared routes that begin with it; null: none yet. */
  routes: Route[] | null;
  /** Bytes of answers put in line since none waited. */
  #answers: number;
  #feeders: Set<number> | null;
  readonly #exchange: ExchangeView<Session, unknown>;

  constructor(
    exchange: ExchangeView<Session, unknown>,
    id: string,
    agent: AgentRecord,
    sender: SenderId,
    lane: number,
    heartbeat: number,
  ) {
    this.#exchange = exchange;
    this.id = id;
    this.sender = sender;
    this.agent = agent;
    this.patterns = new Set();
    this.lanes = new Lanes(exchange.pool, this);
    this.pressure = new Pressure(exchange.settings.backlog, exchange.settings.stallLimit);
    this.knownTopics = new Bits();
    this.knownSenders = new Bits();
    this.sink = null;
    this.announces = false;
    this.dirty = false;
    this.lane = lane;
    this.heartbeatInterval = heartbeat;
    this.heard = exchange.now;
    this.lostAt = 0;
    this.delivered = 0;
    this.missed = 0;
    this.published = 0;
    this.window = Math.min(FIRST_WINDOW, exchange.settings.window);
    this.limit = this.window;
    this.holds = 0;
    this.paused = false;
    this.ended = false;
    this.consumes = null;
    this.refused = null;
    this.replays = null;
    this.placed = false;
    this.routeMark = 0;
    this.routes = null;
    this.#answers = 0;
    this.#feeders = null;
  }

  /**
   * Puts messages in line: the frames `src[start, end)`, all of one lane and topic, sent by `from`. `place`: where in the history they
   * stand, 0 nowhere.
   */
  offer(
    lane: number,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    expires: boolean,
    stamp: number,
    from: SenderId,
    topic: TopicId | null,
    place: number,
  ): void {
    const exchange = this.#exchange;
    const size = end - start;
    const pressure = this.pressure;
    if (
      this.lanes.bytes + size > pressure.bound ||
      exchange.backlogBytes + size > exchange.settings.totalBacklog
    ) {
      if (!this.#makeRoom(lane, size)) {
        this.missing(frames);
        const full = this.lanes.bytes + size > pressure.bound;
        exchange.dropped(src, start, full ? Reason.shed : Reason.backlogGlobal, frames);
        return;
      }
    }
    if (this.announces) {
      if (topic !== null) this.note(topic);
      if (!this.knownSenders.has(from.index)) this.announceSender(from);
    }
    const before = this.lanes.bytes;
    if (place !== 0 && this.placed)
      appendPlaced(this.lanes, lane, src, start, end, frames, expires, stamp, place);
    else this.lanes.append(lane, src, start, end, frames, expires, stamp);
    exchange.backlogBytes += this.lanes.bytes - before;
    this.touch();
    if (pressure.state === PressureState.pressed || this.lanes.bytes >= pressure.high) this.#press(from);
  }

  /**
   * Puts deliver frames in line, or a message of the past. `frames`: 1 for what does not come again when it is lost, else 0. False: its backlog is
   * full, and what comes from a mailbox is better off with another consumer.
   */
  deliver(lane: number, src: Uint8Array, start: number, end: number, frames: number): boolean {
    const exchange = this.#exchange;
    const size = end - start;
    if (this.lanes.bytes + size > this.pressure.bound) return false;
    if (exchange.backlogBytes + size > exchange.settings.totalBacklog) return false;
    this.lanes.append(lane, src, start, end, frames, false, 0);
    exchange.backlogBytes += size;
    this.touch();
    return true;
  }

  /** Messages of `topic` come next. */
  note(topic: TopicId): void {
    if (this.announces && !this.knownTopics.has(topic.index)) this.announceTopic(topic);
  }

  /** Goes ahead of the first message that needs it: bounded by what waits, so it is not held against the agent. */
  announceTopic(topic: TopicId): void {
    this.knownTopics.add(topic.index);
    this.lanes.appendControl(topic.announcement);
    this.touch();
  }

  announceSender(sender: SenderId): void {
    this.knownSenders.add(sender.index);
    this.lanes.appendControl(sender.announcement);
    this.touch();
  }

  /** What waits for it will not be delivered. */
  discard(reason: Reason): void {
    const exchange = this.#exchange;
    exchange.backlogBytes -= this.lanes.bytes;
    for (let chunk = this.lanes.shed(-1); chunk !== null; chunk = this.lanes.shed(-1))
      exchange.droppedChunk(chunk, reason);
    this.lanes.clear();
  }

  /** Puts a finished control frame, an answer, in line ahead of every message. */
  control(frame: Uint8Array): void {
    if (this.lanes.control.bytes === 0) this.#answers = 0;
    else if (this.#answers > MAX_ANSWERS) {
      this.#exchange.cutOff(this);
      return;
    }
    this.#answers += frame.length;
    this.lanes.appendControl(frame);
    this.touch();
  }

  /** Asks to be flushed at the end of this turn. */
  touch(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.#exchange.dirty.push(this);
  }

  /** Messages for it were lost on their way. */
  missing(frames: number): void {
    this.missed += frames;
    this.touch();
  }

  /** Hands over what the connection has room for. */
  flush(now: number): void {
    this.dirty = false;
    const sink = this.sink;
    if (sink === null) return;
    if (this.missed !== 0 && this.pressure.state !== PressureState.shedding) this.reportGap('shed');
    this.#drain(sink, now);
    if (this.replays !== null) this.#replay(sink, now);
  }

  #drain(sink: Sink, now: number): void {
    const lanes = this.lanes;
    const before = lanes.bytes;
    let left = TURN_BYTES;
    while (!lanes.empty && left > 0) {
      const unsent = sink.unsent;
      const room = MAX_UNSENT - unsent;
      if (room < MIN_ROOM && unsent !== 0) break;
      const chunk = lanes.take(unsent === 0 ? this.#exchange.pool.largest : room, now);
      if (chunk === null) break;
      left -= chunk.size;
      this.delivered += chunk.frames;
      this.#exchange.countOut(chunk.frames, chunk.size);
      sink.send(chunk);
    }
    if (lanes.bytes !== before) {
      this.#exchange.backlogBytes -= before - lanes.bytes;
      if (this.pressure.state !== PressureState.open && this.pressure.drained(lanes.bytes, now)) {
        this.release();
        // Nothing may be left that would bring it here again.
        if (this.missed !== 0) this.reportGap('shed');
      }
    }
    // What is left follows when the socket reports that it has room, or in the next turn if it has room now.
    if (!lanes.empty && sink.unsent === 0) this.touch();
  }

  /** Only when all that was in line has left: so the past keeps its order, and no live message overtakes the end of it. */
  #replay(sink: Sink, now: number): void {
    const { unsent } = sink;
    const room = MAX_UNSENT - unsent - MIN_ROOM;
    if (!this.lanes.empty || room < MIN_ROOM) return;
    const [replay] = this.replays!;
    const feed = replay.feed(room, unsent === 0);
    this.#drain(sink, now);
    if (feed === Feed.waits || !this.lanes.empty) return;
    if (feed === Feed.caughtUp) replay.finish();
    // With a full socket it goes on when that reports that it has room.
    if (MAX_UNSENT - sink.unsent >= 2 * MIN_ROOM || !this.lanes.empty) this.touch();
  }

  /** Counts what it publishes, and grants more when that is due. */
  charge(bytes: number): void {
    this.published += bytes;
    if (this.limit - this.published > this.window >> 1) return;
    if (this.holds === 0) this.grant();
    else if (this.published > this.limit + URGENT_ALLOWANCE && !this.paused) {
      this.paused = true;
      this.sink?.pause();
    }
  }

  grant(): void {
    this.window = Math.min(2 * this.window, this.#exchange.settings.window);
    this.limit = this.published + this.window;
    this.sink?.credit(this.limit);
    if (!this.paused) return;
    this.paused = false;
    this.sink?.resume();
  }

  hold(): void {
    this.holds++;
  }

  unhold(): void {
    if (this.holds === 0 || --this.holds !== 0) return;
    this.window = Math.min(FIRST_WINDOW, this.window);
    if (this.limit - this.published <= this.window >> 1 || this.paused) this.grant();
  }

  /** Now and then: loses the right to stall others when it makes no progress. */
  check(now: number): void {
    if (this.pressure.check(now)) this.release();
  }

  /** Lets its feeders go on. */
  release(): void {
    this.#exchange.pressed.delete(this);
    const feeders = this.#feeders;
    if (feeders === null) return;
    this.#feeders = null;
    for (const number of feeders) this.#exchange.unhold(number);
  }

  reportGap(reason: string): void {
    const missed = this.missed;
    this.missed = 0;
    this.sink?.gap(missed, reason);
  }

  /** A new connection takes over: it knows no ids, and its credit begins anew. */
  attach(sink: Sink): void {
    if (this.sink !== null) this.replace();
    this.sink = sink;
    this.announces = sink.announces;
    this.lostAt = 0;
    this.heard = this.#exchange.now;
    this.published = 0;
    this.limit = this.window;
    this.paused = false;
    this.knownTopics.clear();
    this.knownSenders.clear();
    if (this.pressure.state !== PressureState.open) {
      this.pressure.drained(0, this.#exchange.now);
      this.release();
    }
    if (this.announces && this.lanes.bytes !== 0) this.#announceWaiting();
    if (!this.lanes.empty) this.touch();
  }

  /** The connection is lost; what waits is kept, what comes is shed when it fills the backlog, and nobody is stalled. */
  detach(): void {
    this.sink = null;
    this.announces = false;
    // Zero would say that there is a connection.
    this.lostAt = this.#exchange.now || 1;
    this.#exchange.leave(this, true);
    this.lanes.control.clear();
    this.pressure.shed();
    this.release();
  }

  /** Another connection takes the place of one that is thought to live. */
  replace(): void {
    const sink = this.sink;
    this.detach();
    sink?.close(
      'AGENT_REPLACED',
      `Agent ${this.agent.agentId} resumed its session on another connection.`,
      false,
    );
  }

  onExpired(bytes: Uint8Array, start: number): void {
    this.#exchange.dropped(bytes, start, Reason.expired, 1);
  }

  /** What waits was announced on the connection before, if at all. */
  #announceWaiting(): void {
    for (const lane of this.lanes.lanes) {
      for (let chunk = lane.head; chunk !== null; chunk = chunk.next) {
        for (let at = chunk.start; at < chunk.end; at += readU32(chunk.bytes, at + OFFSET_TOTAL)) {
          const topic = this.#exchange.topicIds.find(readU32(chunk.bytes, at + OFFSET_TOPIC_ID));
          if (topic !== undefined && !this.knownTopics.has(topic.index)) this.announceTopic(topic);
          const sender = this.#exchange.senders.find(readU24(chunk.bytes, at + OFFSET_SENDER));
          if (sender !== undefined && !this.knownSenders.has(sender.index)) this.announceSender(sender);
        }
      }
    }
  }

  #press(from: SenderId): void {
    const exchange = this.#exchange;
    if (this.pressure.filled(this.lanes.bytes, exchange.now)) exchange.pressed.add(this);
    if (this.pressure.state !== PressureState.pressed || from.number === 0) return;
    this.#feeders ??= new Set();
    if (this.#feeders.has(from.number)) return;
    this.#feeders.add(from.number);
    exchange.hold(from.number);
  }

  /** Drops what is less urgent than `lane`, oldest first, until `size` bytes fit. */
  #makeRoom(lane: number, size: number): boolean {
    const exchange = this.#exchange;
    while (
      this.lanes.bytes + size > this.pressure.bound ||
      exchange.backlogBytes + size > exchange.settings.totalBacklog
    ) {
      const chunk = this.lanes.shed(lane);
      if (chunk === null) return false;
      exchange.backlogBytes -= chunk.size;
      this.missed += chunk.frames;
      exchange.droppedChunk(chunk, Reason.shed, this.sender.number);
    }
    return true;
  }
}

/** Bytes past its limit that a connection may send in urgent lanes; see PROTOCOL.md. */
const URGENT_ALLOWANCE = 64 * 1024;
