/** Hands what waits in the mailboxes of this slot to their consumers, at the end of a turn. */
import { C } from '../lib/telemetry/counters.js';
import { writeDelivery } from '../lib/wire/delivery.js';
import { viewOf } from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { Home } from './home.js';
import type { MailboxPort } from './intake.js';

/** Deliver frames are made here, one after the other. */
const FRAME_ROOM = 256 * 1024;

export class Feeding {
  readonly #exchange: Exchange;
  readonly #port: MailboxPort;
  /** Those in which there may be something to hand out. */
  readonly #dirty: Home[];
  readonly #frame: Uint8Array;
  readonly #view: DataView;

  constructor(exchange: Exchange, port: MailboxPort) {
    this.#exchange = exchange;
    this.#port = port;
    this.#dirty = [];
    this.#frame = new Uint8Array(FRAME_ROOM);
    this.#view = viewOf(this.#frame);
  }

  /** At the end of this turn `home` is looked at. */
  touch(home: Home): void {
    if (home.dirty) return;
    home.dirty = true;
    this.#dirty.push(home);
    this.#exchange.unsettle();
  }

  /** What has been journaled by now may be handed out. */
  feed(): void {
    const dirty = this.#dirty;
    if (dirty.length === 0) return;
    const now = performance.now();
    const wall = Date.now();
    for (const home of dirty) {
      home.dirty = false;
      this.#feed(home, now, wall);
      if (home.weigh(this.#exchange.now)) this.#port.onPressure(home.pressure);
    }
    dirty.length = 0;
  }

  #feed(home: Home, now: number, wall: number): void {
    const { mailbox } = home;
    const counters = this.#exchange.counters;
    while (mailbox.waiting > 0) {
      const next = mailbox.nextConsumer(now);
      if (next === null) return;
      const entry = mailbox.take(next, now, wall);
      if (entry === null) return;
      const consumer = entry.consumer!;
      const { repeated } = entry;
      const end = writeDelivery(
        this.#frame,
        this.#view,
        0,
        entry.lane,
        home.notice.handle,
        entry.offset,
        Math.min(0xffff, entry.failures + 1),
        repeated,
        mailbox.policy.lease,
        entry.from,
        entry.topic,
        entry.bytes,
        entry.start,
        entry.end,
      );
      if (!this.#port.deliver(consumer.id, entry.lane, this.#frame, 0, end)) {
        mailbox.giveBack(consumer, entry.offset, repeated);
        counters[C.mailboxReturned]++;
        continue;
      }
      counters[C.mailboxDeliveries]++;
      if (repeated) counters[C.mailboxRedeliveries]++;
    }
  }
}
