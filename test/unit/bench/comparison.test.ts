import assert from 'node:assert/strict';
import { compare, exitOf, type Pair, verdictLines } from '../../../bench/comparison.js';
import { makeReport, type Report } from '../../../bench/report.js';
import type { FigureShape } from '../../../bench/scenario.js';

const TOLERANCE = 0.1;

const MACHINE = {
  cpu: 'A Processor',
  cores: 2,
  memoryBytes: 8 * 1024 ** 3,
  system: 'linux 6 x64',
  node: 'v20.20.2',
  date: '2026-01-02T03:04:05.678Z',
  commit: null,
  changed: false,
};

const UNITS: Readonly<Record<string, FigureShape['unit']>> = {
  delivered: 'per second',
  cpuPerDelivery: 'ns',
  p50: 'us',
  p99: 'us',
  max: 'us',
  batch: 'count',
};

function reportOf(values: Record<string, number | null>): Report {
  const figures = Object.entries(values).map(([name, value]) => ({
    name,
    unit: UNITS[name],
    runs: [value],
    median: value,
    min: value,
    max: value,
    goal: null,
    met: null,
  }));
  const account = { expected: 1, received: 1, lost: 0, repeated: 0 };
  const result = { scenario: 'throughput', case: '1→1', conditions: {}, figures, account, notes: [] };
  return makeReport(MACHINE, [{ bus: 'flowbus', ...result }], []);
}

const BASE = { delivered: 3e6, cpuPerDelivery: 150, p50: 100, p99: 1000, max: 5000, batch: 200 };

/** The base's figures with those of the tree `factor` times as large, a pair for each factor. */
function pairsOf(name: keyof typeof BASE, factors: readonly number[]): Pair[] {
  return factors.map((factor, index) => {
    // The machine is not as fast in each pair, but alike for both.
    const drift = 1 + index / 2;
    const base = Object.fromEntries(Object.entries(BASE).map(([key, value]) => [key, value * drift]));
    return { base: reportOf(base), tree: reportOf({ ...base, [name]: base[name] * factor }) };
  });
}

function worseOf(pairs: readonly Pair[]): string[] {
  return compare(pairs, TOLERANCE)
    .comparisons.filter(({ worse }) => worse)
    .map(({ figure }) => figure);
}

describe('a comparison', () => {
  it('finds a figure that is worse by a fifth, whichever way is good', () => {
    assert.deepEqual(worseOf(pairsOf('delivered', [0.8, 0.79, 0.81, 0.8])), ['delivered']);
    assert.deepEqual(worseOf(pairsOf('cpuPerDelivery', [1.2, 1.19, 1.21, 1.2])), ['cpuPerDelivery']);
    assert.deepEqual(worseOf(pairsOf('p50', [1.2, 1.2])), ['p50']);
  });

  it('lets a twentieth pass, and whatever is better', () => {
    for (const factor of [0.95, 1.05, 1]) {
      for (const name of ['delivered', 'cpuPerDelivery', 'p50'] as const)
        assert.deepEqual(worseOf(pairsOf(name, [factor, factor])), [], `${name} ${factor}`);
    }
    assert.deepEqual(worseOf(pairsOf('delivered', [3])), []);
    assert.deepEqual(worseOf(pairsOf('p50', [0.1])), []);
  });

  it('goes by the median of the pairs: one that was disturbed decides nothing', () => {
    const [delivered] = compare(pairsOf('delivered', [1, 0.2, 0.98]), TOLERANCE).comparisons;
    assert.deepEqual([delivered.ratio, delivered.min, delivered.max], [0.98, 0.2, 1]);
    assert.equal(delivered.worse, false);
  });

  it('has the tolerance that it is given', () => {
    const pairs = pairsOf('delivered', [0.8]);
    assert.equal(compare(pairs, 0.25).comparisons[0].worse, false);
    assert.equal(compare(pairs, 0.15).comparisons[0].worse, true);
  });

  it('only shows tails, and leaves out what is neither good nor bad', () => {
    for (const name of ['p99', 'max'] as const) assert.deepEqual(worseOf(pairsOf(name, [9, 9])), []);
    const { comparisons } = compare(pairsOf('p99', [9, 9]), TOLERANCE);
    assert.deepEqual(
      comparisons.map(({ figure, gated }) => [figure, gated]),
      [
        ['delivered', true],
        ['cpuPerDelivery', true],
        ['p50', true],
        ['p99', false],
        ['max', false],
      ],
    );
  });

  it('tells what one side did not measure', () => {
    const whole = reportOf(BASE);
    const { delivered, p50 } = BASE;
    for (const base of [
      { delivered, p50 },
      { ...BASE, cpuPerDelivery: null, p99: 0, max: 0 },
    ]) {
      const { comparisons, incomparable } = compare([{ tree: whole, base: reportOf(base) }], TOLERANCE);
      assert.deepEqual(
        comparisons.map(({ figure }) => figure),
        ['delivered', 'p50'],
      );
      assert.deepEqual(incomparable, [
        'throughput 1→1: broker CPU per delivery',
        'throughput 1→1: latency P99',
        'throughput 1→1: latency max',
      ]);
    }
    assert.deepEqual(compare([], TOLERANCE), { comparisons: [], incomparable: [] });
  });

  it('lets the gate end with 3 when a single figure is worse, and with 1 when nothing could be compared', () => {
    assert.equal(exitOf(compare(pairsOf('delivered', [1, 1]), TOLERANCE)), 0);
    assert.equal(exitOf(compare(pairsOf('delivered', [0.5, 0.5]), TOLERANCE)), 3);
    // Tails are shown, and decide nothing.
    assert.equal(exitOf(compare(pairsOf('p99', [9, 9]), TOLERANCE)), 0);
    assert.equal(exitOf(compare([], TOLERANCE)), 1);
  });

  it('is written as a line for each figure, aligned', () => {
    const pairs = pairsOf('delivered', [0.8, 0.7]);
    const lines = verdictLines(compare(pairs, TOLERANCE));
    assert.equal(lines.length, 6);
    assert.match(
      lines[1],
      /^throughput 1→1: delivered messages\s+0\.75 ×\s+0\.70 ×\s+0\.80 × {3}more: WORSE$/,
    );
    assert.match(lines[2], /1\.00 × {3}less: ok$/);
    assert.match(lines[5], /less: only shown$/);
    assert.equal(new Set(lines.slice(1).map((line) => line.lastIndexOf('×'))).size, 1);
    const noted = verdictLines({ comparisons: [], incomparable: ['throughput 1→1: latency P99'] });
    assert.deepEqual(noted, ['note: throughput 1→1: latency P99 was not measured by both']);
  });
});
