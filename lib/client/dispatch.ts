/**
 * Calls the handlers, and bounds the work they have in hand.
 *
 * Handlers may return promises. While `maxInFlight` of them are pending, messages wait in a backlog, and the
 * transport is paused, so that the broker feels it, and through credit the publishers. It goes on once the backlog
 * is worked off and less than half of the promises are pending.
 *
 * A paused transport brings no replies, credit or acks either. So it is only paused while nothing of ours waits for
 * the broker, else a handler that sends requests would wait for itself. In that time, and where a transport cannot
 * be paused (browsers), the backlog grows up to its bound; what comes beyond is dropped and reported as a gap.
 */
import { describe, FlowbusError } from '../errors.js';
import { IncomingTopic, RouteKind } from './announcements.js';
import type { AssuredMessage } from './assured-message.js';
import type { Consumers } from './consumers.js';
import type { Emitter } from './events.js';
import { Fifo } from './fifo.js';
import type { Message, PastMessage } from './message.js';
import type { ActiveSubscription, Subscriptions } from './subscriptions.js';

export interface DispatchOwner {
  /** Whether something of ours waits for the broker. */
  awaitsBroker(): boolean;
  /** False: it cannot be paused. */
  pause(): boolean;
  resume(): void;
  answer(message: Message, value: unknown): void;
  /** Answers a request that cannot be served; the requester gets HANDLER_FAILED. */
  refuse(message: Message, reason: string): void;
}

/** What a waiting message is counted for beside its payload (bytes), so that empty ones are bounded too. */
const OVERHEAD = 256;

interface Waiting {
  readonly message: Message;
  readonly topic: IncomingTopic;
  readonly subscribed: number;
}

/** Stands for the topic of whatever comes out of a mailbox: the mailbox says who handles it. */
const FROM_MAILBOX = new IncomingTopic('', RouteKind.mailbox);

/** Likewise: the stream says who gets it. */
const FROM_PAST = new IncomingTopic('', RouteKind.past);

/** What a thenable is, as `await` sees it. */
function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

export class Dispatch {
  private readonly subscriptions: Subscriptions;
  private readonly consumers: Consumers;
  private readonly events: Emitter;
  private readonly owner: DispatchOwner;
  private readonly maxInFlight: number;
  /** Bytes in the backlog, at most. */
  private readonly maxBacklog: number;
  private readonly backlog: Fifo<Waiting>;
  private backlogBytes: number;
  private inFlight: number;
  private held: boolean;
  private paused: boolean;
  private draining: boolean;
  private shed: number;
  private idleWaiters: (() => void)[];
  private readonly onSettled: () => void;
  private readonly onFailed: (cause: unknown) => void;

  constructor(
    subscriptions: Subscriptions,
    consumers: Consumers,
    events: Emitter,
    owner: DispatchOwner,
    maxInFlight: number,
    maxBacklog: number,
  ) {
    this.subscriptions = subscriptions;
    this.consumers = consumers;
    this.events = events;
    this.owner = owner;
    this.maxInFlight = maxInFlight;
    this.maxBacklog = maxBacklog;
    this.backlog = new Fifo();
    this.backlogBytes = 0;
    this.inFlight = 0;
    this.held = false;
    this.paused = false;
    this.draining = false;
    this.shed = 0;
    this.idleWaiters = [];
    this.onSettled = () => this.settled();
    this.onFailed = (cause) => {
      this.failed(cause);
      this.settled();
    };
  }

  get isPaused(): boolean {
    return this.paused;
  }

  deliver(message: Message, topic: IncomingTopic): void {
    if (this.inFlight >= this.maxInFlight || this.held || this.backlog.length > 0) this.wait(message, topic);
    else this.run(message, topic, this.subscriptions.made);
  }

  /** Messages wait until `release`: nobody can have put up a handler yet. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    this.proceed();
  }

  /** Something of ours waits for the broker from now on. */
  listen(): void {
    if (!this.paused) return;
    this.paused = false;
    this.owner.resume();
  }

  /** The transport that was paused is no more. */
  disconnected(): void {
    this.paused = false;
  }

