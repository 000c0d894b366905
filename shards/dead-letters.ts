/**
 * The dead letters of a slot: messages that were taken out of delivery, kept until they are replayed, purged, or too old. They lie in a
 * journal of their own, beside that of the mailboxes, each as one of its messages: its offset is the number of the letter, and in
 * place of the frame stands
 *
 *   0 size of the note (u32) · 4 the note, as JSON · the frame as its publisher sealed it
 *
 * A message leaves its mailbox's journal only when the disk has its letter: what is lost between the two comes again.
 */
import { join } from 'node:path';
import { LETTER_KINDS, type LetterFilter, type LetterKind } from '../lib/dead-letter.js';
import type { Cause } from '../lib/queues/attempts.js';
import type { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { C } from '../lib/telemetry/counters.js';
import { decodeTopic, matches } from '../lib/topics/topic.js';
import { HEADER_SIZE, OFFSET_TOPIC_LENGTH, readU32, writeU32 } from '../lib/wire/frame.js';
import { Journal, type JournalSettings } from './journal/journal.js';
import type { JournalVisitor, ReadMessage } from './journal/records.js';
import type { Held } from './journal/segments.js';
import { type LetterNote, readLetterNote } from './letter-note.js';

/** Small ones, since a segment stays until all in it has gone. */
const SEGMENT_BYTES = 1024 * 1024;
/** Looked at in one go, when they are sought by a filter that few of them match. */
const MAX_LOOKS = 100_000;

/** Bytes of letters that a slot keeps, and for how long (ms). The oldest go first, and are counted. */
export interface LetterLimits {
  readonly maxBytes: number;
  readonly maxAge: number;
}

/** One message that died, on its way into the journal. */
interface Corpse {
  from: string;
  /** '' when the frame spells it out. */
  topic: string;
  lane: number;
  storedAt: number;
  bytes: Uint8Array;
  start: number;
  end: number;
}

/** A letter as memory has it; the rest is read out of its bytes when somebody asks. */
export class DeadLetter implements Held {
  readonly offset: number;
  readonly from: string;
  readonly topic: string;
  readonly lane: number;
  readonly storedAt: number;
  readonly kind: LetterKind;
  readonly mailbox: string;
  readonly diedAt: number;
  /** Note and frame are `bytes[start, end)`. They move when the journal writes them anew. */
  bytes: Uint8Array;
  start: number;
  end: number;
  segment: number;
  stored: number;

  constructor(number: number, { from, topic, lane, storedAt, bytes, start, end }: Corpse, note: LetterNote) {
    this.offset = number;
    this.from = from;
    this.topic = topic;
    this.lane = lane;
    this.storedAt = storedAt;
    this.kind = note.kind;
    this.mailbox = note.mailbox;
    this.diedAt = note.diedAt;
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.segment = 0;
    this.stored = 0;
  }

  get note(): LetterNote {
    const from = this.start + 4;
    const text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + from, this.frameStart - from);
    return JSON.parse(text.toString()) as LetterNote;
  }

  get frameStart(): number {
    return this.start + 4 + readU32(this.bytes, this.start);
  }

  /** The topic, wherever it stands. */
  get topicText(): string {
    if (this.topic !== '') return this.topic;
    const at = this.frameStart + HEADER_SIZE;
    return decodeTopic(this.bytes, at, at + this.bytes[this.frameStart + OFFSET_TOPIC_LENGTH]) ?? '';
  }

  matches({ mailbox, kind, pattern, since }: LetterFilter): boolean {
    return (
      (mailbox === null || this.mailbox === mailbox) &&
      (kind === null || this.kind === kind) &&
      (since === null || this.diedAt >= since) &&
      (pattern === null || matches(pattern, this.topicText))
    );
  }
}

type Place = Pick<DeadLetter, 'bytes' | 'start' | 'end' | 'segment' | 'stored'>;

/** A letter that is not safe yet, and what is to be done once it is. */
interface Waiting {
  letter: DeadLetter;
  done: () => void;
}

export class DeadLetters {
  readonly #counters: Float64Array;
  readonly #limits: LetterLimits;
  readonly #wake: () => void;
  #journal: Journal | null;
  /** By number, which rise with the time of death: the oldest stand first. */
  #letters: Map<number, DeadLetter>;
  #last: number;
  #waiting: Waiting[];
  /** Something was written, or removed, since the last flush. */
  #dirty: boolean;
  /** The disk has not taken what waits: it is written anew. */
  #refused: boolean;
  /** Letters that wait for the disk, those under way included. */
  #unsafe: number;
  /** By kind, since the log was last told. */
  readonly #untold: Map<LetterKind, number>;

