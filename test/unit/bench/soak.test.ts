import assert from 'node:assert/strict';
import { Intervals } from '../../../bench/roles/latency.js';
import { slope, thirds } from '../../../bench/scenarios/soak.js';

describe('a soak', () => {
  it('finds how much values grow, whatever lies around the line', () => {
    assert.equal(slope([10, 12, 14, 16]), 2);
    assert.equal(slope([5, 5, 5]), 0);
    assert.equal(slope([10, null, 14, 16]), 2);
    const noisy = Array.from({ length: 100 }, (_, index) => 1000 - 3 * index + (index % 2 === 0 ? 5 : -5));
    assert.ok(Math.abs(slope(noisy)! + 3) < 0.01);
    assert.equal(slope([1, null]), null);
  });

  it('compares the first third with the last', () => {
    assert.deepEqual(thirds([1, 100, 3, 50, 50, 50, 7, 9, 200]), [3, 9]);
    assert.deepEqual(thirds([1, 2, 3, 4]), [1, 4]);
    assert.deepEqual(thirds([null, 2, 3]), [null, 3]);
  });

  it('puts latencies into the second in which their messages were due', () => {
    const intervals = new Intervals(10_000.1);
    intervals.record(10_000, 1);
    // Two sums of the same time.
    intervals.record(10_000.1 - 1e-9, 2);
    intervals.record(11_000, 3);
    intervals.record(11_000.1 - 1e-9, 4);
    assert.equal(intervals.take(0).count, 2);
    intervals.record(10_500, 2000);
    const { count, p99 } = intervals.take(1);
    assert.equal(count, 1);
    assert.ok(Math.abs(p99 - 4000) < 10);
    assert.equal(intervals.take(2).count, 0);
  });
});
