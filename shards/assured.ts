/**
 * Assured publishes where they come in: to every mailbox that matches, here or on another worker, and when all have journaled it,
 * an ack to the publisher; a part of them is an error that is safe to repeat.
 */
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import { RecordKind } from '../lib/links.js';
import type { Topic } from '../lib/topics/table.js';
import { AGENT_PREFIX } from '../lib/topics/topic.js';
import type { BatchReader } from '../lib/wire/batch.js';
import { DELIVERY_MARGIN, writeStored } from '../lib/wire/delivery.js';
import { Extension, type Extensions } from '../lib/wire/extensions.js';
import { Encoding, FIRST_BULK_LANE, Flag, FrameType } from '../lib/wire/frame.js';
import { controlFrame } from '../lib/wire/writer.js';
import type { Backpressure } from './backpressure.js';
import type { Exchange } from './exchange.js';
import { Intake } from './intake.js';
import type { MailboxRef } from './mailbox-ref.js';
import { MAX_TARGETS, readAssured, STORED_SIZE, writeAssured, writeStoredRecord } from './mailbox-talk.js';
import type { Mailboxes } from './mailboxes.js';
import type { Route } from './route.js';
import type { Session, Sink } from './session.js';
import type { TopicId } from './topic-ids.js';

/** Assured publishes of a shard's agents that wait for their mailboxes. */
const MAX_PENDING = 262_144;
/** What a worker has not answered by then, though it lives, found no room in the link (ms). */
const ANSWER_LIMIT = 30_000;
/** Bytes of acks in one frame, at most, and room for one more. */
const ACK_BYTES = 32 * 1024;
const ACK_ROOM = ACK_BYTES + 128;
const RECORD_ROOM = 128 * 1024;
const NUMBER = 0xff_ffff;

/** Told once what has become of a message: how many mailboxes hold it, or why not all that should. */
export type OnStored = (stored: number, code: ErrorCode | null) => void;

/** A publish that waits to be stored. */
class Pending {
  readonly session: Session;
  /** Of the connection that it came over: the ack is for that alone. */
  readonly sink: Sink | null;
  /** One byte a character. */
  readonly id: string;
  readonly topic: string;
  /** Null: the session's connection is told, in frames. */
  readonly onStored: OnStored | null;
  /** On the exchange's clock. */
  readonly since: number;
  /** Workers that have not answered, and which they are. */
  readonly slots: number[];
  stored: number;
  code: ErrorCode | null;

  constructor(session: Session, id: string, topic: string, since: number, onStored: OnStored | null) {
    this.session = session;
    this.since = since;
    this.sink = session.sink;
    this.id = id;
    this.topic = topic;
    this.onStored = onStored;
    this.slots = [];
    this.stored = 0;
    this.code = null;
  }
}

/** Acks for one session, gathered until the turn ends. */
class Acks {
  readonly bytes: Uint8Array;
  size: number;

  constructor() {
    this.bytes = new Uint8Array(ACK_ROOM);
    this.size = 0;
  }
}

export class Assured {
  readonly #exchange: Exchange;
  readonly #mailboxes: Mailboxes;
  readonly #backpressure: Backpressure;
  readonly #slot: number;
  readonly #pending: Map<number, Pending>;
  #lastToken: number;
  readonly #acks: Map<Session, Acks>;
  /** Kept for the next turn: a busy shard has few publishers at a time. */
  readonly #spare: Acks[];
  readonly #record: Buffer;
  /** By slot: what is to be told of messages that came from there. */
  readonly #answers: { bytes: Uint8Array; size: number }[];

  constructor(exchange: Exchange, mailboxes: Mailboxes, backpressure: Backpressure) {
    this.#exchange = exchange;
    this.#mailboxes = mailboxes;
    this.#backpressure = backpressure;
    this.#slot = exchange.settings.slot;
    this.#pending = new Map();
    this.#lastToken = 0;
    this.#acks = new Map();
    this.#spare = [];
    this.#record = Buffer.allocUnsafeSlow(RECORD_ROOM);
    this.#answers = [];
  }

