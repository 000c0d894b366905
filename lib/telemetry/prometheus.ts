/**
 * The metrics page: whatever the telemetry blocks of all workers hold when it is asked for, in the text format of
 * Prometheus. Any process of the node can render it, and no other process takes part.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Metric } from 'prom-client';
// Not the whole package: it brings clients of HTTP and of OpenTelemetry, a seventh of what a shard needs to start.
import Registry from 'prom-client/lib/registry.js';
import {
  ERROR_CODES,
  HISTOGRAM_NAMES,
  type HistogramName,
  histogramCells,
  readBlock,
  type TelemetryBlock,
  type TelemetryReader,
} from './block.js';
import { C, COUNTER_NAMES, type CounterName, METRICS } from './counters.js';
import { mergeHistograms } from './histogram.js';
import { mergeLedgers, REASON_NAMES } from './ledger.js';

const MICROS = 1e6;

/**
 * Upper bounds (microseconds). Each is 125 × 2^n or below 128, and thus the edge of a cell: the counts are exact,
 * but for a value that hits the bound itself and is counted above it.
 */
export const BUCKET_BOUNDS: readonly number[] = [
  50, 100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000,
  4_096_000, 16_384_000,
];

const HISTOGRAM_METRICS: Readonly<Record<HistogramName, { name: string; help: string }>> = {
  doorToSocket: {
    name: 'flowbus_door_to_socket_seconds',
    help: "From a frame's arrival to its hand-over to the subscriber's socket, sampled.",
  },
  loopDelay: {
    name: 'flowbus_loop_delay_seconds',
    help: 'How late the event loop ran what was due, ten times a second.',
  },
};

interface AttachedBlock {
  readonly worker: string;
  readonly block: TelemetryBlock;
  readonly histogram: (name: HistogramName) => Float64Array;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/**
 * As much of a metric as a registry asks for, with its samples straight from the blocks. prom-client's own classes
 * would have to be filled label set by label set, at five times the cost, and a histogram even value by value.
 */
class BlockMetric {
  readonly aggregator = 'sum';
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly #read: () => Sample[];

  constructor(name: string, help: string, type: BlockMetric['type'], read: () => Sample[]) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.#read = read;
  }

  async get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: this.#read() };
  }

  /** Nothing is kept here. */
  reset(): void {}
}

function bucketSamples(name: string, worker: string, cells: Float64Array): Sample[] {
  const snapshot = mergeHistograms([cells]);
  const samples: Sample[] = BUCKET_BOUNDS.map((bound) => ({
    metricName: `${name}_bucket`,
    labels: { le: bound / MICROS, worker },
    value: snapshot.below(bound),
  }));
  samples.push({ metricName: `${name}_bucket`, labels: { le: '+Inf', worker }, value: snapshot.count });
  samples.push({ metricName: `${name}_sum`, labels: { worker }, value: snapshot.sum / MICROS });
  samples.push({ metricName: `${name}_count`, labels: { worker }, value: snapshot.count });
  return samples;
}

/** The names that one metric stands for: several when they differ by label only. */
function namesByMetric(): Map<string, CounterName[]> {
  const groups = new Map<string, CounterName[]>();
  for (const name of COUNTER_NAMES) {
    const group = groups.get(METRICS[name].metric);
    if (group === undefined) groups.set(METRICS[name].metric, [name]);
    else group.push(name);
  }
  return groups;
}

export interface RenderedMetrics {
  readonly contentType: string;
  readonly body: string;
}

/** Size: about 5 KB a worker, and for the drop ledger up to 3,072 lines, when 256 roots know every reason. */
export class MetricsPage {
  readonly #registry = new Registry();
  readonly #reader: TelemetryReader;
  readonly #names: string[] = [];
  #attached: AttachedBlock[] = [];
  #rendering: Promise<RenderedMetrics> | null = null;

  constructor(reader: TelemetryReader) {
    this.#reader = reader;
    for (const [metric, names] of namesByMetric()) {
      const { help, kind } = METRICS[names[0]];
      this.#add(metric, help, kind, () => this.#counters(metric, names));
    }
    for (const name of HISTOGRAM_NAMES) {
      const { name: metric, help } = HISTOGRAM_METRICS[name];
      this.#add(metric, help, 'histogram', () =>
        this.#attached.flatMap(({ worker, histogram }) => bucketSamples(metric, worker, histogram(name))),
      );
    }
    this.#add('flowbus_errors_total', 'Errors reported to clients, by code.', 'counter', () =>
      this.#errors(),
    );
    this.#add(
      'flowbus_dropped_total',
      'Live messages that the bus decided not to deliver, by root (first level) of the topic and reason.',
      'counter',
      () => this.#dropped(),
    );
  }

  /** The page as it is now. Callers at the same time share one rendering. Rejects with what the reader throws. */
  render(): Promise<RenderedMetrics> {
    this.#rendering ??= this.#render().finally(() => {
      this.#rendering = null;
    });
    return this.#rendering;
  }

  async #render(): Promise<RenderedMetrics> {
    this.#attached = this.#reader.blocks().flatMap((region) => {
      const block = readBlock(region);
      if (block === null) return [];
      const { worker, buffer, offset } = region;
      return [{ worker, block, histogram: (name) => histogramCells(buffer, offset, name) }];
    });
    const parts: string[] = [];
    for (const name of this.#names) {
      parts.push(await this.#registry.getSingleMetricAsString(name));
      // A shard that renders has messages to carry meanwhile: with sixty workers the page takes many milliseconds.
      await nextTurn();
    }
    return { contentType: this.#registry.contentType, body: `${parts.join('\n\n')}\n` };
  }

  #add(name: string, help: string, type: BlockMetric['type'], read: () => Sample[]): void {
    this.#names.push(name);
    // The type of the registry names its own classes only; what it calls is get() and reset().
    this.#registry.registerMetric(new BlockMetric(name, help, type, read) as unknown as Metric);
  }

  #counters(metricName: string, names: readonly CounterName[]): Sample[] {
    return this.#attached.flatMap(({ worker, block }) =>
      names.map((name) => ({
        metricName,
        labels: { ...METRICS[name].labels, worker },
        value: block.counters[C[name]],
      })),
    );
  }

  #errors(): Sample[] {
    return ERROR_CODES.map((code, cell) => ({
      metricName: 'flowbus_errors_total',
      labels: { code },
      value: this.#attached.reduce((sum, { block }) => sum + block.errors[cell], 0),
    })).filter(({ value }) => value > 0);
  }

  #dropped(): Sample[] {
    return mergeLedgers(this.#attached.map(({ block }) => block.ledger)).flatMap(({ root, counts }) =>
      REASON_NAMES.map((reason, column) => ({
        metricName: 'flowbus_dropped_total',
        labels: { root, reason },
        value: counts[column],
      })).filter(({ value }) => value > 0),
    );
  }
}
