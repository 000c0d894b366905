/**
 * A histogram of durations in a fixed array, log-linear as HdrHistogram is: 64 cells for each doubling, so a
 * value is known to within 1/64 (1.6 %), from 1 microsecond to 67 seconds.
 *
 *   cell        0 … 63      64 … 127     128 … 191     …   1280 … 1343
 *   microseconds 0 … 63     64 … 127     128 … 255     …   2^25 … 2^26 − 1
 *   cell width     1           1            2          …      2^19
 *
 * One writer, plain stores; see counters.ts for why that is enough.
 */
const SUB_BITS = 6;
const SUB_CELLS = 1 << SUB_BITS;
/** Values of 2^26 microseconds and more count as this one. */
export const MAX_MICROS = 2 ** 26 - 1;
const DOUBLINGS = 20;
const CELLS = SUB_CELLS * (DOUBLINGS + 1);
const SUM = CELLS;
const MAX = CELLS + 1;
/** Numbers (of eight bytes) that one histogram takes: the cells, their sum, the largest value. */
export const HISTOGRAM_CELLS = CELLS + 2;

function cellOf(micros: number): number {
  if (micros < SUB_CELLS) return micros;
  const exponent = 31 - Math.clz32(micros);
  return (exponent - SUB_BITS + 1) * SUB_CELLS + ((micros >>> (exponent - SUB_BITS)) & (SUB_CELLS - 1));
}

/** The first value (microseconds) beyond the cell. */
function upperEdge(cell: number): number {
  if (cell < SUB_CELLS) return cell + 1;
  const doubling = Math.floor(cell / SUB_CELLS) - 1;
  return (SUB_CELLS + (cell % SUB_CELLS) + 1) * 2 ** doubling;
}

/** The writer's view. */
export class Histogram {
  private readonly cells: Float64Array;

  /** @param cells HISTOGRAM_CELLS numbers; what they count already stays */
  constructor(cells: Float64Array) {
    this.cells = cells;
  }

  /** Counts one duration: microseconds, rounded down; what is below 0 or not a number counts as 0. */
  record(micros: number): void {
    const value = micros > 0 ? (micros < MAX_MICROS ? Math.floor(micros) : MAX_MICROS) : 0;
    const { cells } = this;
    cells[cellOf(value)] += 1;
    cells[SUM] += value;
    if (value > cells[MAX]) cells[MAX] = value;
  }

  snapshot(): HistogramSnapshot {
    return mergeHistograms([this.cells]);
  }
}

/** What was counted up to one moment, of one worker or of several. Durations are microseconds. */
export class HistogramSnapshot {
  readonly count: number;
  readonly sum: number;
  /** The largest value; after `since()` a bound for it, at most 1.6 % more. */
  readonly max: number;
  private readonly cells: Float64Array;

  constructor(cells: Float64Array, sum: number, max: number) {
    let count = 0;
    for (let i = 0; i < CELLS; i++) count += cells[i];
    this.cells = cells;
    this.count = count;
    this.sum = sum;
    this.max = max;
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.sum / this.count;
  }

  /**
   * What `percent` (0..100) of the values do not exceed: never less than the true percentile of the whole
   * microseconds recorded, and at most 1.6 % more. 0 when nothing was counted.
   */
  percentile(percent: number): number {
    if (this.count === 0) return 0;
    const rank = Math.max(1, Math.ceil((percent / 100) * this.count));
    let seen = 0;
    for (let i = 0; i < CELLS; i++) {
      seen += this.cells[i];
      if (seen >= rank) return Math.min(upperEdge(i) - 1, this.max);
    }
    return this.max;
  }

  /** How many values are below `micros`. Exact for whole edges of cells, such as 125 × 2^n; else rounded down. */
  below(micros: number): number {
    let seen = 0;
    for (let i = 0; i < CELLS && upperEdge(i) <= micros; i++) seen += this.cells[i];
    return seen;
  }

  /** What came after `earlier`, a snapshot of the same histograms: for rates and recent percentiles. */
  since(earlier: HistogramSnapshot): HistogramSnapshot {
    const cells = new Float64Array(CELLS);
    let last = -1;
    for (let i = 0; i < CELLS; i++) {
      // A block that was laid out anew in between counts from zero again.
      cells[i] = Math.max(0, this.cells[i] - earlier.cells[i]);
      if (cells[i] > 0) last = i;
    }
    const max = last < 0 ? 0 : Math.min(upperEdge(last) - 1, this.max);
    return new HistogramSnapshot(cells, Math.max(0, this.sum - earlier.sum), max);
  }
}

/** All histograms as if they had been one. Each array has HISTOGRAM_CELLS numbers; none is kept. */
export function mergeHistograms(histograms: readonly Float64Array[]): HistogramSnapshot {
  const cells = new Float64Array(CELLS);
  let sum = 0;
  let max = 0;
  for (const source of histograms) {
    for (let i = 0; i < CELLS; i++) cells[i] += source[i];
    sum += source[SUM];
    max = Math.max(max, source[MAX]);
  }
  return new HistogramSnapshot(cells, sum, max);
}
