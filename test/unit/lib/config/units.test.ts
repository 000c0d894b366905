import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../../../lib/config/index.js';

describe('sizes and durations', () => {
  it('reads sizes with and without units', () => {
    assert.equal(parseSize('0'), 0);
    assert.equal(parseSize('65536'), 65_536);
    assert.equal(parseSize('64KiB'), 65_536);
    assert.equal(parseSize('64 KiB'), 65_536);
    assert.equal(parseSize('1.5MiB'), 1_572_864);
    assert.equal(parseSize('2GiB'), 2 ** 31);
    assert.equal(parseSize('10B'), 10);
  });

  it('reads durations with and without units', () => {
    assert.equal(parseDuration('200'), 200);
    assert.equal(parseDuration('200ms'), 200);
    assert.equal(parseDuration('5s'), 5000);
    assert.equal(parseDuration('0.1h'), 360_000);
    assert.equal(parseDuration('365d'), 31_536_000_000);
    assert.equal(parseDuration('1.5min'), 90_000);
  });

  it('refuses what is ambiguous, no whole number, or no amount at all', () => {
    for (const text of [
      '',
      ' ',
      '64K',
      '64kb',
      '64KB',
      '0.3B',
      '-1',
      '+1',
      '1e3',
      '0x10',
      '.5MiB',
      'KiB',
      '1 2',
    ]) {
      assert.equal(parseSize(text), undefined, text);
    }
    for (const text of [
      '5m',
      '5 sec',
      '0.5ms',
      'Infinity',
      '1s2s',
      '9'.repeat(17),
      '1toString',
      '1constructor',
    ]) {
      assert.equal(parseDuration(text), undefined, text);
    }
    assert.equal(parseSize('9'.repeat(1_000_000)), undefined);
  });

  it('reads back whatever it writes', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        assert.equal(parseSize(formatSize(value)), value);
        assert.equal(parseDuration(formatDuration(value)), value);
      }),
    );
    assert.equal(formatSize(65_536), '64KiB');
    assert.equal(formatSize(65_537), '65537B');
    assert.equal(formatSize(0), '0B');
    assert.equal(formatDuration(90_000), '90s');
    assert.equal(formatDuration(3_600_000), '1h');
  });

  it('survives any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const size = parseSize(text);
        assert.ok(size === undefined || (Number.isSafeInteger(size) && size >= 0));
      }),
    );
  });
});