  /** `wake`: something is to be written when this turn ends. */
  constructor(counters: Float64Array, limits: LetterLimits, wake: () => void) {
    this.#counters = counters;
    this.#limits = limits;
    this.#wake = wake;
    this.#journal = null;
    this.#letters = new Map();
    this.#last = 0;
    this.#waiting = [];
    this.#dirty = false;
    this.#refused = false;
    this.#unsafe = 0;
    this.#untold = new Map();
  }

  get size(): number {
    return this.#letters.size;
  }

  /** Messages that are in no mailbox any more, and as letters not safe yet: their records must not go. */
  get unsafe(): number {
    return this.#unsafe;
  }

  /** Opens the journal of letters within the directory of `settings`, and takes over those of slots that are no more. */
  open(settings: JournalSettings, orphans: readonly string[]): void {
    this.#journal = new Journal(placeOf(settings));
    for (const letter of readLetters(this.#journal)) {
      this.#journal.holds(letter);
      this.#keep(letter);
    }
    for (const dir of orphans) this.#adopt({ ...settings, dir });
  }

  /** A message has died. `done`: its letter is safe, or there is no room for it. */
  add(corpse: MailboxEntry, mailbox: string, kind: LetterKind, cause: Cause, done: () => void): void {
    const { failures, attempts, lives } = corpse;
    const diedAt = Date.now();
    const note: LetterNote = {
      kind,
      cause,
      mailbox,
      diedAt,
      failures,
      attempts: attempts ?? [],
      lives: lives ?? [],
    };
    this.#counters[C.diedNetworkTimeout + LETTER_KINDS.indexOf(kind)]++;
    this.#untold.set(kind, (this.#untold.get(kind) ?? 0) + 1);
    const text = Buffer.from(JSON.stringify(note));
    const size = corpse.end - corpse.start;
    const bytes = new Uint8Array(4 + text.length + size);
    writeU32(bytes, 0, text.length);
    bytes.set(text, 4);
    bytes.set(corpse.bytes.subarray(corpse.start, corpse.end), 4 + text.length);
    const { from, topic, lane, storedAt } = corpse;
    const message = { from, topic, lane, storedAt, bytes, start: 0, end: bytes.length };
    const letter = new DeadLetter(Math.max(this.#last + 1, diedAt), message, note);
    this.#write(letter);
    this.#keep(letter);
    this.#waiting.push({ letter, done });
    this.#unsafe++;
    this.#wake();
  }

  find(number: number): DeadLetter | null {
    return this.#letters.get(number) ?? null;
  }

  /**
   * Those that match and have a number below `before`, newest first, as long as `take` takes them. Returns below which number
   * none was looked at; 0: all were.
   */
  select(filter: LetterFilter, before: number, take: (letter: DeadLetter) => boolean): number {
    const all = [...this.#letters.values()];
    let looks = 0;
    for (let i = all.length - 1; i >= 0; i--) {
      if (all[i].offset >= before) continue;
      if (++looks > MAX_LOOKS || (all[i].matches(filter) && !take(all[i]))) return all[i].offset + 1;
    }
    return 0;
  }

  /** It is replayed or purged: gone with the next `flush`. */
  remove(letter: DeadLetter): void {
    if (this.#letters.get(letter.offset) !== letter) return;
    this.#letters.delete(letter.offset);
    this.#journal?.gone(0, letter);
    this.#dirty = true;
    this.#wake();
  }

  /** The end of a turn: writes what has come. False: the disk is full or broken, and what came waits for the next `check`. */
  flush(): boolean {
    const journal = this.#journal;
    if (journal === null || !this.#dirty) return true;
    if (this.#refused && this.#waiting.length > 0) return false;
    const written = journal.flush();
    this.#dirty = !written;
    this.#refused = !written;
    if (!written || this.#waiting.length === 0) return written;
    const waiting = this.#waiting;
    this.#waiting = [];
    journal.settled((safe) => {
      // What is not safe stays in the journal of its mailbox too, and is delivered again after a restart.
      this.#unsafe -= waiting.length;
      if (safe) for (const { done } of waiting) done();
    });
    this.#renew(journal);
    return true;
  }

  /** Now and then: drops what is too old, and tries again what the disk has not taken. `wall`: ms since the epoch. */
  check(wall: number): void {
    const journal = this.#journal;
    if (journal === null) return;
    journal.check();
    for (const letter of this.#letters.values()) {
      if (letter.diedAt + this.#limits.maxAge > wall) break;
      this.remove(letter);
      this.#counters[C.deadLettersTooOld]++;
    }
    if (this.#refused) {
      this.#refused = false;
      for (const { letter } of this.#waiting) {
        if (this.#letters.get(letter.offset) !== letter) continue;
        journal.released(letter);
        this.#write(letter);
      }
      this.#wake();
    }
    this.#counters[C.deadLetters] = this.#letters.size;
    this.#counters[C.deadLetterBytes] = journal.liveBytes;
  }

  /** What has died since this was last asked, by kind; null when nothing has. */
  untold(): Record<string, number> | null {
    if (this.#untold.size === 0) return null;
    const kinds = Object.fromEntries(this.#untold);
    this.#untold.clear();
    return kinds;
  }

  close(): void {
    this.flush();
    this.#journal?.close();
    this.#journal = null;
  }

  #keep(letter: DeadLetter): void {
    this.#last = Math.max(this.#last, letter.offset);
    this.#letters.set(letter.offset, letter);
  }

  #write(letter: DeadLetter): void {
    const journal = this.#journal!;
    for (const oldest of this.#letters.values()) {
      if (journal.liveBytes + letter.end - letter.start <= this.#limits.maxBytes || oldest === letter) break;
      this.remove(oldest);
      this.#counters[C.deadLettersTooMany]++;
    }
    const { offset, from, topic, lane, storedAt, bytes, start, end } = letter;
    const deadline = Number.POSITIVE_INFINITY;
    const names = { mailbox: 0, offset, lane, from, topic, idStart: 0, idEnd: 0 };
    const message = { ...names, storedAt, deadline, bytes, start, end };
    const place = journal.message(message);
    this.#dirty = true;
    letter.bytes = place.bytes;
    letter.start = place.start;
    letter.end = place.start + end - start;
    letter.segment = journal.segment;
    letter.stored = place.stored;
    journal.holds(letter);
  }

  /** What lives in an old segment is written again, so that it can go. */
  #renew(journal: Journal): void {
    const burden = journal.burden;
    if (burden !== null) {
      const moved: [DeadLetter, Place][] = [];
      for (const letter of this.#letters.values()) {
        if (letter.segment !== burden) continue;
        const { bytes, start, end, segment, stored } = letter;
        moved.push([letter, { bytes, start, end, segment, stored }]);
        journal.released(letter);
        this.#write(letter);
      }
      if (journal.flush()) journal.drop();
      else {
        for (const [letter, place] of moved) {
          journal.released(letter);
          Object.assign(letter, place);
          journal.holds(letter);
        }
      }
    }
    journal.roll();
  }

  #adopt(settings: JournalSettings): void {
    const old = new Journal(placeOf(settings));
    for (const { from, topic, lane, storedAt, bytes, start, end, note } of readLetters(old)) {
      const number = Math.max(this.#last + 1, note.diedAt);
      const letter = new DeadLetter(number, { from, topic, lane, storedAt, bytes, start, end }, note);
      this.#write(letter);
      this.#keep(letter);
    }
    if (this.#journal!.flush()) old.remove();
    else old.close();
  }
}

function placeOf(settings: JournalSettings): JournalSettings {
  return { ...settings, dir: join(settings.dir, 'dead-letters'), segmentBytes: SEGMENT_BYTES };
}

/** Opens `journal` and reads the letters in it, oldest first. */
function readLetters(journal: Journal): DeadLetter[] {
  const letters = new Map<number, DeadLetter>();
  let segment = 0;
  const visitor: JournalVisitor = {
    onMessage: (message: ReadMessage) => {
      const { offset, bytes, start, stored } = message;
      const from = start + 4;
      const note = readLetterNote(Buffer.from(bytes.subarray(from, from + readU32(bytes, start))).toString());
      if (note === null) return;
      const letter = new DeadLetter(offset, message, note);
      letter.segment = segment;
      letter.stored = stored;
      letters.set(offset, letter);
    },
    onGone: (_mailbox, first, count) => {
      for (let number = first; number < first + count; number++) letters.delete(number);
    },
    onFailed: () => {},
    onLives: () => {},
    onMailbox: () => {},
    onClosed: () => {},
  };
  journal.open(visitor, (number) => {
    segment = number;
  });
  return [...letters.values()].sort((a, b) => a.offset - b.offset);
}
