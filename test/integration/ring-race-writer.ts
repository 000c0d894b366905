/** The writer of ring-race.test.ts: `argv[2]` is the segment, `argv[3]` the number of records. */
import { ringOffset } from '../../lib/memory/layout.js';
import { attachSegment } from '../../lib/memory/segment.js';
import { RingWriter } from '../../lib/queues/ring.js';
import { fillRecord, sizeOf } from './ring-race-record.js';

const segment = await attachSegment(process.argv[2]);
const count = Number(process.argv[3]);
const { sizes } = segment;
const ring = new RingWriter(segment.buffer, ringOffset(sizes, 0, 1, false), sizes.bulkBytes);
const src = new Uint8Array(1024);

let next = 0;
function turn(): void {
  // Batches of changing length, so that the reader meets every state between empty and full.
  const end = Math.min(next + 1 + (next % 61), count);
  while (next < end) {
    fillRecord(src, next);
    if (!ring.write(next % 255, next, src, 0, sizeOf(next))) break;
    next++;
  }
  ring.publish();
}

// On one core the reader needs a turn as well: a full ring yields.
function run(): void {
  for (let turns = 0; turns < 1000 && next < count; turns++) turn();
  if (next < count) setImmediate(run);
}
run();
