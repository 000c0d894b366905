import assert from 'node:assert/strict';
import fc from 'fast-check';
import { HistoryReader, HistoryWriter, historySize } from '../../../../lib/queues/history-ring.js';

const CAPACITY = 4096;

interface Item {
  first: number;
  count: number;
  lane: number;
  arrival: number;
  sender: string;
  topic: string;
  frames: string;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

function itemOf(reader: HistoryReader): Item {
  assert.equal(reader.copy(), true);
  const { scratch, senderEnd, topicEnd, framesEnd, first, count, lane, arrival } = reader;
  return {
    first,
    count,
    lane,
    arrival,
    sender: text(scratch.subarray(0, senderEnd)),
    topic: text(scratch.subarray(senderEnd, topicEnd)),
    frames: text(scratch.subarray(topicEnd, framesEnd)),
  };
}

function pair(capacity = CAPACITY) {
  const buffer = new ArrayBuffer(historySize(capacity) + 64);
  return {
    buffer,
    writer: new HistoryWriter(buffer, 64, capacity),
    reader: () => new HistoryReader(buffer, 64, capacity),
  };
}

function write(writer: HistoryWriter, size: number, count = 1, topic = 'a.b'): Item {
  const lane = size % 5;
  const frames = Buffer.alloc(size, 97 + (size % 26));
  // In the middle of something larger, as in a batch.
  const src = Buffer.concat([Buffer.from('xx'), frames, Buffer.from('y')]);
  const first = writer.write(lane, size / 2, Buffer.from('ann'), Buffer.from(topic), src, 2, 2 + size, count);
  return { first, count, lane, arrival: size / 2, sender: 'ann', topic, frames: frames.toString('latin1') };
}

function readAll(reader: HistoryReader): Item[] {
  const items: Item[] = [];
  while (reader.forward()) items.push(itemOf(reader));
  return items;
}

describe('history ring', () => {
  it('holds the last of what was written, whichever way it is read, also for a reader that was overtaken', () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({ size: fc.integer({ min: 0, max: 900 }), count: fc.integer({ min: 1, max: 3 }) }),
        fc.constant('read' as const),
        fc.constant('restart' as const),
      ),
      { maxLength: 120 },
    );
    fc.assert(
      fc.property(steps, (all) => {
        const ring = pair();
        let { writer } = ring;
        const slow = ring.reader();
        const model: Item[] = [];
        let seen = 0;
        for (const step of all) {
          if (step === 'restart') writer = new HistoryWriter(ring.buffer, 64, CAPACITY);
          else if (step === 'read') {
            const lost = slow.lost;
            const items = readAll(slow);
            assert.deepEqual(items, model.slice(model.length - items.length));
            assert.equal(slow.lost !== lost, items.length < model.length - seen, 'a hole is noticed');
            slow.lost = false;
            seen = model.length;
          } else model.push(write(writer, step.size, step.count));
        }
        const fresh = ring.reader();
        assert.equal(fresh.expected, (model.at(-1)?.first ?? 0) + (model.at(-1)?.count ?? 1));
        const back: Item[] = [];
        while (fresh.back()) back.unshift(itemOf(fresh));
        assert.deepEqual(back, model.slice(model.length - back.length));
        fresh.toBeginning();
        assert.deepEqual(readAll(fresh), back);
        assert.equal(fresh.lost, false);
        // What it does not hold any more is no more than had to go.
        const bytes = back.reduce((sum, { frames }) => sum + frames.length, 0);
        assert.ok(back.length === model.length || bytes > CAPACITY / 2 - 2000, `${bytes} bytes are kept`);
        assert.equal(writer.oldest, back[0]?.arrival ?? 0);
      }),
      { numRuns: 2000 },
    );
  });

  it('counts its messages from 1 on, and goes on with that after a writer has died', () => {
    const { buffer, writer } = pair();
    assert.equal(write(writer, 10, 3).first, 1);
    assert.equal(write(writer, 10, 2).first, 4);
    assert.equal(new HistoryWriter(buffer, 64, CAPACITY).next, 6);
  });

  it('shows nothing of a record that its writer had not finished', () => {
    const { buffer, writer, reader } = pair();
    write(writer, 100);
    const tail = new Int32Array(buffer, 64, 2)[1];
    write(writer, 200);
    new Int32Array(buffer, 64, 2)[1] = tail;
    assert.equal(reader().expected, 2);
    const successor = new HistoryWriter(buffer, 64, CAPACITY);
    const item = write(successor, 300);
    // The number of the one that was lost is not given out again.
    assert.equal(item.first, 3);
    const late = reader();
    late.toBeginning();
    assert.deepEqual(
      readAll(late).map(({ first }) => first),
      [1, 3],
    );
    assert.equal(late.lost, true);
  });

  it('leaves out what is larger than itself', () => {
    const { writer } = pair();
    assert.equal(write(writer, CAPACITY).first, 0);
    assert.equal(write(writer, 10).first, 1);
  });

  it('does not hang on what somebody has scribbled over', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(CAPACITY / 4 + 31), fc.integer()), { minLength: 1, maxLength: 20 }),
        (scribbles) => {
          const { buffer, writer, reader } = pair();
          for (let i = 0; i < 30; i++) write(writer, 37 * (i % 9));
          for (const [word, value] of scribbles) new Int32Array(buffer, 64)[word] = value;
          const one = reader();
          for (let i = 0; i < 200 && one.back(); i++) one.copy();
          one.toBeginning();
          for (let i = 0; i < 200 && one.forward(); i++) one.copy();
          for (let i = 0; i < 40; i++) write(new HistoryWriter(buffer, 64, CAPACITY), 50);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('lets its writer mark a record that lies in it', () => {
    const { writer, reader } = pair();
    write(writer, 10);
    write(writer, 10);
    const one = reader();
    one.back();
    one.back();
    writer.remark(one.position, 7);
    const marks: number[] = [];
    while (one.forward()) marks.push(one.mark);
    assert.deepEqual(marks, [7, 0]);
  });

  it('takes a power of two', () => {
    assert.throws(() => pair(1000), RangeError);
    assert.equal(historySize(0), 0);
  });
});
