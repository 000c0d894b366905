import assert from 'node:assert/strict';
import fc from 'fast-check';
import { TICK, type Timer, TimingWheel } from '../../../../lib/queues/timing-wheel.js';

class Bell implements Timer<Bell> {
  due = 0;
  timerSlot = -1;
  timerPrevious: Bell | null = null;
  timerNext: Bell | null = null;
  readonly name: number;

  constructor(name: number) {
    this.name = name;
  }
}

const HOUR = 3_600_000;

describe('TimingWheel', () => {
  it('fires at the first tick that is not before the time, and says when it has to be looked at', () => {
    const fired: number[] = [];
    const wheel = new TimingWheel<Bell>(1000, (bell) => fired.push(bell.name));
    assert.equal(wheel.next, Number.POSITIVE_INFINITY);
    wheel.add(new Bell(1), 1005);
    assert.equal(wheel.next, 1008);
    wheel.advance(1007, 100);
    assert.deepEqual(fired, []);
    wheel.advance(1008, 100);
    assert.deepEqual(fired, [1]);
    wheel.add(new Bell(2), 5);
    wheel.advance(1008, 100);
    assert.deepEqual(fired, [1, 2], 'what is due already');
    assert.equal(wheel.next, Number.POSITIVE_INFINITY);
  });

  it('keeps what is due in the same tick in its order, over all wheels', () => {
    const fired: number[] = [];
    const wheel = new TimingWheel<Bell>(0, (bell) => fired.push(bell.name));
    const due = 70 * HOUR;
    wheel.add(new Bell(1), due);
    wheel.add(new Bell(2), due);
    wheel.advance(due - 60_000, 100);
    wheel.add(new Bell(3), due);
    wheel.advance(due - 100, 100);
    wheel.add(new Bell(4), due);
    wheel.advance(due, 100);
    assert.deepEqual(fired, [1, 2, 3, 4]);
  });

  it('does no more than it may, and then goes on where it stopped', () => {
    const fired: number[] = [];
    const wheel = new TimingWheel<Bell>(0, (bell) => fired.push(bell.name));
    for (let i = 0; i < 50; i++) wheel.add(new Bell(i), 10_000 + (i % 5) * TICK);
    let calls = 0;
    while (!wheel.advance(20_000, 7)) {
      calls++;
      assert.ok(wheel.next <= 20_000);
    }
    // Each moves to a finer wheel at most twice before it fires.
    assert.ok(calls >= Math.floor(50 / 7) && calls <= Math.ceil((3 * 50) / 7));
    assert.deepEqual(
      fired,
      [0, 1, 2, 3, 4].flatMap((tick) => Array.from({ length: 10 }, (_, i) => 5 * i + tick)),
    );
  });

  it('may be turned back on itself: a timer that is added anew, and one that cancels another', () => {
    const times: number[] = [];
    let now = 0;
    const [again, other] = [new Bell(0), new Bell(1)];
    const wheel: TimingWheel<Bell> = new TimingWheel<Bell>(0, (bell) => {
      assert.equal(bell, again);
      times.push(now);
      wheel.cancel(other);
      wheel.add(again, now + 24);
    });
    wheel.add(again, 24);
    wheel.add(other, 24);
    for (now = 0; now <= 100; now++) wheel.advance(now, 100);
    assert.deepEqual(times, [24, 48, 72, 96]);
  });

  it('fires as a list that is looked through would, whatever is added, cancelled and awaited', () => {
    // In milliseconds, over all wheels and beyond the last.
    const wait = fc.oneof(fc.nat(700), fc.nat(60_000), fc.nat(100 * HOUR), fc.nat(4000 * HOUR));
    const step = fc.record({ what: fc.nat(3), which: fc.nat(30), wait });
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.array(step, { maxLength: 120 }), (began, steps) => {
        let now = began;
        const expected = new Map<Bell, number>();
        const bells = Array.from({ length: 31 }, (_, name) => new Bell(name));
        const wheel = new TimingWheel<Bell>(now, (bell) => {
          const due = expected.get(bell);
          assert.ok(due !== undefined, 'fired though it was not in');
          assert.ok(due <= now, 'fired too early');
          expected.delete(bell);
        });
        for (const { what, which, wait } of steps) {
          const bell = bells[which];
          if (what === 0) {
            wheel.cancel(bell);
            expected.delete(bell);
          } else if (what === 1) {
            now += wait;
            const budget = 1 + which;
            while (!wheel.advance(now, budget)) assert.ok(wheel.next <= now);
          } else if (!expected.has(bell)) {
            wheel.add(bell, now + wait);
            expected.set(bell, now + wait);
          }
          const first = Math.min(...expected.values());
          assert.ok(what !== 1 || first > now - TICK, 'late by a tick or more');
          assert.ok(wheel.next <= Math.max(now, first + TICK), 'would sleep too long');
          if (expected.size === 0) assert.equal(wheel.next, Number.POSITIVE_INFINITY);
        }
        // Whoever sleeps until `next` each time hears all of them, each in its tick.
        for (let looks = 0; expected.size > 0; looks++) {
          assert.ok(looks < 10 * 31 * 5);
          now = Math.max(now, wheel.next);
          const first = Math.min(...expected.values());
          assert.ok(now < first + TICK || first < now, 'slept past one');
          wheel.advance(now, 1000);
        }
      }),
      { numRuns: 500 },
    );
  });
});
