import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { attachBlock, TELEMETRY_BYTES } from '../../../../lib/telemetry/block.js';
import { C } from '../../../../lib/telemetry/counters.js';
import { startProcessGauges } from '../../../../lib/telemetry/process-gauges.js';

const STALL = 150;

function stall(): void {
  const end = performance.now() + STALL;
  while (performance.now() < end);
}

describe('process gauges', () => {
  it('measure memory, processor time, the beat and a stalled event loop', async () => {
    const block = attachBlock(new ArrayBuffer(TELEMETRY_BYTES));
    const { counters } = block;
    counters[C.beatAt] = 0;
    const stop = startProcessGauges(block);
    try {
      stall();
      while (counters[C.rss] === 0) await sleep(10);
    } finally {
      stop();
    }
    assert.ok(counters[C.rss] > 1e6);
    assert.ok(counters[C.heapUsed] > 1e5);
    assert.ok(counters[C.cpuUser] + counters[C.cpuSystem] > 0);
    assert.ok(Math.abs(counters[C.beatAt] - Date.now() / 1000) < 5);
    assert.ok(counters[C.loopDelayMax] >= 0.04, `${counters[C.loopDelayMax]}`);
    assert.ok(counters[C.loopDelayMean] <= counters[C.loopDelayMax]);
    const delays = block.loopDelay.snapshot();
    assert.equal(delays.count, 10);
    assert.ok(delays.max >= 40_000);
  });
});
