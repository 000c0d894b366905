import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ringOffset } from '../../lib/memory/layout.js';
import { attachSegment, createSegment, removeSegment } from '../../lib/memory/segment.js';
import { RingReader, type RingSink } from '../../lib/queues/ring.js';
import { isRecord } from './ring-race-record.js';

const WRITER = fileURLToPath(new URL('./ring-race-writer.js', import.meta.url));
const COUNT = 1_200_000;
/** Small, so that it is full, empty and at its end all the time. */
const RING_BYTES = 16 * 1024;
const BATCH = 3000;

class Checker implements RingSink {
  next = 0;
  wrong = 0;

  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void {
    const number = this.next++;
    if (kind !== number % 255 || stamp !== number || !isRecord(src, start, end, number)) this.wrong++;
  }

  onRoom(): void {}
}

/** Nothing has come for so long (ms): nothing will. */
const STALLED = 15_000;

describe('ring between two processes', () => {
  it(`passes ${COUNT} records unchanged`, async function () {
    this.timeout(120_000);
    const sizes = {
      workers: 2,
      metricsBytes: 0,
      urgentBytes: RING_BYTES,
      bulkBytes: RING_BYTES,
      historyBytes: 0,
      retainedBytes: 0,
    };
    const path = createSegment({ instance: `race-${process.pid}`, sizes });
    try {
      const segment = await attachSegment(path);
      const checker = new Checker();
      let reader = new RingReader(segment.buffer, ringOffset(sizes, 0, 1, false), RING_BYTES);
      const writer = spawn(process.execPath, [WRITER, path, String(COUNT)], { stdio: 'inherit' });
      const exit = once(writer, 'exit');
      let seen = 0;
      let end = performance.now() + STALLED;
      for (let turn = 0; checker.next < COUNT && performance.now() < end; turn++) {
        for (let i = 0; i < 200; i++) reader.read(checker, BATCH);
        if (checker.next !== seen) end = performance.now() + STALLED;
        seen = checker.next;
        // A successor continues where it was, whatever the writer is doing.
        if (turn % 50 === 0)
          reader = new RingReader(segment.buffer, ringOffset(sizes, 0, 1, false), RING_BYTES);
        await new Promise(setImmediate);
      }
      writer.kill();
      await exit;
      assert.deepEqual({ ...checker }, { next: COUNT, wrong: 0 });
      assert.equal(reader.corrupt, 0);
      assert.equal(reader.empty, true);
    } finally {
      removeSegment(path);
    }
  });
});
