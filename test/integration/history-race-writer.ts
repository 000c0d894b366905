/** The writer of history-race.test.ts: `argv[2]` is the segment, `argv[3]` the number of records. */
import { historyOffset } from '../../lib/memory/layout.js';
import { attachSegment } from '../../lib/memory/segment.js';
import { HistoryWriter } from '../../lib/queues/history-ring.js';
import { fillRecord, sizeOf } from './ring-race-record.js';

const segment = await attachSegment(process.argv[2]);
const count = Number(process.argv[3]);
const { sizes, buffer } = segment;
let writer = new HistoryWriter(buffer, historyOffset(sizes, 0), sizes.historyBytes);
const src = new Uint8Array(1024);
const sender = Buffer.from('ann');
const topic = Buffer.from('race.topic');

function run(): void {
  // Now and then a successor takes over.
  writer = new HistoryWriter(buffer, historyOffset(sizes, 0), sizes.historyBytes);
  for (let i = 0; i < 5000 && writer.next <= count; i++) {
    const number = writer.next;
    fillRecord(src, number);
    writer.write(number % 5, number, sender, topic, src, 0, sizeOf(number), 1);
  }
  if (writer.next <= count) setImmediate(run);
}
run();
