/**
 * The mailboxes that live on this slot: what comes in is journaled once a turn, then acked and handed to consumers. That order
 * is the promise: nobody hears of a message that a crash could take back.
 */
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import type { Consumer } from '../lib/queues/consumer.js';
import type { Shares } from '../lib/queues/entry-lanes.js';
import { FullnessState } from '../lib/queues/fullness.js';
import type { MailboxPolicy } from '../lib/queues/mailbox.js';
import type { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { IdBudget, type RecentIds } from '../lib/queues/recent-ids.js';
import { TimingWheel } from '../lib/queues/timing-wheel.js';
import { C } from '../lib/telemetry/counters.js';
import { type BreakerReason, MAX_PREFETCH } from '../lib/wire/control.js';
import { DELIVERY_MARGIN } from '../lib/wire/delivery.js';
import { Alarm } from './alarm.js';
import type { PressureNotice } from './backpressure.js';
import { type Revival, reviveAll } from './dead-letter-replay.js';
import type { DeadLetters } from './dead-letters.js';
import type { Exchange } from './exchange.js';
import { Expiry } from './expiry.js';
import { Feeding } from './feeding.js';
import { Home, type HomeGround, type HomeOffice, KNOWN_IDS_BYTES } from './home.js';
import type { ConsumeSpec, MailboxPort } from './intake.js';
import { Integrity } from './integrity.js';
import { Journal, type JournalSettings } from './journal/journal.js';
import type { Progress } from './journal/progress.js';
import { Recovery } from './journal/recovery.js';
import { rewrite, unburden } from './journal/renewal.js';
import { policyOf } from './mailbox-policy.js';
import {
  handleOf,
  MAX_MAILBOX_NUMBER,
  type MailboxKind,
  type MailboxNotice,
  mailboxName,
} from './mailbox-ref.js';
import { MAX_MAILBOXES, type MailboxTable } from './mailbox-table.js';
import { Storing } from './storing.js';

/** Leases, delays and waits that may end in one turn; what is left ends in the next. */
const DUE_PER_TURN = 10_000;

const BREAKER_COUNTERS = {
  closed: C.breakersClosed,
  open: C.breakersOpened,
  'half-open': C.breakersHalfOpened,
} as const;

export class Mailboxes implements HomeOffice {
  readonly #exchange: Exchange;
  readonly #table: MailboxTable;
  readonly #port: MailboxPort;
  readonly #policy: MailboxPolicy;
  readonly letters: DeadLetters;
  readonly #slot: number;
  /** Bytes of a frame around which a deliver frame has room. */
  readonly #largest: number;
  readonly #shares: Shares;
  #journal: Journal | null;
  #ground: HomeGround | null;
  /** By number; bounded by MAX_MAILBOXES. */
  readonly #homes: Map<number, Home>;
  #nextNumber: number;
  /** How messages come in. */
  readonly storing: Storing;
  readonly #feeding: Feeding;
  /** Leases, delays and waits of all mailboxes. */
  readonly #wheel: TimingWheel<MailboxEntry>;
  readonly #alarm: Alarm;
  /** Now, while the wheel fires. */
  #now: number;
  readonly #integrity: Integrity;
  readonly #ids: IdBudget;
  readonly #expiry: Expiry;

  constructor(
    exchange: Exchange,
    table: MailboxTable,
    port: MailboxPort,
    policy: MailboxPolicy,
    shares: Shares,
    letters: DeadLetters,
  ) {
    this.#exchange = exchange;
    this.#table = table;
    this.#port = port;
    this.#policy = policy;
    this.#slot = exchange.settings.slot;
    this.#largest = exchange.settings.maxPayload - DELIVERY_MARGIN;
    this.#shares = shares;
    this.letters = letters;
    this.#integrity = new Integrity();
    this.#ids = new IdBudget(KNOWN_IDS_BYTES);
    this.#journal = null;
    this.#ground = null;
    this.#homes = new Map();
    this.#nextNumber = 1;
    this.#feeding = new Feeding(exchange, port);
    this.#expiry = new Expiry(this.#feeding);
    this.storing = new Storing(exchange, port, this.#homes, this.#integrity, this.#feeding);
    this.#now = performance.now();
    this.#wheel = new TimingWheel(this.#now, (entry) => entry.mailbox?.due(entry, this.#now, Date.now()));
    this.#alarm = new Alarm(() => this.#due());
  }

  get size(): number {
    return this.#homes.size;
  }

  get isOpen(): boolean {
    return this.#journal !== null;
  }

  /**
   * Opens the journal of this slot and brings back what it holds, and what lies in `orphans`: journals of slots that are no
   * more, which are taken over. Returns how many messages there are; `progress` hears of it while it is read.
   */
  open(settings: JournalSettings, orphans: readonly string[], progress: Progress): number {
    const journal = new Journal(settings);
    this.letters.open(settings, orphans);
    const recovery = new Recovery(this.#ids);
    journal.open(recovery, (segment, read, total) => {
      recovery.begin(segment);
      progress.at(recovery.messages, read, total);
    });
    this.#journal = journal;
    this.storing.open(journal);
    this.#ground = {
      journal,
      letters: this.letters,
      wheel: this.#wheel,
      shares: this.#shares,
      office: this,
      stallLimit: this.#exchange.settings.stallLimit,
      largest: this.#largest,
      ids: this.#ids,
    };
    const wall = Date.now();
    for (const { number, record, segment, entries, recent } of recovery.mailboxes()) {
      const home = this.#settle(number, record, record.epoch, recent);
      home.segment = segment;
      for (const entry of entries) {
        journal.holds(entry);
        home.takeBack(entry, wall, this.#integrity);
      }
    }
    for (const dir of orphans) this.#adopt(dir, settings);
    this.#alarm.set(this.#wheel.next);
    return this.#count();
  }

  /** What lives here, for those who do not know yet. */
  notices(): MailboxNotice[] {
    return [...this.#homes.values()].map(({ notice }) => notice);
  }

  /** Which mailboxes here are under pressure, for those who do not know yet. */
  pressures(): PressureNotice[] {
    return [...this.#homes.values()].map(({ pressure }) => pressure).filter(({ active }) => active);
  }

  /** Makes `session` a consumer, and the mailbox if there is none. Throws NO_JOURNAL, LIMIT_REACHED, JOURNAL_FULL. */
  consume(session: number, spec: ConsumeSpec): number {
    const journal = this.#opened();
    this.turn();
    const name = mailboxName(spec.kind, spec.name, spec.pattern);
    const ref = this.#table.named(name);
    let home = ref?.home ?? null;
    if (ref !== undefined && home === null)
      throw new FlowbusError('MAILBOX_UNAVAILABLE', `The mailbox ${name} lives on shard ${ref.slot}.`);
    const policy = policyOf(spec, home?.mailbox.policy ?? this.#policy);
    if (home === null) {
      if (this.#table.size >= MAX_MAILBOXES || this.#nextNumber > MAX_MAILBOX_NUMBER)
        throw new FlowbusError('LIMIT_REACHED', `A node may have ${MAX_MAILBOXES} mailboxes.`);
      const { kind, pattern } = spec;
      home = this.#settle(this.#nextNumber, { name, kind, pattern, policy, nextOffset: 1 }, 1);
      home.record();
      if (!journal.flush()) {
        this.#homes.delete(home.number);
        this.#table.remove(home.notice.handle);
        // What it is will be written once there is room; so that it is not found at the next start, that it is no more too.
        journal.closed(home.number);
        this.#nextNumber = home.number;
        throw new FlowbusError('JOURNAL_FULL');
      }
      this.#port.announce([home.notice], []);
    } else if (JSON.stringify(policy) !== JSON.stringify(home.mailbox.policy)) {
      home.reform(policy);
    }
    home.attach(session, spec.consumer, spec.prefetch);
    this.touch(home);
    return home.notice.handle;
  }

  /** The session consumes from the mailbox `number` no more. `broke`: its connection was lost without a goodbye. */
  leave(session: number, number: number, broke: boolean): void {
    const home = this.#homes.get(number);
    if (home?.detach(session, broke, Date.now())) this.touch(home);
  }

  /** All sessions for which `isGone` holds consume no more: their shard is gone, which says nothing about them. */
  leaveAll(isGone: (session: number) => boolean): void {
    for (const home of this.#homes.values())
      for (const session of [...home.consumers.keys()])
        if (isGone(session)) this.leave(session, home.number, false);
  }

  /**
   * Puts dead letters back into mailboxes that live here. Resolves, when they are as safe as what is acked, with what hinders
   * each: MAILBOX_FULL, JOURNAL_FULL, CHECKSUM_MISMATCH, PAYLOAD_TOO_LARGE; null: nothing.
   */
  async revive(dead: readonly Revival[]): Promise<(ErrorCode | null)[]> {
    const journal = this.#opened();
    this.turn();
    const codes = reviveAll(journal, this.#integrity, this.#largest, dead, Date.now());
    for (const { home } of dead) this.touch(home);
    const safe = await new Promise<boolean>((resolve) => journal.settled(resolve));
    return codes.map((code) => code ?? (safe ? null : 'MAILBOX_UNAVAILABLE'));
  }

  /** `count` messages from `offset` on are done. What the session does not hold is passed over. */
  ack(session: number, number: number, offset: number, count: number): void {
    const home = this.#homes.get(number);
    const consumer = home?.consumers.get(session);
    if (home === undefined || consumer === undefined) return;
    // Its prefetch may have been larger when it got them.
    const most = Math.min(count, MAX_PREFETCH);
    const now = performance.now();
    for (let i = 0; i < most && consumer.inFlight > 0; i++) {
      const entry = home.mailbox.ack(consumer, offset + i, now);
      if (entry === null) continue;
      this.#exchange.counters[C.mailboxAcks]++;
      home.left(entry);
    }
    this.touch(home);
  }

  /** A message did not reach its consumer. `repeated`, `round`: as its delivery said. */
  giveBack(session: number, number: number, offset: number, repeated: boolean, round: number): void {
    const home = this.#homes.get(number);
    const consumer = home?.consumers.get(session);
    if (home === undefined || consumer === undefined) return;
    // All of that round comes back; what is sent from now on may be taken.
    if (round === consumer.round) consumer.round++;
    if (home.mailbox.giveBack(consumer, offset, repeated) === null) return;
    this.#exchange.counters[C.mailboxReturned]++;
    this.touch(home);
  }

  nack(session: number, number: number, offset: number, reason: string): void {
    const home = this.#homes.get(number);
    const consumer = home?.consumers.get(session);
    if (home === undefined || consumer === undefined) return;
    if (home.mailbox.nack(consumer, offset, reason, performance.now(), Date.now()) !== null) this.touch(home);
  }

  /** The end of a turn: what came is written, who waits is told, who consumes is fed. */
  turn(): void {
    const journal = this.#journal;
    if (journal === null) return;
    this.#expiry.turn();
    this.letters.flush();
    const written = journal.flush();
    this.storing.flushed(journal, written);
    this.#feeding.feed();
    this.#alarm.set(this.#wheel.next);
    const burden = journal.burden;
    if (burden !== null && written && this.letters.unsafe === 0)
      unburden(journal, this.#homes.values(), burden);
    journal.roll();
  }

  /** Now and then. */
  check(): void {
    if (this.#journal === null) return;
    this.#journal.check();
    const wall = Date.now();
    const counters = this.#exchange.counters;
    this.letters.check(wall);
    this.#expiry.look(this.#homes.values());
    let messages = 0;
    let bytes = 0;
    let inFlight = 0;
    let broken = 0;
    let delayed = 0;
    let pressed = 0;
    let emergencies = 0;
    for (const home of this.#homes.values()) {
      const { mailbox, fullness } = home;
      mailbox.retry();
      if (home.weigh(this.#exchange.now) || fullness.check(this.#exchange.now))
        this.#port.onPressure(home.pressure);
      if (fullness.state === FullnessState.pressed) pressed++;
      else if (fullness.state === FullnessState.emergency) emergencies++;
      counters[C.mailboxExpired] += home.expired;
      home.expired = 0;
      messages += mailbox.messages;
      bytes += mailbox.bytes;
      inFlight += mailbox.inFlight;
      delayed += mailbox.delayed;
      broken += home.broken;
      if (mailbox.waiting > 0) this.touch(home);
      else if (
        mailbox.messages === 0 &&
        home.consumers.size === 0 &&
        wall - home.awaySince > mailbox.policy.maxAge
      )
        this.#close(home);
    }
    counters[C.mailboxes] = this.#homes.size;
    counters[C.mailboxMessages] = messages;
    counters[C.mailboxBytes] = bytes;
    counters[C.mailboxInFlight] = inFlight;
    counters[C.breakersOpen] = broken;
    counters[C.mailboxDelayed] = delayed;
    counters[C.mailboxesPressed] = pressed;
    counters[C.mailboxesEmergency] = emergencies;
    counters[C.journalBytes] = this.#journal.fileBytes;
    this.#exchange.unsettle();
  }

  close(): void {
    this.turn();
    this.#alarm.clear();
    this.letters.close();
    this.storing.close();
    this.#journal?.close();
    this.#journal = null;
  }

  #opened(): Journal {
    if (this.#journal === null) throw new FlowbusError('NO_JOURNAL');
    return this.#journal;
  }

  #settle(
    number: number,
    record: { name: string; kind: MailboxKind; pattern: string; policy: MailboxPolicy; nextOffset: number },
    epoch: number,
    recent?: RecentIds,
  ): Home {
    const { name, kind, pattern, nextOffset } = record;
    // A journal that an older version wrote says less.
    const policy = { ...this.#policy, ...record.policy };
    const notice: MailboxNotice = { handle: handleOf(this.#slot, number), name, kind, pattern, epoch };
    const home = new Home(this.#ground!, number, notice, policy, Date.now(), recent);
    home.mailbox.nextOffset = nextOffset;
    this.#homes.set(number, home);
    if (number >= this.#nextNumber) this.#nextNumber = number + 1;
    this.#table.add(notice, home);
    return home;
  }

  /** The journal of a slot that is no more: its mailboxes move here, with a higher epoch, then it is removed. */
  #adopt(dir: string, settings: JournalSettings): void {
    const journal = this.#journal!;
    const old = new Journal({ ...settings, dir });
    const recovery = new Recovery(this.#ids);
    old.open(recovery, (segment) => recovery.begin(segment));
    for (const { record, entries, recent } of recovery.mailboxes()) {
      // One that is here already may be of an earlier attempt, which ended too soon: what came then comes again, flagged.
      const known = this.#table.named(record.name)?.home;
      const home = known ?? this.#settle(this.#nextNumber, record, record.epoch + 1, recent);
      if (known == null) home.record();
      else recent.clear();
      for (const entry of entries) {
        const moved = known == null ? entry : entry.movedTo(home.mailbox.nextOffset);
        rewrite(journal, home, moved);
        home.takeBack(moved, Date.now(), this.#integrity);
      }
    }
    // What cannot be written stays where it is, and is found again at the next start.
    if (journal.flush()) old.remove();
    else old.close();
  }

  onBreaker(home: Home, { id, name: agentId, breaker }: Consumer, reason: BreakerReason): void {
    const { handle, name } = home.notice;
    const { state, coolDown } = breaker;
    this.#exchange.counters[BREAKER_COUNTERS[state]]++;
    const change = { mailbox: handle, name, state, reason, coolDown: state === 'open' ? coolDown : 0 };
    this.#port.onBreaker(id, agentId, change);
  }

  /** What was due is handed out, or tried again, at the end of this turn. */
  #due(): void {
    if (this.#journal === null) return;
    this.#now = performance.now();
    this.#wheel.advance(this.#now, DUE_PER_TURN);
    this.#exchange.unsettle();
  }

  touch(home: Home): void {
    this.#feeding.touch(home);
  }

  #close(home: Home): void {
    this.#homes.delete(home.number);
    home.recent.clear();
    this.#journal!.closed(home.number);
    this.#table.remove(home.notice.handle);
    this.#port.announce([], [home.notice.handle]);
  }

  #count(): number {
    let messages = 0;
    for (const { mailbox } of this.#homes.values()) messages += mailbox.messages;
    return messages;
  }
}
