import assert from 'node:assert/strict';
import fc from 'fast-check';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_TOTAL,
  OFFSET_TYPE,
  OFFSET_VERSION,
  writeU32,
} from '../../../../lib/wire/frame.js';
import { FrameWriter } from '../../../../lib/wire/writer.js';

const LARGEST = 64 * 1024;
const writer = new FrameWriter(LARGEST);

function frame(topic = 'a.b', payload = Uint8Array.of(1, 2, 3)): Uint8Array {
  return writer.publish({ topic, sender: 7, from: 'me', lane: 2, encoding: Encoding.bytes, payload });
}

function outcome(bytes: Uint8Array, largest = LARGEST): string[] {
  const reader = new BatchReader();
  reader.open(bytes, 0, bytes.length, largest);
  const steps: string[] = [];
  for (let step = reader.next(); step !== Step.end; step = reader.next()) {
    steps.push(
      step === Step.frame ? 'frame' : `${step === Step.broken ? 'broken' : 'refused'} ${reader.error}`,
    );
  }
  return steps;
}

function changed(offset: number, ...bytes: number[]): Uint8Array {
  const bad = frame();
  bad.set(bytes, offset);
  return bad;
}

describe('BatchReader', () => {
  it('reads the fields of each frame of a batch', () => {
    const first = frame('one.two', Uint8Array.of(9));
    const second = frame('x', new Uint8Array(100));
    const batch = Buffer.concat([first, second]);
    const reader = new BatchReader();
    reader.open(batch, 0, batch.length, LARGEST);
    assert.equal(reader.next(), Step.frame);
    assert.deepEqual(
      [
        reader.start,
        reader.end,
        reader.type,
        reader.lane,
        reader.sender,
        reader.topicLength,
        reader.payloadSize,
      ],
      [0, first.length, FrameType.publish, 2, 7, 7, 1],
    );
    assert.equal(reader.next(), Step.frame);
    assert.deepEqual([reader.start, reader.end, reader.payloadSize], [first.length, batch.length, 100]);
    assert.equal(reader.next(), Step.end);
    assert.equal(reader.next(), Step.end);
  });

  it('refuses what breaks the framing, for good', () => {
    assert.deepEqual(outcome(changed(0, 0x46, 0x4c, 0x4f, 0x58)), ['broken BAD_MAGIC']);
    assert.deepEqual(outcome(changed(OFFSET_VERSION, 2)), ['broken BAD_VERSION']);
    assert.deepEqual(outcome(frame().subarray(0, HEADER_SIZE - 1)), ['broken TRUNCATED']);
    assert.deepEqual(outcome(frame().subarray(0, HEADER_SIZE + 1)), ['broken TRUNCATED']);
    assert.deepEqual(outcome(frame('a', new Uint8Array(100)), 120), ['broken OVERSIZED']);
  });

  it('refuses sizes that lie: zero, short, negative as signed, beyond the batch', () => {
    const lie = (total: number, payload: number): string[] => {
      const bad = frame();
      writeU32(bad, OFFSET_TOTAL, total);
      writeU32(bad, OFFSET_PAYLOAD_SIZE, payload);
      return outcome(bad);
    };
    assert.deepEqual(lie(0, 0), ['broken BAD_SIZE']);
    assert.deepEqual(lie(39, 0), ['broken BAD_SIZE']);
    assert.deepEqual(lie(46, 0xffffffff), ['broken BAD_SIZE']);
    assert.deepEqual(lie(0xffffffff, 0xfffffff0), ['broken BAD_SIZE']);
    assert.deepEqual(lie(0x80000000, 3), ['broken OVERSIZED']);
    assert.deepEqual(lie(47, 4), ['broken TRUNCATED']);
    assert.deepEqual(lie(46, 2), ['broken BAD_SIZE']);
  });

  it('passes over a frame that it cannot take, and goes on', () => {
    for (const [bad, code] of [
      [changed(OFFSET_TYPE, 0), 'BAD_TYPE'],
      [changed(OFFSET_TYPE, 200), 'BAD_TYPE'],
      [changed(OFFSET_FLAGS, 128), 'BAD_FLAGS'],
      [changed(OFFSET_LANE, 5), 'BAD_FLAGS'],
      [changed(OFFSET_LANE, 4 << 3), 'BAD_FLAGS'],
      [changed(OFFSET_FLAGS, Flag.extensions), 'BAD_EXTENSION'],
    ] as const) {
      assert.deepEqual(outcome(Buffer.concat([bad, frame()])), [`refused ${code}`, 'frame']);
    }
  });

  it('never leaves the batch, never throws and always ends, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 8 }),
        fc.uint8Array({ maxLength: 200 }),
        (mutations, tail) => {
          const batch = Buffer.concat([frame(), frame('q.r.s', new Uint8Array(64)), tail]);
          for (const [at, value] of mutations) batch[at % batch.length] = value;
          const reader = new BatchReader();
          reader.open(batch, 0, batch.length, LARGEST);
          let last = 0;
          for (let step = reader.next(); step !== Step.end; step = reader.next()) {
            assert.ok(reader.start >= last && reader.end <= batch.length);
            if (step === Step.frame) {
              assert.ok(reader.end - reader.start >= HEADER_SIZE);
              assert.ok(reader.topicStart <= reader.extensionsStart);
              assert.ok(reader.extensionsStart <= reader.payloadStart);
              assert.ok(reader.payloadStart <= reader.end);
            }
            last = reader.end;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
