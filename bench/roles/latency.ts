/** Recording of times: an HDR histogram in nanoseconds, three significant digits from a microsecond to ten minutes. */
import { build, type Histogram } from 'hdr-histogram-js';

const NANOSECONDS = 1e6;
const SHORTEST = 1000;
const LONGEST = 600e9;

/** Microseconds. */
export interface Percentiles {
  count: number;
  p50: number;
  p95: number;
  p99: number;
  p999: number;
  max: number;
  /** Mean difference between one and the next, in the order in which they were recorded. */
  jitter: number;
}

export class Recorder {
  readonly #histogram: Histogram;
  #last: number;
  /** Sum of differences, in milliseconds, and how many there are. */
  #differences: number;
  #steps: number;

  constructor() {
    this.#last = Number.NaN;
    this.#differences = 0;
    this.#steps = 0;
    this.#histogram = build({
      bitBucketSize: 32,
      autoResize: false,
      lowestDiscernibleValue: SHORTEST,
      highestTrackableValue: LONGEST,
      numberOfSignificantValueDigits: 3,
      useWebAssembly: false,
    });
  }

  record(milliseconds: number): void {
    if (!Number.isNaN(this.#last)) {
      this.#differences += Math.abs(milliseconds - this.#last);
      this.#steps++;
    }
    this.#last = milliseconds;
    const value = Math.round(milliseconds * NANOSECONDS);
    this.#histogram.recordValue(Math.min(LONGEST, Math.max(0, value)));
  }

  percentiles(): Percentiles {
    const histogram = this.#histogram;
    // The upper end of a bucket may lie above the greatest value in it.
    const at = (percentile: number) =>
      Math.min(histogram.getValueAtPercentile(percentile), histogram.maxValue) / 1000;
    return {
      count: histogram.totalCount,
      p50: at(50),
      p95: at(95),
      p99: at(99),
      p999: at(99.9),
      max: histogram.maxValue / 1000,
      jitter: this.#steps === 0 ? 0 : (this.#differences / this.#steps) * 1000,
    };
  }
}
