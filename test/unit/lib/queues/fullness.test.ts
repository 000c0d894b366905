import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Fullness, FullnessState } from '../../../../lib/queues/fullness.js';

const { open, pressed, emergency } = FullnessState;

describe('Fullness', () => {
  it('is under pressure from 80 % on until 60 %, and in an emergency from 95 % on until it is below 80 %', () => {
    const fullness = new Fullness(1000);
    const states: number[] = [];
    for (const part of [0.79, 0.8, 0.94, 0.95, 1, 0.8, 0.79, 0.94, 0.61, 0.6, 0.79, 0.95, 0.6]) {
      const before = fullness.state;
      assert.equal(fullness.weigh(part, true, 0), fullness.state !== before);
      states.push(fullness.state);
      assert.equal(fullness.holds, fullness.state !== open);
    }
    assert.deepEqual(states, [
      open,
      ...[pressed, pressed, emergency, emergency, emergency, pressed, pressed, pressed],
      ...[open, open, emergency, open],
    ]);
  });

  it('holds nobody once nothing has left for the stall limit, and again only after it was open', () => {
    const fullness = new Fullness(1000);
    fullness.weigh(0.9, false, 0);
    fullness.weigh(0.9, true, 500);
    assert.equal(fullness.check(1499), false);
    assert.equal(fullness.check(1500), true);
    assert.equal(fullness.holds, false);
    assert.equal(fullness.weigh(0.96, true, 1600), true);
    assert.deepEqual([fullness.state, fullness.holds], [emergency, false]);
    assert.equal(fullness.weigh(0.5, true, 1700), true);
    fullness.weigh(0.9, false, 1800);
    assert.equal(fullness.holds, true);
  });

  it('says of each change that it is one, and of nothing else', () => {
    const step = fc.record({
      part: fc.double({ min: 0, max: 1, noNaN: true }),
      progress: fc.boolean(),
      wait: fc.nat(800),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const fullness = new Fullness(1000);
        let now = 0;
        for (const { part, progress, wait } of steps) {
          now += wait;
          const before = [fullness.state, fullness.holds];
          const changed = fullness.check(now);
          assert.equal(changed, fullness.holds !== before[1]);
          const then = [fullness.state, fullness.holds];
          assert.equal(
            fullness.weigh(part, progress, now),
            fullness.state !== then[0] || fullness.holds !== then[1],
          );
          if (part >= 0.95) assert.equal(fullness.state, emergency);
          if (part >= 0.8) assert.notEqual(fullness.state, open);
          if (part <= 0.6 && progress) assert.equal(fullness.state, open);
        }
      }),
    );
  });
});