  /**
   * Takes the assured publish that `reader` stands on. Throws why it is refused. `onStored`: of a door that speaks no frames.
   */
  take(
    session: Session,
    reader: BatchReader,
    extensions: Extensions,
    topic: Topic<Route> | null,
    text: string,
    id: TopicId<Route> | null,
    onStored: OnStored | null,
  ): void {
    const exchange = this.#exchange;
    const { start, end } = reader;
    if (!extensions.has(Extension.messageId))
      throw new FlowbusError('BAD_EXTENSION', 'An assured message must have a message id.');
    if (end - start > exchange.settings.maxPayload - DELIVERY_MARGIN)
      throw new FlowbusError(
        'PAYLOAD_TOO_LARGE',
        `An assured message has at most ${exchange.settings.maxPayload - DELIVERY_MARGIN} bytes, all told.`,
      );
    const { ttl, delay } = extensions;
    if (ttl !== null && delay !== null && ttl <= delay)
      throw new FlowbusError('BAD_EXTENSION', 'The time to live must be longer than the delay.');
    const route = topic === null ? exchange.route(text) : exchange.routeOf(topic);
    const { mailboxes } = route;
    if (mailboxes.length === 0) throw new FlowbusError('NO_MAILBOX');
    if (this.#pending.size >= MAX_PENDING)
      throw new FlowbusError('LIMIT_REACHED', `${MAX_PENDING} assured messages wait to be stored already.`);

    const token = this.#nextToken();
    const messageId = latin1(
      reader.bytes,
      extensions.startOf(Extension.messageId),
      extensions.endOf(Extension.messageId),
    );
    const pending = new Pending(session, messageId, text, exchange.now, onStored);
    this.#pending.set(token, pending);
    const spelled = reader.topicLength !== 0 ? '' : text;
    for (let at = 0; at < mailboxes.length; at++) {
      const { slot, pressed } = mailboxes[at];
      if (pressed !== null) this.#backpressure.assured(pressed, session);
      if (pending.slots.includes(slot)) continue;
      pending.slots.push(slot);
      this.#toSlot(
        pending,
        token,
        slot,
        mailboxes,
        at,
        reader,
        session.sender.text,
        spelled,
        messageId,
        ttl ?? 0,
      );
    }
    // Who has no mailbox has nothing that could hold it back.
    if (!text.startsWith(AGENT_PREFIX) && delay === null) this.#alsoLive(session, route, id, reader);
    this.#finishIfDone(token, pending);
  }

  /** A worker sends what an agent of its published, for mailboxes here. */
  arrived(slot: number, src: Uint8Array, start: number, end: number): void {
    const { token, numbers, from, topic, id, ttl, start: frame } = readAssured(src, start);
    const intake = new Intake(slot, token, id);
    for (const number of numbers) this.#mailboxes.store(intake, number, from, topic, ttl, src, frame, end);
    this.#mailboxes.settle(intake);
  }

  /** What has become of a message: told to the worker that it came from. */
  stored(slot: number, token: number, stored: number, code: ErrorCode | null): void {
    if (slot === this.#slot) {
      this.settle(slot, token, stored, code);
      return;
    }
    this.#answers[slot] ??= { bytes: new Uint8Array(ACK_ROOM), size: 0 };
    const answers = this.#answers[slot];
    writeStoredRecord(answers.bytes, answers.size, token, stored, code);
    answers.size += STORED_SIZE;
    if (answers.size >= ACK_BYTES) this.#answer(slot);
    this.#exchange.unsettle();
  }

  /** Worker `slot` says what has become of a message. */
  settle(slot: number, token: number, stored: number, code: ErrorCode | null): void {
    const pending = this.#pending.get(token);
    const at = pending === undefined ? -1 : pending.slots.indexOf(slot);
    if (pending === undefined || at < 0) return;
    pending.slots.splice(at, 1);
    pending.stored += stored;
    pending.code ??= code;
    this.#finishIfDone(token, pending);
  }

