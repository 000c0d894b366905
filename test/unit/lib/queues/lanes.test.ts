import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Chunk, ChunkPool } from '../../../../lib/queues/chunks.js';
import { UNUSED_LANE } from '../../../../lib/queues/lane.js';
import { Lanes } from '../../../../lib/queues/lanes.js';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { Encoding, FrameType } from '../../../../lib/wire/frame.js';
import { controlFrame, FrameWriter } from '../../../../lib/wire/writer.js';

const LARGEST = 64 * 1024;
const writer = new FrameWriter(LARGEST);

function message(lane: number, number: number, size = 64, ttl?: number): Uint8Array {
  const payload = new Uint8Array(Math.max(4, size));
  new DataView(payload.buffer).setUint32(0, number, true);
  return writer.publish({
    topic: 't',
    sender: 1,
    from: 'me',
    lane,
    encoding: Encoding.bytes,
    payload,
    ...(ttl === undefined ? {} : { extensions: { ttl } }),
  });
}

interface Seen {
  type: number;
  lane: number;
  number: number;
}

function framesOf(chunk: Chunk): Seen[] {
  const reader = new BatchReader();
  reader.open(chunk.bytes, chunk.start, chunk.end, LARGEST);
  const seen: Seen[] = [];
  for (let step = reader.next(); step !== Step.end; step = reader.next()) {
    assert.equal(step, Step.frame);
    const number =
      reader.payloadSize < 4
        ? 0
        : new DataView(reader.bytes.buffer, reader.bytes.byteOffset).getUint32(reader.payloadStart, true);
    seen.push({ type: reader.type, lane: reader.lane, number });
  }
  return seen;
}

class Setup {
  readonly pool = new ChunkPool(LARGEST);
  readonly expired: number[] = [];
  readonly lanes = new Lanes(this.pool, {
    onExpired: (_bytes, _start, _end, lane) => this.expired.push(lane),
  });

  add(lane: number, frame: Uint8Array, expires = false, stamp = 0): void {
    this.lanes.append(lane, frame, 0, frame.length, 1, expires, stamp);
  }

  drain(budget = LARGEST, now = 0): Seen[] {
    const seen: Seen[] = [];
    for (let chunk = this.lanes.take(budget, now); chunk !== null; chunk = this.lanes.take(budget, now)) {
      assert.ok(chunk.size <= budget);
      const frames = framesOf(chunk);
      assert.equal(chunk.frames, frames.filter((frame) => frame.type === FrameType.publish).length);
      seen.push(...frames);
      this.pool.give(chunk);
    }
    return seen;
  }
}

