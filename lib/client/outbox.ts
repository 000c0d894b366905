/**
 * The way out: messages are encoded straight into an open batch, and batches go to the transport as far as the
 * broker's credit and the transport reach. What cannot go yet waits here, within `maxBuffered`.
 *
 *   publish ─▶ open batch (urgent | bulk) ──full──▶ queue ──credit──▶ seal ─▶ transport
 *                       └──── end of the tick ────────────────┘
 *
 * While nothing can be sent the open batch just goes on filling, so waiting messages lie densely. Until they are sealed,
 * frames hold the seeds of their checksums instead.
 */
import { FlowbusError } from '../errors.js';
import { sealFrames } from '../wire/batch-checksum.js';
import {
  extensionFlags,
  extensionsSize,
  type OutgoingExtensions,
  writeExtensions,
} from '../wire/extensions.js';
import {
  DEFAULT_MAX_PAYLOAD,
  FIRST_BULK_LANE,
  FrameType,
  HEADER_SIZE,
  OFFSET_CHECKSUM,
  writeHeader,
} from '../wire/frame.js';
import { type OutgoingBatch, takeBatch } from './batch.js';
import { Clock } from './clock.js';
import { Fifo } from './fifo.js';
import type { OutgoingTopic } from './outgoing-topics.js';
import { Body, type Payload } from './payload.js';
import { type Rewriter, rewriteFrames } from './requeue.js';
import { MAX_IN_TRANSPORT, type Transport } from './transport.js';

/** How far the lanes critical and high may go beyond the credit (bytes): part of the protocol. */
export const URGENT_ALLOWANCE = 65_536;

/** While nothing can be sent, pressure begins at this many waiting bytes, long before maxBuffered. */
const STALLED_MARK = 256 * 1024;

/** Pressure begins above 80 % of maxBuffered, and ends below 60 % of the mark at which it began. */
const BEGIN = 0.8;
const END = 0.6;

/** The timestamp is that of the tick, taken anew after so many messages (a power of two): a clock costs 50 ns. */
const STAMP_EVERY = 64;

/**
 * A flush waits until a whole pass over the microtasks brought nothing new, so that what a chain of promises
 * publishes goes as one batch; but no longer than so many passes.
 */
const MAX_PASSES = 8;

/**
 * From one flush to the next it takes so long (ms) at least: what is published more often leaves together, which is sooner than
 * a system call for each would be. Browsers' turns take longer anyway.
 */
const PAUSE = 0.02;
const canWait = typeof setImmediate === 'function';

/** One of the two classes of lanes. */
class Lot {
  readonly full: Fifo<OutgoingBatch>;
  open: OutgoingBatch | null;

  constructor() {
    this.full = new Fifo();
    this.open = null;
  }
}

interface Waiter {
  resolve(): void;
  reject(error: FlowbusError): void;
}

/** Told in the midst of `write` and `flush`: it must not call back into the outbox, nor run handlers of users. */
export interface OutboxOwner {
  onPressure(active: boolean): void;
  /** The queue waits for the broker's credit, which must therefore be read. */
  onStalled(): void;
}

export class Outbox {
  /** Messages encoded so far. */
  published: number;
  private readonly owner: OutboxOwner;
  private readonly maxBuffered: number;
  private readonly clock: Clock;
  private readonly body: Body;
  private readonly urgent: Lot;
  private readonly bulk: Lot;
  /** Bytes in both lots that the transport has not been given. */
  private queued: number;
  /** Above this many queued bytes publishers are asked to wait. */
  private mark: number;
  private pressured: boolean;
  private stalled: boolean;
  private waiters: Waiter[];
  private transport: Transport | null;
  /** Why nothing is taken any more. */
  private sealed: FlowbusError | null;
  private abandoned: boolean;
  private sender: number;
  private maxPayload: number;
  /** Bytes of publish frames since the welcome: sent, and allowed. */
  private spent: number;
  private limit: number;
  private timestamp: number;
  private scheduled: boolean;
  private passes: number;
  private seen: number;
  /** When the last flush was (ms). */
  private flushedAt: number;
  private readonly onTick: () => void;
  private readonly onTurn: () => void;

