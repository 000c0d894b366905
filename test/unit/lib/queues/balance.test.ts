import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Balancer } from '../../../../lib/queues/balance.js';
import { Consumer } from '../../../../lib/queues/consumer.js';
import type { Balance } from '../../../../lib/wire/control.js';

/** Consumers with so much room each. */
function balancerOf(...prefetches: number[]): Balancer {
  const balancer = new Balancer();
  for (const [id, prefetch] of prefetches.entries()) balancer.add(new Consumer(id, 'c', prefetch));
  return balancer;
}

/** Gives `count` messages out; who got them. */
function give(balancer: Balancer, balance: Balance, count: number): (number | null)[] {
  return Array.from({ length: count }, () => {
    const consumer = balancer.pick(balance, 0);
    if (consumer === null) return null;
    consumer.inFlight++;
    balancer.gave(consumer);
    return consumer.id;
  });
}

describe('Balancer', () => {
  it('goes round: each in turn, whoever is quick', () => {
    const balancer = balancerOf(9, 9, 9);
    balancer.consumers[1].inFlight = 5;
    assert.deepEqual(give(balancer, 'round-robin', 7), [0, 1, 2, 0, 1, 2, 0]);
  });

  it('goes round past those without room, and knows whose turn it was', () => {
    const balancer = balancerOf(2, 1, 0, 3);
    assert.deepEqual(give(balancer, 'round-robin', 7), [0, 1, 3, 0, 3, 3, null]);
    balancer.consumers[1].inFlight = 0;
    assert.deepEqual(give(balancer, 'round-robin', 2), [1, null]);
  });

  it('takes nobody for served who was picked and got nothing', () => {
    const balancer = balancerOf(9, 9);
    for (let i = 0; i < 3; i++) assert.equal(balancer.pick('round-robin', 0)?.id, 0);
    balancer.pick('round-robin', 0);
    // Somebody else got it, whose key it had.
    balancer.gave(balancer.consumers[1]);
    assert.deepEqual(give(balancer, 'round-robin', 3), [0, 1, 0]);
  });

  it('goes on with the same consumer when one before it leaves', () => {
    const balancer = balancerOf(9, 9, 9);
    give(balancer, 'round-robin', 2);
    balancer.remove(balancer.consumers[0]);
    assert.deepEqual(give(balancer, 'round-robin', 3), [2, 1, 2]);
  });

  it('is fair: whoever joins and leaves, those that stay get as many, give or take one', () => {
    const change = fc.record({ messages: fc.nat(20), join: fc.boolean(), leave: fc.nat(10) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        const balancer = balancerOf(1e6, 1e6);
        const stayed = [...balancer.consumers];
        for (const { messages, join, leave } of changes) {
          const counts = balancer.consumers.map(({ inFlight }) => inFlight);
          give(balancer, 'round-robin', messages);
          const got = balancer.consumers.map(({ inFlight }, i) => inFlight - counts[i]);
          assert.ok(Math.max(...got) - Math.min(...got) <= 1, `${got}`);
          if (join) balancer.add(new Consumer(9, 'c', 1e6));
          const leaver = balancer.consumers[leave];
          if (leaver !== undefined && !stayed.includes(leaver)) balancer.remove(leaver);
          // The turn is the same whoever comes or goes.
          const [a, b] = stayed.map(({ inFlight }) => inFlight);
          assert.ok(Math.abs(a - b) <= 1, `${a} ${b}`);
        }
      }),
    );
  });

  it('prefers the least in flight, in turn among equals', () => {
    const balancer = balancerOf(9, 9, 9);
    balancer.consumers[0].inFlight = 2;
    assert.deepEqual(give(balancer, 'least-in-flight', 7), [1, 2, 1, 2, 0, 1, 2]);
  });

  it('finds those with room in a crowd, and gives them no more than that', () => {
    const arbitrary = fc.array(fc.nat(3), { minLength: 1, maxLength: 40 });
    for (const balance of ['least-in-flight', 'round-robin'] as const) {
      fc.assert(
        fc.property(arbitrary, (rooms) => {
          const balancer = balancerOf(...rooms);
          const room = rooms.reduce((sum, n) => sum + n, 0);
          assert.ok(give(balancer, balance, room).every((id) => id !== null));
          assert.equal(balancer.pick(balance, 0), null);
          for (const [i, { inFlight }] of balancer.consumers.entries()) assert.equal(inFlight, rooms[i]);
        }),
      );
    }
  });
});
