/**
 * The telemetry block: all that one worker counts, in one region of memory with a fixed layout. The blocks of a
 * node lie end to end in shared memory. Only the worker writes its block; every process of the node reads all of
 * them without asking, so a stuck worker cannot block a scrape. When a worker is killed its block stays, and the
 * next incarnation of the slot goes on counting in it.
 *
 *   offset      size
 *        0         4   stamp: a hash of the layout; anything else = never laid out, or by another version
 *        4         4   incarnations that have attached
 *        8        56   unused
 *       64       768   counters and gauges, 96 doubles            counters.ts
 *      832       768   errors by code, 96 doubles                 in the order of ERRORS
 *     1600  n × 10768   histograms, each 1,346 doubles             histogram.ts
 *     then     40968   drop ledger: 256 roots × 16 reasons        ledger.ts
 *     then          …   to a whole page
 */

import { ERRORS, type ErrorCode } from '../errors.js';
import { crc32 } from '../wire/checksum.js';
import { C, COUNTER_CELLS, COUNTER_NAMES, GAUGE_CELLS } from './counters.js';
import { HISTOGRAM_CELLS, Histogram } from './histogram.js';
import { LEDGER_BYTES, Ledger, REASON_NAMES } from './ledger.js';

/** What has a histogram, in the order of the layout. */
export const HISTOGRAM_NAMES = ['doorToSocket', 'loopDelay'] as const;
export type HistogramName = (typeof HISTOGRAM_NAMES)[number];

/** In the order of their cells. */
export const ERROR_CODES = Object.keys(ERRORS) as ErrorCode[];
const ERROR_CELL = new Map<ErrorCode, number>(ERROR_CODES.map((code, cell) => [code, cell]));
/** More than there are codes, so that the layout need not move with each new one. */
export const ERROR_CELLS = 96;

const PAGE = 4096;
const COUNTERS_OFFSET = 64;
const ERRORS_OFFSET = COUNTERS_OFFSET + COUNTER_CELLS * 8;
const HISTOGRAMS_OFFSET = ERRORS_OFFSET + ERROR_CELLS * 8;
const LEDGER_OFFSET = HISTOGRAMS_OFFSET + HISTOGRAM_NAMES.length * HISTOGRAM_CELLS * 8;
/** Bytes of one block: 64 KiB. */
export const TELEMETRY_BYTES = Math.ceil((LEDGER_OFFSET + LEDGER_BYTES) / PAGE) * PAGE;

const STAMP = 0;
const INCARNATIONS = 1;

/** Of everything that gives a cell its meaning, so that no change of a table can be forgotten here. */
const LAYOUT_STAMP = ((): number => {
  const meaning = JSON.stringify([
    TELEMETRY_BYTES,
    COUNTER_NAMES.map((name) => [name, C[name]]),
    ERROR_CODES,
    HISTOGRAM_NAMES,
    HISTOGRAM_CELLS,
    REASON_NAMES,
    LEDGER_BYTES,
  ]);
  const bytes = new TextEncoder().encode(meaning);
  // A stamp of zero would accept memory that nobody has laid out.
  return crc32(bytes, 0, bytes.length, 0) | 1;
})();

/** Where the block of one worker is, for those who read it. */
export interface BlockRegion {
  /** The worker's name in metrics: `0`, `1` … for the shards, `mesh`, `primary`. */
  readonly worker: string;
  readonly buffer: ArrayBufferLike;
  /** A multiple of 8; TELEMETRY_BYTES from there on are the block. */
  readonly offset: number;
}

/** Where the blocks of a node can be read, whether they lie in shared memory or in a file. */
export interface TelemetryReader {
  /** One region per worker, in a stable order, laid out or not. */
  blocks(): readonly BlockRegion[];
}