  /** Takes no message to the own address any more. Resolves when the handlers have finished. */
  drain(): Promise<void> {
    this.draining = true;
    if (this.inFlight === 0 && this.backlog.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.idleWaiters.push(resolve);
    });
  }

  /** Forgets what waits; handlers that run may finish. */
  stop(): void {
    this.backlog.clear();
    this.backlogBytes = 0;
    this.idle();
  }

  private wait(message: Message, topic: IncomingTopic): void {
    const size = message.payloadSize + OVERHEAD;
    if (this.backlogBytes + size > this.maxBacklog) {
      if (this.shed++ === 0) queueMicrotask(() => this.reportShed());
      return;
    }
    this.backlog.push({ message, topic, subscribed: this.subscriptions.made });
    this.backlogBytes += size;
    if (!this.paused && !this.held && !this.owner.awaitsBroker()) this.paused = this.owner.pause();
  }

  private reportShed(): void {
    const missed = this.shed;
    this.shed = 0;
    this.events.gap({ missed, reason: 'shed' });
  }

  /** A message from a mailbox: it is acked when its handler is done, unless that has acked or nacked it itself. */
  deliverAssured(message: AssuredMessage): void {
    // It goes to somebody else when this agent has left.
    if (!this.draining) this.deliver(message, FROM_MAILBOX);
  }

  /** A message of the past, for one subscription. */
  deliverPast(message: PastMessage): void {
    this.deliver(message, FROM_PAST);
  }

  /** `subscribed`: how many subscriptions had been made when it came. */
  private run(message: Message, topic: IncomingTopic, subscribed: number): void {
    if (topic.kind === RouteKind.mailbox) {
      this.runAssured(message as AssuredMessage);
      return;
    }
    if (topic.kind === RouteKind.past) {
      const subscription = this.subscriptions.ofStream((message as PastMessage).stream);
      if (subscription !== undefined) this.call(subscription, message);
      return;
    }
    if (topic.kind === RouteKind.own) {
      this.runOwn(message);
      return;
    }
    const targets = this.subscriptions.targets(topic);
    for (let i = 0; i < targets.length; i++) {
      const { replaying, order } = targets[i];
      // What waited here when it subscribed is of the past, and may come as such.
      if (replaying === null || (order < subscribed && message.isFor(replaying)))
        this.call(targets[i], message);
    }
  }

  private call(subscription: ActiveSubscription, message: Message): void {
    if (!subscription.active) return;
    try {
      const result = subscription.handler(message);
      if (isPromise(result)) {
        this.inFlight++;
        result.then(this.onSettled, this.onFailed);
      }
    } catch (cause) {
      this.failed(cause);
    }
  }

  private runAssured(message: AssuredMessage): void {
    const consumer = this.consumers.of(message);
    if (consumer === null) return;
    try {
      const result =
        consumer.handler === null ? this.callOwn(message) : (consumer.handler(message) as unknown);
      if (isPromise(result)) {
        this.inFlight++;
        result.then(
          (value) => this.doneAssured(message, value, true),
          (cause) => this.failedAssured(message, cause, true),
        );
      } else this.doneAssured(message, result, false);
    } catch (cause) {
      this.failedAssured(message, cause, false);
    }
  }

  /** What the first listener of `message` returns; the others are called as well. */
  private callOwn(message: AssuredMessage): unknown {
    const listeners = this.events.take('message');
    if (listeners.length === 0) throw new Error("The agent has no listener for 'message'.");
    const results = listeners.map(({ listener }) => listener(message));
    return results.length === 1 ? results[0] : Promise.all(results).then((values) => values[0]);
  }

  private doneAssured(message: AssuredMessage, value: unknown, wasPending: boolean): void {
    if (message.replyTo !== null && value !== undefined) this.owner.answer(message, value);
    void message.ack();
    if (wasPending) this.settled();
  }

  private failedAssured(message: AssuredMessage, cause: unknown, wasPending: boolean): void {
    void message.nack(describe(cause));
    this.failed(cause);
    if (wasPending) this.settled();
  }

  private runOwn(message: Message): void {
    const listeners = this.draining ? [] : this.events.take('message');
    if (listeners.length === 0) {
      const why = this.draining ? 'is draining' : "has no listener for 'message'";
      if (message.replyTo !== null) this.owner.refuse(message, `The agent ${why}.`);
      return;
    }
    const wanted = message.replyTo !== null;
    for (const { listener } of listeners) {
      try {
        const result = listener(message);
        if (isPromise(result)) {
          this.inFlight++;
          if (wanted) this.answerLater(message, result);
          else result.then(this.onSettled, this.onFailed);
        } else if (wanted && result !== undefined) this.owner.answer(message, result);
      } catch (cause) {
        this.failedOwn(message, wanted, cause);
      }
    }
  }

  private answerLater(message: Message, result: PromiseLike<unknown>): void {
    result.then(
      (value) => {
        if (value !== undefined) this.owner.answer(message, value);
        this.settled();
      },
      (cause) => {
        this.failedOwn(message, true, cause);
        this.settled();
      },
    );
  }

  private failedOwn(message: Message, wanted: boolean, cause: unknown): void {
    if (wanted) this.owner.refuse(message, describe(cause));
    this.failed(cause);
  }

  private failed(cause: unknown): void {
    this.events.error(
      new FlowbusError('HANDLER_FAILED', `A message handler threw: ${describe(cause)}`, { cause }),
    );
  }

  private settled(): void {
    this.inFlight--;
    this.proceed();
  }

  private proceed(): void {
    while (this.inFlight < this.maxInFlight && !this.held) {
      const next = this.backlog.shift();
      if (next === undefined) break;
      this.backlogBytes -= next.message.payloadSize + OVERHEAD;
      this.run(next.message, next.topic, next.subscribed);
    }
    if (this.backlog.length > 0) return;
    if (this.paused && this.inFlight <= this.maxInFlight / 2) {
      this.paused = false;
      this.owner.resume();
    }
    if (this.inFlight === 0) this.idle();
  }

  private idle(): void {
    const waiters = this.idleWaiters;
    this.idleWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
