/** Which handlers want which topics, and which patterns the broker must know of. */
import { FlowbusError } from '../errors.js';
import { agentIdProblem, capabilityAddress, isReserved, patternProblem } from '../topics/topic.js';
import { PatternTrie } from '../topics/trie.js';
import type { Consume } from '../wire/control.js';
import type { Consumer, Consumers } from './consumers.js';
import type { Message } from './message.js';
import {
  badOption,
  checkCapability,
  checkLimits,
  checkNames,
  MAILBOX_NAMES,
  type MailboxOptions,
} from './options.js';

/** Subscriptions of one agent, at most. */
export const MAX_SUBSCRIPTIONS = 65_536;

/** Called for each message. A promise that it returns counts against `maxInFlight` until it settles. */
export type Handler = (message: Message) => unknown;

/** Options of a subscription that shares a mailbox with others; the limits go with `group`, or a capability, alone. */
export interface SubscribeOptions extends MailboxOptions {
  /**
   * Share the messages with the other members of this group on this pattern: each goes to one of them, and is kept until that one
   * has acked it, also while no member is there. One topic level.
   */
  group?: string | undefined;
  /** Begin with what is stored already. This version stores no history: NO_MAILBOX. */
  replay?: unknown;
}

export interface Subscription {
  /** For a capability its address, `_capability.<capability>`. */
  readonly pattern: string;
  /**
   * The handler is not called any more from now on. Resolves when the node has stopped sending; when it was the
   * last subscription to its pattern.
   */
  unsubscribe(): Promise<void>;
  /** Resolves when every reachable node knows of the subscription; `subscribe()` speaks for this node alone. */
  everywhere(): Promise<void>;
}

/** How the patterns get to the broker. */
export interface PatternOffice {
  /** Resolves when the broker has applied it. Survives a lost connection. */
  subscribe(pattern: string): Promise<void>;
  unsubscribe(pattern: string): Promise<void>;
  everywhere(pattern: string): Promise<void>;
}

export class ActiveSubscription implements Subscription {
  readonly pattern: string;
  readonly handler: Handler;
  /** Handlers of one message are called in this order. */
  readonly order: number;
  active: boolean;
  private readonly owner: Subscriptions;

  constructor(pattern: string, handler: Handler, order: number, owner: Subscriptions) {
    this.pattern = pattern;
    this.handler = handler;
    this.order = order;
    this.active = true;
    this.owner = owner;
  }

  unsubscribe(): Promise<void> {
    return this.owner.remove(this);
  }

  everywhere(): Promise<void> {
    return this.owner.everywhere(this);
  }
}

/** A share in the mailbox of a group or a capability. */
class SharedSubscription implements Subscription {
  readonly pattern: string;
  private readonly consumer: Consumer;
  private readonly owner: Consumers;

  constructor(pattern: string, consumer: Consumer, owner: Consumers) {
    this.pattern = pattern;
    this.consumer = consumer;
    this.owner = owner;
  }

  /** What its handler has not acked by now goes to another member. */
  unsubscribe(): Promise<void> {
    this.owner.remove(this.consumer);
    return Promise.resolve();
  }

  /** Every shard of the node knows it already: the mailbox lives on it. */
  everywhere(): Promise<void> {
    return Promise.resolve();
  }
}

/** One pattern, however many handlers it has. */
interface PatternUse {
  readonly members: Set<ActiveSubscription>;
  /** Settles with the broker's answer. */
  readonly applied: Promise<void>;
}

/** A topic that remembers who wants its messages. */
export interface Wanted {
  readonly text: string;
  /** The subscriptions that match, as of `version` of the subscriptions. */
  targets: readonly ActiveSubscription[];
  version: number;
}

export class Subscriptions {
  /** Changes with every handler that comes or goes: what was collected under another is stale. */
  version: number;
  private readonly office: PatternOffice;
  private readonly consumers: Consumers;
  private readonly trie: PatternTrie<ActiveSubscription>;
  private readonly uses: Map<string, PatternUse>;
  private made: number;

  constructor(office: PatternOffice, consumers: Consumers) {
    this.version = 0;
    this.office = office;
    this.consumers = consumers;
    this.trie = new PatternTrie();
    this.uses = new Map();
    this.made = 0;
  }

  get size(): number {
    return this.trie.size;
  }

  /** What the broker must know, in the order in which it was asked for. */
  patterns(): string[] {
    return [...this.uses.keys()];
  }

  has(pattern: string): boolean {
    return this.uses.has(pattern);
  }

  /** The handlers for a topic, oldest first; cached in it. */
  targets(topic: Wanted): readonly ActiveSubscription[] {
    if (topic.version !== this.version) {
      const found: ActiveSubscription[] = [];
      this.trie.collect(topic.text, found);
      topic.targets = found.sort((a, b) => a.order - b.order);
      topic.version = this.version;
    }
    return topic.targets;
  }

