/**
 * What is to happen at a time, whenever that is: a hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing
 * Wheels", SOSP 1987, scheme 7). To add and to cancel take the same few steps however many timers there are, and no memory:
 * timers are linked through themselves.
 *
 *   wheel 0   64 slots of   8 ms     the next half second: a slot for each tick
 *   wheel 1   64 slots of 512 ms
 *   wheel 2   64 slots of  33 s
 *   wheel 3   64 slots of  35 min
 *   wheel 4   64 slots of  37 h      99 days; what is due later waits in the last slot and is put back
 *
 * A timer stands in the wheel of the highest six bits in which its tick and the present one differ. When the present reaches its
 * slot, it moves to a finer wheel, and so at most four times in all.
 */

/** What the wheel needs to be in a timer; nobody else writes these. */
export interface Timer<T> {
  /** When it is due, on the wheel's clock (ms). */
  due: number;
  /** -1 when it is in no slot. */
  timerSlot: number;
  timerPrevious: T | null;
  timerNext: T | null;
}

/** Milliseconds: so late does a timer fire at most, beside what its owner takes. */
export const TICK = 8;
const BITS = 6;
const SLOTS = 1 << BITS;
const SLOT_MASK = SLOTS - 1;
const WHEELS = 5;
const TOP = WHEELS - 1;
/** No timer stands a whole turn of the uppermost wheel ahead: there it would look as if it were due now. */
const SPAN = 2 ** (BITS * WHEELS) - 2 ** (BITS * TOP) - 1;
const TICK_MASK = 2 ** (BITS * WHEELS) - 1;

export class TimingWheel<T extends Timer<T>> {
  /** Of all wheels, one behind the other. What is due in the same tick fires in the order in which it was added. */
  readonly #heads: (T | null)[];
  readonly #tails: (T | null)[];
  /** Which slots hold any: 64 bits for each wheel. */
  readonly #used: Int32Array;
  /** Everything before it has fired. */
  #tick: number;
  readonly #fire: (timer: T) => void;

  /** `fire` may add and cancel timers, also the one that it is called with, which is in no slot by then. */
  constructor(now: number, fire: (timer: T) => void) {
    this.#heads = new Array<T | null>(WHEELS * SLOTS).fill(null);
    this.#tails = new Array<T | null>(WHEELS * SLOTS).fill(null);
    this.#used = new Int32Array(WHEELS * 2);
    this.#tick = Math.floor(now / TICK);
    this.#fire = fire;
  }

  /** `timer` is in no slot. What is due already fires at the next `advance`. */
  add(timer: T, due: number): void {
    timer.due = due;
    this.#place(timer);
  }

  /** Nothing happens if it is in no slot. */
  cancel(timer: T): void {
    const slot = timer.timerSlot;
    if (slot < 0) return;
    const { timerPrevious: previous, timerNext: next } = timer;
    if (next === null) this.#tails[slot] = previous;
    else next.timerPrevious = previous;
    if (previous === null) this.#heads[slot] = next;
    else previous.timerNext = next;
    if (next === null && previous === null) this.#used[slot >>> 5] &= ~(1 << (slot & 31));
    timer.timerSlot = -1;
    timer.timerPrevious = null;
    timer.timerNext = null;
  }

  /** Fires what is due at `now`, in at most `most` steps; false when they did not suffice: then go on soon. */
  advance(now: number, most: number): boolean {
    const present = Math.max(this.#tick, Math.floor(now / TICK));
    for (let left = most; ; ) {
      const slot = this.#earliest();
      const begin = slot < 0 ? Number.POSITIVE_INFINITY : this.#beginOf(slot);
      if (begin > present) {
        this.#tick = present;
        return true;
      }
      this.#tick = begin;
      for (let timer = this.#heads[slot]; timer !== null; timer = this.#heads[slot]) {
        if (left-- === 0) return false;
        this.cancel(timer);
        if (timer.due > begin * TICK) this.#place(timer);
        else this.#fire(timer);
      }
    }
  }

  /** When `advance` has something to do next (ms); Infinity: never. Perhaps it will only move timers to a finer wheel. */
  get next(): number {
    const slot = this.#earliest();
    return slot < 0 ? Number.POSITIVE_INFINITY : this.#beginOf(slot) * TICK;
  }

  #place(timer: T): void {
    const tick = this.#tick;
    const due = Math.max(tick, Math.min(Math.ceil(timer.due / TICK), tick + SPAN));
    const apart = (due ^ tick) & TICK_MASK;
    const wheel = apart < SLOTS ? 0 : Math.floor((31 - Math.clz32(apart)) / BITS);
    const slot = wheel * SLOTS + ((due >>> (BITS * wheel)) & SLOT_MASK);
    const tail = this.#tails[slot];
    if (tail === null) {
      this.#heads[slot] = timer;
      this.#used[slot >>> 5] |= 1 << (slot & 31);
    } else tail.timerNext = timer;
    timer.timerPrevious = tail;
    timer.timerSlot = slot;
    this.#tails[slot] = timer;
  }

  /** The slot that comes first, and is not empty; -1 when all are. */
  #earliest(): number {
    // A slot whose time has come, and which is being moved to finer wheels, may hold what is due before anything in those.
    for (let wheel = TOP; wheel > 0; wheel--) {
      const slot = wheel * SLOTS + this.#handOf(wheel);
      if ((this.#used[slot >>> 5] & (1 << (slot & 31))) !== 0) return slot;
    }
    // Whatever stands in a wheel is due before all that stands in coarser ones.
    for (let wheel = 0; wheel < WHEELS; wheel++) {
      const slot = this.#firstUsed(wheel, this.#handOf(wheel));
      if (slot >= 0) return slot;
    }
    return this.#firstUsed(TOP, 0);
  }

  #handOf(wheel: number): number {
    return (this.#tick >>> (BITS * wheel)) & SLOT_MASK;
  }

  #firstUsed(wheel: number, from: number): number {
    const first = (wheel * SLOTS + from) >>> 5;
    for (let word = first; word <= 2 * wheel + 1; word++) {
      const used = word === first ? this.#used[word] & (-1 << (from & 31)) : this.#used[word];
      if (used !== 0) return word * 32 + 31 - Math.clz32(used & -used);
    }
    return -1;
  }

  /** The tick at which the time of a slot begins, which is not before the present one. */
  #beginOf(slot: number): number {
    const wheel = slot >>> BITS;
    const size = 2 ** (BITS * wheel);
    const ahead = ((slot & SLOT_MASK) - this.#handOf(wheel)) & SLOT_MASK;
    const begin = this.#tick - (this.#tick % size) + ahead * size;
    return Math.max(this.#tick, begin);
  }
}
