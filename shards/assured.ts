/**
 * Assured publishes where they come in: to every mailbox that matches, here or on another worker, and when all have journaled it,
 * an ack to the publisher; a part of them is an error that is safe to repeat.
 */
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import { RecordKind } from '../lib/links.js';
import type { Topic } from '../lib/topics/table.js';
import { AGENT_PREFIX } from '../lib/topics/topic.js';
import type { BatchReader } from '../lib/wire/batch.js';
import { DELIVERY_MARGIN } from '../lib/wire/delivery.js';
import { Extension, type Extensions, MAX_MESSAGE_ID } from '../lib/wire/extensions.js';
import { FIRST_BULK_LANE, Flag } from '../lib/wire/frame.js';
import type { Backpressure } from './backpressure.js';
import type { Exchange } from './exchange.js';
import type { History } from './history.js';
import type { MailboxRef } from './mailbox-ref.js';
import { AssuredReader, MAX_TARGETS, STORED_SIZE, writeAssured, writeStoredRecord } from './mailbox-talk.js';
import { type Account, PublisherAcks } from './publisher-acks.js';
import type { Route } from './route.js';
import type { Session, Sink } from './session.js';
import type { Storing } from './storing.js';
import type { TopicId } from './topic-ids.js';

/** Assured publishes of a shard's agents that wait for their mailboxes. */
const MAX_PENDING = 262_144;
/** What a worker has not answered by then, though it lives, found no room in the link (ms). */
const ANSWER_LIMIT = 30_000;
/** Bytes of answers in one record, at most. */
const ANSWER_BYTES = 32 * 1024;
const RECORD_ROOM = 128 * 1024;
const NUMBER = 0xff_ffff;

/** Told once what has become of a message: how many mailboxes hold it, or why not all that should. */
export type OnStored = (stored: number, code: ErrorCode | null) => void;

/** Objects that are kept to be used again. */
const MAX_SPARE = 4096;

/** A publish that waits to be stored. It is used again and again. */
class Pending {
  account: Account | null;
  /** Of the connection that it came over: the ack is for that alone. */
  sink: Sink | null;
  /** The message id is `id[0, idSize)`. */
  readonly id: Uint8Array;
  idSize: number;
  topic: string;
  /** Null: the session's connection is told, in frames. */
  onStored: OnStored | null;
  /** On the exchange's clock. */
  since: number;
  /** Workers that have not answered, as often as they are to; none before it begins and when it is done. */
  readonly slots: number[];
  stored: number;
  code: ErrorCode | null;

  constructor() {
    this.account = null;
    this.sink = null;
    this.id = new Uint8Array(MAX_MESSAGE_ID);
    this.idSize = 0;
    this.topic = '';
    this.since = 0;
    this.onStored = null;
    this.slots = [];
    this.stored = 0;
    this.code = null;
  }

  begin(account: Account, b: Uint8Array, start: number, end: number, topic: string, since: number): void {
    this.account = account;
    this.sink = account.session.sink;
    this.idSize = end - start;
    for (let i = start; i < end; i++) this.id[i - start] = b[i];
    this.topic = topic;
    this.since = since;
    this.stored = 0;
    this.code = null;
  }

  /** False: `slot` has nothing to say about it. */
  answered(slot: number): boolean {
    const { slots } = this;
    const at = slots.indexOf(slot);
    if (at < 0) return false;
    slots[at] = slots[slots.length - 1];
    slots.pop();
    return true;
  }
}

export class Assured {
  readonly #exchange: Exchange;
  readonly #storing: Storing;
  readonly #backpressure: Backpressure;
  readonly #history: History;
  readonly #slot: number;
  readonly #pending: Map<number, Pending>;
  /** Workers to which a record of the message in hand could not be sent. */
  readonly #unsent: number[];
  #lastToken: number;
  readonly #sparePending: Pending[];
  readonly #acks: PublisherAcks;
  readonly #record: Uint8Array;
  readonly #reader: AssuredReader;
  /** By slot: what is to be told of messages that came from there. */
  readonly #answers: { bytes: Uint8Array; size: number }[];

  constructor(exchange: Exchange, storing: Storing, backpressure: Backpressure, history: History) {
    this.#exchange = exchange;
    this.#history = history;
    this.#storing = storing;
    this.#backpressure = backpressure;
    this.#slot = exchange.settings.slot;
    this.#pending = new Map();
    this.#unsent = [];
    this.#lastToken = 0;
    this.#sparePending = [];
    this.#acks = new PublisherAcks(exchange);
    this.#record = new Uint8Array(RECORD_ROOM);
    this.#reader = new AssuredReader();
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
    const pending = this.#sparePending.pop() ?? new Pending();
    const idStart = extensions.startOf(Extension.messageId);
    pending.begin(
      this.#acks.expect(session),
      reader.bytes,
      idStart,
      extensions.endOf(Extension.messageId),
      text,
      exchange.now,
    );
    pending.onStored = onStored;
    this.#pending.set(token, pending);
    const spelled = reader.topicLength !== 0 ? '' : text;
    for (let at = 0; at < mailboxes.length; at++) {
      const { slot, pressed } = mailboxes[at];
      if (pressed !== null) this.#backpressure.assured(pressed, session);
      if (pending.slots.includes(slot)) continue;
      pending.slots.push(slot);
      this.#toSlot(pending, token, slot, mailboxes, at, reader, session.sender.text, spelled, ttl ?? 0);
    }
    for (let slot = this.#unsent.pop(); slot !== undefined; slot = this.#unsent.pop()) {
      pending.answered(slot);
      pending.code = 'MAILBOX_UNAVAILABLE';
    }
    // Who has no mailbox has nothing that could hold it back.
    if (!text.startsWith(AGENT_PREFIX) && delay === null)
      this.#alsoLive(session, route, topic, text, id, reader);
    this.#finishIfDone(token, pending);
  }

