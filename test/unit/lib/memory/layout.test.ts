import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FlowbusError } from '../../../../lib/errors.js';
import { MAX_RECORD } from '../../../../lib/links.js';
import {
  asleepOffset,
  HEADER_BYTES,
  historyOffset,
  LINE,
  MAX_SEGMENT,
  metricsOffset,
  retainedOffset,
  ringOffset,
  type SegmentSizes,
  segmentBytes,
  sizeSegment,
} from '../../../../lib/memory/layout.js';
import { historySize } from '../../../../lib/queues/history-ring.js';
import { RECORD_HEADER, ringSize } from '../../../../lib/queues/ring.js';

const GIB = 1024 ** 3;
const KIB = 1024;
const NO_HISTORY = { historyBytes: 0, retainedBytes: 0 };

function fullError(run: () => unknown): FlowbusError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof FlowbusError);
    assert.equal(error.code, 'SHARED_MEMORY_FULL');
    return error;
  }
  assert.fail('nothing was thrown');
}

/** Every part of a segment: [offset, length]. */
function parts(sizes: SegmentSizes): [number, number][] {
  const found: [number, number][] = [[0, HEADER_BYTES]];
  for (let slot = 0; slot < sizes.workers; slot++) {
    found.push([asleepOffset(slot), LINE]);
    found.push([metricsOffset(sizes, slot), sizes.metricsBytes]);
    found.push([historyOffset(sizes, slot), historySize(sizes.historyBytes)]);
    found.push([retainedOffset(sizes, slot), historySize(sizes.retainedBytes)]);
    for (let to = 0; to < sizes.workers; to++) {
      if (to === slot) continue;
      found.push([ringOffset(sizes, slot, to, true), ringSize(sizes.urgentBytes)]);
      found.push([ringOffset(sizes, slot, to, false), ringSize(sizes.bulkBytes)]);
    }
  }
  return found;
}

describe('segment layout', () => {
  it('gives every part its own lines, within the segment', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 0, max: 5000 }),
        (workers, metricsBytes) => {
          const sizes = {
            workers,
            metricsBytes,
            urgentBytes: 256,
            bulkBytes: 1024,
            historyBytes: 4096,
            retainedBytes: 512,
          };
          const sorted = parts(sizes).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
          let end = 0;
          for (const [offset, length] of sorted) {
            assert.equal(offset % LINE, 0);
            assert.ok(offset >= end, `${offset} lies in what ends at ${end}`);
            end = offset + length;
          }
          assert.ok(end <= segmentBytes(sizes));
        },
      ),
    );
  });

  it('has no ring to oneself, nor to a worker that is not there', () => {
    const sizes = {
      workers: 3,
      metricsBytes: 0,
      urgentBytes: 256,
      bulkBytes: 256,
      historyBytes: 0,
      retainedBytes: 0,
    };
    assert.throws(() => ringOffset(sizes, 1, 1, true), RangeError);
    assert.throws(() => ringOffset(sizes, 3, 0, true), RangeError);
    assert.throws(() => ringOffset(sizes, 0, -1, true), RangeError);
  });

  it('takes the largest rings where there is room', () => {
    const sizes = sizeSegment({ workers: 4, metricsBytes: 1000, ...NO_HISTORY, free: 8 * GIB });
    assert.equal(sizes.bulkBytes, 4096 * KIB);
    assert.equal(sizes.urgentBytes, 1024 * KIB);
  });

  it('stays within half of what is free and 1 GiB, with rings that hold a record', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 0, max: 8 * GIB }),
        (workers, metricsBytes, free) => {
          let sizes: SegmentSizes;
          try {
            sizes = sizeSegment({ workers, metricsBytes, ...NO_HISTORY, free });
          } catch (error) {
            assert.ok(error instanceof FlowbusError);
            return;
          }
          assert.ok(segmentBytes(sizes) <= Math.min(free / 2, MAX_SEGMENT));
          for (const bytes of [sizes.urgentBytes, sizes.bulkBytes]) {
            assert.equal(bytes & (bytes - 1), 0);
            assert.ok(bytes >= MAX_RECORD + RECORD_HEADER);
          }
        },
      ),
    );
  });

  it('names the exact bytes that are needed and free, and they are enough', () => {
    const error = fullError(() =>
      sizeSegment({ workers: 8, metricsBytes: 64, ...NO_HISTORY, free: 50_000_000 }),
    );
    const [, needed, free] = /(\d+) bytes are needed, (\d+) are free/.exec(error.message) ?? [];
    assert.equal(Number(free), 50_000_000);
    sizeSegment({ workers: 8, metricsBytes: 64, ...NO_HISTORY, free: Number(needed) });
    fullError(() => sizeSegment({ workers: 8, metricsBytes: 64, ...NO_HISTORY, free: Number(needed) - 1 }));
  });

  it('refuses a node too large for one segment, whatever is free', () => {
    const error = fullError(() =>
      sizeSegment({ workers: 64, metricsBytes: 0, ...NO_HISTORY, free: 1024 * GIB }),
    );
    assert.match(error.message, new RegExp(`a node may take ${MAX_SEGMENT} at most`));
    assert.throws(() => sizeSegment({ workers: 65, metricsBytes: 0, ...NO_HISTORY, free: GIB }), RangeError);
  });
});
