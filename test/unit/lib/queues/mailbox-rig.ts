/** A mailbox with clocks that the test sets: for the tests of what it does, by subject. */
import assert from 'node:assert/strict';
import type { Cause } from '../../../../lib/queues/attempts.js';
import { Breaker } from '../../../../lib/queues/breaker.js';
import { Consumer } from '../../../../lib/queues/consumer.js';
import { DEFAULT_SHARES, type Shares } from '../../../../lib/queues/entry-lanes.js';
import { Mailbox, type MailboxPolicy } from '../../../../lib/queues/mailbox.js';
import { MailboxEntry } from '../../../../lib/queues/mailbox-entry.js';
import { TICK, TimingWheel } from '../../../../lib/queues/timing-wheel.js';

export const POLICY: MailboxPolicy = {
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
export const FRAME = new Uint8Array(50);

/** A mailbox with clocks that the test sets, and a note of what its owner was told. */
export class Rig {
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
    this.mailbox.retry();
    this.mailbox.expire(this.wall, 10_000);
  }
}
