import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Consumer } from '../../../../lib/queues/consumer.js';
import { EntryState, type MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { TICK } from '../../../../lib/queues/timing-wheel.js';
import { POLICY, Rig } from './mailbox-rig.js';

describe('Mailbox, with circuit breakers', () => {
  const { lease } = POLICY;

  /** What a consumer does with what it has, until its breaker opens; how many messages that takes. */
  function breakBy(act: (rig: Rig, consumer: Consumer, offset: number) => void): {
    rig: Rig;
    sick: Consumer;
  } {
    const rig = new Rig();
    for (let i = 0; i < 10; i++) rig.put();
    const sick = rig.consumer(1, true);
    for (let i = 0; i < POLICY.breaker.failures; i++) {
      assert.equal(sick.breaker.state, 'closed');
      const offset = rig.take(sick);
      assert.ok(offset !== null);
      act(rig, sick, offset);
    }
    assert.equal(sick.breaker.state, 'open');
    return { rig, sick };
  }

  const failures: [string, (rig: Rig, consumer: Consumer, offset: number) => void][] = [
    ['nacks', (rig, consumer, offset) => rig.mailbox.nack(consumer, offset, '', rig.now, rig.wall)],
    ['never acks', (rig) => rig.pass(lease)],
    [
      'acks slowly',
      (rig, consumer, offset) => {
        rig.pass(0.85 * lease);
        assert.notEqual(rig.mailbox.ack(consumer, offset, rig.now), null);
      },
    ],
  ];
  for (const [what, act] of failures) {
    it(`gives a consumer nothing that ${what}, and its share to another`, () => {
      const { rig, sick } = breakBy(act);
      assert.equal(rig.feed(), null, 'alone it must wait');
      const well = rig.consumer(100, true);
      const { messages } = rig.mailbox;
      rig.pass(POLICY.retryCap);
      for (let i = 0; i < messages; i++) assert.equal(rig.feed(), well);
      assert.equal(sick.inFlight, 0);
    });
  }

  it('holds a message that is nacked again and again against its consumer once', () => {
    const rig = new Rig();
    rig.put();
    const consumer = rig.consumer(1, true);
    for (let i = 0; i < 10; i++) {
      assert.equal(rig.feed(), consumer);
      rig.mailbox.nack(consumer, 1, '', rig.now, rig.wall);
      rig.pass(POLICY.retryCap);
    }
    assert.equal(consumer.breaker.state, 'closed');
  });

  it('is a slow ack one that takes longer than was wished, or than 80 % of the lease', () => {
    for (const [slowAck, wait, state] of [
      [0, 0.75 * lease, 'closed'],
      [0, 0.85 * lease, 'open'],
      [10, 10, 'closed'],
      [10, 11, 'open'],
    ] as const) {
      const rig = new Rig({ breaker: { ...POLICY.breaker, failures: 1, slowAck } });
      rig.put();
      const consumer = rig.consumer(1, true);
      const offset = rig.take(consumer)!;
      rig.now += wait;
      assert.notEqual(rig.mailbox.ack(consumer, offset, rig.now), null);
      assert.equal(consumer.breaker.state, state, `${slowAck} ${wait}`);
    }
  });

  it('waits for its only consumer, tries it with one message, and gives it all when it works again', () => {
    const { rig, sick } = breakBy((rig, consumer, offset) =>
      rig.mailbox.nack(consumer, offset, '', rig.now, rig.wall),
    );
    sick.prefetch = 10;
    rig.pass(POLICY.breaker.coolDown - 1);
    assert.equal(rig.feed(), null);
    rig.pass(1);
    assert.equal(rig.feed(), sick);
    assert.equal(rig.feed(), null, 'one, not more');
    const [probe] = [...rig.mailbox.entries()].filter(({ state }) => state === EntryState.leased);
    rig.mailbox.ack(sick, probe.offset, rig.now);
    for (let i = 0; i < 9; i++) assert.equal(rig.feed(), sick);
  });

  it('tries it with another when the one it was tried with leaves', () => {
    const { rig, sick } = breakBy((rig, consumer, offset) =>
      rig.mailbox.nack(consumer, offset, '', rig.now, rig.wall),
    );
    rig.pass(POLICY.breaker.coolDown);
    assert.equal(rig.feed(), sick);
    const [probe] = [...rig.mailbox.entries()].filter(({ state }) => state === EntryState.leased);
    rig.mailbox.withdraw(probe);
    assert.equal(rig.feed(), sick);
  });

  it('does not leave a key with a consumer that gets nothing', () => {
    const rig = new Rig();
    for (let i = 0; i < 6; i++) rig.put(2, undefined, 'a');
    for (let i = 0; i < 3; i++) rig.put();
    const sick = rig.consumer(10, true);
    for (let i = 0; i < 4; i++) rig.take(sick);
    for (const offset of [7, 8, 9]) rig.mailbox.nack(sick, offset, '', rig.now, rig.wall);
    rig.mailbox.ack(sick, 1, rig.now);
    const well = rig.consumer();
    assert.equal(rig.feed(), well);
  });

  it('gives nothing to whom a breaker keeps it from, and loses nothing, whatever happens', () => {
    const step = fc.record({ what: fc.nat(9), wait: fc.nat(120) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const rig = new Rig();
        const sick = rig.consumer(4, true);
        const well = rig.consumer(4, true);
        let stored = 0;
        let done = 0;
        const entriesOf = (consumer: Consumer): MailboxEntry[] =>
          [...rig.mailbox.entries()].filter((entry) => entry.consumer === consumer);
        const workOff = (): void => {
          for (const { offset } of entriesOf(well))
            if (rig.mailbox.ack(well, offset, rig.now) !== null) done++;
        };
        for (const { what, wait } of steps) {
          if (what < 3) {
            rig.put(2, undefined, wait % 2 === 0 ? `k${wait % 5}` : '');
            stored++;
          } else if (what < 7) {
            const { state } = sick.breaker;
            const before = sick.inFlight;
            if (rig.feed() === sick) {
              assert.notEqual(sick.breaker.state, 'open');
              if (state !== 'closed') assert.ok(sick.inFlight <= before + 1);
            }
          } else if (what === 7) {
            for (const { offset } of entriesOf(sick)) rig.mailbox.nack(sick, offset, '', rig.now, rig.wall);
          } else if (what === 8) workOff();
          else rig.pass(wait);
        }
        // The one that works gets all of it, whatever the other has had.
        for (let turns = 0; rig.mailbox.messages > 0; turns++) {
          assert.ok(turns < 1000, 'it does not come to an end');
          for (const { offset } of entriesOf(sick)) rig.mailbox.nack(sick, offset, '', rig.now, rig.wall);
          while (rig.feed() !== null);
          workOff();
          rig.pass(TICK);
        }
        assert.equal(done + rig.expired.length, stored);
      }),
      { numRuns: 200 },
    );
  });
});
