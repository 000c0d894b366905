import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import fc from 'fast-check';
import wabt from 'wabt';
import { batchChecksumHolds, forgetBatch, sealFrames } from '../../../../lib/wire/batch-checksum.js';
import {
  checksumHolds,
  checksumSeed,
  crc32,
  frameChecksum,
  sealFrame,
} from '../../../../lib/wire/checksum.js';
import { CHECKSUM_WASM } from '../../../../lib/wire/checksum-wasm.js';
import { HEADER_SIZE, OFFSET_CHECKSUM, OFFSET_TOTAL, writeU32 } from '../../../../lib/wire/frame.js';

/** `zlib.crc32` is there from Node 20.15 on, the type definitions know it since 22.2. */
const reference = (zlib as unknown as { crc32(data: Uint8Array, value?: number): number }).crc32;

describe('checksum', () => {
  it('is 0xcbf43926 for the check text of the standard', () => {
    assert.equal(crc32(Buffer.from('123456789'), 0, 9, 0), 0xcbf43926);
  });

  it('is what zlib says, of any part of any bytes, from any value', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(),
        fc.nat(),
        fc.nat(0xffffffff),
        (b, i, j, from) => {
          const start = i % (b.length + 1);
          const end = start + (j % (b.length - start + 1));
          // Of nothing, zlib says 0 whatever it starts from.
          assert.equal(
            crc32(b, start, end, from),
            start === end ? from : reference(b.subarray(start, end), from),
          );
        },
      ),
    );
  });

  it('goes on where it was left', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.nat(), (b, i) => {
        const cut = i % (b.length + 1);
        assert.equal(crc32(b, cut, b.length, crc32(b, 0, cut, 0)), crc32(b, 0, b.length, 0));
      }),
    );
  });

  it('seeds with sender, zero byte and topic', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (sender, topic) => {
        assert.equal(checksumSeed(sender, topic), reference(Buffer.from(`${sender}\0${topic}`)));
      }),
    );
  });

  it('tells apart pairs that are the same text when joined', () => {
    assert.notEqual(checksumSeed('ab', 'c'), checksumSeed('a', 'bc'));
  });

  it('covers all but itself and the hop fields', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: HEADER_SIZE, maxLength: 120 }),
        fc.nat(),
        fc.nat(0xffffffff),
        (b, at, seed) => {
          sealFrame(b, 0, b.length, seed);
          assert.ok(checksumHolds(b, 0, b.length, seed));
          const before = frameChecksum(b, 0, b.length, seed);
          const i = at % b.length;
          b[i] ^= 1;
          const covered = i < 28 || i >= HEADER_SIZE;
          assert.equal(frameChecksum(b, 0, b.length, seed) !== before, covered);
          assert.equal(checksumHolds(b, 0, b.length, seed), !covered && i >= 32);
        },
      ),
    );
  });
});

describe('batchChecksumHolds', () => {
  it('agrees with the checksum of single frames, whatever the sizes, offsets and seeds', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: HEADER_SIZE, max: 900 }), { minLength: 1, maxLength: 60 }),
        fc.nat(0xffffffff),
        (sizes, seed) => {
          const batch = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0)).map(
            (_, i) => (i * 7919) >>> 3,
          );
          forgetBatch();
          let at = 0;
          for (const size of sizes) {
            writeU32(batch, at + OFFSET_CHECKSUM, frameChecksum(batch, at, size, seed));
            at += size;
          }
          at = 0;
          for (const size of sizes) {
            assert.equal(batchChecksumHolds(batch, at, size, seed), true);
            assert.equal(batchChecksumHolds(batch, at, size, seed ^ 1), false);
            at += size;
          }
        },
      ),
    );
  });

  it('holds for what sealFrames has sealed, large and small batches, any part', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ size: fc.integer({ min: HEADER_SIZE, max: 900 }), seed: fc.nat(0xffffffff) }), {
          minLength: 1,
          maxLength: 80,
        }),
        fc.nat(200),
        (frames, before) => {
          const batch = new Uint8Array(before + frames.reduce((sum, { size }) => sum + size, 0) + 9).fill(7);
          let at = before;
          for (const { size, seed } of frames) {
            writeU32(batch, at + OFFSET_TOTAL, size);
            writeU32(batch, at + OFFSET_CHECKSUM, seed);
            at += size;
          }
          sealFrames(batch, before, at);
          forgetBatch();
          at = before;
          for (const { size, seed } of frames) {
            assert.equal(batchChecksumHolds(batch, at, size, seed), true);
            at += size;
          }
          assert.ok(batch.every((byte, i) => (i >= before && i < at) || byte === 7));
        },
      ),
    );
  });

  it('takes turns between batches', () => {
    const batches = [1, 2, 3].map((n) => {
      const batch = new Uint8Array(1000).fill(n);
      writeU32(batch, OFFSET_CHECKSUM, frameChecksum(batch, 0, 1000, n));
      return batch;
    });
    for (const n of [1, 2, 1, 3, 2, 1]) assert.equal(batchChecksumHolds(batches[n - 1], 0, 1000, n), true);
  });

  it('is what checksum.wat says', async () => {
    const wat = readFileSync(new URL('../../../../../lib/wire/checksum.wat', import.meta.url), 'utf8');
    const module = (await wabt()).parseWat('checksum.wat', wat);
    assert.equal(Buffer.from(module.toBinary({}).buffer).toString('base64'), CHECKSUM_WASM);
  });
});
