/**
 * From what an agent publishes to what the exchange delivers. Frames by topic id that follow each other with the same lane and
 * the same takers are one run: copied once, and looked up once for each change of topic. Everything else (topics spelled out, extensions) goes one by one.
 */
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import type { Topic } from '../lib/topics/table.js';
import { decodeTopic, isAddress, isReserved, REPLY_PREFIX, topicProblem } from '../lib/topics/topic.js';
import { BatchReader } from '../lib/wire/batch.js';
import { batchChecksumHolds } from '../lib/wire/batch-checksum.js';
import { Seeds } from '../lib/wire/checksum.js';
import { EXTENSION_FLAGS, Extension, Extensions } from '../lib/wire/extensions.js';
import { Flag } from '../lib/wire/frame.js';
import type { Assured, OnStored } from './assured.js';
import type { Exchange } from './exchange.js';
import type { History } from './history.js';
import type { Retained } from './retained.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import type { Session } from './session.js';
import type { TopicId } from './topic-ids.js';

/** Only the bus itself may say who is there. */
const PRESENCE_PREFIX = 'system.agent.';
/** Flags of frames that must be looked at one by one. */
export const SINGLE = Flag.extensions | Flag.assured | Flag.retain | EXTENSION_FLAGS;

/** Why an agent may not publish on `topic`, which is text of any kind; null when it may. */
export function publishProblem(topic: string): { code: ErrorCode; message: string } | null {
  const problem = topicProblem(topic);
  if (problem !== null) return { code: 'BAD_TOPIC', message: problem };
  if (topic.startsWith(PRESENCE_PREFIX))
    return { code: 'FORBIDDEN_TOPIC', message: `Only the bus publishes on ${PRESENCE_PREFIX}**.` };
  if (isReserved(topic) && !isAddress(topic) && !topic.startsWith(REPLY_PREFIX))
    return { code: 'FORBIDDEN_TOPIC', message: 'Topics that begin with "_" are reserved.' };
  return null;
}

/** A publish that was refused; the batch goes on. */
export interface Refusal {
  code: ErrorCode;
  message: string | null;
  topic: string | null;
  correlation: Uint8Array | null;
}

export class Publishing {
  readonly #exchange: Exchange;
  readonly #assured: Assured;
  readonly #history: History;
  readonly #retained: Retained;
  readonly #verify: boolean;
  readonly #extensions: Extensions;
  /** For frames that a door has made. */
  readonly #made: BatchReader;
  // The run that is being gathered; #runTopic, that of its last frame, is null when there is none. Earlier topics were noted.
  #runTopic: TopicId<Route> | null;
  #runLane: number;
  #runStart: number;
  #runEnd: number;
  #runFrames: number;
  readonly #seeds: Seeds;

  /** `verify`: whether checksums are checked at the door. */
  constructor(exchange: Exchange, assured: Assured, history: History, retained: Retained, verify: boolean) {
    this.#exchange = exchange;
    this.#assured = assured;
    this.#history = history;
    this.#retained = retained;
    this.#verify = verify;
    this.#extensions = new Extensions();
    this.#made = new BatchReader();
    this.#runTopic = null;
    this.#runLane = 0;
    this.#runStart = 0;
    this.#runEnd = 0;
    this.#runFrames = 0;
    this.#seeds = new Seeds();
  }