  /** A worker sends what an agent of its published, for mailboxes here. */
  arrived(slot: number, src: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.read(src, start);
    const { from, topic, ttl, start: frame } = reader;
    const intake = this.#storing.intake(slot, reader.token);
    for (let i = 0; i < reader.count; i++)
      this.#storing.store(intake, reader.numberAt(i), from, topic, ttl, src, frame, end);
    this.#storing.settle(intake);
  }

  /** One that a worker had sent, and that two processes of this shard have died over: it is not tried a third time. */
  poisoned(src: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.read(src, start);
    const { from, topic, start: frame } = reader;
    for (let i = 0; i < reader.count; i++)
      this.#storing.poisoned(reader.numberAt(i), from, topic, src, frame, end);
  }

  /** What has become of a message: told to the worker that it came from. */
  stored(slot: number, token: number, stored: number, code: ErrorCode | null): void {
    if (slot === this.#slot) {
      this.settle(slot, token, stored, code);
      return;
    }
    this.#answers[slot] ??= { bytes: new Uint8Array(ANSWER_BYTES + STORED_SIZE), size: 0 };
    const answers = this.#answers[slot];
    writeStoredRecord(answers.bytes, answers.size, token, stored, code);
    answers.size += STORED_SIZE;
    if (answers.size >= ANSWER_BYTES) this.#answer(slot);
    this.#exchange.unsettle();
  }

  /** Worker `slot` says what has become of a message. */
  settle(slot: number, token: number, stored: number, code: ErrorCode | null): void {
    const pending = this.#pending.get(token);
    if (pending === undefined || !pending.answered(slot)) return;
    pending.stored += stored;
    pending.code ??= code;
    this.#finishIfDone(token, pending);
  }

  /** Its process is gone: what it had not answered may or may not be stored. */
  peerLost(slot: number): void {
    for (const [token, { slots }] of this.#pending)
      while (slots.includes(slot)) this.settle(slot, token, 0, 'MAILBOX_UNAVAILABLE');
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
    this.#acks.flush();
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
    ttl: number,
  ): void {
    const { bytes, start, end, lane } = reader;
    if (slot === this.#slot) {
      const intake = this.#storing.intake(slot, token);
      for (let i = first; i < mailboxes.length; i++)
        if (mailboxes[i].slot === slot)
          this.#storing.store(intake, numberOf(mailboxes[i]), from, topic, ttl, bytes, start, end);
      this.#storing.settle(intake);
      return;
    }
    const numbers: number[] = [];
    for (let i = first; i < mailboxes.length; i++)
      if (mailboxes[i].slot === slot) numbers.push(numberOf(mailboxes[i]));
    const peer = this.#exchange.peers[slot];
    const urgent = lane < FIRST_BULK_LANE;
    // Each record is answered by itself.
    for (let i = 0; i < numbers.length; i += MAX_TARGETS) {
      if (i > 0) pending.slots.push(slot);
      const some = numbers.length <= MAX_TARGETS ? numbers : numbers.slice(i, i + MAX_TARGETS);
      const size = writeAssured(this.#record, token, some, from, topic, ttl, bytes, start, end);
      if (!peer?.send(RecordKind.assured, urgent, this.#record, 0, size)) this.#unsent.push(slot);
    }
  }

  /** Those who subscribed without a mailbox get it as they get any message. */
  #alsoLive(
    session: Session,
    route: Route,
    topic: Topic<Route> | null,
    text: string,
    id: TopicId<Route> | null,
    reader: BatchReader,
  ): void {
    const { bytes, start, end, lane, flags } = reader;
    const { now, clock } = this.#exchange;
    const from = session.sender;
    const place = route.kept ? this.#history.record(lane, clock, from, topic, text, bytes, start, end, 1) : 0;
    const expires = (flags & Flag.expires) !== 0;
    for (const taker of route.sessions)
      taker.offer(lane, bytes, start, end, 1, expires, now, from, id, place);
    for (const peer of route.watchers) peer.forward(lane, bytes, start, end, 1, now, from, id, place);
  }

  #finishIfDone(token: number, pending: Pending): void {
    if (pending.slots.length > 0) return;
    this.#pending.delete(token);
    const { sink, id, idSize, topic, stored, code, onStored } = pending;
    const account = pending.account!;
    const { session } = account;
    if (onStored !== null) onStored(stored, code);
    else if (sink !== null && session.sink === sink) {
      if (code === null) this.#acks.owe(account, id, idSize, stored);
      else sink.refuse?.({ code, message: null, topic, correlation: id.slice(0, idSize) });
    }
    this.#acks.answered(account);
    pending.account = null;
    pending.sink = null;
    pending.onStored = null;
    if (this.#sparePending.length < MAX_SPARE) this.#sparePending.push(pending);
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

function numberOf(mailbox: MailboxRef): number {
  return mailbox.notice.handle & NUMBER;
}
