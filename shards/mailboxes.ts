/**
 * The mailboxes that live on this slot: what comes in is journaled once a turn, then acked and handed to consumers. That order
 * is the promise: nobody hears of a message that a crash could take back.
 */
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import type { Consumer } from '../lib/queues/consumer.js';
import type { Shares } from '../lib/queues/entry-lanes.js';
import { FullnessState } from '../lib/queues/fullness.js';
import type { MailboxPolicy } from '../lib/queues/mailbox.js';
import { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import type { RecentIds } from '../lib/queues/recent-ids.js';
import { TimingWheel } from '../lib/queues/timing-wheel.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { type BreakerReason, MAX_PREFETCH } from '../lib/wire/control.js';
import { delayOfFrame, idOfFrame, keyOfFrame } from '../lib/wire/delivery.js';
import { endOfExtension } from '../lib/wire/extensions.js';
import {
  Flag,
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  readU32,
} from '../lib/wire/frame.js';
import { readTimeToLive } from '../lib/wire/ttl.js';
import { Alarm } from './alarm.js';
import type { PressureNotice } from './backpressure.js';
import { type Revival, reviveAll } from './dead-letter-replay.js';
import type { DeadLetters } from './dead-letters.js';
import type { Exchange } from './exchange.js';
import { Feeding } from './feeding.js';
import { Home, type HomeGround, type HomeOffice } from './home.js';
import { type ConsumeSpec, Intake, type MailboxPort, NOBODY } from './intake.js';
import { Integrity } from './integrity.js';
import { Journal, type JournalSettings } from './journal/journal.js';
import type { Progress } from './journal/progress.js';
import type { StoredMessage } from './journal/records.js';
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
import type { Route } from './route.js';

/** Leases, delays and waits that may end in one turn; what is left ends in the next. */
const DUE_PER_TURN = 10_000;
/** Intakes that are kept to be used again. */
const MAX_SPARE = 4096;

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
  readonly #shares: Shares;
  #journal: Journal | null;
  #ground: HomeGround | null;
  /** By number; bounded by MAX_MAILBOXES. */
  readonly #homes: Map<number, Home>;
  #nextNumber: number;
  #intakes: Intake[];
  readonly #spare: Intake[];
  /** What is handed to the journal: one object for all. */
  readonly #message: StoredMessage;
  readonly #feeding: Feeding;
  /** Leases, delays and waits of all mailboxes. */
  readonly #wheel: TimingWheel<MailboxEntry>;
  readonly #alarm: Alarm;
  /** Now, while the wheel fires. */
  #now: number;
  readonly #integrity: Integrity;

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
    this.#shares = shares;
    this.letters = letters;
    this.#integrity = new Integrity();
    this.#journal = null;
    this.#ground = null;
    this.#homes = new Map();
    this.#nextNumber = 1;
    this.#intakes = [];
    this.#spare = [];
    this.#message = {
      mailbox: 0,
      offset: 0,
      lane: 0,
      from: '',
      topic: '',
      storedAt: 0,
      deadline: 0,
      bytes: new Uint8Array(0),
      start: 0,
      end: 0,
      idStart: 0,
      idEnd: 0,
    };
    this.#feeding = new Feeding(exchange, port);
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
    const recovery = new Recovery();
    journal.open(recovery, (segment, read, total) => {
      recovery.begin(segment);
      progress.at(recovery.messages, read, total);
    });
    this.#journal = journal;
    this.#ground = {
      journal,
      letters: this.letters,
      wheel: this.#wheel,
      shares: this.#shares,
      office: this,
      stallLimit: this.#exchange.settings.stallLimit,
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

  /** For a message that comes: hand it to `store` for each of its mailboxes, then to `settle`. */
  intake(slot: number, token: number): Intake {
    const intake = this.#spare.pop() ?? new Intake();
    intake.begin(slot, token);
    return intake;
  }

  /** Takes a message in for the mailbox `number`; what has become of it the intake tells when the turn ends. */
  store(
    intake: Intake,
    number: number,
    from: string,
    topic: string,
    ttl: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): void {
    const home = this.#homes.get(number);
    const journal = this.#journal;
    if (home === undefined || journal === null) {
      intake.code = 'NO_MAILBOX';
      return;
    }
    const { mailbox, recent } = home;
    const id = intake.slot === NOBODY ? -1 : idOfFrame(src, start, end);
    if (id >= 0 && recent.has(from, src, id, endOfExtension(src, id))) {
      intake.stored++;
      return;
    }
    // What came by the door of this shard as an assured message was looked at there.
    if (intake.slot !== this.#slot && !this.#integrity.holds(from, topic, src, start, end)) {
      intake.code = 'CHECKSUM_MISMATCH';
      home.bury(from, topic, src, start, end, 'checksum');
      return;
    }
    const size = end - start;
    if (!mailbox.hasRoom(size) || !journal.hasRoom(size)) {
      intake.code = mailbox.hasRoom(size) ? 'JOURNAL_FULL' : 'MAILBOX_FULL';
      return;
    }
    const storedAt = Date.now();
    const message = this.#message;
    message.mailbox = number;
    message.offset = mailbox.nextOffset;
    message.lane = src[start + OFFSET_LANE] & 7;
    message.from = from;
    message.topic = topic;
    message.storedAt = storedAt;
    message.deadline = ttl === 0 ? Number.POSITIVE_INFINITY : storedAt + ttl;
    message.bytes = src;
    message.start = start;
    message.end = end;
    message.idStart = Math.max(0, id);
    message.idEnd = id < 0 ? 0 : endOfExtension(src, id);
    const place = journal.message(message);
    const entry = new MailboxEntry(
      message.offset,
      message.lane,
      from,
      topic,
      keyOfFrame(src, start, end),
      place.bytes,
      place.start,
      place.start + size,
      storedAt,
      message.deadline,
      journal.segment,
      delayOfFrame(src, start, end),
    );
    entry.stored = place.stored;
    journal.holds(entry);
    home.put(entry, storedAt);
    if (id >= 0) recent.addAsked();
    intake.took(home, entry);
    this.touch(home);
  }

  /**
   * Puts dead letters back into mailboxes that live here. Resolves, when they are as safe as what is acked, with what hinders
   * each: MAILBOX_FULL, JOURNAL_FULL, CHECKSUM_MISMATCH; null: nothing.
   */
  async revive(dead: readonly Revival[]): Promise<(ErrorCode | null)[]> {
    const journal = this.#opened();
    this.turn();
    const codes = reviveAll(journal, this.#integrity, dead, Date.now());
    for (const { home } of dead) this.touch(home);
    const safe = await new Promise<boolean>((resolve) => journal.settled(resolve));
    return codes.map((code) => code ?? (safe ? null : 'MAILBOX_UNAVAILABLE'));
  }

  /** A message for the mailbox `number`, over which two processes of this shard have died. A repeat of it is not stored either. */
  poisoned(number: number, from: string, topic: string, src: Uint8Array, start: number, end: number): void {
    const home = this.#homes.get(number);
    if (home === undefined) return;
    const id = idOfFrame(src, start, end);
    if (id >= 0) home.recent.add(from, src, id, endOfExtension(src, id));
    home.bury(from, topic, src, start, end, 'crash');
  }

  /** Whoever waits for the intake hears of it when the turn ends. */
  settle(intake: Intake): void {
    this.#intakes.push(intake);
    this.#exchange.unsettle();
  }

  /** Takes live messages in for the mailboxes of `route` that live here. Nobody waits for an ack: what is refused is in the ledger. */
  storeLive(route: Route, from: string, src: Uint8Array, start: number, end: number): void {
    for (const { home, takesLive } of route.mailboxes) {
      if (home === null || !takesLive) continue;
      for (let at = start; at < end; ) {
        const total = readU32(src, at + OFFSET_TOTAL);
        const intake = this.intake(NOBODY, 0);
        const spelled = src[at + OFFSET_TOPIC_LENGTH] !== 0;
        const topic = spelled ? '' : (this.#exchange.topicTextOf(src, at) ?? '');
        const ttl = (src[at + OFFSET_FLAGS] & Flag.expires) === 0 ? 0 : readTimeToLive(src, at);
        if (home.takesLive) this.store(intake, home.number, from, topic, ttl, src, at, at + total);
        else intake.code = 'MAILBOX_FULL';
        if (intake.code === null) this.settle(intake);
        else {
          const damaged = intake.code === 'CHECKSUM_MISMATCH';
          this.#exchange.dropped(src, at, damaged ? Reason.invalid : Reason.shed, 1);
        }
        at += total;
      }
    }
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

  /** A message did not reach its consumer. `repeated`: as its delivery said. */
  giveBack(session: number, number: number, offset: number, repeated: boolean): void {
    const home = this.#homes.get(number);
    const consumer = home?.consumers.get(session);
    if (home === undefined || consumer === undefined) return;
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
    const intakes = this.#intakes;
    this.letters.flush();
    const written = journal.flush();
    if (intakes.length > 0) {
      this.#intakes = [];
      for (const intake of intakes) {
        if (written) intake.stored += intake.taken;
        else this.#withdraw(intake);
      }
      if (written) journal.settled((safe) => this.#tell(intakes, safe));
      else this.#tell(intakes, true);
    }
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
    let messages = 0;
    let bytes = 0;
    let inFlight = 0;
    let broken = 0;
    let delayed = 0;
    let pressed = 0;
    let emergencies = 0;
    for (const home of this.#homes.values()) {
      const { mailbox, fullness } = home;
      mailbox.check(wall);
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
    const recovery = new Recovery();
    old.open(recovery, (segment) => recovery.begin(segment));
    for (const { record, entries, recent } of recovery.mailboxes()) {
      // One that is here already may be of an earlier attempt, which ended too soon: what came then comes again, flagged.
      const known = this.#table.named(record.name)?.home;
      const home = known ?? this.#settle(this.#nextNumber, record, record.epoch + 1, recent);
      if (known == null) home.record();
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

  #withdraw(intake: Intake): void {
    intake.forEach((home, entry) => {
      home.mailbox.withdraw(entry);
      if (intake.slot === NOBODY) this.#exchange.dropped(entry.bytes, entry.start, Reason.shed, 1);
      this.#journal!.released(entry);
      const id = intake.slot === NOBODY ? -1 : idOfFrame(entry.bytes, entry.start, entry.end);
      if (id >= 0) home.recent.delete(entry.from, entry.bytes, id, endOfExtension(entry.bytes, id));
    });
    intake.code = 'JOURNAL_FULL';
  }

  /** `safe`: as the journal has it; where it is not, they are stored, but nobody may rely on it. */
  #tell(intakes: readonly Intake[], safe: boolean): void {
    for (const { slot, token, stored, code, taken } of intakes) {
      if (code === null) this.#exchange.counters[C.mailboxStored] += taken;
      if (slot !== NOBODY) this.#port.stored(slot, token, stored, safe ? code : 'MAILBOX_UNAVAILABLE');
    }
    for (let i = 0; i < intakes.length && this.#spare.length < MAX_SPARE; i++) {
      // Nothing that has left is kept alive by what waits to be used again.
      intakes[i].begin(NOBODY, 0);
      this.#spare.push(intakes[i]);
    }
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
