import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  RECORD_HEADER,
  RingReader,
  type RingSink,
  RingWriter,
  ringOccupancy,
  ringSize,
} from '../../../../lib/queues/ring.js';

const HEAD = 0;
const HAND = 1;
const TAIL = 32;
const WANT = 33;
const DATA = 64;

interface Read {
  kind: number;
  stamp: number;
  bytes: Uint8Array;
}

class Collector implements RingSink {
  readonly records: Read[] = [];
  rooms = 0;

  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void {
    this.records.push({ kind, stamp, bytes: src.slice(start, end) });
  }

  onRoom(): void {
    this.rooms++;
  }
}

class Bench {
  readonly capacity: number;
  readonly buffer: ArrayBuffer;
  readonly words: Int32Array;
  readonly sink = new Collector();
  writer: RingWriter;
  reader: RingReader;

  constructor(capacity: number, position = 0) {
    this.capacity = capacity;
    this.buffer = new ArrayBuffer(8 + ringSize(capacity));
    this.words = new Int32Array(this.buffer, 8);
    this.words[HEAD] = position;
    this.words[HAND] = position;
    this.words[TAIL] = position;
    this.writer = this.newWriter();
    this.reader = this.newReader();
  }

  newWriter(): RingWriter {
    this.writer = new RingWriter(this.buffer, 8, this.capacity);
    return this.writer;
  }

  newReader(): RingReader {
    this.reader = new RingReader(this.buffer, 8, this.capacity);
    return this.reader;
  }

  write(size: number, value = size, kind = 0, stamp = 0): boolean {
    return this.writer.write(kind, stamp, new Uint8Array(size).fill(value), 0, size);
  }

  /** Publishes and reads all; what the sink got. */
  readAll(): Read[] {
    this.writer.publish();
    const from = this.sink.records.length;
    while (this.reader.read(this.sink, 1 << 20) > 0);
    return this.sink.records.slice(from);
  }
}

