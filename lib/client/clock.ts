/** Wall-clock time with the resolution of the monotonic clock. */

/** How far the two may drift apart before the anchor is set anew (ms): Date.now() itself has steps of 1. */
const MAX_DRIFT = 2;

export class Clock {
  private anchor: number;

  constructor() {
    this.anchor = Date.now() - performance.now();
  }

  /** Microseconds since the Unix epoch. Costs two system clocks: not for every message. */
  now(): number {
    const monotonic = performance.now();
    const wall = Date.now();
    const time = this.anchor + monotonic;
    if (Math.abs(time - wall) <= MAX_DRIFT) return Math.floor(time * 1000);
    // The machine slept, or its clock was set.
    this.anchor = wall - monotonic;
    return wall * 1000;
  }
}
