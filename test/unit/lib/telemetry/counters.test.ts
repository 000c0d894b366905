import assert from 'node:assert/strict';
import {
  C,
  COUNTER_CELLS,
  COUNTER_NAMES,
  GAUGE_CELLS,
  METRICS,
  mergeCounter,
} from '../../../../lib/telemetry/counters.js';
import { LANES } from '../../../../lib/wire/frame.js';

describe('telemetry counters', () => {
  it('have one cell each, without a hole, within the block', () => {
    assert.deepEqual(
      COUNTER_NAMES.map((name) => C[name]),
      COUNTER_NAMES.map((_, cell) => cell),
    );
    assert.ok(COUNTER_NAMES.length <= COUNTER_CELLS);
  });

  it('have names that Prometheus takes and, where they share one, the same kind and different labels', () => {
    const seen = new Map<string, string>();
    const series = new Set<string>();
    for (const name of COUNTER_NAMES) {
      const { metric, kind, help, labels } = METRICS[name];
      assert.match(metric, /^flowbus_[a-z_]+$/);
      assert.equal(metric.endsWith('_total'), kind === 'counter', metric);
      assert.match(help, /\.$/);
      const shape = JSON.stringify([kind, help, Object.keys(labels)]);
      assert.equal(seen.get(metric) ?? shape, shape, metric);
      seen.set(metric, shape);
      const key = metric + JSON.stringify(labels);
      assert.ok(!series.has(key), key);
      series.add(key);
    }
  });

  it('have the lanes of sheds side by side', () => {
    for (const [lane, text] of LANES.entries()) {
      assert.equal(METRICS[COUNTER_NAMES[C.shedsCritical + lane]].labels.lane, text);
    }
  });

  it('know their gauges', () => {
    assert.ok(GAUGE_CELLS.includes(C.connections));
    assert.ok(!GAUGE_CELLS.includes(C.publishesIn));
  });

  it('merge over workers by sum, largest or smallest', () => {
    const a = new Float64Array(COUNTER_CELLS);
    const b = new Float64Array(COUNTER_CELLS);
    a[C.publishesIn] = 3;
    b[C.publishesIn] = 4;
    a[C.loopDelayMax] = 0.5;
    b[C.loopDelayMax] = 0.25;
    a[C.beatAt] = 100;
    b[C.beatAt] = 90;
    assert.equal(mergeCounter('publishesIn', [a, b]), 7);
    assert.equal(mergeCounter('loopDelayMax', [a, b]), 0.5);
    assert.equal(mergeCounter('beatAt', [a, b]), 90);
    assert.equal(mergeCounter('beatAt', []), 0);
  });
});