  /** Throws BAD_PATTERN, BAD_OPTION, FORBIDDEN_TOPIC, NO_MAILBOX, LIMIT_REACHED, or what the broker answers. */
  async add(pattern: string, handler: Handler, options: SubscribeOptions | undefined): Promise<Subscription> {
    check(pattern, handler, options);
    if (options?.group !== undefined) return this.share(pattern, handler, options.group, options);
    if (this.trie.size >= MAX_SUBSCRIPTIONS) {
      throw new FlowbusError('LIMIT_REACHED', `An agent has at most ${MAX_SUBSCRIPTIONS} subscriptions.`);
    }
    const subscription = new ActiveSubscription(pattern, handler, this.made++, this);
    this.trie.add(pattern, subscription);
    this.version++;
    let use = this.uses.get(pattern);
    if (use === undefined) {
      use = { members: new Set(), applied: this.office.subscribe(pattern) };
      this.uses.set(pattern, use);
    }
    use.members.add(subscription);
    try {
      await use.applied;
    } catch (error) {
      this.drop(subscription, use);
      throw error;
    }
    return subscription;
  }

  async remove(subscription: ActiveSubscription): Promise<void> {
    if (!subscription.active) return;
    const use = this.uses.get(subscription.pattern);
    if (use !== undefined && this.drop(subscription, use))
      await this.office.unsubscribe(subscription.pattern);
  }

  /** Ends all of them but the shares in mailboxes, whose messages are acked first. */
  async clear(): Promise<void> {
    const all = [...this.uses.values()].flatMap((use) => [...use.members]);
    await Promise.all(all.map((subscription) => this.remove(subscription)));
  }

  private async share(
    pattern: string,
    handler: Handler,
    group: string,
    options: SubscribeOptions,
  ): Promise<Subscription> {
    const limits = checkLimits('', options);
    return this.consume(pattern, { mailbox: 'group', group, pattern, capability: null, ...limits }, handler);
  }

  /** A share in the mailbox of a capability. Throws BAD_OPTION, LIMIT_REACHED, or what the broker answers. */
  async serve(capability: unknown, handler: Handler, options: MailboxOptions = {}): Promise<Subscription> {
    const name = checkCapability(capability);
    checkHandler(handler);
    if (typeof options !== 'object' || options === null) throw badOption('options', options, 'an object');
    checkNames('', options, MAILBOX_NAMES);
    const limits = checkLimits('', options);
    const wish = { mailbox: 'capability' as const, group: null, pattern: null, capability: name, ...limits };
    return this.consume(capabilityAddress(name), wish, handler);
  }

  private async consume(pattern: string, wish: Consume, handler: Handler): Promise<Subscription> {
    const consumer = await this.consumers.add(wish, handler);
    return new SharedSubscription(pattern, consumer, this.consumers);
  }

  everywhere(subscription: ActiveSubscription): Promise<void> {
    if (subscription.active) return this.office.everywhere(subscription.pattern);
    return Promise.reject(
      new FlowbusError('CLOSED', `The subscription to ${subscription.pattern} has ended.`),
    );
  }

  /** True when it was the last one on its pattern. */
  private drop(subscription: ActiveSubscription, use: PatternUse): boolean {
    if (!subscription.active) return false;
    subscription.active = false;
    this.trie.remove(subscription.pattern, subscription);
    this.version++;
    use.members.delete(subscription);
    if (use.members.size > 0 || this.uses.get(subscription.pattern) !== use) return false;
    this.uses.delete(subscription.pattern);
    return true;
  }
}

function checkHandler(handler: unknown): void {
  if (typeof handler !== 'function') throw badOption('handler', handler, 'a function');
}

function check(pattern: unknown, handler: unknown, options: SubscribeOptions | undefined): void {
  const problem = typeof pattern === 'string' ? patternProblem(pattern) : 'the pattern is not a text';
  if (problem !== null)
    throw new FlowbusError('BAD_PATTERN', `${String(pattern)} is no pattern: ${problem}.`);
  if (isReserved(pattern as string)) {
    throw new FlowbusError(
      'FORBIDDEN_TOPIC',
      `${String(pattern)} is reserved. What is sent to this agent comes as the event 'message'.`,
    );
  }
  checkHandler(handler);
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null) throw badOption('options', options, 'an object');
  checkNames('', options, ['group', 'replay', ...MAILBOX_NAMES]);
  if (options.replay !== undefined) {
    throw new FlowbusError(
      'NO_MAILBOX',
      'The option replay needs a history, which this version does not keep.',
    );
  }
  if (options.group === undefined) {
    for (const name of MAILBOX_NAMES) {
      if (options[name] !== undefined)
        throw new FlowbusError('BAD_OPTION', `The option ${name} goes with group.`);
    }
    return;
  }
  const wrong = typeof options.group === 'string' ? agentIdProblem(options.group) : 'it is not a text';
  if (wrong !== null) throw badOption('group', options.group, `one topic level of 1 to 64 bytes (${wrong})`);
}
