/** What a worker measures of itself: event loop, memory, processor time. */
import { performance } from 'node:perf_hooks';
import type { TelemetryBlock } from './block.js';
import { C } from './counters.js';

/** Ten wake-ups a second: an idle worker hardly feels them, and no stall of a tenth of a second goes unseen. */
const PROBE_INTERVAL = 100;
const PROBES_PER_SECOND = 1000 / PROBE_INTERVAL;

/**
 * Begins to write the process's gauges and event loop delays into its block; returns how to stop. The delay is how
 * late a timer comes, and timers are only good to about a millisecond. The timer does not keep the process alive.
 */
export function startProcessGauges(block: TelemetryBlock): () => void {
  const { counters, loopDelay } = block;
  let due = performance.now() + PROBE_INTERVAL;
  let probes = 0;
  let sum = 0;
  let max = 0;
  let cpu = process.cpuUsage();

  const everySecond = (): void => {
    counters[C.loopDelayMax] = max / 1000;
    counters[C.loopDelayMean] = sum / probes / 1000;
    const memory = process.memoryUsage();
    counters[C.rss] = memory.rss;
    counters[C.heapUsed] = memory.heapUsed;
    const now = process.cpuUsage();
    // As differences, because the cells go on from what earlier incarnations used.
    counters[C.cpuUser] += (now.user - cpu.user) / 1e6;
    counters[C.cpuSystem] += (now.system - cpu.system) / 1e6;
    cpu = now;
    probes = sum = max = 0;
  };

  const probe = (): void => {
    const now = performance.now();
    const late = Math.max(0, now - due);
    loopDelay.record(late * 1000);
    counters[C.beatAt] = Date.now() / 1000;
    sum += late;
    max = Math.max(max, late);
    if (++probes >= PROBES_PER_SECOND) everySecond();
    due = now + PROBE_INTERVAL;
    timer = setTimeout(probe, PROBE_INTERVAL);
    timer.unref();
  };

  let timer = setTimeout(probe, PROBE_INTERVAL);
  timer.unref();
  return () => clearTimeout(timer);
}