describe('Lanes', () => {
  it('keeps the order of each lane, loses nothing and repeats nothing, whatever the sizes and budgets', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.record({ lane: fc.nat(4), size: fc.oneof(fc.nat(300), fc.nat(60_000)) }),
            fc.record({ budget: fc.integer({ min: 61_000, max: LARGEST }) }),
          ),
          { maxLength: 60 },
        ),
        (steps) => {
          const setup = new Setup();
          const sent: number[][] = [[], [], [], [], []];
          const got: number[][] = [[], [], [], [], []];
          let number = 0;
          const take = (seen: Seen[]): void => {
            for (const frame of seen) got[frame.lane].push(frame.number);
          };
          for (const step of steps) {
            if ('lane' in step) {
              setup.add(step.lane, message(step.lane, ++number, step.size));
              sent[step.lane].push(number);
            } else {
              const chunk = setup.lanes.take(step.budget, 0);
              if (chunk !== null) take(framesOf(chunk));
            }
          }
          take(setup.drain());
          assert.deepEqual(got, sent);
          assert.deepEqual([setup.lanes.bytes, setup.lanes.frames, setup.lanes.empty], [0, 0, true]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('sends control frames ahead of everything', () => {
    const setup = new Setup();
    setup.add(0, message(0, 1));
    setup.lanes.appendControl(controlFrame(FrameType.pong, 5, Encoding.bytes));
    setup.add(0, message(0, 2));
    assert.deepEqual(
      setup.drain().map((frame) => frame.type),
      [FrameType.pong, FrameType.publish, FrameType.publish],
    );
  });

  it('lets critical messages pass a backlog of background ones, in the very next piece', () => {
    const setup = new Setup();
    for (let i = 0; i < 5000; i++) setup.add(4, message(4, i));
    framesOf(setup.lanes.take(LARGEST, 0)!);
    setup.add(0, message(0, 1));
    const next = framesOf(setup.lanes.take(LARGEST, 0)!);
    assert.ok(next.findIndex((frame) => frame.lane === 0) >= 0);
  });

  it('gives every lane its share while all are backlogged, and starves none', () => {
    const setup = new Setup();
    for (let i = 0; i < 20_000; i++) setup.add(i % 5, message(i % 5, i));
    const share = [0, 0, 0, 0, 0];
    for (let i = 0; i < 4; i++) {
      for (const { lane } of framesOf(setup.lanes.take(LARGEST, 0)!)) share[lane]++;
    }
    const total = share.reduce((sum, n) => sum + n, 0);
    const expected = [16 / 31, 8 / 31, 4 / 31, 2 / 31, 1 / 31];
    for (let lane = 0; lane < 5; lane++)
      assert.ok(
        Math.abs(share[lane] / total - expected[lane]) < 0.03,
        `lane ${lane}: ${share[lane]} of ${total}`,
      );
  });

  it('starves no lane when every frame fills a piece by itself', () => {
    const setup = new Setup();
    for (let i = 0; i < 400; i++) setup.add(i % 5, message(i % 5, i, 60_000));
    const share = [0, 0, 0, 0, 0];
    for (let i = 0; i < 130; i++) {
      const chunk = setup.lanes.take(LARGEST, 0);
      assert.ok(chunk !== null, 'a lane with frames always has something to send');
      for (const { lane } of framesOf(chunk)) share[lane]++;
    }
    assert.ok(share[4] >= 2, `background got ${share[4]} of 130`);
    assert.ok(share[0] > share[1] && share[1] > share[2] && share[2] > share[3], share.join());
  });

  it('drops what waited past its time to live, and only that', () => {
    const setup = new Setup();
    setup.add(2, message(2, 1, 64, 100), true, 1000);
    setup.add(2, message(2, 2), false, 1000);
    setup.add(2, message(2, 3, 64, 100), true, 1060);
    setup.add(2, message(2, 4, 64, 5000), true, 1060);
    assert.deepEqual(
      setup.drain(LARGEST, 1120).map((frame) => frame.number),
      [2, 3, 4],
    );
    assert.deepEqual(setup.expired, [2]);
  });

  it('does not take what came from a later clock for too old', () => {
    const setup = new Setup();
    setup.add(2, message(2, 1, 64, 100), true, 1001);
    setup.add(2, message(2, 2, 64, 100), true, 3);
    assert.deepEqual(
      setup.drain(LARGEST, 1000).map((frame) => frame.number),
      [1],
    );
    setup.add(2, message(2, 3, 64, 100), true, 3);
    assert.deepEqual(
      setup.drain(LARGEST, 2 ** 32 - 1).map((frame) => frame.number),
      [3],
    );
  });

  it('does so also when the clock begins anew at 2^32 ms', () => {
    const setup = new Setup();
    setup.add(2, message(2, 1, 64, 100), true, 2 ** 32 - 51);
    setup.add(2, message(2, 2, 64, 100), true, 2 ** 32 - 50);
    setup.add(2, message(2, 3, 64, 100), true, 10);
    assert.deepEqual(
      setup.drain(LARGEST, 49).map((frame) => frame.number),
      [2, 3],
    );
  });

  it('sheds the least urgent lanes first, never the one that asks', () => {
    const setup = new Setup();
    setup.add(4, message(4, 1));
    setup.add(3, message(3, 2));
    setup.add(2, message(2, 3));
    const shed: number[] = [];
    for (let chunk = setup.lanes.shed(2); chunk !== null; chunk = setup.lanes.shed(2))
      shed.push(...framesOf(chunk).map((frame) => frame.number));
    assert.deepEqual(shed, [1, 2]);
    assert.deepEqual(
      setup.drain().map((frame) => frame.number),
      [3],
    );
  });

  it('shares nothing with the lanes of another connection, whatever they were used for', () => {
    const one = new Setup();
    const other = new Setup();
    for (const lane of [0, 2, 4]) one.add(lane, message(lane, lane));
    one.lanes.appendControl(controlFrame(FrameType.pong, 1, Encoding.bytes));
    assert.equal(other.lanes.empty, true);
    assert.deepEqual(other.drain(), []);
    other.add(2, message(2, 7));
    other.lanes.clear();
    assert.equal(one.drain().length, 4);
    assert.equal(new Setup().lanes.empty, true);
    assert.equal(UNUSED_LANE.head, null);
    assert.equal(UNUSED_LANE.bytes, 0);
  });
});
