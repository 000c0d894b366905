import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FlowbusError } from '../../../../lib/errors.js';
import { type AvroSchema, avroControl, avroPayload } from '../../../../lib/wire/avro.js';
import { MAX_DEPTH } from '../../../../lib/wire/avro-walk.js';

/** A zigzag varint. */
function long(value: bigint): number[] {
  let rest = value < 0n ? -2n * value - 1n : 2n * value;
  const bytes: number[] = [];
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

function refuses(schema: AvroSchema, bytes: number[], reason?: RegExp): void {
  const started = performance.now();
  assert.throws(
    () => avroPayload(schema).decode(Uint8Array.from(bytes)),
    (error: FlowbusError) => error.code === 'BAD_CONTROL' && (reason?.test(error.message) ?? true),
  );
  assert.ok(performance.now() - started < 1000);
}

const nulls: AvroSchema = { type: 'array', items: 'null' };
const strings: AvroSchema = { type: 'array', items: 'string' };
const tree: AvroSchema = {
  type: 'record',
  name: 'Tree',
  fields: [{ name: 'children', type: { type: 'array', items: 'Tree' } }],
};
const everything: AvroSchema = {
  type: 'record',
  name: 'Everything',
  fields: [
    { name: 'none', type: 'null' },
    { name: 'yes', type: 'boolean' },
    { name: 'small', type: 'int' },
    { name: 'big', type: 'long' },
    { name: 'single', type: 'float' },
    { name: 'double', type: 'double' },
    { name: 'blob', type: 'bytes' },
    { name: 'text', type: 'string' },
    { name: 'maybe', type: ['null', 'string'] },
    { name: 'list', type: strings },
    { name: 'map', type: { type: 'map', values: 'long' } },
    { name: 'suit', type: { type: 'enum', name: 'Suit', symbols: ['HEARTS', 'SPADES'] } },
    { name: 'hash', type: { type: 'fixed', name: 'Hash', size: 4 } },
  ],
};
const anything = fc.record({
  none: fc.constant(null),
  yes: fc.boolean(),
  small: fc.integer(),
  big: fc.maxSafeInteger(),
  single: fc.float({ noNaN: true }),
  double: fc.double({ noNaN: true }),
  blob: fc.uint8Array().map((b) => Buffer.from(b)),
  text: fc.string({ unit: 'binary' }),
  maybe: fc.option(fc.string({ unit: 'grapheme' }), { nil: null }),
  list: fc.array(fc.string()),
  map: fc.dictionary(fc.string(), fc.maxSafeInteger(), { noNullPrototype: true }),
  suit: fc.constantFrom('HEARTS', 'SPADES'),
  hash: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((b) => Buffer.from(b)),
});

describe('Avro payloads', () => {
  it('round-trip every type', () => {
    const payload = avroPayload(everything);
    fc.assert(
      fc.property(anything, (value) => {
        fc.pre(!Object.hasOwn(value.map, '__proto__'));
        const bytes = payload.encode(value);
        const decoded = payload.decode(bytes) as Record<string, unknown>;
        for (const [name, expected] of Object.entries(value)) assert.deepEqual(decoded[name], expected);
        assert.deepEqual(payload.encode(decoded), bytes);
      }),
    );
  });

  it('are a value or BAD_CONTROL, whatever the bytes', () => {
    const payload = avroPayload(everything);
    const mutated = fc.tuple(anything, fc.nat(), fc.nat(255)).map(([value, at, byte]) => {
      const b = new Uint8Array(payload.encode(value));
      b[at % b.length] = byte;
      return b;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), mutated), (b) => {
        try {
          payload.decode(b);
        } catch (error) {
          assert.ok(error instanceof FlowbusError && error.code === 'BAD_CONTROL', String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('refuse 67 million nulls in five bytes', () => {
    refuses(nulls, [...long(67_000_000n), 0], /more items than bytes/);
    assert.deepEqual(avroPayload(nulls).decode(Uint8Array.of(4, 0)), [null, null]);
  });

  it('refuse counts beyond the bytes, however they are written', () => {
    for (const count of [1000n, 2n ** 31n, 2n ** 53n - 1n, 2n ** 62n, 2n ** 63n - 1n, -(2n ** 63n), -1000n]) {
      refuses(strings, [...long(count), ...long(4n), 0, 0, 0, 0, 0]);
      refuses({ type: 'map', values: 'null' }, [...long(count), ...long(4n), 0, 0, 0, 0, 0]);
    }
  });

  it('refuse arrays of nothing that multiply', () => {
    const inner = [...long(6000n), 0];
    const bytes = [...long(3000n), ...Array.from({ length: 3000 }, () => inner).flat(), 0];
    refuses({ type: 'array', items: nulls }, bytes, /more items than bytes/);
  });

  it('take blocks with a size, and refuse a size that is wrong', () => {
    const items = [2, 97, 2, 98];
    const sized = (size: number) => [...long(-2n), ...long(BigInt(size)), ...items, 0];
    assert.deepEqual(avroPayload(strings).decode(Uint8Array.from(sized(4))), ['a', 'b']);
    for (const size of [-1, 0, 3, 5, 6, 1000]) refuses(strings, sized(size));
  });

  it('take several blocks', () => {
    assert.deepEqual(avroPayload(strings).decode(Uint8Array.of(2, 2, 97, 2, 2, 98, 0)), ['a', 'b']);
  });

  it('refuse texts and bytes with a negative or huge size', () => {
    for (const type of ['string', 'bytes']) {
      for (const size of [-1n, 2n, 2n ** 40n, -(2n ** 62n)]) refuses(type, [...long(size), 97]);
    }
  });

  it('refuse varints without end and numbers out of range', () => {
    refuses('long', Array(9).fill(0x80), /ends early/);
    refuses('long', [...Array(10).fill(0x80), 0], /too long/);
    refuses('long', long(2n ** 53n), /out of range/);
    refuses('long', long(-(2n ** 53n)), /out of range/);
    refuses('long', long(-(2n ** 63n)), /out of range/);
    refuses('int', long(2n ** 31n));
    refuses('int', long(-(2n ** 31n) - 1n));
    refuses('boolean', [2]);
    refuses(['null', 'string'], [4]);
    refuses(['null', 'string'], [1]);
    refuses({ type: 'enum', name: 'E', symbols: ['A'] }, [2]);
    for (const value of [2n ** 53n - 1n, -(2n ** 53n) + 1n, -(2n ** 52n) - 1n, -1n, 0n]) {
      assert.equal(avroPayload('long').decode(Uint8Array.from(long(value))), Number(value));
      assert.deepEqual([...avroPayload('long').encode(Number(value))], long(value));
    }
  });

  it('refuse text that is not UTF-8, and bytes behind the value', () => {
    refuses('string', [2, 0xff], /UTF-8/);
    refuses('string', [2, 97, 0], /follow/);
  });

  it('refuse the map key that would set a prototype', () => {
    const map: AvroSchema = { type: 'map', values: { type: 'map', values: 'long' } };
    const key = [...Buffer.from('__proto__')];
    refuses(map, [2, 18, ...key, 0, 0], /__proto__/);
    // The same size, written longer than need be.
    refuses(map, [2, 0x92, 0x00, ...key, 0, 0], /__proto__/);
  });

  it('refuse what nests deeper than the stack should', () => {
    const payload = avroPayload(tree);
    const nested = (levels: number) =>
      Uint8Array.from([...Array(levels - 1).fill(2), ...Array(levels).fill(0)]);
    assert.ok(payload.decode(nested(MAX_DEPTH / 2)));
    refuses(tree, [...nested(MAX_DEPTH / 2 + 1)], /deeper/);
    refuses(tree, Array(60_000).fill(2), /deeper/);
  });

  it('refuse wrong schemas and values', () => {
    assert.throws(() => avroPayload('nonsense'), { code: 'BAD_OPTION' });
    assert.throws(() => avroPayload('int').encode('text'), { code: 'BAD_OPTION' });
    assert.throws(() => avroPayload(everything).encode({}), { code: 'BAD_OPTION' });
  });

  it('read a view in the middle of a buffer', () => {
    assert.equal(avroPayload('string').decode(Uint8Array.of(9, 9, 2, 97, 9).subarray(2, 4)), 'a');
  });
});

describe('Avro control payloads', () => {
  it('refuse millions of patterns in a few bytes', () => {
    for (const count of [67_000_000n, -67_000_000n, 2n ** 53n]) {
      const bytes = Uint8Array.from([...long(count), 0, 0, 0]);
      assert.throws(() => avroControl.decode('subscribe', bytes, 0, bytes.length), { code: 'BAD_CONTROL' });
    }
  });

  it('decode a full frame of empty patterns to an error, fast', () => {
    const bytes = Uint8Array.from([...long(65_000n), ...Array(65_001).fill(0)]);
    const started = performance.now();
    assert.throws(() => avroControl.decode('subscribe', bytes, 0, bytes.length), { code: 'BAD_CONTROL' });
    assert.ok(performance.now() - started < 1000);
  });
});
