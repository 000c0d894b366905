import assert from 'node:assert/strict';
import { isUtf8 as nodeIsUtf8 } from 'node:buffer';
import fc from 'fast-check';
import {
  fromBase64,
  fromHex,
  isUtf8,
  readUtf8,
  toBase64,
  toHex,
  utf8,
  utf8Size,
  writeUtf8,
} from '../../../../lib/wire/text.js';

const anyText = fc.string({ unit: 'binary' });
/** Bytes that are nearly UTF-8: random ones seldom get past the first. */
const nearlyUtf8 = fc.tuple(anyText, fc.nat(), fc.nat(255), fc.nat()).map(([text, at, byte, cut]) => {
  const b = utf8(text);
  if (b.length > 0) b[at % b.length] = byte;
  return b.subarray(0, b.length - (cut % 3 === 0 && b.length > 0 ? 1 : 0));
});

describe('text', () => {
  it('measures and writes what TextEncoder would, and reads it again', () => {
    fc.assert(
      fc.property(anyText, fc.nat(5), (text, o) => {
        const expected = utf8(text);
        assert.equal(utf8Size(text), expected.length);
        const b = new Uint8Array(o + expected.length + 1);
        assert.equal(writeUtf8(b, o, text), o + expected.length);
        assert.deepEqual(b.subarray(o, o + expected.length), expected);
        assert.equal(b[o + expected.length], 0);
        assert.equal(readUtf8(b, o, o + expected.length), text);
      }),
    );
  });

  it('keeps a byte order mark', () => {
    assert.equal(readUtf8(utf8('\ufeffa'), 0, 4), '\ufeffa');
  });

  for (const text of ['\ud800', 'a\ud800b', '\udc00', '\udc00\ud800', 'x\udbff']) {
    it(`refuses the lone surrogate in ${JSON.stringify(text)}`, () => {
      assert.equal(utf8Size(text), -1);
    });
  }

  it('judges UTF-8 as Node does', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), nearlyUtf8), (b) => {
        assert.equal(isUtf8(b, 0, b.length), nodeIsUtf8(b));
      }),
      { numRuns: 500 },
    );
  });

  it('judges all two-byte and the edges of longer sequences as Node does', () => {
    for (let i = 0; i < 0x10000; i++) {
      const b = Uint8Array.of(i >> 8, i & 255);
      assert.equal(isUtf8(b, 0, 2), nodeIsUtf8(b), i.toString(16));
    }
    for (let lead = 0xe0; lead <= 0xff; lead++) {
      for (let second = 0x70; second <= 0xcf; second++) {
        for (const tail of [[], [0x80], [0x80, 0x80], [0xbf, 0xbf], [0x80, 0x7f], [0xc0, 0x80]]) {
          const b = Uint8Array.of(lead, second, ...tail);
          assert.equal(isUtf8(b, 0, b.length), nodeIsUtf8(b), toHex(b));
        }
      }
    }
  });

  it('does not look past the end', () => {
    assert.equal(isUtf8(utf8('ä'), 0, 1), false);
  });

  it('throws BAD_UTF8', () => {
    assert.throws(() => readUtf8(Uint8Array.of(0xff), 0, 1), { code: 'BAD_UTF8' });
  });

  it('round-trips hexadecimal and base64', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (b) => {
        assert.equal(toHex(b), Buffer.from(b).toString('hex'));
        assert.equal(toBase64(b), Buffer.from(b).toString('base64'));
        assert.deepEqual(fromHex(toHex(b).toUpperCase()), b);
        assert.deepEqual(fromBase64(toBase64(b)), b);
      }),
    );
  });

  it('encodes a whole frame as base64', () => {
    const b = new Uint8Array(65_536).map((_, i) => i);
    assert.equal(toBase64(b), Buffer.from(b).toString('base64'));
    assert.equal(toBase64(b, 1, 5000), Buffer.from(b.subarray(1, 5000)).toString('base64'));
  });

  for (const text of ['a', 'zz', '0x', 'a b ', '1é']) {
    it(`takes ${JSON.stringify(text)} for neither hexadecimal nor base64`, () => {
      assert.equal(fromHex(text), null);
      assert.equal(fromBase64(text), null);
    });
  }

  it('never throws at what is no base64', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('A', '=', '/', '-', ' ', 'é') }), (text) => {
        fromBase64(text);
      }),
    );
  });
});
