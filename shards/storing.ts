/** How messages come into the mailboxes of this slot: into the journal's open block and into the mailbox; who waits is told when the block is written. */
import type { ErrorCode } from '../lib/errors.js';
import { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { DELIVERY_MARGIN, delayOfFrame, idOfFrame, keyOfFrame } from '../lib/wire/delivery.js';
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
import type { Exchange } from './exchange.js';
import type { Feeding } from './feeding.js';
import type { Home } from './home.js';
import { Intake, type MailboxPort, NOBODY } from './intake.js';
import type { Integrity } from './integrity.js';
import type { Journal } from './journal/journal.js';
import type { StoredMessage } from './journal/records.js';
import type { Route } from './route.js';

/** Intakes that are kept to be used again. */
const MAX_SPARE = 4096;

export class Storing {
  readonly #exchange: Exchange;
  readonly #port: MailboxPort;
  /** Those of this slot, by number. */
  readonly #homes: ReadonlyMap<number, Home>;
  readonly #integrity: Integrity;
  readonly #feeding: Feeding;
  readonly #slot: number;
  /** Bytes of a frame around which a deliver frame has room. */
  readonly #largest: number;
  #journal: Journal | null;
  #intakes: Intake[];
  readonly #spare: Intake[];
  /** What is handed to the journal: one object for all. */
  readonly #message: StoredMessage;

  constructor(
    exchange: Exchange,
    port: MailboxPort,
    homes: ReadonlyMap<number, Home>,
    integrity: Integrity,
    feeding: Feeding,
  ) {
    this.#exchange = exchange;
    this.#port = port;
    this.#homes = homes;
    this.#integrity = integrity;
    this.#feeding = feeding;
    this.#slot = exchange.settings.slot;
    this.#largest = exchange.settings.maxPayload - DELIVERY_MARGIN;
    this.#journal = null;
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
  }

  open(journal: Journal): void {
    this.#journal = journal;
  }

  close(): void {
    this.#journal = null;
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
    this.#feeding.touch(home);
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
        if (total > this.#largest) intake.code = 'PAYLOAD_TOO_LARGE';
        else if (home.takesLive) this.store(intake, home.number, from, topic, ttl, src, at, at + total);
        else intake.code = 'MAILBOX_FULL';
        if (intake.code === null) this.settle(intake);
        else this.#exchange.dropped(src, at, reasonOf(intake.code), 1);
        at += total;
      }
    }
  }

  /** The turn's block is in the journal, or there was no room for it: then nothing of it is kept. */
  flushed(journal: Journal, written: boolean): void {
    const intakes = this.#intakes;
    if (intakes.length === 0) return;
    this.#intakes = [];
    for (const intake of intakes) {
      if (written) intake.stored += intake.taken;
      else this.#withdraw(journal, intake);
    }
    if (written) journal.settled((safe) => this.#tell(intakes, safe));
    else this.#tell(intakes, true);
  }

  #withdraw(journal: Journal, intake: Intake): void {
    intake.forEach((home, entry) => {
      home.mailbox.withdraw(entry);
      if (intake.slot === NOBODY) this.#exchange.dropped(entry.bytes, entry.start, Reason.shed, 1);
      journal.released(entry);
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
}

/** Why a live message is in no mailbox, as the ledger has it. */
function reasonOf(code: ErrorCode): Reason {
  switch (code) {
    case 'PAYLOAD_TOO_LARGE':
      return Reason.tooLarge;
    case 'CHECKSUM_MISMATCH':
      return Reason.invalid;
    default:
      return Reason.shed;
  }
}
