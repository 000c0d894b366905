/** Sessions of this shard as consumers of mailboxes, wherever those live: who consumes from what, deliveries, and acks. */
import { type ErrorCode, FlowbusError, isErrorCode } from '../lib/errors.js';
import { RecordKind } from '../lib/links.js';
import { type BreakerChange, MAX_PREFETCH } from '../lib/wire/control.js';
import { ACK_SIZE, isRepeated, NACK_HEADER, nackReason } from '../lib/wire/delivery.js';
import { FIRST_BULK_LANE, HEADER_SIZE, OFFSET_TOTAL, readU32, readU64, writeU32 } from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { ConsumeSpec } from './intake.js';
import type { Interest } from './interest.js';
import { mailboxName, slotOfHandle } from './mailbox-ref.js';
import type { MailboxTable } from './mailbox-table.js';
import { ROUND_SIZE, SESSION_PREFIX } from './mailbox-talk.js';
import type { Mailboxes } from './mailboxes.js';
import type { Peer } from './peer.js';
import { Placement } from './placement.js';
import { workerOfSender } from './sender-ids.js';
import type { Session, Sink } from './session.js';
import { encodeTalk } from './talk.js';

/** Mailboxes that one connection consumes from. */
export const MAX_CONSUMED = 1024;
/** Messages that an ack frame may name: each is looked for. */
const MAX_ACKED = 16 * MAX_PREFETCH;
/** How long another worker may take to answer (ms). */
const PATIENCE = 10_000;
const RECORD_ROOM = 128 * 1024;
const NUMBER = 0xff_ffff;
/** Behind mailbox and offset. */
const OFFSET_END = 12;
const GIVE_BACK_SIZE = OFFSET_END + 1 + ROUND_SIZE;
/** Of what was shed later: nothing is under way behind it that must go back, too. */
const NO_ROUND = 0xffff_ffff;

interface Asked {
  readonly slot: number;
  readonly session: Session;
  readonly spec: ConsumeSpec;
  readonly resolve: (handle: number) => void;
  readonly reject: (error: FlowbusError) => void;
  readonly timer: NodeJS.Timeout;
  /** The connection that asked. */
  readonly sink: Sink | null;
  /** Its session was told that there is no answer. */
  isLate: boolean;
  /** Its session has left the mailbox since. */
  isLeft: boolean;
}

export class Consuming {
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  readonly #table: MailboxTable;
  readonly #mailboxes: Mailboxes;
  readonly #bearer: (number: number) => Session | null;
  readonly #slot: number;
  /** Over the configured slots, alive or not: a mailbox does not move because a shard is down. */
  readonly #homes: Placement;
  /** Bounded by what sessions may consume. */
  readonly #asked: Map<number, Asked>;
  /** How many of them each session waits for. */
  readonly #waiting: Map<Session, number>;
  #lastRef: number;
  readonly #record: Uint8Array;
  readonly #returned: Uint8Array;

  constructor(
    exchange: Exchange,
    interest: Interest,
    table: MailboxTable,
    mailboxes: Mailboxes,
    bearer: (number: number) => Session | null,
  ) {
    this.#exchange = exchange;
    this.#interest = interest;
    this.#table = table;
    this.#mailboxes = mailboxes;
    this.#bearer = bearer;
    this.#slot = exchange.settings.slot;
    this.#homes = new Placement(exchange.settings.shards, { isLive: () => true, connections: () => 0 });
    this.#asked = new Map();
    this.#waiting = new Map();
    this.#lastRef = 0;
    this.#record = new Uint8Array(RECORD_ROOM);
    this.#returned = new Uint8Array(GIVE_BACK_SIZE);
  }

