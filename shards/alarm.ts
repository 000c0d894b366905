/** One timer of the system for the wheel of a shard, set to whatever is due first: a shard with nothing to wait for sleeps. */

/** What is due later is looked at again by then (ms): timers of the system reach no further than 24 days. */
const LONGEST = 3_600_000;

export class Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | null;
  #at: number;

  constructor(ring: () => void) {
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
    this.#ring = () => {
      this.clear();
      ring();
    };
  }

  /** Rings at `at`, or before, if it was set to ring before that; both on the clock of performance.now(). */
  set(at: number): void {
    if (at >= this.#at) return;
    this.clear();
    const wait = Math.min(LONGEST, Math.ceil(at - performance.now()));
    this.#at = at;
    this.#timer = setTimeout(this.#ring, Math.max(0, wait)).unref();
  }

  clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
  }
}
