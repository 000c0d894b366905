/**
 * Hands what waits in the mailboxes of this slot to their consumers, at the end of a turn: deliver frames, those that follow each
 * other to one consumer and in one lane together.
 */
import type { Consumer } from '../lib/queues/consumer.js';
import type { Mailbox } from '../lib/queues/mailbox.js';
import { C } from '../lib/telemetry/counters.js';
import { DELIVERY_MARGIN, isRepeated, offsetOf, writeDelivery } from '../lib/wire/delivery.js';
import { HEADER_SIZE, OFFSET_TOTAL, readU32, viewOf } from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { Home } from './home.js';
import type { MailboxPort } from './intake.js';

/** Bytes that are handed over together, unless one frame alone has more: whoever queues them finds room for all in one piece. */
const RUN_BYTES = 16 * 1024;
const FRAMES_ROOM = 256 * 1024;

export class Feeding {
  readonly #exchange: Exchange;
  readonly #port: MailboxPort;
  /** Those in which there may be something to hand out. */
  readonly #dirty: Home[];
  readonly #frames: Uint8Array;
  readonly #view: DataView;
  /** `#frames[0, #end)` are for this consumer, in this lane. */
  #end: number;
  #consumer: Consumer | null;
  #lane: number;

  constructor(exchange: Exchange, port: MailboxPort) {
    this.#exchange = exchange;
    this.#port = port;
    this.#dirty = [];
    this.#frames = new Uint8Array(FRAMES_ROOM);
    this.#view = viewOf(this.#frames);
    this.#end = 0;
    this.#consumer = null;
    this.#lane = 0;
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
    // What was given back may be for somebody else.
    do this.#fill(home, now, wall);
    while (!this.#handOver(home.mailbox));
  }

  #fill(home: Home, now: number, wall: number): void {
    const { mailbox } = home;
    while (mailbox.waiting > 0) {
      const next = mailbox.nextConsumer(now);
      const entry = next === null ? null : mailbox.take(next, now, wall);
      if (entry === null) return;
      const consumer = entry.consumer!;
      this.#begin(mailbox, consumer, entry.lane, entry.size + DELIVERY_MARGIN);
      if (consumer.blocked) {
        // What went back just now was for the same consumer, and comes first.
        mailbox.giveBack(consumer, entry.offset, entry.repeated);
        this.#exchange.counters[C.mailboxReturned]++;
        continue;
      }
      this.#end = writeDelivery(
        this.#frames,
        this.#view,
        this.#end,
        entry.lane,
        home.notice.handle,
        entry.offset,
        Math.min(0xffff, entry.failures + 1),
        entry.repeated,
        mailbox.policy.lease,
        entry.from,
        entry.topic,
        entry.bytes,
        entry.start,
        entry.end,
      );
    }
  }

  /** The next frame, of at most `size` bytes, is for this consumer: what it cannot go with is handed over. */
  #begin(mailbox: Mailbox, consumer: Consumer, lane: number, size: number): void {
    if (consumer !== this.#consumer || lane !== this.#lane || this.#end + size > RUN_BYTES)
      this.#handOver(mailbox);
    this.#consumer = consumer;
    this.#lane = lane;
  }

  /** False: the way to the consumer is full, and all of it was given back to the mailbox. */
  #handOver(mailbox: Mailbox): boolean {
    const end = this.#end;
    const consumer = this.#consumer;
    this.#end = 0;
    if (end === 0 || consumer === null) return true;
    const counters = this.#exchange.counters;
    const taken = this.#port.deliver(consumer.id, this.#lane, this.#frames, 0, end, consumer.round);
    for (let o = 0; o < end; o += readU32(this.#frames, o + OFFSET_TOTAL)) {
      const payload = o + HEADER_SIZE;
      const repeated = isRepeated(this.#frames, payload);
      if (taken) {
        counters[C.mailboxDeliveries]++;
        if (repeated) counters[C.mailboxRedeliveries]++;
      } else {
        mailbox.giveBack(consumer, offsetOf(this.#frames, payload), repeated);
        counters[C.mailboxReturned]++;
      }
    }
    return taken;
  }
}
