import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Cause } from '../../../../lib/queues/attempts.js';
import { Breaker } from '../../../../lib/queues/breaker.js';
import { Consumer } from '../../../../lib/queues/consumer.js';
import { DEFAULT_SHARES, type Shares } from '../../../../lib/queues/entry-lanes.js';
import { Mailbox, type MailboxPolicy } from '../../../../lib/queues/mailbox.js';
import { EntryState, MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { TICK, TimingWheel } from '../../../../lib/queues/timing-wheel.js';
import { Encoding } from '../../../../lib/wire/frame.js';
import { utf8 } from '../../../../lib/wire/text.js';
import { FrameWriter } from '../../../../lib/wire/writer.js';

const POLICY: MailboxPolicy = {
  maxMessages: 1000,
  maxBytes: 100_000,
  maxAge: 10_000,
  // All of them whole ticks of the wheel.
  lease: 10 * TICK,
  retryBase: TICK,
  retryCap: 4 * TICK,
  balance: 'least-in-flight',
  breaker: { failures: 3, window: 1000, coolDown: 200, slowAck: 0 },
  maxAttempts: 100,
  poisonAfter: 0,
};
const FRAME = new Uint8Array(50);

/** A mailbox with clocks that the test sets, and a note of what its owner was told. */
class Rig {
  now = 0;
  wall = 1_000_000;
  serial = 0;
  readonly died: [number, Cause][] = [];
  readonly failed: number[] = [];
  readonly mailbox: Mailbox;
  readonly wheel: TimingWheel<MailboxEntry>;

  constructor(policy: Partial<MailboxPolicy> = {}, shares: Shares = DEFAULT_SHARES) {
    this.wheel = new TimingWheel(0, (entry) => entry.mailbox?.due(entry, this.now, this.wall));
    this.mailbox = new Mailbox(
      { ...POLICY, ...policy },
      {
        onDead: (entry, cause) => this.died.push([entry.offset, cause]),
        onFailed: (entry) => this.failed.push(entry.offset),
        onDue: () => {},
      },
      this.wheel,
      shares,
      () => 1,
    );
  }

  put(
    lane = 2,
    ttl = Number.POSITIVE_INFINITY,
    key = '',
    delay = 0,
    frame: Uint8Array = FRAME,
  ): MailboxEntry {
    const { nextOffset } = this.mailbox;
    const entry = new MailboxEntry(
      nextOffset,
      lane,
      'p',
      't',
      key,
      frame,
      0,
      frame.length,
      this.wall,
      this.wall + ttl,
      1,
      delay,
    );
    if (delay > 0) this.mailbox.putLater(entry, this.now + delay);
    else this.mailbox.put(entry);
    return entry;
  }

  /** `breaks`: its breaker works; otherwise it stays closed. */
  consumer(prefetch = 10, breaks = false, name = 'c'): Consumer {
    const breaker = breaks ? new Breaker(this.mailbox.policy.breaker) : undefined;
    const consumer = new Consumer(++this.serial, name, prefetch, breaker);
    this.mailbox.attach(consumer);
    return consumer;
  }

  get expired(): number[] {
    return this.died.flatMap(([offset, cause]) => (cause === 'expired' ? [offset] : []));
  }

  /** Hands the next message to whoever is to get it; who that is. */
  feed(): Consumer | null {
    const next = this.mailbox.nextConsumer(this.now);
    return next === null ? null : (this.mailbox.take(next, this.now, this.wall)?.consumer ?? null);
  }

  take(consumer: Consumer): number | null {
    return this.mailbox.take(consumer, this.now, this.wall)?.offset ?? null;
  }

  pass(ms: number): void {
    this.now += ms;
    this.wall += ms;
    assert.ok(this.wheel.advance(this.now, 10_000));
    this.mailbox.check(this.wall);
  }
}

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

  it('gives every lane its share: background is one of 31 at least', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    for (let i = 0; i < 310; i++) for (let lane = 0; lane < 5; lane++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < 310; i++) counts[rig.mailbox.take(consumer, 0, rig.wall)!.lane]++;
    assert.deepEqual(counts, [160, 80, 40, 20, 10]);
  });

  it('shares its lanes as it is told, and gives the less urgent more under pressure', () => {
    const rig = new Rig(
      { maxMessages: 1_000_000, maxBytes: 100_000_000 },
      { weights: [4, 3, 2, 2, 1], boost: 3 },
    );
    for (let i = 0; i < 200; i++) for (let lane = 0; lane < 5; lane++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    const round = (messages: number): number[] => {
      const counts = [0, 0, 0, 0, 0];
      for (let i = 0; i < messages; i++) counts[rig.mailbox.take(consumer, 0, rig.wall)!.lane]++;
      return counts;
    };
    assert.deepEqual(round(24), [8, 6, 4, 4, 2]);
    rig.mailbox.boosted = true;
    // The round that had begun is not changed.
    round(12);
    assert.deepEqual(round(36), [8, 6, 4, 12, 6]);
  });

  it('hands out first what must be gone within a second, but never two in a row ahead of their turn', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    for (let i = 0; i < 6; i++) rig.put(0);
    rig.put(4, 900);
    rig.put(2, 800);
    rig.put(2, 800);
    rig.put(3, 5000);
    rig.put(2, 700, 'a key keeps its turn');
    const consumer = rig.consumer(100);
    const got: (number | null)[] = [];
    for (let i = 0; i < 8; i++) got.push(rig.take(consumer));
    assert.deepEqual(got, [8, 1, 9, 2, 7, 3, 4, 5]);
    rig.pass(3999);
    assert.equal(rig.take(consumer), 6);
    rig.mailbox.detach(consumer, false, rig.wall);
    rig.put(0);
    const other = rig.consumer(100);
    rig.pass(1);
    assert.equal(rig.take(other), 10);
  });

  it('starves nobody though all that comes is urgent', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    const patient = rig.put(4).offset;
    for (let lane = 0; lane < 5; lane++) for (let i = 0; i < 200; i++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    let taken = 0;
    for (;;) {
      rig.put(0, 500);
      taken++;
      if (rig.take(consumer) === patient) break;
    }
    assert.ok(taken <= 62, `${taken}`);
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
