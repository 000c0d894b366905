import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Fifo } from '../../../../lib/client/fifo.js';

describe('Fifo', () => {
  it('property: behaves like an array', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ push: fc.integer({ min: 1, max: 200 }) }) },
      { weight: 6, arbitrary: fc.record({ shift: fc.integer({ min: 1, max: 300 }) }) },
      { weight: 1, arbitrary: fc.constant('takeAll' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const fifo = new Fifo<number>();
        let model: number[] = [];
        let next = 0;
        for (const what of steps) {
          if (what === 'takeAll') {
            assert.deepEqual(fifo.takeAll(), model);
            model = [];
          } else if ('push' in what) {
            for (let i = 0; i < what.push; i++, next++) {
              fifo.push(next);
              model.push(next);
            }
          } else for (let i = 0; i < what.shift; i++) assert.equal(fifo.shift(), model.shift());
          assert.equal(fifo.length, model.length);
          assert.equal(fifo.first(), model[0]);
        }
      }),
    );
  });
});
