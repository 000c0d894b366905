import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Consumer } from '../../../../lib/queues/consumer.js';
import { EntryState, type MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { TICK } from '../../../../lib/queues/timing-wheel.js';
import { FRAME, POLICY, Rig } from './mailbox-rig.js';

describe('Mailbox', () => {
  it('hands messages out in order, and forgets those that are acked', () => {
    const rig = new Rig();
    for (let i = 0; i < 3; i++) rig.put();
    const consumer = rig.consumer();
    assert.deepEqual(
      [rig.take(consumer), rig.take(consumer), rig.take(consumer), rig.take(consumer)],
      [1, 2, 3, null],
    );
    assert.equal(rig.mailbox.ack(consumer, 2, rig.now)?.offset, 2);
    assert.equal(rig.mailbox.ack(consumer, 2, rig.now), null);
    assert.equal(rig.mailbox.ack(consumer, 99, rig.now), null);
    assert.equal(rig.mailbox.ack(new Consumer(9, 'c', 1), 1, rig.now), null);
    assert.equal(rig.mailbox.messages, 2);
    assert.equal(rig.mailbox.bytes, 100);
    assert.equal(consumer.inFlight, 2);
  });

  it('gives at once, in order and without counting a failure, what a consumer that left had', () => {
    const rig = new Rig();
    for (let i = 0; i < 4; i++) rig.put();
    const [leaver, other] = [rig.consumer(), rig.consumer()];
    for (let i = 0; i < 3; i++) rig.take(leaver);
    rig.mailbox.detach(leaver, false, rig.wall);
    const entry = rig.mailbox.take(other, rig.now, rig.wall);
    assert.equal(entry?.offset, 1);
    assert.ok(entry?.repeated);
    assert.equal(entry?.failures, 0);
    assert.deepEqual([rig.take(other), rig.take(other), rig.take(other)], [2, 3, 4]);
    assert.deepEqual(rig.failed, []);
  });

  it('prefers who has the least in flight', () => {
    const rig = new Rig();
    const [a, b] = [rig.consumer(), rig.consumer()];
    for (let i = 0; i < 6; i++) rig.put();
    for (let i = 0; i < 3; i++) rig.take(a);
    const got: (number | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      const consumer = rig.mailbox.nextConsumer(rig.now);
      got.push(consumer?.id);
      if (consumer !== null) rig.take(consumer);
    }
    assert.deepEqual(got, [b.id, b.id, b.id]);
  });

  it('takes consumers in turn, and passes over those without room', () => {
    const rig = new Rig();
    const [a, b, c] = [rig.consumer(1), rig.consumer(2), rig.consumer(0)];
    const got: (number | undefined)[] = [];
    for (let i = 0; i < 5; i++) rig.put();
    for (let i = 0; i < 4; i++) {
      const consumer = rig.mailbox.nextConsumer(rig.now);
      got.push(consumer?.id);
      if (consumer !== null) rig.take(consumer);
    }
    assert.deepEqual(got, [a.id, b.id, b.id, undefined]);
    assert.equal(c.inFlight, 0);
  });

  it('lets a crowd of consumers go in no more time than it took to give them their messages, but for a factor', () => {
    const rig = new Rig({ maxMessages: 100_000, maxBytes: 10_000_000 });
    const crowd = Array.from({ length: 1000 }, () => rig.consumer(100));
    for (let i = 0; i < 100_000; i++) rig.put();
    const begin = performance.now();
    while (rig.feed() !== null);
    const fed = performance.now();
    assert.equal(rig.mailbox.inFlight, 100_000);
    // The shard of their connections has died.
    for (const consumer of crowd) rig.mailbox.detach(consumer, false, rig.wall);
    const left = performance.now();
    assert.deepEqual([rig.mailbox.inFlight, [...rig.mailbox.entries()].length], [0, 100_000]);
    assert.ok(left - fed < 10 * (fed - begin), `${left - fed} ms after ${fed - begin}`);
  });

  it('takes back what did not reach its consumer, in its place and as it was, and blocks that one for a while', () => {
    const rig = new Rig();
    for (let i = 0; i < 6; i++) rig.put();
    const [full, other] = [rig.consumer(), rig.consumer()];
    for (let i = 0; i < 4; i++) rig.take(full);
    for (const offset of [2, 4, 3]) assert.equal(rig.mailbox.giveBack(full, offset, false)?.failures, 0);
    assert.equal(rig.mailbox.giveBack(full, 4, false), null, 'it has it no more');
    assert.equal(rig.mailbox.giveBack(other, 1, false), null, 'it never had it');
    assert.equal(full.mayTake(rig.now), false);
    assert.equal(rig.mailbox.nextConsumer(rig.now), other);
    const next = rig.mailbox.take(other, rig.now, rig.wall);
    assert.deepEqual([next?.offset, next?.repeated], [2, false]);
    assert.deepEqual([rig.take(other), rig.take(other), rig.take(other)], [3, 4, 5]);
    assert.deepEqual(rig.failed, []);
    rig.mailbox.ack(full, 1, rig.now);
    assert.equal(full.mayTake(rig.now), true);
    rig.mailbox.giveBack(other, 5, true);
    assert.equal(rig.mailbox.take(full, rig.now, rig.wall)?.repeated, true);
    assert.equal(other.mayTake(rig.now), false);
    rig.pass(1);
    assert.equal(other.mayTake(rig.now), true);
  });

  it('never hands out what is too old, and drops it by itself', () => {
    const rig = new Rig();
    rig.put(2, 5);
    rig.put(2, 50);
    rig.put();
    rig.wall += 5;
    const consumer = rig.consumer();
    assert.equal(rig.take(consumer), 2);
    assert.deepEqual(rig.expired, [1]);
    rig.mailbox.detach(consumer, false, rig.wall);
    rig.pass(45);
    assert.deepEqual(rig.expired, [1, 2]);
    rig.pass(10_000);
    assert.deepEqual(rig.expired, [1, 2, 3]);
    assert.equal(rig.mailbox.messages, 0);
    assert.equal(rig.mailbox.bytes, 0);
  });

  it('drops so much in one go, and the rest in the next', () => {
    const rig = new Rig({ maxMessages: 10_000, maxBytes: 10_000_000 });
    for (let i = 0; i < 3000; i++) rig.put(i % 5, i < 1500 ? 5 : undefined);
    rig.now += 5;
    rig.wall += 5;
    const { mailbox } = rig;
    assert.equal(mailbox.expire(rig.wall, 1000), 1000);
    assert.deepEqual([rig.expired.length, mailbox.messages], [1000, 2000]);
    assert.equal(mailbox.expire(rig.wall, 1000), 500);
    rig.wall += 20_000;
    // Nor does it go through all of them to find one that may be handed out.
    assert.equal(rig.take(rig.consumer()), null);
    assert.deepEqual([rig.expired.length, mailbox.messages], [2500, 500]);
    assert.equal(mailbox.expire(rig.wall, 1000), 500);
    assert.equal(mailbox.messages, 0);
  });

  it('holds back what is delayed, and counts its age from then on', () => {
    const rig = new Rig();
    const delay = 20_000;
    rig.put(2, undefined, '', delay);
    rig.put(2, delay + 50, '', delay);
    rig.put(2, undefined, '', delay);
    rig.put();
    const consumer = rig.consumer();
    assert.deepEqual([rig.take(consumer), rig.take(consumer)], [4, null]);
    rig.mailbox.ack(consumer, 4, rig.now);
    assert.equal(rig.mailbox.delayed, 3);
    rig.pass(delay - 1);
    assert.equal(rig.take(consumer), null);
    const before = rig.put();
    rig.pass(1);
    assert.equal(rig.mailbox.delayed, 0);
    assert.deepEqual([rig.take(consumer), rig.take(consumer), rig.take(consumer)], [2, before.offset, 1]);
    rig.mailbox.ack(consumer, before.offset, rig.now);
    rig.mailbox.detach(consumer, false, rig.wall);
    rig.pass(50);
    assert.deepEqual(rig.expired, [2]);
    rig.pass(POLICY.maxAge - 51);
    assert.deepEqual(rig.expired, [2]);
    rig.pass(1);
    assert.deepEqual(rig.expired, [2, 1, 3]);
    // One that is withdrawn before it is due.
    rig.mailbox.withdraw(rig.put(2, undefined, '', delay));
    assert.equal(rig.mailbox.delayed, 0);
    assert.equal(rig.wheel.next, Number.POSITIVE_INFINITY);
  });

  it('has room up to its limits', () => {
    const rig = new Rig({ maxMessages: 2, maxBytes: 1000 });
    assert.ok(rig.mailbox.hasRoom(1000));
    assert.ok(!rig.mailbox.hasRoom(1001));
    rig.put();
    assert.ok(!rig.mailbox.hasRoom(951));
    rig.put();
    assert.ok(!rig.mailbox.hasRoom(1));
  });

  it('keeps its books whatever happens in whatever order', () => {
    type Step = { what: number; who: number; which: number };
    const step: fc.Arbitrary<Step> = fc.record({ what: fc.nat(6), who: fc.nat(2), which: fc.nat(40) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const rig = new Rig({ maxAttempts: 3, poisonAfter: 2 });
        const { mailbox } = rig;
        const all = new Map<number, MailboxEntry>();
        const done = new Set<number>();
        const consumers: (Consumer | null)[] = [null, null, null];
        for (const { what, who, which } of steps) {
          const consumer = consumers[who];
          if (what === 0) {
            const entry = rig.put(
              which % 5,
              which % 3 === 0 ? which : undefined,
              which % 2 === 0 ? '' : `k${which % 7}`,
              who === 0 ? which % 4 : 0,
            );
            all.set(entry.offset, entry);
          } else if (what === 1) {
            if (consumer === null) {
              consumers[who] = new Consumer(who, `c${who}`, 4);
              mailbox.attach(consumers[who]);
            } else {
              mailbox.detach(consumer, which % 2 === 0, rig.wall);
              assert.equal(consumer.inFlight, 0);
              assert.equal(consumer.inFlightBytes, 0);
              consumers[who] = null;
            }
          } else if (what <= 3) {
            const next = mailbox.nextConsumer(rig.now);
            const entry = next === null ? null : mailbox.take(next, rig.now, rig.wall);
            if (entry !== null) {
              assert.ok(!done.has(entry.offset), 'delivered although it was acked');
              assert.ok(entry.deadline > rig.wall, 'delivered after its deadline');
              assert.ok(entry.readyAt <= rig.wall, 'delivered before its delay was over');
              const dead = rig.died.some(([offset]) => offset === entry.offset);
              assert.ok(!dead, 'delivered although it is dead');
              assert.ok(entry.failures < 3, 'tried too often');
              assert.ok(entry.consumer!.inFlight <= 4);
              if (entry.key !== '') {
                const held = [...all.values()].filter(
                  ({ key, state }) =>
                    key === entry.key && (state === EntryState.leased || state === EntryState.resting),
                );
                assert.deepEqual(held, [entry], 'two of one key at a time');
              }
            }
          } else if (what === 4 && consumer !== null) {
            if (mailbox.ack(consumer, which, rig.now) !== null) done.add(which);
          } else if (what === 5 && consumer !== null) mailbox.nack(consumer, which, '', rig.now, rig.wall);
          else if (what === 6) rig.pass(which * 3);
          for (const [offset] of rig.died) assert.ok(!done.has(offset));
          const alive = [...all.values()].filter(({ state }) => state !== EntryState.gone);
          assert.equal(mailbox.messages, alive.length);
          assert.equal(mailbox.messages, all.size - done.size - rig.died.length);
          assert.equal(mailbox.bytes, alive.length * FRAME.length);
          assert.deepEqual(
            [...mailbox.entries()].map(({ offset }) => offset).sort((a, b) => a - b),
            alive.map(({ offset }) => offset),
          );
          const inFlight = consumers.reduce((sum, c) => sum + (c?.inFlight ?? 0), 0);
          assert.equal(mailbox.inFlight, inFlight);
        }
        // Nothing is lost: who asks long enough gets all that was neither acked nor too old.
        for (const consumer of consumers) if (consumer !== null) mailbox.detach(consumer, false, rig.wall);
        const last = new Consumer(9, 'c', 10_000);
        mailbox.attach(last);
        rig.pass(POLICY.retryCap + TICK);
        for (let left = mailbox.messages; left > 0; left--) {
          const entry = mailbox.take(last, rig.now, rig.wall);
          // What is too old goes when it is come upon.
          if (entry === null) break;
          assert.notEqual(mailbox.ack(last, entry.offset, rig.now), null);
        }
        assert.equal(mailbox.take(last, rig.now, rig.wall), null);
        assert.equal(mailbox.messages, 0);
      }),
      { numRuns: 300 },
    );
  });
});
