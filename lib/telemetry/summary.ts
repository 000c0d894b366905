/** The telemetry of a node as one object, for the command line and the dashboard. */
import {
  ERROR_CODES,
  HISTOGRAM_NAMES,
  type HistogramName,
  histogramCells,
  readBlock,
  type TelemetryReader,
} from './block.js';
import { C, COUNTER_NAMES, type CounterName, mergeCounter } from './counters.js';
import { mergeHistograms } from './histogram.js';
import { mergeLedgers, REASON_NAMES, type ReasonName } from './ledger.js';

type Numbers = Record<CounterName, number>;

/** Durations in microseconds. */
export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface TelemetrySummary {
  readonly node: Numbers;
  /** At most one for each slot; only workers that have begun. */
  readonly workers: readonly { readonly worker: string; readonly counters: Numbers }[];
  /** Of all workers together, since the node began. */
  readonly latency: Readonly<Record<HistogramName, LatencySummary>>;
  /** By error code, where there were any. */
  readonly errors: Readonly<Record<string, number>>;
  /** The drop ledger, without zeros; at most 256 roots. */
  readonly dropped: readonly { readonly root: string; readonly reason: ReasonName; readonly count: number }[];
}

function numbers(of: (name: CounterName) => number): Numbers {
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, of(name)])) as Numbers;
}

/** Reads all blocks once. Throws what the reader throws. */
export function summarise(reader: TelemetryReader): TelemetrySummary {
  const attached = reader.blocks().flatMap((region) => {
    const block = readBlock(region);
    return block === null ? [] : [{ region, block }];
  });
  const counters = attached.map(({ block }) => block.counters);

  const latencyOf = (name: HistogramName): LatencySummary => {
    const merged = mergeHistograms(
      attached.map(({ region }) => histogramCells(region.buffer, region.offset, name)),
    );
    return {
      count: merged.count,
      mean: merged.mean,
      p50: merged.percentile(50),
      p95: merged.percentile(95),
      p99: merged.percentile(99),
      max: merged.max,
    };
  };

  const errors: Record<string, number> = {};
  for (const [cell, code] of ERROR_CODES.entries()) {
    const count = attached.reduce((sum, { block }) => sum + block.errors[cell], 0);
    if (count > 0) errors[code] = count;
  }

  return {
    node: numbers((name) => mergeCounter(name, counters)),
    workers: attached.map(({ region, block }) => ({
      worker: region.worker,
      counters: numbers((name) => block.counters[C[name]]),
    })),
    latency: Object.fromEntries(HISTOGRAM_NAMES.map((name) => [name, latencyOf(name)])) as Record<
      HistogramName,
      LatencySummary
    >,
    errors,
    dropped: mergeLedgers(attached.map(({ block }) => block.ledger)).flatMap(({ root, counts }) =>
      REASON_NAMES.map((reason, column) => ({ root, reason, count: counts[column] })).filter(
        ({ count }) => count > 0,
      ),
    ),
  };
}
