import assert from 'node:assert/strict';
import type { Consumer } from '../../../../lib/queues/consumer.js';
import { TICK } from '../../../../lib/queues/timing-wheel.js';
import { Encoding } from '../../../../lib/wire/frame.js';
import { utf8 } from '../../../../lib/wire/text.js';
import { FrameWriter } from '../../../../lib/wire/writer.js';
import { POLICY, Rig } from './mailbox-rig.js';

describe('Mailbox, with messages that fail', () => {
  it('tries again what was nacked, after a wait that doubles up to its cap', () => {
    const rig = new Rig();
    rig.put();
    const consumer = rig.consumer();
    for (const wait of [TICK, 2 * TICK, 4 * TICK, 4 * TICK]) {
      const entry = rig.mailbox.take(consumer, rig.now, rig.wall);
      assert.ok(entry !== null);
      rig.mailbox.nack(consumer, 1, '', rig.now, rig.wall);
      rig.pass(wait - 1);
      assert.equal(rig.take(consumer), null);
      rig.pass(1);
      assert.ok(entry.repeated);
    }
    assert.deepEqual(rig.failed, [1, 1, 1, 1]);
  });

  describe('with an end to its patience', () => {
    /** Each consumer in turn takes message 1, and nacks it. */
    function failWith(rig: Rig, consumers: readonly Consumer[]): void {
      for (const consumer of consumers) {
        assert.equal(rig.take(consumer), 1);
        rig.mailbox.nack(consumer, 1, `${consumer.name} cannot`, rig.now, rig.wall);
        rig.pass(40);
      }
    }

    it('gives up on what has failed as often as it may', () => {
      const rig = new Rig({ maxAttempts: 3 });
      const entry = rig.put();
      const consumer = rig.consumer();
      failWith(rig, [consumer, consumer]);
      assert.deepEqual(rig.died, []);
      assert.equal(rig.take(consumer), 1);
      rig.pass(100);
      assert.deepEqual(rig.died, [[1, 'attempts']]);
      assert.deepEqual(rig.failed, [1, 1]);
      assert.equal(rig.mailbox.messages, 0);
      assert.equal(consumer.inFlight, 0);
      assert.deepEqual(
        entry.attempts?.map(({ consumer: name, outcome, reason }) => [name, outcome, reason]),
        [
          ['c', 'nack', 'c cannot'],
          ['c', 'nack', 'c cannot'],
          ['c', 'timeout', ''],
        ],
      );
    });

    it('lets a message say more, or less, of that than the mailbox', () => {
      for (const [own, maxAttempts] of [
        [1, 5],
        [4, 2],
      ]) {
        const frame = new FrameWriter(1000).publish({
          topic: 't',
          sender: 1,
          from: 'p',
          lane: 2,
          encoding: Encoding.text,
          payload: utf8('x'),
          extensions: { messageId: 'm', key: 'k', retry: { maxAttempts: own, base: TICK, cap: 2 * TICK } },
        });
        const rig = new Rig({ maxAttempts });
        rig.put(2, undefined, '', 0, frame);
        const consumer = rig.consumer();
        for (let attempt = 1; attempt <= own; attempt++) {
          assert.equal(rig.take(consumer), 1);
          rig.mailbox.nack(consumer, 1, '', rig.now, rig.wall);
          const wait = attempt === 1 ? TICK : 2 * TICK;
          rig.pass(wait - 1);
          assert.equal(rig.take(consumer), null);
          rig.pass(1);
        }
        assert.deepEqual(rig.died, [[1, 'attempts']]);
      }
    });

    it('takes for poison what enough different consumers have failed at, and not what one has failed at often', () => {
      const rig = new Rig({ poisonAfter: 3 });
      rig.put();
      const [a, b, c] = ['a', 'b', 'c'].map((name) => rig.consumer(10, false, name));
      failWith(rig, [a, a, b, a, b]);
      assert.deepEqual(rig.died, []);
      failWith(rig, [c]);
      assert.deepEqual(rig.died, [[1, 'consumers']]);
    });

    it('holds it against the oldest message of a consumer alone that this one broke off', () => {
      const rig = new Rig({ poisonAfter: 2 });
      for (let i = 0; i < 3; i++) rig.put();
      for (const name of ['a', 'b']) {
        const consumer = rig.consumer(10, false, name);
        assert.deepEqual([rig.take(consumer), rig.take(consumer), rig.take(consumer)], [1, 2, 3]);
        rig.mailbox.detach(consumer, true, rig.wall);
      }
      assert.deepEqual(rig.died, [[1, 'consumers']]);
      const last = rig.consumer();
      const rest = [rig.mailbox.take(last, 0, rig.wall), rig.mailbox.take(last, 0, rig.wall)];
      assert.deepEqual(
        rest.map((entry) => [entry?.offset, entry?.failures]),
        [
          [2, 0],
          [3, 0],
        ],
      );
    });

    it('goes on with the next of its key when one is dead', () => {
      const rig = new Rig({ maxAttempts: 1 });
      for (let i = 0; i < 2; i++) rig.put(2, undefined, 'k');
      const consumer = rig.consumer();
      failWith(rig, [consumer]);
      assert.equal(rig.take(consumer), 2);
    });

    it('remembers the last ten attempts, and of all but the last the beginning of the reason', () => {
      const rig = new Rig();
      const entry = rig.put();
      const consumer = rig.consumer();
      for (let i = 0; i < 12; i++) {
        rig.take(consumer);
        rig.mailbox.nack(consumer, 1, `${i} `.padEnd(1000, 'x'), rig.now, rig.wall);
        rig.pass(40);
      }
      assert.equal(entry.failures, 12);
      assert.equal(entry.attempts?.length, 10);
      assert.deepEqual(
        entry.attempts.map(({ reason }) => [Number.parseInt(reason, 10), reason.length]),
        Array.from({ length: 10 }, (_, i) => [i + 2, i === 9 ? 1000 : 128]),
      );
    });
  });

  it('ends a lease, and takes no ack of it then', () => {
    const rig = new Rig();
    rig.put();
    const [slow, other] = [rig.consumer(), rig.consumer()];
    rig.take(slow);
    rig.pass(POLICY.lease - 1);
    assert.equal(rig.mailbox.inFlight, 1);
    rig.pass(1);
    assert.equal(rig.mailbox.inFlight, 0);
    rig.pass(TICK);
    assert.equal(rig.take(other), 1);
    assert.equal(rig.mailbox.ack(slow, 1, rig.now), null);
    assert.notEqual(rig.mailbox.ack(other, 1, rig.now), null);
  });
});