  constructor(maxBuffered: number, owner: OutboxOwner) {
    this.published = 0;
    this.owner = owner;
    this.maxBuffered = maxBuffered;
    this.clock = new Clock();
    this.body = new Body();
    this.urgent = new Lot();
    this.bulk = new Lot();
    this.queued = 0;
    this.mark = maxBuffered * BEGIN;
    this.pressured = false;
    this.stalled = false;
    this.waiters = [];
    this.transport = null;
    this.sealed = null;
    this.abandoned = false;
    this.sender = 0;
    this.maxPayload = DEFAULT_MAX_PAYLOAD;
    this.spent = 0;
    this.limit = 0;
    this.timestamp = 0;
    this.scheduled = false;
    this.passes = 0;
    this.seen = 0;
    this.flushedAt = 0;
    this.onTick = () => this.tick();
    this.onTurn = () => this.turn();
  }

  /** Bytes that wait here. */
  get waiting(): number {
    return this.queued;
  }

  /** Something waits for the broker. */
  get isStalled(): boolean {
    return this.stalled;
  }

  /** Everything has left the process, as far as that can be known. */
  get isEmpty(): boolean {
    return this.queued === 0 && this.transport !== null && this.transport.bufferedAmount === 0;
  }

  /**
   * Encodes one message into the open batch. False: please wait for `drained()`. Throws PAYLOAD_TOO_LARGE,
   * BUFFER_FULL, BAD_OPTION; then nothing was written. `flags`: those that no extension implies.
   */
  write(
    topic: OutgoingTopic,
    payload: Payload,
    lane: number,
    flags: number,
    extensions: OutgoingExtensions | null,
  ): boolean {
    if (this.sealed !== null) throw new FlowbusError(this.sealed.code, this.sealed.message);
    const payloadSize = this.body.measure(payload);
    let frameFlags = flags;
    let extensionSize = 0;
    if (extensions !== null) {
      extensionSize = extensionsSize(extensions);
      if (extensionSize > 0) frameFlags |= extensionFlags(extensions);
    }
    const topicSize = topic.size;
    // Always counted with the topic spelled out, so that the limit does not depend on what was announced.
    if (HEADER_SIZE + topicSize + extensionSize + payloadSize > this.maxPayload) {
      throw this.tooLarge(topicSize, extensionSize, payloadSize);
    }
    const id = topic.id;
    const topicLength = id === 0 ? topicSize : 0;
    const total = HEADER_SIZE + topicLength + extensionSize + payloadSize;
    if (this.queued + total > this.maxBuffered) this.makeRoom(total);

    const lot = lane < FIRST_BULK_LANE ? this.urgent : this.bulk;
    let batch = lot.open;
    if (batch === null || batch.used + total > batch.bytes.length) batch = this.renew(lot);
    if (!this.scheduled) this.schedule();
    else if ((this.published & (STAMP_EVERY - 1)) === 0) this.timestamp = this.clock.now();

    const b = batch.bytes;
    const o = batch.used;
    let at = o + HEADER_SIZE;
    if (topicLength > 0) {
      const text = topic.bytes;
      for (let i = 0; i < topicLength; i++) b[at + i] = text[i];
      at += topicLength;
    }
    if (extensions !== null && extensionSize > 0) at = writeExtensions(b, at, extensions);
    this.body.write(b, at);
    writeHeader(
      batch.view,
      o,
      FrameType.publish,
      frameFlags,
      lane,
      this.body.encoding,
      total,
      payloadSize,
      this.timestamp,
      topic.next(lane),
      id,
      topicLength,
      this.sender,
    );
    // Sealed with all others of its batch, as it leaves.
    batch.view.setUint32(o + OFFSET_CHECKSUM, topic.seed, true);
    batch.used = o + total;
    this.published++;
    this.queued += total;
    if (this.queued > this.mark) this.press();
    return !this.pressured;
  }

  /** A connection stands. `limit`: its first credit (bytes). What waited is made to fit it by `rewriter`, then sent. */
  attach(transport: Transport, sender: number, maxPayload: number, limit: number, rewriter: Rewriter): void {
    this.sender = sender;
    this.maxPayload = maxPayload;
    this.spent = 0;
    this.limit = limit;
    this.rewrite(rewriter);
    this.transport = transport;
    this.flush();
  }

  /** The connection is gone. */
  detach(): void {
    this.transport = null;
  }

  /** Passes all that waits through `rewriter`, which may change, drop or just look at each frame. */
  rewrite(rewriter: Rewriter): void {
    this.queued = 0;
    for (const lot of [this.urgent, this.bulk]) {
      const batches = lot.full.takeAll();
      if (lot.open !== null) batches.push(lot.open);
      lot.open = null;
      // The old ones are left to the garbage collector: a transport may still read what lies before `sent`.
      for (const batch of rewriteFrames(batches, rewriter, this.maxPayload)) {
        this.queued += batch.used;
        if (lot.open !== null) lot.full.push(lot.open);
        lot.open = batch;
      }
    }
  }

