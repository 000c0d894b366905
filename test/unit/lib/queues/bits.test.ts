import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Bits } from '../../../../lib/queues/bits.js';

describe('Bits', () => {
  it('is a set of small integers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('add', 'has'), fc.nat(5000))), (steps) => {
        const bits = new Bits();
        const model = new Set<number>();
        for (const [step, n] of steps) {
          if (step === 'add') {
            bits.add(n);
            model.add(n);
          } else assert.equal(bits.has(n), model.has(n));
        }
        for (let n = 0; n <= 5000; n += 7) assert.equal(bits.has(n), model.has(n));
        bits.clear();
        assert.equal(bits.has(0), false);
      }),
    );
  });
});