  /**
   * Whether the publish frame that `reader` stands on belongs to the run that is being gathered, and is part of it now.
   * If not, call `finish`, then `take`.
   */
  extend(session: Session, reader: BatchReader): boolean {
    const run = this.#runTopic;
    if (
      run === null ||
      reader.lane !== this.#runLane ||
      reader.start !== this.#runEnd ||
      reader.topicLength !== 0 ||
      (reader.flags & SINGLE) !== 0 ||
      (run.id !== reader.topicId && !this.#joins(session, run, reader.topicId))
    )
      return false;
    this.#runEnd = reader.end;
    this.#runFrames++;
    return true;
  }

  /** Whether messages of another topic, which the session knows, go where the run goes; then it is of both. */
  #joins(session: Session, run: TopicId<Route>, topicId: number): boolean {
    const id = this.#exchange.topicIds.find(topicId);
    if (id === undefined || !session.knownTopics.has(id.index)) return false;
    if (!this.#exchange.joins(run.id, topicId, this.#runLane, true)) return false;
    this.#runTopic = id;
    return true;
  }

  /** Takes the publish frame that `reader` stands on, of `session`; it may begin a run. Call `finish` behind the last. */
  take(session: Session, reader: BatchReader): Refusal | null {
    const topicId = reader.topicId;
    if ((reader.flags & SINGLE) !== 0 || topicId === 0 || this.#verify) return this.#single(session, reader);
    const id = this.#exchange.topicIds.find(topicId);
    if (id === undefined || !session.knownTopics.has(id.index) || reader.topicLength !== 0)
      return unknownId(topicId);
    this.#runTopic = id;
    this.#runLane = reader.lane;
    this.#runStart = reader.start;
    this.#runEnd = reader.end;
    this.#runFrames = 1;
    return null;
  }

  /** Sends the run on. */
  finish(session: Session, bytes: Uint8Array): Refusal | null {
    const id = this.#runTopic;
    if (id === null) return null;
    this.#runTopic = null;
    const code = this.send(
      session.sender,
      id.topic,
      id.topic.text,
      id,
      bytes,
      this.#runStart,
      this.#runEnd,
      this.#runFrames,
      this.#runLane,
      0,
    );
    return code === null ? null : { code, message: null, topic: id.topic.text, correlation: null };
  }

  /**
   * Routes and delivers `frames` frames at `src[start, end)`, of one lane and takers, the last of them of this topic. `topic`: null when the table has no room
   * for it, or when it is used once. Returns why nobody gets them, where the publisher should be told.
   */
  send(
    from: SenderId,
    topic: Topic<Route> | null,
    text: string,
    id: TopicId<Route> | null,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
    lane: number,
    flags: number,
  ): ErrorCode | null {
    const exchange = this.#exchange;
    const counters = exchange.counters;
    const route = topic === null ? exchange.route(text) : exchange.routeOf(topic);
    counters[C.publishesIn] += frames;
    counters[C.publishBytesIn] += end - start;
    const place = route.kept
      ? this.#history.record(lane, exchange.clock, from, topic, text, src, start, end, frames)
      : 0;
    const takers = route.sessions.length + route.peers.length;
    if (takers === 0 && !takesLive(route)) {
      counters[C.routedNone] += frames;
      if ((flags & Flag.wantsReply) === 0 && !isAddress(text)) return null;
      exchange.dropped(src, start, Reason.noAgent, frames);
      return 'UNKNOWN_AGENT';
    }
    counters[takers <= 1 ? C.routedUnicast : C.routedMulticast] += frames;
    exchange.deliver(
      route,
      id,
      from,
      src,
      start,
      end,
      frames,
      lane,
      (flags & Flag.expires) !== 0,
      exchange.now,
      place,
      true,
    );
    return null;
  }

  /**
   * Stores the assured message in `frame`, which a door of this node has made for `session`, in every mailbox that takes it.
   * Throws why it is refused at once; `onStored` hears all else.
   */
  store(
    session: Session,
    topic: Topic<Route> | null,
    text: string,
    frame: Uint8Array,
    onStored: OnStored,
  ): void {
    const reader = this.#made;
    reader.open(frame, 0, frame.length, frame.length);
    reader.next();
    this.#extensions.read(frame, reader.extensionsStart, reader.payloadStart);
    this.#countStore(frame.length);
    this.#assured.take(session, reader, this.#extensions, topic, text, null, onStored);
  }

  #countStore(bytes: number): void {
    const { counters } = this.#exchange;
    counters[C.publishesIn]++;
    counters[C.publishBytesIn] += bytes;
  }

  /** Why a frame cannot be kept as the last value of its topic: what is refused nobody gets. */
  retainProblem(from: SenderId, text: string, src: Uint8Array, start: number, end: number): ErrorCode | null {
    return this.#retained.problem(this.#exchange, from, text, src, start, end);
  }

  /** Keeps a frame as the last value of its topic; returns why not. To be called before it is sent. */
  retain(from: SenderId, text: string, src: Uint8Array, start: number, end: number): ErrorCode | null {
    return this.#retained.set(this.#exchange, from, text, src, start, end);
  }

  #single(session: Session, reader: BatchReader): Refusal | null {
    const exchange = this.#exchange;
    const { bytes, start, end, flags } = reader;
    const extensions = this.#extensions;
    const wrong = extensions.read(bytes, reader.extensionsStart, reader.payloadStart);
    if (wrong !== null) return refusal(wrong, null, null, null);
    if ((flags & EXTENSION_FLAGS) !== extensions.flags)
      return refusal('BAD_FLAGS', 'The flags do not say which extensions there are.', null, null);

    let id: TopicId<Route> | null = null;
    let topic: Topic<Route> | null = null;
    let text: string;
    if (reader.topicId !== 0) {
      id = exchange.topicIds.find(reader.topicId) ?? null;
      if (id === null || !session.knownTopics.has(id.index) || reader.topicLength !== 0)
        return { ...unknownId(reader.topicId), correlation: this.#correlation() };
      topic = id.topic;
      text = topic.text;
    } else {
      const spelled = decodeTopic(bytes, reader.topicStart, reader.extensionsStart);
      if (spelled === null) return refusal('BAD_UTF8', 'The topic is not UTF-8.', null, this.#correlation());
      text = spelled;
      topic = exchange.topics.get(text) ?? null;
      // Known topics were checked when they came, but for those that the bus itself publishes on.
      if (topic === null || text.startsWith(PRESENCE_PREFIX)) {
        const problem = publishProblem(text);
        if (problem !== null) return refusal(problem.code, problem.message, text, this.#correlation());
      }
      if (!text.startsWith(REPLY_PREFIX)) topic = this.#offerId(session, text, topic);
    }
    const assured = (flags & Flag.assured) !== 0;
    if (
      (this.#verify || assured) &&
      !batchChecksumHolds(bytes, start, end - start, this.#seeds.of(session.sender.text, text))
    ) {
      exchange.dropped(bytes, start, Reason.invalid, 1);
      return refusal('CHECKSUM_MISMATCH', null, text, this.#correlation());
    }
    if (!assured && extensions.has(Extension.delay))
      return refusal('BAD_EXTENSION', 'Only an assured message can be delayed.', text, this.#correlation());
    if (assured) return this.#store(session, reader, topic, text, id);
    if ((flags & Flag.retain) !== 0) {
      const problem = this.retain(session.sender, text, bytes, start, end);
      if (problem !== null) return refusal(problem, null, text, this.#correlation());
    }
    const code = this.send(session.sender, topic, text, id, bytes, start, end, 1, reader.lane, flags);
    return code === null ? null : refusal(code, null, text, this.#correlation());
  }

  #store(
    session: Session,
    reader: BatchReader,
    topic: Topic<Route> | null,
    text: string,
    id: TopicId<Route> | null,
  ): Refusal | null {
    const { bytes, start, end } = reader;
    const { sender } = session;
    const retains = (reader.flags & Flag.retain) !== 0;
    this.#countStore(end - start);
    try {
      const problem = retains ? this.retainProblem(sender, text, bytes, start, end) : null;
      if (problem !== null) throw new FlowbusError(problem);
      this.#assured.take(session, reader, this.#extensions, topic, text, id, null);
      if (retains) this.retain(sender, text, bytes, start, end);
      return null;
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      return refusal(error.code, error.message, text, this.#extensions.messageId);
    }
  }

  /** By what the publisher knows the message whose extensions were read last. */
  #correlation(): Uint8Array | null {
    return this.#extensions.correlation ?? this.#extensions.messageId;
  }

  /** Remembers a topic that was spelled out, and tells the publisher its id once it has one. */
  #offerId(session: Session, text: string, known: Topic<Route> | null): Topic<Route> | null {
    const topic = known ?? this.#exchange.topics.add(text);
    if (topic === null || !session.announces) return topic;
    const id = this.#exchange.seen(topic);
    if (id !== null && !session.knownTopics.has(id.index)) session.announceTopic(id);
    return topic;
  }
}

/** Whether a mailbox on this worker takes live messages; those elsewhere are behind peers. */
function takesLive(route: Route): boolean {
  return route.mailboxes.some((mailbox) => mailbox.home !== null && mailbox.takesLive);
}

function unknownId(id: number): Refusal {
  return refusal('UNKNOWN_TOPIC_ID', `Topic id ${id} was not announced on this connection.`, null, null);
}

function refusal(
  code: ErrorCode,
  message: string | null,
  topic: string | null,
  correlation: Uint8Array | null,
): Refusal {
  return { code, message, topic, correlation };
}
