/**
 * Sender numbers, unique on their node: worker slot (6 bits) | incarnation (2 bits) | index (16 bits). Number 0 is the
 * bus itself. A number that an agent gave back rests before the next agent gets it, so that frames still on their way
 * are not taken for the new one's; were one later than that, its checksum, which is seeded with the sender's name, would not hold.
 */

import { senderAnnouncement } from '../lib/wire/announcement.js';
import { utf8 } from '../lib/wire/text.js';

const REST = 10_000;
const SPARE_INDEXES = 1024;
/** Three bytes of a header. */
export const MAX_SENDER = 0xff_ffff;
export const SENDERS_PER_WORKER = 0xffff;
export const BUS_NAME = 'flowbus';

export class SenderId {
  readonly number: number;
  /** Dense in this worker: the bit in the bitmaps of who knows it. Another one with each new meaning. */
  index: number;
  text: string;
  #announcement: Uint8Array | null;
  #bytes: Uint8Array | null;

  constructor(number: number, text: string, index: number) {
    this.number = number;
    this.text = text;
    this.index = index;
    this.#announcement = null;
    this.#bytes = null;
  }

  /** The text as UTF-8. */
  get bytes(): Uint8Array {
    this.#bytes ??= utf8(this.text);
    return this.#bytes;
  }

  /** Made when it is first needed: most agents are never announced to anybody. */
  get announcement(): Uint8Array {
    this.#announcement ??= senderAnnouncement(this.number, this.text);
    return this.#announcement;
  }

  rename(text: string, index: number): void {
    this.text = text;
    this.index = index;
    this.#announcement = null;
    this.#bytes = null;
  }
}

export class SenderIds {
  readonly bus: SenderId;
  readonly #family: number;
  /** By worker and incarnation, then by index: at most 65,535 each. */
  readonly #families: (SenderId[] | undefined)[];
  readonly #resting: { entry: SenderId; since: number }[];
  #restingHead: number;
  /** Indexes given out, and how many of them are in use. */
  #indexes: number;
  #entries: number;
  readonly #forgetAll: () => void;

  /** `forgetAll` is called when indexes are dealt anew: nobody may be taken to know any sender then. */
  constructor(slot: number, incarnation: number, forgetAll: () => void) {
    this.#family = senderFamily(slot, incarnation);
    this.#families = [];
    this.#resting = [];
    this.#restingHead = 0;
    this.#indexes = 1;
    this.#entries = 1;
    this.#forgetAll = forgetAll;
    this.bus = new SenderId(0, BUS_NAME, 0);
    const own: SenderId[] = [];
    // Index 0 of worker 0 would be the bus's number.
    own.length = 1;
    this.#families[this.#family] = own;
  }

  find(number: number): SenderId | undefined {
    if (number === 0) return this.bus;
    const family = this.#families[number >>> 16];
    return family === undefined ? undefined : family[number & 0xffff];
  }

  /** A number for `text`; null when all are taken. `now`: monotonic milliseconds, low 32 bits. */
  allot(text: string, now: number): SenderId | null {
    const first = this.#resting[this.#restingHead];
    if (first !== undefined && (now - first.since) >>> 0 >= REST) {
      this.#restingHead++;
      if (this.#restingHead > 1024 && this.#restingHead * 2 > this.#resting.length) {
        this.#resting.splice(0, this.#restingHead);
        this.#restingHead = 0;
      }
      if (first.entry.text !== text) first.entry.rename(text, this.#index());
      return first.entry;
    }
    const own = this.#families[this.#family]!;
    if (own.length > SENDERS_PER_WORKER) return null;
    const entry = new SenderId(((this.#family << 16) | own.length) >>> 0, text, this.#index());
    this.#entries++;
    own.push(entry);
    return entry;
  }

  giveBack(entry: SenderId, now: number): void {
    this.#resting.push({ entry, since: now });
  }

  learn(number: number, text: string): SenderId {
    const key = number >>> 16;
    let family = this.#families[key];
    if (family === undefined) {
      family = [];
      this.#families[key] = family;
    }
    const known = family[number & 0xffff];
    if (known === undefined) {
      const entry = new SenderId(number, text, this.#index());
      this.#entries++;
      family[number & 0xffff] = entry;
      return entry;
    }
    if (known.text !== text) known.rename(text, this.#index());
    return known;
  }

  /**
   * An index that nobody knows. When most of those given out are no longer in use, all are dealt anew, which keeps the bitmaps
   * short and costs, spread over the indexes, next to nothing.
   */
  #index(): number {
    if (this.#indexes < SPARE_INDEXES + 2 * this.#entries) return this.#indexes++;
    this.#indexes = 1;
    for (const family of this.#families) {
      for (const entry of family ?? []) if (entry !== undefined) entry.index = this.#indexes++;
    }
    this.#forgetAll();
    return this.#indexes++;
  }

  belongs(number: number, slot: number): boolean {
    return workerOfSender(number) === slot && number !== 0;
  }
}

export function workerOfSender(number: number): number {
  return number >>> 18;
}

function senderFamily(slot: number, incarnation: number): number {
  return (slot << 2) | (incarnation & 3);
}
