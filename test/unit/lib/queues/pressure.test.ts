import assert from 'node:assert/strict';
import { Pressure, PressureState } from '../../../../lib/queues/pressure.js';

describe('Pressure', () => {
  it('begins at 80 %, ends at 60 %, and sheds from 95 %', () => {
    const pressure = new Pressure(1000, 5000);
    assert.deepEqual([pressure.high, pressure.low, pressure.shedAt], [800, 600, 950]);
    assert.equal(pressure.filled(799, 0), false);
    assert.equal(pressure.filled(800, 0), true);
    assert.equal(pressure.filled(900, 0), false);
    assert.equal(pressure.drained(601, 1), false);
    assert.equal(pressure.drained(600, 2), true);
    assert.equal(pressure.state, PressureState.open);
  });

  it('loses its right to stall after the stall limit without progress, not before', () => {
    const pressure = new Pressure(1000, 5000);
    pressure.filled(900, 0);
    assert.equal(pressure.check(4999), false);
    pressure.drained(890, 4999);
    assert.equal(pressure.check(9998), false);
    assert.equal(pressure.check(9999), true);
    assert.equal(pressure.state, PressureState.shedding);
    assert.equal(pressure.check(20_000), false);
  });

  it('loses it also when the clock begins anew at 2^32 ms meanwhile', () => {
    const pressure = new Pressure(1000, 5000);
    pressure.filled(900, 2 ** 32 - 1000);
    assert.equal(pressure.check(3999), false);
    assert.equal(pressure.check(4000), true);
  });

  it('leaves room for what is on its way when it begins to stall, however small the limit', () => {
    const small = new Pressure(128 * 1024, 5000);
    assert.equal(small.bound, 24 * 1024 * 1024);
    small.shed();
    assert.equal(small.bound, small.shedAt);
    assert.equal(new Pressure(8 * 1024 * 1024, 5000).bound, 128 * 1024 * 1024);
  });

  it('does not stall for ever for one who only trickles', () => {
    const pressure = new Pressure(1000, 5000);
    pressure.filled(900, 0);
    let now = 0;
    while (!pressure.check(now)) {
      now += 1000;
      pressure.drained(899, now);
      assert.ok(now <= 60_000);
    }
    assert.equal(now, 60_000);
  });

  it('is open again, with a new right to stall, once it has drained', () => {
    const pressure = new Pressure(1000, 5000);
    pressure.shed();
    assert.equal(pressure.drained(601, 0), false);
    assert.equal(pressure.drained(600, 0), true);
    assert.equal(pressure.filled(800, 0), true);
    assert.equal(pressure.check(4999), false);
  });
});
