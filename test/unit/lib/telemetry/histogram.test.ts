import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  HISTOGRAM_CELLS,
  Histogram,
  type HistogramSnapshot,
  MAX_MICROS,
  mergeHistograms,
} from '../../../../lib/telemetry/histogram.js';

function recorded(values: readonly number[]): Float64Array {
  const cells = new Float64Array(HISTOGRAM_CELLS);
  const histogram = new Histogram(cells);
  for (const value of values) histogram.record(value);
  return cells;
}

function snapshotOf(values: readonly number[]): HistogramSnapshot {
  return mergeHistograms([recorded(values)]);
}

const micros = fc.oneof(
  fc.nat({ max: 200 }),
  fc.nat({ max: MAX_MICROS }),
  fc.nat({ max: 25 }).map((n) => 2 ** n),
  fc.nat({ max: 25 }).map((n) => 2 ** n - 1),
);
const many = fc.array(micros, { minLength: 1, maxLength: 300 });

describe('telemetry histogram', () => {
  it('is empty at first', () => {
    const empty = snapshotOf([]);
    assert.deepEqual(
      [empty.count, empty.sum, empty.mean, empty.max, empty.percentile(50), empty.below(1e9)],
      [0, 0, 0, 0, 0, 0],
    );
  });

  it('knows small values exactly and rounds fractions down', () => {
    const some = snapshotOf([0, 0.99, 1, 7.5, 127]);
    assert.equal(some.count, 5);
    assert.equal(some.sum, 135);
    assert.equal(some.mean, 27);
    assert.equal(some.percentile(40), 0);
    assert.equal(some.percentile(60), 1);
    assert.equal(some.percentile(80), 7);
    assert.equal(some.percentile(100), 127);
  });

  it('takes values that no clock should yield', () => {
    const odd = snapshotOf([-5, Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 1e300]);
    assert.equal(odd.count, 5);
    assert.equal(odd.max, MAX_MICROS);
    assert.equal(odd.percentile(60), 0);
    assert.equal(odd.percentile(100), MAX_MICROS);
  });

  it('gives percentiles that are never too small and at most 1/64 too large', () => {
    fc.assert(
      fc.property(many, fc.constantFrom(0, 1, 25, 50, 90, 95, 99, 100), (values, percent) => {
        const sorted = [...values].sort((a, b) => a - b);
        const truth = sorted[Math.max(1, Math.ceil((percent / 100) * sorted.length)) - 1];
        const found = snapshotOf(values).percentile(percent);
        assert.ok(found >= truth && found <= truth * (1 + 1 / 64), `${found} for ${truth}`);
      }),
    );
  });

  it('counts what lies below the edge of a cell exactly', () => {
    fc.assert(
      fc.property(many, fc.nat({ max: 17 }), (values, n) => {
        const bound = 125 * 2 ** n;
        assert.equal(snapshotOf(values).below(bound), values.filter((value) => value < bound).length);
      }),
    );
  });

  it('merges as if all had been recorded in one', () => {
    fc.assert(
      fc.property(many, many, (a, b) => {
        const merged = mergeHistograms([recorded(a), recorded(b)]);
        assert.deepEqual(merged, snapshotOf([...a, ...b]));
      }),
    );
  });

  it('subtracts an earlier snapshot', () => {
    fc.assert(
      fc.property(many, many, (before, after) => {
        const cells = recorded(before);
        const earlier = mergeHistograms([cells]);
        const histogram = new Histogram(cells);
        for (const value of after) histogram.record(value);
        const recent = histogram.snapshot().since(earlier);
        const alone = snapshotOf(after);
        assert.equal(recent.count, alone.count);
        assert.equal(recent.sum, alone.sum);
        assert.ok(recent.max >= alone.max && recent.max <= alone.max * (1 + 1 / 64));
        assert.ok(recent.percentile(50) >= alone.percentile(50));
      }),
    );
  });

  it('never goes below zero when the block was laid out anew in between', () => {
    const recent = snapshotOf([5]).since(snapshotOf([5, 5, 9]));
    assert.deepEqual([recent.count, recent.sum, recent.max], [0, 0, 0]);
  });
});