export class TelemetryBlock {
  /** By `C`; COUNTER_CELLS numbers. */
  readonly counters: Float64Array;
  /** By position in ERROR_CODES; ERROR_CELLS numbers. */
  readonly errors: Float64Array;
  /** From the arrival of a frame to its hand-over to the subscriber's socket, both in this node; sampled. */
  readonly doorToSocket: Histogram;
  /** How late the event loop ran what was due. */
  readonly loopDelay: Histogram;
  readonly ledger: Ledger;

  constructor(buffer: ArrayBufferLike, offset: number) {
    this.counters = new Float64Array(buffer, offset + COUNTERS_OFFSET, COUNTER_CELLS);
    this.errors = new Float64Array(buffer, offset + ERRORS_OFFSET, ERROR_CELLS);
    this.doorToSocket = new Histogram(histogramCells(buffer, offset, 'doorToSocket'));
    this.loopDelay = new Histogram(histogramCells(buffer, offset, 'loopDelay'));
    this.ledger = new Ledger(buffer, offset + LEDGER_OFFSET);
  }

  /** Counts one error that was reported to a client. */
  countError(code: ErrorCode): void {
    // Every code has a cell: ERROR_CODES are the keys of the table that defines the type.
    this.errors[ERROR_CELL.get(code)!] += 1;
  }
}

/** The numbers of one histogram of a block, for `mergeHistograms`. */
export function histogramCells(buffer: ArrayBufferLike, offset: number, name: HistogramName): Float64Array {
  const start = offset + HISTOGRAMS_OFFSET + HISTOGRAM_NAMES.indexOf(name) * HISTOGRAM_CELLS * 8;
  return new Float64Array(buffer, start, HISTOGRAM_CELLS);
}

/**
 * The block at `offset` (a multiple of 8) of `buffer`, for the one process that counts in it from now on. Counters,
 * histograms and ledger go on from what an earlier incarnation left; gauges begin at zero. Memory that is not laid
 * out, or by another version, is cleared first.
 */
export function attachBlock(buffer: ArrayBufferLike, offset = 0): TelemetryBlock {
  const head = new Int32Array(buffer, offset, 2);
  const fresh = Atomics.load(head, STAMP) !== LAYOUT_STAMP;
  if (fresh) new Uint8Array(buffer, offset, TELEMETRY_BYTES).fill(0);
  const block = new TelemetryBlock(buffer, offset);
  clearGauges(block);
  block.ledger.open();
  block.counters[C.startedAt] = Date.now() / 1000;
  block.counters[C.beatAt] = block.counters[C.startedAt];
  if (!fresh) block.counters[C.restarts] += 1;
  head[INCARNATIONS] += 1;
  // Last, so that nobody reads a block that is half laid out.
  Atomics.store(head, STAMP, LAYOUT_STAMP);
  return block;
}

/** The block as it stands, to be read only; null when no worker of this version has attached to it. */
export function readBlock(region: BlockRegion): TelemetryBlock | null {
  const { buffer, offset } = region;
  if (buffer.byteLength < offset + TELEMETRY_BYTES) return null;
  if (Atomics.load(new Int32Array(buffer, offset, 1), 0) !== LAYOUT_STAMP) return null;
  return new TelemetryBlock(buffer, offset);
}

/** Sets all gauges to zero; also for whoever sees that the worker of a block has ended and is not replaced. */
export function clearGauges(block: TelemetryBlock): void {
  for (const cell of GAUGE_CELLS) block.counters[cell] = 0;
}

/** The blocks of `workers`, which lie end to end from `offset` on in one shared segment. */
export class SharedTelemetry implements TelemetryReader {
  private readonly regions: readonly BlockRegion[];

  constructor(buffer: ArrayBufferLike, offset: number, workers: readonly string[]) {
    this.regions = workers.map((worker, slot) => ({
      worker,
      buffer,
      offset: offset + slot * TELEMETRY_BYTES,
    }));
  }

  blocks(): readonly BlockRegion[] {
    return this.regions;
  }
}
