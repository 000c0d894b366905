import assert from 'node:assert/strict';
import { coresOf } from '../../../shards/pinning.js';

describe('cores of a set', () => {
  it('are its bits, ascending, across bytes', () => {
    assert.deepEqual(coresOf(Uint8Array.of(0b1000_0001, 0, 0b10)), [0, 7, 17]);
    assert.deepEqual(coresOf(new Uint8Array(128)), []);
  });
});
