/** From which mailboxes this agent consumes: its own, and those of groups and capabilities. */
import { FlowbusError } from '../errors.js';
import type { Consume, Consuming } from '../wire/control.js';
import type { AssuredMessage } from './assured-message.js';
import type { Handler } from './subscriptions.js';

/** Mailboxes that one agent consumes from. */
export const MAX_CONSUMERS = 1024;
/** Between two attempts to consume again after a reconnect, while the mailbox's home is down (ms). */
const RETRY = 500;
/** Deliveries that may come before the broker's answer says what their handle stands for. */
const MAX_EARLY = 10_000;

export interface ConsumerOffice {
  /** Asks the broker; survives a lost connection. */
  consume(wish: Consume): Promise<Consuming>;
  leaveMailbox(mailbox: number): void;
  /** Messages of a mailbox that came before it was known. */
  deliver(message: AssuredMessage): void;
}

/** One mailbox that is consumed from. */
export class Consumer {
  readonly wish: Consume;
  /** Null: what comes is the agent's own, the event `message`. */
  readonly handler: Handler | null;
  /** What the broker calls it; 0 before it has said so. */
  mailbox: number;

  constructor(wish: Consume, handler: Handler | null) {
    this.wish = wish;
    this.handler = handler;
    this.mailbox = 0;
  }
}

export class Consumers {
  private readonly office: ConsumerOffice;
  private readonly all: Set<Consumer>;
  private readonly byMailbox: Map<number, Consumer>;
  private asking: number;
  private early: AssuredMessage[];

  constructor(office: ConsumerOffice) {
    this.office = office;
    this.all = new Set();
    this.byMailbox = new Map();
    this.asking = 0;
    this.early = [];
  }

  /** Resolves once every live shard knows of the mailbox. Rejects with what the broker answers. */
  async add(wish: Consume, handler: Handler | null): Promise<Consumer> {
    if (this.all.size >= MAX_CONSUMERS) {
      throw new FlowbusError('LIMIT_REACHED', `An agent consumes from at most ${MAX_CONSUMERS} mailboxes.`);
    }
    for (const { wish: known } of this.all) {
      if (known.mailbox !== wish.mailbox || known.capability !== wish.capability) continue;
      if (known.group !== wish.group || known.pattern !== wish.pattern) continue;
      throw new FlowbusError(
        'BAD_OPTION',
        wish.capability === null
          ? `This agent is in group ${wish.group} on ${wish.pattern} already.`
          : `This agent consumes for the capability ${wish.capability} already.`,
      );
    }
    const consumer = new Consumer(wish, handler);
    this.all.add(consumer);
    try {
      await this.ask(consumer);
    } catch (error) {
      this.forget(consumer);
      throw error;
    }
    return consumer;
  }

  /** What it has not acked goes to others. */
  remove(consumer: Consumer): void {
    if (!this.all.has(consumer)) return;
    const { mailbox } = consumer;
    this.forget(consumer);
    if (mailbox !== 0) this.office.leaveMailbox(mailbox);
  }

  clear(): void {
    for (const consumer of [...this.all]) this.remove(consumer);
  }

  /** Whose message it is; null when it came too early, and will be delivered again, or is nobody's any more. */
  of(message: AssuredMessage): Consumer | null {
    const consumer = this.byMailbox.get(message.mailbox);
    if (consumer !== undefined) return consumer;
    if (this.asking > 0 && this.early.length < MAX_EARLY) this.early.push(message);
    return null;
  }

  /** Messages of a mailbox that may be unacked at a time; 0 when nothing is consumed from it any more. */
  prefetchOf(mailbox: number): number {
    return this.byMailbox.get(mailbox)?.wish.prefetch ?? 0;
  }

  /** A new connection stands: it consumes from nothing yet. `failed` is told of what the broker refuses for good. */
  reconnected(failed: (error: FlowbusError) => void): void {
    for (const consumer of this.all) {
      // Those without a handle are being asked for by a call that survived.
      if (consumer.mailbox !== 0) this.askAgain(consumer, failed);
    }
  }

  private askAgain(consumer: Consumer, failed: (error: FlowbusError) => void): void {
    this.ask(consumer).catch((error: FlowbusError) => {
      if (!this.all.has(consumer)) return;
      // After a crash the shard where it lives may be back later than this agent.
      if (error.retriable) setTimeout(() => this.all.has(consumer) && this.askAgain(consumer, failed), RETRY);
      else failed(error);
    });
  }

  private async ask(consumer: Consumer): Promise<void> {
    this.asking++;
    try {
      const { mailbox } = await this.office.consume(consumer.wish);
      if (!this.all.has(consumer)) return;
      this.byMailbox.delete(consumer.mailbox);
      consumer.mailbox = mailbox;
      this.byMailbox.set(mailbox, consumer);
    } finally {
      this.asking--;
      const early = this.early;
      this.early = [];
      for (const message of early) this.office.deliver(message);
    }
  }

  private forget(consumer: Consumer): void {
    this.all.delete(consumer);
    if (this.byMailbox.get(consumer.mailbox) === consumer) this.byMailbox.delete(consumer.mailbox);
  }
}
