import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Consumer } from '../../../../lib/queues/consumer.js';
import type { MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { TICK } from '../../../../lib/queues/timing-wheel.js';
import { POLICY, Rig } from './mailbox-rig.js';

describe('Mailbox, with ordering keys', () => {
  it('hands out one message of a key at a time, in order, and goes on with the next when it is done', () => {
    const rig = new Rig();
    for (const key of ['a', 'a', 'b', 'a', '', 'b']) rig.put(2, undefined, key);
    const [one, two] = [rig.consumer(), rig.consumer()];
    assert.deepEqual([rig.take(one), rig.take(two), rig.take(one), rig.take(two)], [1, 3, 5, null]);
    rig.mailbox.ack(one, 1, rig.now);
    assert.equal(rig.take(two), 2);
    // What failed keeps its key until it has succeeded.
    rig.mailbox.nack(one, 2, '', rig.now, rig.wall);
    assert.equal(rig.take(one), null);
    rig.pass(TICK);
    assert.equal(rig.take(one), 2);
    rig.mailbox.ack(one, 2, rig.now);
    assert.equal(rig.take(one), 4);
    // A consumer that leaves takes no key with it.
    rig.mailbox.detach(two, false, rig.wall);
    assert.equal(rig.take(one), 3);
    rig.mailbox.ack(one, 3, rig.now);
    assert.equal(rig.take(one), 6);
  });

  it('leaves a key with the consumer that has it, and moves all of it to another when that one dies or has no room', () => {
    const rig = new Rig();
    for (let i = 0; i < 7; i++) rig.put(2, undefined, 'a');
    const [one, two, three] = [rig.consumer(1), rig.consumer(2), rig.consumer()];
    const next = (): (number | undefined)[] => {
      const entry = rig.mailbox.take(three, rig.now, rig.wall);
      return [entry?.offset, entry?.consumer?.id];
    };
    assert.equal(rig.take(one), 1);
    assert.deepEqual(next(), [undefined, undefined]);
    rig.mailbox.ack(one, 1, rig.now);
    assert.deepEqual(next(), [2, one.id]);
    rig.mailbox.detach(one, false, rig.wall);
    assert.equal(rig.take(two), 2);
    rig.mailbox.ack(two, 2, rig.now);
    assert.deepEqual(next(), [3, two.id]);
    two.prefetch = 1;
    rig.put();
    rig.mailbox.ack(two, 3, rig.now);
    two.prefetch = 0;
    assert.deepEqual(next(), [4, three.id]);
    rig.mailbox.ack(three, 4, rig.now);
    rig.mailbox.detach(three, false, rig.wall);
    two.prefetch = 2;
    // It is not there to get what it would have got.
    assert.deepEqual([rig.take(two), rig.take(two)], [5, 8]);
    assert.equal(two.inFlight, 2);
  });

  it('keeps the order of each key whichever consumers fail, hang and die', () => {
    const step = fc.record({ what: fc.nat(5), who: fc.nat(2) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const rig = new Rig();
        const { mailbox } = rig;
        const consumers = [true, true, false].map((breaks) => rig.consumer(3, breaks));
        const held = new Map<MailboxEntry, Consumer>();
        const done = new Map<string, number[]>();
        for (let i = 0; i < 20; i++) rig.put(2, undefined, `k${i % 3}`);
        const ack = (consumer: Consumer, entry: MailboxEntry): void => {
          if (mailbox.ack(consumer, entry.offset, rig.now) !== null)
            done.set(entry.key, [...(done.get(entry.key) ?? []), entry.offset]);
        };
        for (const { what, who } of steps) {
          const own = [...held].find(([, consumer]) => consumer === consumers[who]);
          if (what <= 1) {
            const next = mailbox.nextConsumer(rig.now);
            const entry = next === null ? null : mailbox.take(next, rig.now, rig.wall);
            if (entry !== null) held.set(entry, entry.consumer!);
          } else if (what === 2 && own !== undefined) ack(own[1], own[0]);
          else if (what === 3 && own !== undefined)
            mailbox.nack(own[1], own[0].offset, '', rig.now, rig.wall);
          else if (what === 4) {
            mailbox.detach(consumers[who], false, rig.wall);
            consumers[who] = rig.consumer(3, who < 2);
          } else rig.pass(25);
        }
        for (const consumer of [...mailbox.consumers]) mailbox.detach(consumer, false, rig.wall);
        const last = rig.consumer(100);
        rig.pass(POLICY.retryCap + TICK);
        for (let entry = mailbox.take(last, rig.now, rig.wall); entry !== null; ) {
          ack(last, entry);
          entry = mailbox.take(last, rig.now, rig.wall);
        }
        for (const k of [0, 1, 2])
          assert.deepEqual(
            done.get(`k${k}`),
            Array.from({ length: 20 }, (_, i) => i + 1).filter((offset) => (offset - 1) % 3 === k),
          );
      }),
    );
  });
});
