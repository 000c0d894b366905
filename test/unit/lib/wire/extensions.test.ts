import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import {
  EXTENSION_FLAGS,
  Extension,
  Extensions,
  extensionFlags,
  extensionsSize,
  MAX_DELAY,
  MAX_HEADERS,
  MAX_TTL,
  type OutgoingExtensions,
  writeExtensions,
} from '../../../../lib/wire/extensions.js';
import { Flag } from '../../../../lib/wire/frame.js';
import { toHex, utf8 } from '../../../../lib/wire/text.js';

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

function textOf(least: number, greatest: number): fc.Arbitrary<string> {
  return fc
    .string({ unit: 'binary', minLength: least, maxLength: greatest })
    .filter((text) => Buffer.byteLength(text) <= greatest);
}

const outgoing: fc.Arbitrary<OutgoingExtensions> = fc
  .record(
    {
      replyTo: textOf(1, 255),
      correlation: fc.uint8Array({ minLength: 1, maxLength: 64 }),
      messageId: fc.uint8Array({ minLength: 1, maxLength: 64 }),
      ttl: fc.integer({ min: 1, max: MAX_TTL }),
      key: textOf(1, 255),
      traceparent: fc.constant(TRACEPARENT),
      signature: fc.uint8Array({ minLength: 1, maxLength: 1024 }),
      headers: fc.dictionary(textOf(1, 40), textOf(0, 300), { maxKeys: 8 }),
      retry: fc.record({
        maxAttempts: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
        base: fc.option(fc.integer({ min: 1, max: 3_600_000 }), { nil: undefined }),
        cap: fc.option(fc.integer({ min: 1, max: 86_400_000 }), { nil: undefined }),
      }),
      delay: fc.integer({ min: 1, max: MAX_DELAY }),
    },
    { requiredKeys: [] },
  )
  .filter(({ ttl, delay }) => ttl === undefined || delay === undefined || ttl > delay);

function encode(e: OutgoingExtensions): Uint8Array {
  const b = new Uint8Array(extensionsSize(e));
  assert.equal(writeExtensions(b, 0, e), b.length);
  return b;
}

function tlv(type: number, value: Uint8Array, size = value.length): Uint8Array {
  return Uint8Array.of(type, size & 255, size >> 8, ...value);
}

function read(...parts: Uint8Array[]): string | null {
  const b = Uint8Array.from(parts.flatMap((part) => [...part]));
  return new Extensions().read(b, 0, b.length);
}

