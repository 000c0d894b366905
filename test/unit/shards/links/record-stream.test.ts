import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MAX_RECORD } from '../../../../lib/links.js';
import { RECORD_HEADER } from '../../../../lib/queues/ring.js';
import {
  decodeGreeting,
  encodeGreeting,
  GREETING_BYTES,
  RecordParser,
  writeRecordHeader,
} from '../../../../shards/links/record-stream.js';

interface Rec {
  kind: number;
  stamp: number;
  payload: Uint8Array;
}

function encode(records: Rec[]): Uint8Array {
  const parts = records.map(({ kind, stamp, payload }) => {
    const bytes = new Uint8Array(RECORD_HEADER + payload.length);
    writeRecordHeader(bytes, 0, bytes.length, kind, stamp);
    bytes.set(payload, RECORD_HEADER);
    return bytes;
  });
  return new Uint8Array(Buffer.concat(parts));
}

function collect(): { parser: RecordParser; got: Rec[] } {
  const got: Rec[] = [];
  const parser = new RecordParser({
    onRecord: (kind, stamp, src, start, end) => got.push({ kind, stamp, payload: src.slice(start, end) }),
  });
  return { parser, got };
}

const record = fc.record(
  {
    kind: fc.integer({ min: 0, max: 254 }),
    stamp: fc.integer({ min: 0, max: 0xffffffff }),
    payload: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 5000, maxLength: 9000 })),
  },
  // As the parser makes them, for deepEqual.
  { noNullPrototype: true },
);

describe('record stream', () => {
  it('has the greeting that its drawing shows', () => {
    assert.equal(Buffer.from(encodeGreeting(0x0102, true)).toString('hex'), '464c4e4b01010201');
    assert.deepEqual(decodeGreeting(encodeGreeting(63, false)), { slot: 63, urgent: false });
    assert.equal(GREETING_BYTES, 8);
    for (const at of [0, 4, 5]) {
      const bytes = encodeGreeting(1, true);
      bytes[at] ^= 0x82;
      assert.equal(decodeGreeting(bytes), null);
    }
  });

  it('has the record that its drawing shows', () => {
    const bytes = encode([{ kind: 2, stamp: 0x11223344, payload: Uint8Array.of(0xaa) }]);
    assert.equal(Buffer.from(bytes).toString('hex'), '0d0000000200000044332211aa');
  });

  it('gives the same records however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(record, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 3000 })),
        (records, cuts) => {
          const bytes = encode(records);
          const { parser, got } = collect();
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const next = at + (cuts[i % Math.max(cuts.length, 1)] ?? 70_000);
            assert.equal(parser.push(bytes.slice(at, next), 0), true);
            at = next;
          }
          assert.deepEqual(got, records);
        },
      ),
    );
  });

  it('takes each byte alone, and the largest record', () => {
    const records = [
      { kind: 0, stamp: 1, payload: new Uint8Array(0) },
      { kind: 1, stamp: 2, payload: new Uint8Array(MAX_RECORD).fill(3) },
      { kind: 2, stamp: 3, payload: Uint8Array.of(4) },
    ];
    const { parser, got } = collect();
    for (const byte of encode(records)) assert.equal(parser.push(Uint8Array.of(byte), 0), true);
    assert.deepEqual(got, records);
  });

  it('refuses lengths that no record has, whole or in pieces', () => {
    for (const length of [0, RECORD_HEADER - 1, RECORD_HEADER + MAX_RECORD + 1, 0x7fffffff, 0xffffffff]) {
      const bytes = new Uint8Array(RECORD_HEADER);
      writeRecordHeader(bytes, 0, length, 0, 0);
      assert.equal(collect().parser.push(bytes, 0), false);
      const { parser } = collect();
      assert.equal(parser.push(bytes.subarray(0, 5), 0), true);
      assert.equal(parser.push(bytes.subarray(5), 0), false);
    }
  });

  it('survives noise', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 20 }), (chunks) => {
        const { parser } = collect();
        for (const chunk of chunks) if (!parser.push(chunk, 0)) break;
      }),
    );
  });
});
