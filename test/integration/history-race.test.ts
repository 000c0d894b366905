import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { historyOffset } from '../../lib/memory/layout.js';
import { attachSegment, createSegment, removeSegment } from '../../lib/memory/segment.js';
import { HistoryReader } from '../../lib/queues/history-ring.js';
import { isRecord } from './ring-race-record.js';

const WRITER = fileURLToPath(new URL('./history-race-writer.js', import.meta.url));
const COUNT = 1_000_000;
/** So small that a reader is overtaken all the time. */
const BYTES = 32 * 1024;

/** Whether a record that was copied whole is what its number says. */
function isRight(reader: HistoryReader): boolean {
  const { scratch, senderEnd, topicEnd, framesEnd, first, arrival, lane, count } = reader;
  return (
    isRecord(scratch, topicEnd, framesEnd, first) &&
    arrival === first &&
    lane === first % 5 &&
    count === 1 &&
    Buffer.from(scratch.buffer, 0, topicEnd).toString() === 'annrace.topic' &&
    senderEnd === 3
  );
}

/** Nothing has come for so long (ms): nothing will. */
const STALLED = 15_000;

describe('history between two processes', () => {
  it('never shows a record that was overwritten meanwhile, nor hides that some were', async function () {
    this.timeout(120_000);
    const sizes = {
      workers: 1,
      metricsBytes: 0,
      urgentBytes: 1024,
      bulkBytes: 1024,
      historyBytes: BYTES,
      retainedBytes: 0,
    };
    const path = createSegment({ instance: `history-race-${process.pid}`, sizes });
    try {
      const { buffer } = await attachSegment(path);
      const make = () => new HistoryReader(buffer, historyOffset(sizes, 0), BYTES);
      const forward = make();
      const writer = spawn(process.execPath, [WRITER, path, String(COUNT)], { stdio: 'inherit' });
      const exit = once(writer, 'exit');
      const seen = { forward: 0, back: 0, overtaken: 0, wrong: 0, unnoticed: 0 };
      let next = 1;
      let seenUpTo = 0;
      let end = performance.now() + STALLED;
      while (next <= COUNT && performance.now() < end) {
        if (next !== seenUpTo) end = performance.now() + STALLED;
        seenUpTo = next;
        for (let i = 0; i < 300 && forward.forward(); i++) {
          const { first, lost } = forward;
          if (first < next || (first > next && !lost)) seen.unnoticed++;
          next = first + 1;
          if (lost) seen.overtaken++;
          forward.lost = false;
          if (!forward.copy()) continue;
          seen.forward++;
          if (!isRight(forward)) seen.wrong++;
        }
        const back = make();
        for (let before = back.expected; back.back(); before = back.first) {
          if (back.first !== before - 1) seen.unnoticed++;
          if (!back.copy()) break;
          seen.back++;
          if (!isRight(back)) seen.wrong++;
        }
        await new Promise(setImmediate);
      }
      writer.kill();
      await exit;
      assert.deepEqual([seen.wrong, seen.unnoticed, next], [0, 0, COUNT + 1]);
      assert.ok(seen.forward > 1000 && seen.back > 1000 && seen.overtaken > 10, JSON.stringify(seen));
    } finally {
      removeSegment(path);
    }
  });
});
