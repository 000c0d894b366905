import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Breaker, type BreakerPolicy } from '../../../../lib/queues/breaker.js';
import type { BreakerReason } from '../../../../lib/wire/control.js';

const POLICY: BreakerPolicy = { failures: 3, window: 1000, coolDown: 100, slowAck: 0 };

/** A breaker, and what it has said. */
class Rig {
  now = 0;
  offset = 0;
  readonly said: string[] = [];
  readonly breaker: Breaker;

  constructor(policy: Partial<BreakerPolicy> = {}) {
    this.breaker = new Breaker({ ...POLICY, ...policy }, (reason) =>
      this.said.push(`${this.breaker.state}: ${reason}`),
    );
  }

  /** Gives it a message, if it admits one. */
  give(): number | null {
    if (!this.breaker.admits(this.now)) return null;
    this.breaker.gave(++this.offset);
    return this.offset;
  }

  succeed(times = 1): void {
    for (let i = 0; i < times; i++) this.breaker.succeeded(this.give()!);
  }

  fail(times = 1, reason: BreakerReason = 'nack', again = false): void {
    for (let i = 0; i < times; i++) this.breaker.failed(this.give()!, reason, again, this.now);
  }
}

describe('Breaker', () => {
  it('opens at so many failures, and admits nothing until it has cooled down', () => {
    const rig = new Rig();
    rig.fail(2);
    assert.deepEqual(rig.said, []);
    rig.fail(1, 'timeout');
    assert.deepEqual(rig.said, ['open: timeout']);
    assert.equal(rig.breaker.coolDown, 100);
    rig.now = 99;
    assert.equal(rig.give(), null);
    rig.now = 100;
    assert.notEqual(rig.give(), null);
    assert.deepEqual(rig.said, ['open: timeout', 'half-open: cool-down']);
  });

  it('is tried with one message, and closes when that succeeds', () => {
    const rig = new Rig();
    rig.fail(3);
    rig.now = 100;
    const probe = rig.give()!;
    assert.equal(rig.give(), null);
    // What it had before says nothing of how it is now.
    rig.breaker.succeeded(1);
    rig.breaker.failed(2, 'timeout', false, rig.now);
    assert.equal(rig.breaker.state, 'half-open');
    rig.breaker.succeeded(probe);
    assert.equal(rig.said.at(-1), 'closed: recovered');
    // It begins anew.
    rig.fail(2);
    assert.equal(rig.breaker.state, 'closed');
    rig.fail();
    assert.equal(rig.breaker.state, 'open');
    assert.equal(rig.breaker.coolDown, 100);
  });

  it('cools down twice as long after each probe that fails, up to 32 times', () => {
    const rig = new Rig();
    rig.fail(3);
    const coolDowns: number[] = [];
    for (let i = 0; i < 7; i++) {
      coolDowns.push(rig.breaker.coolDown);
      rig.now += rig.breaker.coolDown - 1;
      assert.equal(rig.give(), null);
      rig.now++;
      // It has failed at this one before, but it is all that is known now.
      rig.fail(1, 'nack', true);
    }
    assert.deepEqual(coolDowns, [100, 200, 400, 800, 1600, 3200, 3200]);
    rig.now += 3200;
    rig.succeed();
    rig.fail(3);
    assert.equal(rig.breaker.coolDown, 100);
  });

  it('takes another probe when the first was taken back', () => {
    const rig = new Rig();
    rig.fail(3);
    rig.now = 100;
    const probe = rig.give()!;
    rig.breaker.released(probe - 1);
    assert.equal(rig.give(), null);
    rig.breaker.released(probe);
    rig.succeed();
    assert.equal(rig.breaker.state, 'closed');
  });

  it('stays closed when less than half fails, however much that is, and opens at half', () => {
    const rig = new Rig({ failures: 5, window: 1e9 });
    for (let i = 0; i < 100; i++) {
      rig.succeed(2);
      rig.fail();
    }
    assert.deepEqual(rig.said, []);
    rig.succeed(1000);
    rig.fail();
    for (let i = 0; i < 4; i++) {
      assert.equal(rig.breaker.state, 'closed');
      rig.succeed();
      rig.fail();
    }
    assert.equal(rig.breaker.state, 'open');
  });

  it('forgets failures that are longer ago than its window', () => {
    const rig = new Rig();
    rig.fail(2);
    rig.now = 1001;
    rig.fail(2);
    assert.equal(rig.breaker.state, 'closed');
    rig.now = 2001;
    rig.fail();
    assert.equal(rig.breaker.state, 'open');
  });

  it('counts a message once that fails again where it failed', () => {
    const rig = new Rig();
    rig.fail();
    rig.fail(10, 'nack', true);
    assert.equal(rig.breaker.state, 'closed');
    rig.fail(2);
    assert.equal(rig.breaker.state, 'open');
  });

  it('stays closed for ever if no number opens it, and closes when that is wished later', () => {
    const rig = new Rig({ failures: 0 });
    rig.fail(1000);
    assert.deepEqual(rig.said, []);
    rig.breaker.adopt(POLICY);
    rig.fail(3);
    assert.equal(rig.breaker.state, 'open');
    rig.breaker.adopt({ ...POLICY, failures: 0 });
    assert.equal(rig.breaker.state, 'closed');
    rig.fail(1000);
    assert.equal(rig.breaker.state, 'closed');
  });

  it('agrees with the rule as it is told, and lets nothing through while it is open', () => {
    const step = fc.record({ ok: fc.boolean(), wait: fc.nat(60) });
    const policies = fc.record({ failures: fc.integer({ min: 1, max: 4 }), window: fc.nat(200) });
    fc.assert(
      fc.property(policies, fc.array(step, { maxLength: 60 }), (policy, steps) => {
        const rig = new Rig(policy);
        const { failures, window } = policy;
        let outcomes: { ok: boolean; at: number }[] = [];
        for (const { ok, wait } of steps) {
          rig.now += wait;
          const offset = rig.give();
          assert.equal(offset !== null, rig.breaker.state !== 'open');
          if (offset === null) {
            assert.ok(rig.breaker.coolDown > 0);
            continue;
          }
          const wasClosed = rig.breaker.state === 'closed';
          if (ok) rig.breaker.succeeded(offset);
          else rig.breaker.failed(offset, 'nack', false, rig.now);
          if (!wasClosed) {
            assert.equal(rig.breaker.state, ok ? 'closed' : 'open');
            outcomes = [];
            continue;
          }
          outcomes.push({ ok, at: rig.now });
          const bad = outcomes.slice(-2 * failures).filter((one) => !one.ok && rig.now - one.at <= window);
          assert.equal(rig.breaker.state, !ok && bad.length >= failures ? 'open' : 'closed');
        }
        // It always recovers: once the cool-down is over, one success is enough.
        rig.now += 100 * 32;
        if (rig.breaker.state !== 'closed') rig.succeed();
        assert.equal(rig.breaker.state, 'closed');
      }),
    );
  });
});
