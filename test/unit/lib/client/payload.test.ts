import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Body, encodePayload, type Payload } from '../../../../lib/client/payload.js';
import { Encoding } from '../../../../lib/wire/frame.js';

function encoded(payload: Payload): [Uint8Array, number] {
  const body = new Body();
  const size = body.measure(payload);
  const room = new Uint8Array(size + 20).fill(0xee);
  body.write(room, 10);
  assert.ok(room.subarray(0, 10).every((byte) => byte === 0xee));
  assert.ok(room.subarray(10 + size).every((byte) => byte === 0xee));
  return [room.slice(10, 10 + size), body.encoding];
}

describe('Body', () => {
  it('property: texts of any length are UTF-8, lone surrogates replaced', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 100 }),
      fc.string({ unit: 'grapheme', maxLength: 6000 }),
      fc
        .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
        .map((units) => String.fromCharCode(...units)),
    );
    fc.assert(
      fc.property(text, (value) => {
        const [bytes, encoding] = encoded(value);
        assert.deepEqual(bytes, new TextEncoder().encode(value));
        assert.equal(encoding, Encoding.text);
      }),
    );
  });

  it('property: bytes stay as they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (value) => {
        assert.deepEqual(encoded(value), [value, Encoding.bytes]);
      }),
    );
  });

  it('takes whatever holds bytes', () => {
    const { buffer } = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7);
    assert.deepEqual(encoded(buffer), [new Uint8Array(buffer), Encoding.bytes]);
    assert.deepEqual(encoded(new DataView(buffer, 1, 2)), [Uint8Array.of(1, 2), Encoding.bytes]);
    assert.deepEqual(encoded(new Uint16Array(buffer, 2, 1)), [Uint8Array.of(2, 3), Encoding.bytes]);
    assert.deepEqual(encoded(Buffer.from([9]))[0], Uint8Array.of(9));
  });

  it('property: anything else is JSON', () => {
    fc.assert(
      fc.property(fc.oneof(fc.object(), fc.integer(), fc.boolean(), fc.constant(null)), (value) => {
        const [bytes, encoding] = encoded(value);
        assert.equal(new TextDecoder().decode(bytes), JSON.stringify(value));
        assert.equal(encoding, Encoding.json);
      }),
    );
  });

  it('refuses what JSON cannot express', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    for (const value of [circle, undefined, () => 0, Symbol('s'), { big: 1n }]) {
      assert.throws(() => encoded(value as Payload), { code: 'BAD_OPTION', message: /payload/ });
    }
  });

  it('refuses what JSON would make nothing of', () => {
    class Failure extends Error {}
    for (const value of [
      Promise.resolve(1),
      Promise.reject(new Error('late')).catch(() => 1),
      new Map([[1, 2]]),
      new Set([1]),
      new Error('e'),
      new Failure('f'),
      new Blob(['b']),
      async () => 1,
      class {},
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]) {
      assert.throws(() => encoded(value as Payload), { code: 'BAD_OPTION', message: /payload/ });
    }
  });

  it('takes objects of any class that JSON can express', () => {
    class Task {
      page = 3;
    }
    class Report extends Error {
      toJSON(): object {
        return { why: this.message };
      }
    }
    const bare = Object.assign(Object.create(null) as object, { a: 1 });
    for (const value of [new Task(), new Report('r'), new Date(0), bare, [1, Number.NaN]]) {
      assert.equal(new TextDecoder().decode(encoded(value)[0]), JSON.stringify(value));
    }
  });

  it('property: an encoded payload is independent of the original, and goes out the same', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (value) => {
        const before = value.slice();
        const kept = encodePayload(value);
        value.fill(0);
        assert.deepEqual(encoded(kept), [before, Encoding.bytes]);
      }),
    );
    assert.deepEqual(encoded(encodePayload({ a: 1 })), [new TextEncoder().encode('{"a":1}'), Encoding.json]);
  });
});