  /** Its process is gone: what it had not answered may or may not be stored. */
  peerLost(slot: number): void {
    for (const [token, { slots }] of this.#pending)
      if (slots.includes(slot)) this.settle(slot, token, 0, 'MAILBOX_UNAVAILABLE');
  }

  /** Now and then: gives up on answers that do not come. */
  check(now: number): void {
    for (const [token, { since, slots }] of this.#pending) {
      // The oldest stand first, and the clock wraps.
      if (((now - since) | 0) < ANSWER_LIMIT) return;
      for (const slot of [...slots]) this.settle(slot, token, 0, 'MAILBOX_UNAVAILABLE');
    }
  }

  /** The end of a turn: acks and answers leave. */
  flush(): void {
    for (const [session, acks] of this.#acks) {
      this.#acknowledge(session, acks);
      if (this.#spare.length < 16) this.#spare.push(acks);
    }
    this.#acks.clear();
    for (let slot = 0; slot < this.#answers.length; slot++)
      if ((this.#answers[slot]?.size ?? 0) > 0) this.#answer(slot);
  }

  /** To all mailboxes of `mailboxes[from…]` that live on `slot`. */
  #toSlot(
    pending: Pending,
    token: number,
    slot: number,
    mailboxes: readonly MailboxRef[],
    first: number,
    reader: BatchReader,
    from: string,
    topic: string,
    id: string,
    ttl: number,
  ): void {
    const numbers: number[] = [];
    for (let i = first; i < mailboxes.length; i++)
      if (mailboxes[i].slot === slot) numbers.push(mailboxes[i].notice.handle & NUMBER);
    const { bytes, start, end, lane } = reader;
    if (slot === this.#slot) {
      const intake = new Intake(slot, token, id);
      for (const number of numbers)
        this.#mailboxes.store(intake, number, from, topic, ttl, bytes, start, end);
      this.#mailboxes.settle(intake);
      return;
    }
    const peer = this.#exchange.peers[slot] ?? null;
    const size =
      peer === null || numbers.length > MAX_TARGETS
        ? 0
        : writeAssured(this.#record, token, numbers, from, topic, id, ttl, bytes, start, end);
    if (peer?.send(RecordKind.assured, lane < FIRST_BULK_LANE, this.#record, 0, size) && size > 0) return;
    pending.slots.splice(pending.slots.indexOf(slot), 1);
    pending.code = 'MAILBOX_UNAVAILABLE';
  }

  /** Those who subscribed without a mailbox get it as they get any message. */
  #alsoLive(session: Session, route: Route, id: TopicId<Route> | null, reader: BatchReader): void {
    const { bytes, start, end, lane, flags } = reader;
    const { now } = this.#exchange;
    const expires = (flags & Flag.expires) !== 0;
    for (const taker of route.sessions)
      taker.offer(lane, bytes, start, end, 1, expires, now, session.sender, id);
    for (const peer of route.watchers) peer.forward(lane, bytes, start, end, 1, now, session.sender, id);
  }

  #finishIfDone(token: number, pending: Pending): void {
    if (pending.slots.length > 0) return;
    this.#pending.delete(token);
    const { session, sink, id, topic, stored, code, onStored } = pending;
    if (onStored !== null) {
      onStored(stored, code);
      return;
    }
    if (sink === null || session.sink !== sink) return;
    if (code !== null) {
      sink.refuse?.({ code, message: null, topic, correlation: Buffer.from(id, 'latin1') });
      return;
    }
    let acks = this.#acks.get(session);
    if (acks === undefined) {
      acks = this.#spare.pop() ?? new Acks();
      this.#acks.set(session, acks);
    }
    acks.size = writeStored(acks.bytes, acks.size, id, stored);
    if (acks.size >= ACK_BYTES) this.#acknowledge(session, acks);
    this.#exchange.unsettle();
  }

  #acknowledge(session: Session, acks: Acks): void {
    if (acks.size === 0) return;
    const payload = acks.bytes.subarray(0, acks.size);
    acks.size = 0;
    if (session.sink !== null) session.control(controlFrame(FrameType.ack, 0, Encoding.bytes, payload));
  }

  #answer(slot: number): void {
    const answers = this.#answers[slot];
    this.#exchange.peers[slot]?.send(RecordKind.stored, true, answers.bytes, 0, answers.size);
    answers.size = 0;
  }

  #nextToken(): number {
    this.#lastToken = (this.#lastToken + 1) >>> 0;
    return this.#lastToken;
  }
}

/** A few bytes as a text of one byte a character. What comes from a socket is a Buffer already: no view need be made. */
function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.isBuffer(bytes)
    ? bytes.toString('latin1', start, end)
    : Buffer.from(bytes.subarray(start, end)).toString('latin1');
}