  /**
   * Resolves with the handle of the mailbox once every live shard knows of it. Rejects with NO_JOURNAL, LIMIT_REACHED,
   * JOURNAL_FULL, MAILBOX_UNAVAILABLE.
   */
  async consume(session: Session, spec: ConsumeSpec): Promise<number> {
    if ((session.consumes?.size ?? 0) + (this.#waiting.get(session) ?? 0) >= MAX_CONSUMED)
      throw new FlowbusError('LIMIT_REACHED', `A connection may consume from ${MAX_CONSUMED} mailboxes.`);
    const slot = this.#homeOf(spec);
    if (slot !== this.#slot) return this.#ask(slot, session, spec);
    const handle = this.#mailboxes.consume(session.sender.number, spec);
    this.#note(session, handle, spec);
    await this.#interest.settled();
    return handle;
  }

  /** As `leave`, by what the session had asked for: it may not have been answered yet. */
  leaveNamed(session: Session, spec: ConsumeSpec): void {
    const name = nameOf(spec);
    for (const [handle, consumed] of [...(session.consumes ?? [])])
      if (nameOf(consumed) === name) this.leave(session, handle);
    this.#takeBack(session, name);
  }

  /** The session consumes from this mailbox no more: what it has not acked goes to others. */
  leave(session: Session, handle: number): void {
    this.#takeBack(session, this.#table.find(handle)?.notice.name);
    session.consumes?.delete(handle);
    session.refused?.delete(handle);
    this.#tellLeave(session.sender.number, handle, false);
  }

  /** The session's connection is gone: it consumes from nothing. `broke`: it went without a goodbye. */
  left(session: Session, broke: boolean): void {
    const consumed = session.consumes;
    session.consumes = null;
    session.refused = null;
    if (consumed !== null)
      for (const handle of consumed.keys()) this.#tellLeave(session.sender.number, handle, broke);
  }

  /** Deliver frames of one lane for a session, wherever it is. False: the way there is full. What is for nobody goes to others when that is known. */
  deliver(number: number, lane: number, src: Uint8Array, start: number, end: number, round: number): boolean {
    const worker = workerOfSender(number);
    if (worker === this.#slot) return this.#bearer(number)?.deliver(lane, src, start, end, 0) ?? true;
    writeU32(this.#record, SESSION_PREFIX + end - start, round);
    return this.#send(
      this.#exchange.peers[worker],
      RecordKind.deliver,
      lane < FIRST_BULK_LANE,
      number,
      src,
      start,
      end,
      ROUND_SIZE,
    );
  }

  /** Tells a session, wherever it is, of its circuit breaker. */
  breaker(session: number, change: BreakerChange): void {
    const worker = workerOfSender(session);
    if (worker === this.#slot) this.#bearer(session)?.sink?.breaker?.(change);
    else this.#exchange.peers[worker]?.tell(encodeTalk({ t: 'breaker', session, change }));
  }

  /** A worker sends a delivery, acks or a nack, as this class has written it there. */
  delivered(src: Uint8Array, start: number, end: number, lane: number): void {
    const session = this.#bearer(readU32(src, start));
    if (session === null) return;
    const frames = start + SESSION_PREFIX;
    const framesEnd = end - ROUND_SIZE;
    const handle = readU32(src, frames + HEADER_SIZE);
    const round = readU32(src, framesEnd);
    // Smaller ones that were sent before the mailbox knew that a larger one found no room must not overtake it.
    const refused = session.refused?.get(handle) ?? -1;
    if (round > refused && session.deliver(lane, src, frames, framesEnd, 0)) return;
    session.refused ??= new Map();
    session.refused.set(handle, Math.max(round, refused));
    for (let o = frames; o < framesEnd; o += readU32(src, o + OFFSET_TOTAL))
      this.giveBack(session.sender.number, src, o, round);
  }

  /** The deliver frame at `src[start…]` does not reach its session here: the mailbox gives it to another. `round`: that it came with. */
  giveBack(session: number, src: Uint8Array, start: number, round = NO_ROUND): void {
    const at = start + HEADER_SIZE;
    const slot = slotOfHandle(readU32(src, at));
    const repeated = isRepeated(src, at);
    if (slot === this.#slot) {
      this.#mailboxes.giveBack(session, readU32(src, at) & NUMBER, readU64(src, at + 4), repeated, round);
      return;
    }
    this.#returned.set(src.subarray(at, at + OFFSET_END));
    this.#returned[OFFSET_END] = repeated ? 1 : 0;
    writeU32(this.#returned, OFFSET_END + 1, round);
    this.#send(
      this.#exchange.peers[slot],
      RecordKind.giveBack,
      true,
      session,
      this.#returned,
      0,
      GIVE_BACK_SIZE,
    );
  }

  /** A worker sends what `giveBack` has written there. */
  returned(src: Uint8Array, start: number): void {
    const at = start + SESSION_PREFIX;
    const repeated = src[at + OFFSET_END] === 1;
    const round = readU32(src, at + OFFSET_END + 1);
    this.#mailboxes.giveBack(
      readU32(src, start),
      readU32(src, at) & NUMBER,
      readU64(src, at + 4),
      repeated,
      round,
    );
  }

  acked(src: Uint8Array, start: number, end: number): void {
    const session = readU32(src, start);
    for (let at = start + SESSION_PREFIX; at + ACK_SIZE <= end; at += ACK_SIZE)
      this.#mailboxes.ack(session, readU32(src, at) & NUMBER, readU64(src, at + 4), readU32(src, at + 12));
  }

  nacked(src: Uint8Array, start: number, end: number): void {
    this.#nack(readU32(src, start), src, start + SESSION_PREFIX, end);
  }

  /** What an ack frame of a session says: runs of one mailbox after the other. Throws BAD_CONTROL. */
  ack(session: Session, src: Uint8Array, start: number, end: number): void {
    if (end === start || (end - start) % ACK_SIZE !== 0)
      throw new FlowbusError('BAD_CONTROL', `An ack has ${ACK_SIZE} bytes for each run of offsets.`);
    let named = 0;
    for (let at = start; at < end; at += ACK_SIZE) named += Math.min(MAX_PREFETCH, readU32(src, at + 12));
    if (named > MAX_ACKED)
      throw new FlowbusError('BAD_CONTROL', `An ack is of at most ${MAX_ACKED} messages.`);
    const { number } = session.sender;
    for (let at = start; at < end; ) {
      const slot = slotOfHandle(readU32(src, at));
      let to = at + ACK_SIZE;
      while (to < end && slotOfHandle(readU32(src, to)) === slot) to += ACK_SIZE;
      if (slot !== this.#slot)
        this.#send(this.#exchange.peers[slot], RecordKind.acks, true, number, src, at, to);
      else
        for (let o = at; o < to; o += ACK_SIZE)
          this.#mailboxes.ack(number, readU32(src, o) & NUMBER, readU64(src, o + 4), readU32(src, o + 12));
      at = to;
    }
  }

  /** Throws BAD_CONTROL. */
  nack(session: Session, src: Uint8Array, start: number, end: number): void {
    if (end - start < NACK_HEADER)
      throw new FlowbusError('BAD_CONTROL', `A nack has ${NACK_HEADER} bytes and a reason.`);
    const handle = readU32(src, start);
    const slot = slotOfHandle(handle);
    const { number } = session.sender;
    if (slot === this.#slot) this.#nack(number, src, start, end);
    else this.#send(this.#exchange.peers[slot], RecordKind.nack, true, number, src, start, end);
  }

  /** A peer asks for one of its sessions. `ref`: 0 when it waits for no answer. */
  asked(peer: Peer, ref: number, session: number, spec: ConsumeSpec): void {
    let handle: number;
    try {
      handle = this.#mailboxes.consume(session, spec);
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      peer.tell(encodeTalk({ t: 'consuming', ref, handle: 0, code: error.code, message: error.message }));
      return;
    }
    if (ref === 0) return;
    this.#interest.settled().then(() => {
      peer.tell(encodeTalk({ t: 'consuming', ref, handle, code: null, message: '' }));
      this.#exchange.tick();
    });
  }

  answered(ref: number, handle: number, code: string | null, message: string): void {
    const asked = this.#asked.get(ref);
    if (asked === undefined) return;
    this.#asked.delete(ref);
    clearTimeout(asked.timer);
    const { session, spec, sink, isLate, isLeft, resolve, reject } = asked;
    if (code !== null) {
      if (!isLate) reject(new FlowbusError(isErrorCode(code) ? code : 'MAILBOX_UNAVAILABLE', message));
      return;
    }
    // Where the connection that asked is gone, nobody else would say so.
    if (isLate || isLeft || session.sink !== sink || session.ended) this.#undo(asked, handle);
    else this.#note(session, handle, spec);
    if (!isLate) resolve(handle);
  }

  /** A new incarnation of a peer has told its mailboxes: sessions that consumed from them go on. */
  peerUp(peer: Peer, sessions: Iterable<Session>): void {
    for (const session of sessions) {
      if (session.consumes === null) continue;
      for (const [handle, spec] of session.consumes)
        if (slotOfHandle(handle) === peer.slot) {
          // Its rounds begin anew.
          session.refused?.delete(handle);
          peer.tell(encodeTalk({ t: 'consume', ref: 0, session: session.sender.number, spec }));
        }
    }
  }

  peerLost(slot: number): void {
    this.#mailboxes.leaveAll((session) => workerOfSender(session) === slot);
    for (const [ref, asked] of [...this.#asked])
      if (asked.slot === slot) this.#failed(ref, 'MAILBOX_UNAVAILABLE', 'The shard where it lives is down.');
  }

  /** `src[start, end)` is the payload of a nack frame. */
  #nack(session: number, src: Uint8Array, start: number, end: number): void {
    const mailbox = readU32(src, start) & NUMBER;
    this.#mailboxes.nack(session, mailbox, readU64(src, start + 4), nackReason(src, start, end));
  }

  #homeOf(spec: ConsumeSpec): number {
    const name = nameOf(spec);
    return this.#table.named(name)?.slot ?? this.#homes.place(name);
  }

  #note(session: Session, handle: number, spec: ConsumeSpec): void {
    session.consumes ??= new Map();
    session.consumes.set(handle, spec);
  }

  async #ask(slot: number, session: Session, spec: ConsumeSpec): Promise<number> {
    const peer = this.#exchange.peers[slot];
    if (!peer?.listening) throw new FlowbusError('MAILBOX_UNAVAILABLE', 'The shard where it lives is down.');
    const ref = ++this.#lastRef;
    this.#waiting.set(session, (this.#waiting.get(session) ?? 0) + 1);
    try {
      return await new Promise((resolve, reject) => {
        const timer = setTimeout(() => this.#giveUp(ref), PATIENCE);
        const { sink } = session;
        const flags = { isLate: false, isLeft: false };
        this.#asked.set(ref, { slot, session, spec, resolve, reject, timer, sink, ...flags });
        peer.tell(encodeTalk({ t: 'consume', ref, session: session.sender.number, spec }));
      });
    } finally {
      const left = this.#waiting.get(session)! - 1;
      if (left === 0) this.#waiting.delete(session);
      else this.#waiting.set(session, left);
    }
  }

  /** The answer may come yet, and then the session is a consumer that knows nothing of it. */
  #giveUp(ref: number): void {
    const asked = this.#asked.get(ref)!;
    asked.isLate = true;
    asked.reject(new FlowbusError('MAILBOX_UNAVAILABLE', 'The shard where it lives does not answer.'));
  }

  /** What the session has asked for, and not heard of, it wants no more. */
  #takeBack(session: Session, name: string | undefined): void {
    for (const asked of this.#asked.values())
      if (asked.session === session && nameOf(asked.spec) === name) asked.isLeft = true;
  }

  /** Unless it has asked again: then that counts. */
  #undo({ session: { sender }, spec }: Asked, handle: number): void {
    const { number } = sender;
    if (this.#bearer(number)?.consumes?.has(handle)) return;
    for (const other of this.#asked.values())
      if (other.session.sender.number === number && nameOf(other.spec) === nameOf(spec)) return;
    this.#tellLeave(number, handle, false);
  }

  #failed(ref: number, code: ErrorCode, message: string): void {
    this.answered(ref, 0, code, message);
  }

  #tellLeave(session: number, handle: number, broke: boolean): void {
    const slot = slotOfHandle(handle);
    if (slot === this.#slot) this.#mailboxes.leave(session, handle & NUMBER, broke);
    else this.#exchange.peers[slot]?.tell(encodeTalk({ t: 'leave', session, handle, broke }));
  }

  /** False when it does not fit into the link: an ack is made good when the lease ends. `tail`: bytes that stand behind it in the record already. */
  #send(
    peer: Peer | null | undefined,
    kind: RecordKind,
    urgent: boolean,
    session: number,
    src: Uint8Array,
    start: number,
    end: number,
    tail = 0,
  ): boolean {
    writeU32(this.#record, 0, session);
    this.#record.set(src.subarray(start, end), SESSION_PREFIX);
    return peer?.send(kind, urgent, this.#record, 0, end - start + SESSION_PREFIX + tail) ?? false;
  }
}

function nameOf({ kind, name, pattern }: ConsumeSpec): string {
  return mailboxName(kind, name, pattern);
}
