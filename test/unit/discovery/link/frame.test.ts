import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FrameReader, FrameType, frameOf } from '../../../../discovery/link/frame.js';
import { FlowbusError } from '../../../../lib/errors.js';
import { MAX_NODE_BATCH } from '../../../../lib/mesh.js';

function collect(frames: { type: number; number: number; text: string }[]): FrameReader {
  return new FrameReader({
    onFrame(type, number, bytes) {
      frames.push({ type, number, text: Buffer.from(bytes).toString('latin1') });
      return type !== FrameType.refusal;
    },
  });
}

describe('frames of a node link', () => {
  it('have the layout that is drawn', () => {
    const frame = frameOf(FrameType.batch, 0x0102_0304_0506, Buffer.from('hi'));
    assert.equal(frame.toString('hex'), `${'01'}${'020000'}${'060504030201'}6869`);
  });

  it('are found however the stream is cut', () => {
    const any = fc.record({ number: fc.nat(), text: fc.string({ maxLength: 300, unit: 'binary-ascii' }) });
    fc.assert(
      fc.property(
        fc.array(any),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
        (sent, cuts) => {
          const stream = Buffer.concat(
            sent.map(({ number, text }) => frameOf(FrameType.batch, number, Buffer.from(text, 'latin1'))),
          );
          const found: { type: number; number: number; text: string }[] = [];
          const reader = collect(found);
          for (let at = 0, i = 0; at < stream.length; i++) {
            const size = cuts[i % cuts.length];
            reader.read(stream.subarray(at, at + size));
            at += size;
          }
          assert.deepEqual(
            found,
            sent.map(({ number, text }) => ({ type: FrameType.batch, number, text })),
          );
        },
      ),
    );
  });

  it('may grow from one to the next', () => {
    const found: { type: number; number: number; text: string }[] = [];
    const reader = collect(found);
    const sent = [10, 5000, 20, 100_000].map((size, i) =>
      frameOf(FrameType.batch, i, Buffer.alloc(size, 65 + i)),
    );
    for (const frame of sent)
      for (let at = 0; at < frame.length; at += 7) reader.read(frame.subarray(at, at + 7));
    assert.deepEqual(
      found.map(({ text }) => [text.length, text[0], text.at(-1)]),
      [
        [10, 'A', 'A'],
        [5000, 'B', 'B'],
        [20, 'C', 'C'],
        [100_000, 'D', 'D'],
      ],
    );
  });

  it('stop where the receiver has had enough', () => {
    const found: { type: number; number: number; text: string }[] = [];
    const reader = collect(found);
    reader.read(
      Buffer.concat([frameOf(FrameType.ping, 1), frameOf(FrameType.refusal, 0), frameOf(FrameType.ping, 2)]),
    );
    reader.read(frameOf(FrameType.ping, 3));
    assert.deepEqual(
      found.map(({ type }) => type),
      [FrameType.ping, FrameType.refusal],
    );
  });

  it('are refused before room is made for them, when they are of no known type or too large', () => {
    const read = (bytes: Buffer) => () => collect([]).read(bytes);
    const isBad = (error: unknown) => error instanceof FlowbusError && error.code === 'BAD_CONTROL';
    assert.throws(read(Buffer.from('GET / HTTP/1.1\r\n')), isBad);
    const large = frameOf(FrameType.batch, 1);
    large.writeUIntLE(MAX_NODE_BATCH + 1, 1, 3);
    assert.throws(read(large), isBad);
    const ping = frameOf(FrameType.ping, 1);
    ping[1] = 1;
    assert.throws(read(ping), isBad);
  });
});
