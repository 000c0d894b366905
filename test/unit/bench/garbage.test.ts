import assert from 'node:assert/strict';
import { GarbageLog, garbageBetween } from '../../../bench/garbage.js';

const MB = 1024 * 1024;

describe('garbage, from the log of V8', () => {
  it('is what each heap grew by between its collections', () => {
    const log = new GarbageLog();
    log.push(
      '[11:0x5f2b6a0]       80 ms: Scavenge 2.0 (3.5) -> 1.5 (4.5) MB, 0.50 / 0.00 ms  (average mu = 1.000) allocation failure; \n' +
        '[12:0x6f2b6a0]       81 ms: Scavenge 9.0 (9.5) -> 8.0 (9.5) MB, 1.00 / 0.00 ms  (average mu = 1.000) task; \n',
    );
    // A heap that was not seen before may have been filled by anything.
    assert.deepEqual(log.sum, { bytes: 0, collections: 2, pauses: 1.5 });
    const before = log.sum;
    log.push(
      '[11:0x5f2b6a0]       90 ms: Mark-Compact (reduce) 4.0 (4.5) -> 1.0 (4.5) MB, 2.25 / 0.00 ms  (a',
    );
    log.push('verage mu = 1.000) last resort; \n[12:0x6f2b6a0]       99 ms: Scavenge 8.5 (9.5) -> 8.0');
    assert.deepEqual(garbageBetween(before, log.sum), { bytes: 2.5 * MB, collections: 1, pauses: 2.25 });
    log.push(' (9.5) MB, 1.00 / 0.00 ms  (average mu = 1.000) task; \n');
    assert.deepEqual(garbageBetween(before, log.sum), { bytes: 3 * MB, collections: 2, pauses: 3.25 });
  });

  it('is nothing of what else is printed', () => {
    const log = new GarbageLog();
    log.push('{"level":30,"msg":"[11:0] ms: Scavenge"}\n\n[11:0x5f2b6a0] Scavenge\n');
    assert.deepEqual(log.sum, { bytes: 0, collections: 0, pauses: 0 });
  });
});
