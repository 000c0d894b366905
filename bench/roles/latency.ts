/** Recording of times: an HDR histogram in nanoseconds, three significant digits from a microsecond to ten minutes. */
import { build, type Histogram } from 'hdr-histogram-js';

const NANOSECONDS = 1e6;
const SHORTEST = 1000;
const LONGEST = 600e9;

/** Length of an interval (ms). */
const INTERVAL = 1000;
/** Sums of times differ by less than this (ms): what is due when an interval begins belongs to it. */
const ROUNDING = 0.0005;

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

/** Recorders for the intervals of a second in which messages were due. Bounded by who takes them. */
export class Intervals {
  readonly #from: number;
  readonly #recorders: Map<number, Recorder>;
  #taken: number;

  /** `from`: when the first begins (ms). */
  constructor(from: number) {
    this.#from = from;
    this.#recorders = new Map();
    this.#taken = -1;
  }

  record(due: number, milliseconds: number): void {
    const number = Math.floor((due - this.#from + ROUNDING) / INTERVAL);
    // What comes when its interval was taken is missing there; what was due before the first is warm-up.
    if (number <= this.#taken) return;
    let recorder = this.#recorders.get(number);
    if (recorder === undefined) {
      recorder = new Recorder();
      this.#recorders.set(number, recorder);
    }
    recorder.record(milliseconds);
  }

  /** In order. */
  take(number: number): Percentiles {
    const recorder = this.#recorders.get(number) ?? new Recorder();
    this.#recorders.delete(number);
    this.#taken = number;
    return recorder.percentiles();
  }
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
