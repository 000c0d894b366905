/** Which handlers want which topics, and which patterns the broker must know of. */
import { FlowbusError } from '../errors.js';
import { agentIdProblem, capabilityAddress, isReserved, patternProblem } from '../topics/topic.js';
import { PatternTrie } from '../topics/trie.js';
import type { Consume, Replay } from '../wire/control.js';
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
import { checkReplay, Replaying, type ReplayOption } from './replaying.js';

/** Subscriptions of one agent, at most. */
export const MAX_SUBSCRIPTIONS = 65_536;

/** Topics of which it is remembered that the broker keeps them. */
const MAX_KEPT = 65_536;

/** Called for each message. A promise that it returns counts against `maxInFlight` until it settles. */
export type Handler = (message: Message) => unknown;

/** Options of a subscription that shares a mailbox with others; the limits go with `group`, or a capability, alone. */
export interface SubscribeOptions extends MailboxOptions {
  /**
   * Share the messages with the other members of this group on this pattern: each goes to one of them, and is kept until that one
   * has acked it, also while no member is there. One topic level.
   */
  group?: string | undefined;
  /**
   * Begin with messages of the past, where the broker keeps them: so many of the last (a number, or `{ last }`), or those since a time (`{ since }`: a Date,
   * or milliseconds ago). Oldest first; live messages follow, none twice and none left out. After a lost connection it goes on where it
   * stopped. What is no longer there is reported as a gap. Not with `group`, which keeps messages by itself.
   */
  replay?: ReplayOption | undefined;
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
  /** Resolves when every node that can be reached knows of what was subscribed to so far. Survives a lost connection. */
  everywhere(): Promise<void>;
  /** Resolves when nothing is missed any more: messages of the past follow. Survives a lost connection. */
  replay(wish: Replay): Promise<void>;
}

export class ActiveSubscription implements Subscription {
  readonly pattern: string;
  readonly handler: Handler;
  /** Handlers of one message are called in this order. */
  readonly order: number;
  active: boolean;
  /** Its way through the history; null: it has none. */
  readonly replaying: Replaying | null;
  private readonly owner: Subscriptions;

  constructor(
    pattern: string,
    handler: Handler,
    order: number,
    owner: Subscriptions,
    replaying: Replaying | null,
  ) {
    this.pattern = pattern;
    this.handler = handler;
    this.order = order;
    this.active = true;
    this.replaying = replaying;
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
  /** How many there have been. */
  made: number;
  private readonly office: PatternOffice;
  private readonly consumers: Consumers;
  private readonly trie: PatternTrie<ActiveSubscription>;
  private readonly uses: Map<string, PatternUse>;
  /** Those that begin in the past, by stream. The broker hears of their patterns with the wish. */
  private readonly streams: Map<number, ActiveSubscription>;
  /** Topics whose messages had places. */
  private readonly kept: Set<string>;
  private lastStream: number;

  constructor(office: PatternOffice, consumers: Consumers) {
    this.version = 0;
    this.office = office;
    this.consumers = consumers;
    this.trie = new PatternTrie();
    this.uses = new Map();
    this.streams = new Map();
    this.kept = new Set();
    this.made = 0;
    this.lastStream = 0;
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
    const begin = options?.replay === undefined ? null : checkReplay(options.replay);
    if (this.trie.size >= MAX_SUBSCRIPTIONS) {
      throw new FlowbusError('LIMIT_REACHED', `An agent has at most ${MAX_SUBSCRIPTIONS} subscriptions.`);
    }
    if (begin !== null) return this.replay(pattern, handler, begin);
    const subscription = new ActiveSubscription(pattern, handler, this.made++, this, null);
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
    const { pattern, replaying } = subscription;
    const use = this.uses.get(pattern);
    const last =
      replaying === null ? use !== undefined && this.drop(subscription, use) : this.end(subscription);
    if (last && !this.isKnown(pattern)) await this.office.unsubscribe(pattern);
  }

  /** The subscription that messages of the past are for. */
  ofStream(stream: number): ActiveSubscription | undefined {
    return this.streams.get(stream);
  }

  /**
   * A connection stands again. `whole`: nothing was lost with the old one, and what was asked for goes on. Otherwise whoever begins in the past goes on where it stopped;
   * `heardAt`: when the broker was heard last.
   */
  reconnected(whole: boolean, heardAt: number, onError: (error: FlowbusError) => void): void {
    for (const { replaying } of this.streams.values()) {
      if (replaying!.asking || (whole && replaying!.isOpen)) continue;
      this.ask(replaying!, heardAt).catch(onError);
    }
  }

  /** There are some that miss what is published while there is no connection. */
  get hasLive(): boolean {
    return this.uses.size > 0;
  }

  /** Some that begin in the past have not caught up with what is live. */
  get isCatchingUp(): boolean {
    for (const { replaying } of this.streams.values()) if (!replaying!.isOpen) return true;
    return false;
  }

  /** Whether messages on `topic` have places in the history; `seen`: this one has. */
  isKept({ text }: Wanted, seen: boolean): boolean {
    if (!seen || this.kept.has(text)) return this.kept.has(text);
    if (this.kept.size >= MAX_KEPT) this.kept.clear();
    this.kept.add(text);
    return true;
  }

  get hasReplaying(): boolean {
    return this.streams.size > 0;
  }

  /** Ends all of them but the shares in mailboxes, whose messages are acked first. */
  async clear(): Promise<void> {
    const all = [...this.uses.values()].flatMap((use) => [...use.members]);
    all.push(...this.streams.values());
    await Promise.all(all.map((subscription) => this.remove(subscription)));
  }

  private async replay(
    pattern: string,
    handler: Handler,
    begin: Pick<Replay, 'last' | 'age'>,
  ): Promise<Subscription> {
    const replaying = new Replaying(pattern, ++this.lastStream, begin);
    const subscription = new ActiveSubscription(pattern, handler, this.made++, this, replaying);
    this.trie.add(pattern, subscription);
    this.version++;
    this.streams.set(replaying.stream, subscription);
    try {
      await this.ask(replaying, 0);
    } catch (error) {
      this.end(subscription);
      throw error;
    }
    return subscription;
  }

  private async ask(replaying: Replaying, heardAt: number): Promise<void> {
    replaying.asking = true;
    try {
      await this.office.replay(replaying.wish(heardAt));
    } finally {
      replaying.asking = false;
    }
  }

  /** Always true: the broker is told unless others have the pattern. */
  private end(subscription: ActiveSubscription): boolean {
    subscription.active = false;
    this.trie.remove(subscription.pattern, subscription);
    this.version++;
    this.streams.delete(subscription.replaying!.stream);
    return true;
  }

  private isKnown(pattern: string): boolean {
    if (this.uses.has(pattern)) return true;
    for (const { pattern: other } of this.streams.values()) if (other === pattern) return true;
    return false;
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
    if (subscription.active) return this.office.everywhere();
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
  if (options.replay !== undefined && options.group !== undefined)
    throw new FlowbusError('BAD_OPTION', 'The options replay and group exclude each other.');
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
