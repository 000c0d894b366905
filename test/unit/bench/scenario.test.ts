import assert from 'node:assert/strict';
import { accountOf, median, type Run, repeat } from '../../../bench/scenario.js';

const CASE = {
  scenario: 'example',
  case: '1→2',
  conditions: { 'payload bytes': 64 },
  figures: [
    { name: 'fast', unit: 'per second' as const, goal: { value: 20, at: 'least' as const } },
    { name: 'slow', unit: 'us' as const, goal: { value: 19, at: 'most' as const } },
    { name: 'free', unit: 'count' as const },
  ],
};

function runWith(value: number, free: number | null, lost: number): Run {
  return {
    values: { fast: value, slow: value, free },
    account: { expected: 100, received: 100 - lost, lost, repeated: 0 },
    notes: ['the same note'],
  };
}

describe('a scenario', () => {
  it('is the median of its runs, with the least and the greatest', async () => {
    const told: string[] = [];
    const result = await repeat(
      CASE,
      3,
      (line) => told.push(line),
      async (index) => runWith([30, 10, 20][index], index, 0),
    );
    const [fast, slow, free] = result.figures;
    assert.deepEqual(fast.runs, [30, 10, 20]);
    assert.deepEqual([fast.median, fast.min, fast.max, fast.met], [20, 10, 30, true]);
    assert.equal(slow.met, false);
    assert.equal(free.met, null);
    assert.deepEqual(told, ['example 1→2: run 1 of 3', 'example 1→2: run 2 of 3', 'example 1→2: run 3 of 3']);
    assert.deepEqual(result.notes, ['the same note']);
  });

  it('has no median of what some runs could not tell', async () => {
    const result = await repeat(
      CASE,
      2,
      () => {},
      async (index) => runWith(1, index === 0 ? 5 : null, 0),
    );
    const free = result.figures[2];
    assert.deepEqual([free.runs, free.median, free.min, free.max], [[5, null], null, null, null]);
  });

  it('adds up what was lost', async () => {
    const result = await repeat(
      CASE,
      3,
      () => {},
      async (index) => runWith(1, 1, index),
    );
    assert.deepEqual(result.account, { expected: 300, received: 297, lost: 3, repeated: 0 });
  });

  it('does not set what one receiver had twice against what another missed', () => {
    assert.deepEqual(accountOf(10, [9, 11, 10]), { expected: 30, received: 30, lost: 1, repeated: 1 });
  });

  it('takes the middle of an even number of values', () => {
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.equal(median([7]), 7);
  });
});