const SAMPLES: [Extension, Uint8Array][] = [
  [Extension.replyTo, utf8('a.b')],
  [Extension.correlation, Uint8Array.of(1)],
  [Extension.messageId, Uint8Array.of(2)],
  [Extension.ttl, Uint8Array.of(1, 0, 0, 0)],
  [Extension.key, utf8('k')],
  [Extension.traceparent, utf8(TRACEPARENT)],
  [Extension.signature, Uint8Array.of(3)],
  [Extension.headers, Uint8Array.of(1, 97, 1, 0, 98)],
  [Extension.delay, Uint8Array.of(1, 0, 0, 0)],
  [Extension.retry, Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
];

describe('extensions', () => {
  it('round-trip, at any offset, with one reader for all', () => {
    const reader = new Extensions();
    fc.assert(
      fc.property(outgoing, fc.nat(9), (e, o) => {
        const size = extensionsSize(e);
        const b = new Uint8Array(o + size + 3).fill(0xff);
        assert.equal(writeExtensions(b, o, e), o + size);
        assert.ok(b.subarray(0, o).every((byte) => byte === 0xff));
        assert.ok(b.subarray(o + size).every((byte) => byte === 0xff));
        assert.equal(reader.read(b, o, o + size), null);
        assert.equal(reader.replyTo, e.replyTo ?? null);
        assert.deepEqual(reader.correlation, e.correlation ?? null);
        assert.equal(reader.correlationHex, e.correlation === undefined ? null : toHex(e.correlation));
        assert.deepEqual(reader.messageId, e.messageId ?? null);
        assert.equal(reader.ttl, e.ttl ?? null);
        assert.equal(reader.key, e.key ?? null);
        assert.equal(reader.traceparent, e.traceparent ?? null);
        assert.deepEqual(reader.signature, e.signature ?? null);
        assert.deepEqual(reader.headers, e.headers === undefined ? null : { ...e.headers });
        assert.equal(reader.delay, e.delay ?? null);
        assert.deepEqual(reader.retry, e.retry === undefined ? null : { ...e.retry });
        assert.equal(reader.flags, extensionFlags(e) & EXTENSION_FLAGS);
        assert.equal((extensionFlags(e) & Flag.extensions) !== 0, size > 0);
      }),
    );
  });

  it('never throws or loops, whatever the bytes, and points inside them', () => {
    const reader = new Extensions();
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.tuple(outgoing, fc.nat(), fc.nat(255)).map(([e, at, byte]) => {
        const b = encode(e);
        if (b.length > 0) b[at % b.length] = byte;
        return b;
      }),
      fc
        .array(
          fc.tuple(fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 128), fc.uint8Array({ maxLength: 12 })),
        )
        .map((parts) => Uint8Array.from(parts.flatMap(([type, value]) => [...tlv(type, value)]))),
    );
    fc.assert(
      fc.property(anyBytes, fc.nat(), (b, i) => {
        const start = i % (b.length + 1);
        const code = reader.read(b, start, b.length);
        const texts = [reader.replyTo, reader.key, reader.traceparent, reader.headers];
        if (code !== null) assert.deepEqual(texts, [null, null, null, null]);
        for (const type of Object.values(Extension)) {
          if (!reader.has(type)) continue;
          assert.ok(reader.startOf(type) >= start + 3 && reader.startOf(type) <= reader.endOf(type));
          assert.ok(reader.endOf(type) <= b.length);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('takes a text given as bytes', () => {
    assert.deepEqual(
      encode({ replyTo: utf8('größe'), messageId: 'm' }),
      encode({ replyTo: 'größe', messageId: utf8('m') }),
    );
  });

  for (const [type, value] of SAMPLES) {
    it(`takes type ${type} once, and not twice`, () => {
      assert.equal(read(tlv(type, value)), null);
      assert.equal(read(tlv(type, value), tlv(type, value)), 'BAD_EXTENSION');
    });

    it(`refuses type ${type} cut anywhere`, () => {
      const whole = tlv(type, value);
      for (let cut = 1; cut < whole.length; cut++) {
        assert.equal(read(whole.subarray(0, cut)), 'BAD_EXTENSION', `${cut}`);
      }
    });
  }

  const SIZES: [Extension, number, number][] = [
    [Extension.replyTo, 1, 255],
    [Extension.correlation, 1, 64],
    [Extension.messageId, 1, 64],
    [Extension.key, 1, 255],
    [Extension.traceparent, 55, 55],
    [Extension.signature, 1, 1024],
  ];
  for (const [type, least, greatest] of SIZES) {
    it(`takes type ${type} of ${least} to ${greatest} bytes only`, () => {
      assert.equal(read(tlv(type, new Uint8Array(least).fill(97))), null);
      assert.equal(read(tlv(type, new Uint8Array(greatest).fill(97))), null);
      assert.equal(read(tlv(type, new Uint8Array(least - 1).fill(97))), 'BAD_EXTENSION');
      assert.equal(read(tlv(type, new Uint8Array(greatest + 1).fill(97))), 'BAD_EXTENSION');
    });
  }

  it('takes a time to live of 1 ms to a day only', () => {
    const ttl = (value: number) => tlv(Extension.ttl, new Uint8Array(Uint32Array.of(value).buffer));
    for (const value of [1, MAX_TTL]) assert.equal(read(ttl(value)), null);
    for (const value of [0, MAX_TTL + 1, 0xffff_ffff]) assert.equal(read(ttl(value)), 'BAD_EXTENSION');
    for (const size of [3, 5]) {
      assert.equal(read(tlv(Extension.ttl, new Uint8Array(size).fill(1))), 'BAD_EXTENSION');
    }
  });

  it('takes a delay of 1 ms to a week only, and none that outlasts the time to live', () => {
    const delay = (value: number) => tlv(Extension.delay, new Uint8Array(Uint32Array.of(value).buffer));
    for (const value of [1, MAX_DELAY]) assert.equal(read(delay(value)), null);
    for (const value of [0, MAX_DELAY + 1, 0xffff_ffff]) assert.equal(read(delay(value)), 'BAD_EXTENSION');
    for (const wrong of [{ delay: 0 }, { delay: 1.5 }, { delay: MAX_DELAY + 1 }, { delay: 5, ttl: 5 }])
      assert.throws(() => extensionsSize(wrong), { code: 'BAD_OPTION' });
  });

  it('takes waits of an hour and a day at most', () => {
    const retry = (base: number, cap: number) =>
      tlv(Extension.retry, Uint8Array.of(0, 0, ...new Uint8Array(Uint32Array.of(base, cap).buffer)));
    assert.equal(read(retry(3_600_000, 86_400_000)), null);
    assert.equal(read(retry(3_600_001, 0)), 'BAD_EXTENSION');
    assert.equal(read(retry(0, 86_400_001)), 'BAD_EXTENSION');
  });

  it('ignores unknown types from 128 on and refuses others', () => {
    for (let type = 0; type < 256; type++) {
      if (type >= 1 && type <= 10) continue;
      const expected = type >= 128 ? null : 'UNKNOWN_EXTENSION';
      assert.equal(read(tlv(type, Uint8Array.of(1)), tlv(Extension.key, utf8('k'))), expected, `${type}`);
    }
    assert.equal(read(tlv(200, Uint8Array.of()), tlv(200, Uint8Array.of())), null);
    assert.equal(read(tlv(200, Uint8Array.of(), 1)), 'BAD_EXTENSION');
  });

  it('refuses texts that are not UTF-8', () => {
    for (const type of [Extension.replyTo, Extension.key]) {
      assert.equal(read(tlv(type, Uint8Array.of(0xff))), 'BAD_UTF8');
    }
    assert.equal(read(tlv(Extension.traceparent, new Uint8Array(55).fill(0x80))), 'BAD_UTF8');
    assert.equal(read(tlv(Extension.headers, Uint8Array.of(1, 0xff, 0, 0))), 'BAD_UTF8');
    assert.equal(read(tlv(Extension.headers, Uint8Array.of(1, 97, 1, 0, 0xff))), 'BAD_UTF8');
    // The lead byte is in the name, its continuation would be the size behind it.
    assert.equal(
      read(tlv(Extension.headers, Uint8Array.of(1, 0xc3, 0x80, 0, ...new Uint8Array(128)))),
      'BAD_UTF8',
    );
    assert.equal(read(tlv(Extension.correlation, Uint8Array.of(0xff))), null);
  });

  it('refuses headers with an empty name, too many, or past the end', () => {
    assert.equal(read(tlv(Extension.headers, Uint8Array.of(0, 0, 0))), 'BAD_EXTENSION');
    assert.equal(read(tlv(Extension.headers, Uint8Array.of(1, 97, 2, 0, 98))), 'BAD_EXTENSION');
    assert.equal(read(tlv(Extension.headers, Uint8Array.of(5, 97))), 'BAD_EXTENSION');
    const pairs = (count: number) => new Uint8Array(count * 4).map((_, i) => [1, 97, 0, 0][i % 4]);
    assert.equal(read(tlv(Extension.headers, pairs(MAX_HEADERS))), null);
    assert.equal(read(tlv(Extension.headers, pairs(MAX_HEADERS + 1))), 'BAD_EXTENSION');
    assert.equal(read(tlv(Extension.headers, Uint8Array.of())), null);
  });

  it('lets the last of repeated headers count, and keeps odd names as they are', () => {
    const reader = new Extensions();
    const repeated = tlv(Extension.headers, Uint8Array.of(1, 97, 1, 0, 49, 1, 97, 1, 0, 50));
    assert.equal(reader.read(repeated, 0, repeated.length), null);
    assert.deepEqual(reader.headers, { a: '2' });
    const odd = encode({
      headers: JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>,
    });
    assert.equal(reader.read(odd, 0, odd.length), null);
    assert.deepEqual(Object.entries(reader.headers ?? {}), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
  });

  it('holds nothing after a bad read or clear', () => {
    const reader = new Extensions();
    const good = encode({ key: 'k', ttl: 5 });
    assert.equal(reader.read(good, 0, good.length), null);
    assert.equal(reader.ttl, 5);
    reader.clear();
    assert.equal(reader.ttl, null);
    assert.equal(reader.flags, 0);
    assert.equal(reader.read(good, 0, good.length - 1), 'BAD_EXTENSION');
    assert.equal(reader.ttl, null);
    assert.equal(reader.read(good, 0, 0), null);
    assert.equal(reader.key, null);
  });

  const WRONG: OutgoingExtensions[] = [
    { replyTo: '' },
    { replyTo: 'a'.repeat(256) },
    { replyTo: '\ud800' },
    { correlation: new Uint8Array(0) },
    { correlation: new Uint8Array(65) },
    { messageId: 'ä'.repeat(33) },
    { ttl: -1 },
    { ttl: 0 },
    { ttl: 1.5 },
    { ttl: MAX_TTL + 1 },
    { ttl: Number.NaN },
    { key: 'ä'.repeat(128) },
    { retry: { maxAttempts: 0 } },
    { retry: { maxAttempts: 65_536 } },
    { retry: { base: 3_600_001 } },
    { retry: { cap: 1.5 } },
    { retry: { attempts: 1 } as object },
    { traceparent: '00' },
    { signature: new Uint8Array(1025) },
    { headers: { '': 'x' } },
    { headers: { a: '\udc00' } },
    { headers: { ['a'.repeat(256)]: '' } },
    { headers: { a: 'x'.repeat(65_536) } },
    { headers: { a: 'x'.repeat(40_000), b: 'x'.repeat(40_000) } },
    { headers: Object.fromEntries(Array.from({ length: MAX_HEADERS + 1 }, (_, i) => [`h${i}`, ''])) },
  ];
  for (const e of WRONG) {
    it(`does not let out ${JSON.stringify(e).slice(0, 40)}`, () => {
      assert.throws(() => extensionsSize(e), { code: 'BAD_OPTION' });
    });
  }

  it('has the numbers of PROTOCOL.md', () => {
    const protocol = readFileSync(new URL('../../../../../lib/wire/PROTOCOL.md', import.meta.url), 'utf8');
    const section = protocol.slice(
      protocol.indexOf('\n### Extensions'),
      protocol.indexOf('\n### Request and reply'),
    );
    const rows = [...section.matchAll(/^\| (\d+) +\| (\w+) +\|/gm)].map(([, number, name]) => [
      name,
      Number(number),
    ]);
    assert.deepEqual(Object.fromEntries(rows), { ...Extension });
  });
});
