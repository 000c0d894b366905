/** One clock for all processes of the machine. */

/** How often the two clocks are compared: the least difference is the one with nothing in between. */
const COMPARISONS = 32;

/**
 * `process.hrtime` counts from the boot of the machine, the same in every process, but allocates; `performance.now`
 * is the same clock, from the start of the process.
 */
function offset(): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < COMPARISONS; i++) {
    const since = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    least = Math.min(least, seconds * 1e3 + nanoseconds / 1e6 - since);
  }
  return least;
}

const OFFSET = offset();

/** Milliseconds, with fractions down to about a microsecond; comparable between processes of one machine. */
export function now(): number {
  return performance.now() + OFFSET;
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