  /** The broker allows publish frames up to this many bytes since the welcome. */
  grant(limit: number): void {
    if (limit <= this.limit) return;
    this.limit = limit;
    this.flush();
  }

  /** Gives the transport what it and the credit allow, urgent first. */
  flush(): void {
    const stalled = this.queued > 0 && !(this.send(this.urgent, URGENT_ALLOWANCE) && this.send(this.bulk, 0));
    if (stalled !== this.stalled) {
      this.stalled = stalled;
      this.mark = stalled ? Math.min(STALLED_MARK, this.maxBuffered * BEGIN) : this.maxBuffered * BEGIN;
      if (stalled) this.owner.onStalled();
    }
    if (this.pressured) {
      if (this.queued <= this.mark * END) this.ease();
    } else if (this.queued > this.mark) this.press();
  }

  /** Resolves when there is no pressure (any more); rejects when the agent ends before. */
  drained(): Promise<void> {
    if (this.abandoned) return Promise.reject(this.sealed);
    if (!this.pressured) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.waiters.push({ resolve, reject });
    });
  }

  /** Takes nothing any more: `write` throws the error. What waits is still sent. */
  seal(error: FlowbusError): void {
    this.sealed ??= error;
  }

  /** Nothing goes out any more: whoever waits for `drained()` gets the error. */
  abandon(error: FlowbusError): void {
    this.sealed = error;
    this.abandoned = true;
    this.transport = null;
    const waiters = this.waiters;
    this.waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  /** False when something has to stay. */
  private send(lot: Lot, allowance: number): boolean {
    const transport = this.transport;
    if (transport === null) return lot.open === null && lot.full.length === 0;
    for (;;) {
      const batch = lot.full.first() ?? lot.open;
      if (batch === null) return true;
      if (transport.bufferedAmount > MAX_IN_TRANSPORT) return false;
      const start = batch.sent;
      const end = batch.fitting(this.limit + allowance - this.spent);
      if (end === start) return false;
      const whole = end === batch.used;
      if (whole) {
        if (batch === lot.open) lot.open = null;
        else lot.full.shift();
      }
      batch.sent = end;
      this.spent += end - start;
      this.queued -= end - start;
      sealFrames(batch.bytes, start, end);
      transport.send(batch.bytes.subarray(start, end), whole ? batch.recycle : null);
    }
  }

  private renew(lot: Lot): OutgoingBatch {
    if (lot.open !== null) {
      lot.full.push(lot.open);
      lot.open = null;
      this.flush();
    }
    lot.open ??= takeBatch(this.maxPayload);
    return lot.open;
  }

  private schedule(): void {
    this.scheduled = true;
    this.passes = 0;
    this.seen = this.published;
    this.timestamp = this.clock.now();
    queueMicrotask(this.onTick);
  }

  private tick(): void {
    if (this.seen !== this.published && this.passes < MAX_PASSES) {
      this.seen = this.published;
      this.passes++;
      queueMicrotask(this.onTick);
      return;
    }
    this.turn();
  }

  private turn(): void {
    if (canWait && performance.now() - this.flushedAt < PAUSE) {
      setImmediate(this.onTurn);
      return;
    }
    this.scheduled = false;
    this.flush();
    this.flushedAt = performance.now();
  }

  private makeRoom(total: number): void {
    this.flush();
    if (this.queued + total <= this.maxBuffered) return;
    throw new FlowbusError(
      'BUFFER_FULL',
      `${this.queued} bytes wait to be sent, maxBuffered is ${this.maxBuffered}. When publish() returns false, await drained() before the next.`,
    );
  }

  private press(): void {
    if (this.pressured) return;
    this.pressured = true;
    this.owner.onPressure(true);
  }

  private ease(): void {
    this.pressured = false;
    const waiters = this.waiters;
    this.waiters = [];
    for (const waiter of waiters) waiter.resolve();
    this.owner.onPressure(false);
  }

  private tooLarge(topicSize: number, extensionSize: number, payloadSize: number): FlowbusError {
    const room = this.maxPayload - HEADER_SIZE - topicSize - extensionSize;
    return new FlowbusError(
      'PAYLOAD_TOO_LARGE',
      `The payload has ${payloadSize} bytes, but with this topic and these options at most ${room} fit into maxPayload (${this.maxPayload}).`,
    );
  }
}
