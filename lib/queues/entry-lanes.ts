/** The messages of a mailbox that are ready, in five lanes, and whose turn it is: weighted round robin. */
import { LANE_COUNT } from '../wire/frame.js';
import { EntryList } from './entry-list.js';
import type { MailboxEntry } from './mailbox-entry.js';

/** How the lanes share what is handed out. */
export interface Shares {
  /** Messages that each lane may hand out in a round, most urgent first; each at least 1, so that none starves. */
  readonly weights: readonly number[];
  /** What low and background get more, as a factor, while a mailbox is under pressure: it must not fill up with them. */
  readonly boost: number;
}

/** Of 31 messages that are handed out one at least is background, if any waits; under pressure 2 of 34. */
export const DEFAULT_SHARES: Shares = { weights: [16, 8, 4, 2, 1], boost: 2 };
const FIRST_BOOSTED = 3;

export class EntryLanes {
  /** Low and background get more. */
  boosted: boolean;
  readonly #shares: Shares;
  readonly #lanes: EntryList[];
  /** What was restored last in each, while it is there: many that come back together do so in their order, each behind the last. */
  readonly #restored: (MailboxEntry | null)[];
  /** What each lane may still hand out in this round. */
  readonly #left: number[];
  #turn: number;

  constructor(shares: Shares) {
    this.boosted = false;
    this.#shares = shares;
    this.#lanes = Array.from({ length: LANE_COUNT }, () => new EntryList());
    this.#restored = new Array<MailboxEntry | null>(LANE_COUNT).fill(null);
    this.#left = [...shares.weights];
    this.#turn = 0;
  }

  append(entry: MailboxEntry): void {
    this.#lanes[entry.lane].append(entry);
  }

  /** What comes back goes ahead of what has not been handed out yet. */
  prepend(entry: MailboxEntry): void {
    this.#lanes[entry.lane].prepend(entry);
  }

  /** What nobody has got takes its old place: in the order of offsets among those that came back like it. */
  restore(entry: MailboxEntry): void {
    const lane = this.#lanes[entry.lane];
    const last = this.#restored[entry.lane];
    const isBehind = last !== null && last.offset < entry.offset;
    let next = isBehind ? last.next : lane.head;
    while (next !== null && next.offset < entry.offset) next = next.next;
    lane.insert(entry, next);
    this.#restored[entry.lane] = entry;
  }

  remove(entry: MailboxEntry): void {
    this.#lanes[entry.lane].remove(entry);
    if (this.#restored[entry.lane] === entry) this.#restored[entry.lane] = null;
  }

  /** The first message of a lane; null when there is none. */
  first(lane: number): MailboxEntry | null {
    return this.#lanes[lane].head;
  }

  /** The first message of the lane whose turn it is, which counts as handed out; lanes without messages lose their turn. */
  next(): MailboxEntry | null {
    for (let tried = 0; tried <= LANE_COUNT; ) {
      const turn = this.#turn;
      const first = this.#lanes[turn].head;
      if (first !== null && this.#left[turn] > 0) {
        this.#left[turn]--;
        return first;
      }
      const { weights, boost } = this.#shares;
      this.#left[turn] = this.boosted && turn >= FIRST_BOOSTED ? weights[turn] * boost : weights[turn];
      this.#turn = turn === LANE_COUNT - 1 ? 0 : turn + 1;
      tried++;
    }
    return null;
  }

  *values(): Generator<MailboxEntry> {
    for (const lane of this.#lanes)
      for (let entry = lane.head; entry !== null; entry = entry.next) yield entry;
  }
}