describe('ring', () => {
  it('passes kind, stamp and the given part of the source', () => {
    const bench = new Bench(1024);
    const src = Buffer.from('....payload....');
    assert.equal(bench.writer.write(7, 0xfedcba98, src, 4, 11), true);
    assert.deepEqual(bench.readAll(), [
      { kind: 7, stamp: 0xfedcba98, bytes: new Uint8Array(Buffer.from('payload')) },
    ]);
    assert.equal(bench.reader.corrupt, 0);
  });

  it('shows nothing before publish, and everything after it', () => {
    const bench = new Bench(1024);
    bench.write(10);
    bench.write(20);
    assert.equal(bench.reader.empty, true);
    assert.equal(bench.reader.read(bench.sink, 1024), 0);
    assert.equal(bench.words[TAIL], 0);
    assert.equal(bench.writer.publish(), true);
    assert.equal(bench.writer.publish(), false);
    assert.equal(bench.reader.empty, false);
    assert.equal(ringOccupancy(bench.words, 0), 56);
    assert.equal(bench.reader.read(bench.sink, 1024), 56);
    assert.equal(ringOccupancy(bench.words, 0), 0);
    assert.equal(bench.sink.records.length, 2);
  });

  it('writes in the layout that the drawing shows', () => {
    const bench = new Bench(64);
    bench.writer.write(5, 0x11223344, Uint8Array.of(0xaa, 0xbb), 0, 2);
    bench.writer.publish();
    const record = Buffer.from(bench.buffer, 8 + 4 * DATA, 16);
    assert.equal(record.toString('hex'), '0e0000000500000044332211aabb0000');
  });

  it('reads a bounded batch, one record at least', () => {
    const bench = new Bench(1024);
    for (let i = 0; i < 4; i++) bench.write(20);
    bench.writer.publish();
    assert.equal(bench.reader.read(bench.sink, 1), 32);
    assert.equal(bench.reader.read(bench.sink, 64), 64);
    assert.equal(bench.words[HEAD], 96);
    assert.equal(bench.reader.read(bench.sink, 64), 32);
  });

  it('says full with false, asks for room once, and hears of it', () => {
    const bench = new Bench(128);
    for (let i = 0; i < 4; i++) assert.equal(bench.write(20), true);
    assert.equal(bench.writer.roomMade(), false);
    assert.equal(bench.write(1), false);
    assert.equal(bench.words[WANT], 1);
    assert.equal(bench.writer.used(), 128);
    assert.equal(bench.writer.roomReady, false);
    bench.writer.publish();
    bench.reader.read(bench.sink, 1);
    assert.equal(bench.sink.rooms, 1);
    assert.equal(bench.writer.roomReady, true);
    assert.equal(bench.writer.roomMade(), true);
    assert.equal(bench.writer.roomMade(), false);
    bench.reader.read(bench.sink, 1);
    assert.equal(bench.sink.rooms, 1);
    assert.equal(bench.write(20), true);
  });

  it('rejects what can never fit, and regions that are none', () => {
    const bench = new Bench(128);
    assert.throws(() => bench.write(128), RangeError);
    assert.throws(() => bench.writer.write(0, 0, new Uint8Array(4), 4, 3), RangeError);
    assert.throws(() => new RingWriter(new ArrayBuffer(1024), 0, 100), RangeError);
    assert.throws(() => new RingWriter(new ArrayBuffer(1024), 4, 128), RangeError);
    assert.throws(() => new RingReader(new ArrayBuffer(256), 0, 64), RangeError);
  });

  it('takes a record as large as the ring from wherever it stands, once the reader has read', () => {
    for (let position = 0; position < 256; position += 8) {
      const bench = new Bench(256, position);
      const size = 256 - RECORD_HEADER;
      for (let attempts = 0; !bench.write(size, 9); attempts++) {
        assert.ok(attempts < 1);
        bench.readAll();
      }
      assert.equal(bench.readAll()[0].bytes.length, size);
    }
  });

  it('agrees with a plain queue: wraps, full, restarts, positions past 2^31 and 2^32', () => {
    const write = fc.record({
      op: fc.constant('write' as const),
      size: fc.integer({ min: 0, max: 200 }),
      kind: fc.integer({ min: 0, max: 254 }),
      stamp: fc.integer({ min: 0, max: 0xffffffff }),
    });
    const other = fc.record({
      op: fc.constantFrom('publish' as const, 'newWriter' as const, 'newReader' as const),
    });
    const read = fc.record({ op: fc.constant('read' as const), limit: fc.integer({ min: 1, max: 600 }) });
    const steps = fc.array(
      fc.oneof(
        { weight: 6, arbitrary: write },
        { weight: 3, arbitrary: read },
        { weight: 4, arbitrary: other },
      ),
      { maxLength: 150 },
    );
    const position = fc.oneof(
      fc.integer({ min: 0, max: 64 }),
      fc.integer({ min: 0x7fffff00, max: 0x7fffffff }),
      fc.integer({ min: -512, max: -1 }),
    );
    fc.assert(
      fc.property(position, fc.constantFrom(256, 512, 1024), steps, (at, capacity, list) => {
        const bench = new Bench(capacity, at & ~7);
        let unpublished: Read[] = [];
        const published: Read[] = [];
        let value = 0;
        for (const step of list) {
          switch (step.op) {
            case 'write': {
              const bytes = new Uint8Array(step.size).fill(++value);
              const before = bench.writer.used();
              if (bench.writer.write(step.kind, step.stamp, bytes, 0, bytes.length)) {
                unpublished.push({ kind: step.kind, stamp: step.stamp, bytes });
              } else {
                assert.ok(before + 2 * (step.size + RECORD_HEADER + 7) > capacity, 'full too early');
              }
              break;
            }
            case 'publish':
              bench.writer.publish();
              published.push(...unpublished);
              unpublished = [];
              break;
            case 'read': {
              const from = bench.sink.records.length;
              bench.reader.read(bench.sink, step.limit);
              const got = bench.sink.records.slice(from);
              assert.deepEqual(got, published.splice(0, got.length));
              if (step.limit >= capacity) assert.equal(published.length, 0);
              break;
            }
            case 'newWriter':
              bench.newWriter();
              unpublished = [];
              break;
            case 'newReader':
              assert.equal(bench.newReader().crashes, 0);
              break;
          }
          const used = bench.writer.used();
          assert.ok(used >= 0 && used <= capacity, `${used} of ${capacity} bytes in use`);
        }
        assert.deepEqual(bench.readAll(), [...published, ...unpublished]);
        assert.equal(bench.reader.corrupt, 0);
        assert.equal(bench.reader.empty, true);
      }),
    );
  });

  describe('after a death', () => {
    it('a new writer overwrites what the old one had not published', () => {
      const bench = new Bench(256);
      bench.write(10, 1);
      bench.writer.publish();
      bench.write(10, 2);
      bench.newWriter();
      bench.write(10, 3);
      assert.deepEqual(
        bench.readAll().map((record) => record.bytes[0]),
        [1, 3],
      );
    });

    /** Dies, as far as the ring can tell, when it is given the record number `last`. */
    function readUntil(bench: Bench, last: number): number[] {
      const seen: number[] = [];
      const copy = new Int32Array(bench.words.length);
      const sink: RingSink = {
        onRecord(_kind, _stamp, src, start) {
          seen.push(src[start]);
          if (seen.length === last) copy.set(bench.words);
        },
        onRoom() {},
      };
      bench.reader.read(sink, 1 << 20);
      // Memory as it was in that moment.
      bench.words.set(copy);
      return seen.slice(0, last);
    }

    it('a new reader begins with the record that was in hand, and with no other', () => {
      const bench = new Bench(256);
      for (let i = 1; i <= 5; i++) bench.write(8, i);
      bench.writer.publish();
      assert.deepEqual(readUntil(bench, 3), [1, 2, 3]);
      assert.equal(bench.words[HEAD], 0);
      assert.equal(bench.newReader().crashes, 1);
      assert.deepEqual(
        bench.readAll().map((record) => record.bytes[0]),
        [3, 4, 5],
      );
      assert.equal(bench.newReader().crashes, 0);
    });

    it('counts the readers that died over a record, and only those', () => {
      const bench = new Bench(256);
      for (let i = 1; i <= 3; i++) bench.write(8, i);
      bench.writer.publish();
      readUntil(bench, 2);
      assert.equal(bench.newReader().crashes, 1);
      // This one dies before it takes anything.
      assert.equal(bench.newReader().crashes, 1);
      readUntil(bench, 1);
      assert.equal(bench.newReader().crashes, 2);
      // The record passes, the next one is another.
      bench.reader.read(bench.sink, 1);
      assert.equal(bench.newReader().crashes, 0);
      readUntil(bench, 1);
      assert.equal(bench.newReader().crashes, 1);
    });

    it('a sink that throws costs nothing but its record; a successor begins with that', () => {
      const bench = new Bench(256);
      for (let i = 1; i <= 3; i++) bench.write(8, i);
      bench.writer.publish();
      const sink: RingSink = {
        onRecord(_kind, _stamp, src, start) {
          if (src[start] === 2) throw new Error('second');
        },
        onRoom() {},
      };
      assert.throws(() => bench.reader.read(sink, 1024), /second/);
      const words = bench.words.slice();
      assert.deepEqual(
        bench.readAll().map((record) => record.bytes[0]),
        [3],
      );
      bench.words.set(words);
      assert.equal(bench.newReader().crashes, 1);
      assert.deepEqual(
        bench.readAll().map((record) => record.bytes[0]),
        [2, 3],
      );
    });
  });

  describe('scribbled over', () => {
    it('skips a wrong length to the tail and counts it', () => {
      for (const length of [0, 1, 11, -1, 1 << 30, 0x7fffffff, 4096]) {
        const bench = new Bench(256);
        bench.write(8, 1);
        bench.write(8, 2);
        bench.words[DATA] = length;
        assert.deepEqual(bench.readAll(), []);
        assert.equal(bench.reader.corrupt, 1);
        bench.write(8, 3);
        assert.equal(bench.readAll().length, 1);
      }
    });

    it('recovers from any position', () => {
      fc.assert(
        fc.property(
          fc.array(
            fc.tuple(
              fc.constantFrom(HEAD, HAND, TAIL, WANT),
              fc.oneof(fc.integer({ min: -600, max: 600 }), fc.integer()),
              fc.boolean(),
              fc.boolean(),
            ),
            { minLength: 1, maxLength: 8 },
          ),
          (scribbles) => {
            const bench = new Bench(256);
            for (const [word, value, newReader, newWriter] of scribbles) {
              bench.write(20, 1);
              bench.writer.publish();
              bench.words[word] = value;
              if (newReader) bench.newReader();
              if (newWriter) bench.newWriter();
              bench.write(20, 2);
              bench.readAll();
            }
            // What follows is lost until both sides have found each other again, not for longer.
            let got: Read[] = [];
            for (let i = 0; i < 4; i++) {
              bench.write(20, 3);
              got = bench.readAll();
            }
            assert.equal(got.length, 1);
            assert.equal(got[0].bytes[0], 3);
          },
        ),
      );
    });

    it('neither hangs nor leaves its memory on random bytes', () => {
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: 256, maxLength: 256 }),
          fc.integer({ min: 0, max: 32 }),
          (noise, at) => {
            const bench = new Bench(256);
            bench.words[TAIL] = at * 8;
            new Uint8Array(bench.buffer, 8 + 4 * DATA).set(noise.subarray(0, 256));
            const sink: RingSink = {
              onRecord(_kind, _stamp, src, start, end) {
                assert.ok(start >= RECORD_HEADER && start <= end && end <= src.length);
              },
              onRoom() {},
            };
            let calls = 0;
            while (bench.reader.read(sink, 64) > 0) assert.ok(++calls <= 32);
            assert.equal(bench.words[HEAD], at * 8);
          },
        ),
      );
    });
  });
});
