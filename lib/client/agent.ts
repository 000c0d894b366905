/** What `connect()` resolves with: the methods that users call, over the parts that do the work. */
import { FlowbusError } from '../errors.js';
import { capabilityAddress } from '../topics/topic.js';
import type { OutgoingExtensions } from '../wire/extensions.js';
import type { Priority } from '../wire/frame.js';
import { Flag } from '../wire/frame.js';
import type { Retry } from '../wire/retry.js';
import { type AgentFilter, type AgentRecord, type CapabilityTarget, Directory } from './directory.js';
import type { AgentEvents } from './events.js';
import type { Message } from './message.js';
import {
  badOption,
  checkCallOptions,
  checkCapability,
  checkInteger,
  laneOf,
  type MailboxOptions,
} from './options.js';
import type { OutgoingTopic } from './outgoing-topics.js';
import { encodePayload, type Payload } from './payload.js';
import type { Stored } from './requests.js';
import type { Session } from './session.js';
import type { Handler, SubscribeOptions, Subscription } from './subscriptions.js';

export interface SendOptions {
  /** The lane it travels in. Default: that of `connect()`. */
  priority?: Priority | undefined;
  /** Time to live: whole milliseconds after which it is not worth delivering, 1 to 86,400,000. */
  ttl?: number | undefined;
  /** Ordering key: messages with the same key stay in order. 1 to 255 bytes. */
  key?: string | undefined;
  /** At most 64 names of 1 to 255 bytes, 65,535 bytes in all. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** W3C trace context, 55 bytes. */
  traceparent?: string | undefined;
}

/** What is kept until it is received. */
export interface AssuredOptions extends SendOptions {
  /** Store it: resolves once every mailbox that matches has journaled it. */
  assured?: boolean | undefined;
  /** Names the message, 1 to 64 bytes: mailboxes drop what they have seen. Default, if assured: a random one. */
  messageId?: string | Uint8Array | undefined;
  /**
   * For assured messages alone: milliseconds from their arrival at the broker, before which they are not delivered, 0 to
   * 604,800,000 (a week), and less than `ttl`. Those who have no mailbox do not get them.
   */
  delay?: number | undefined;
  /** How it is tried again when a consumer fails at it; goes with `assured`. Default: as each mailbox has it. */
  retry?: Retry | undefined;
  /** Milliseconds to wait for the ack of an assured publish, 1 to 86,400,000. Default 5000. */
  timeout?: number | undefined;
}

export interface PublishOptions extends AssuredOptions {
  /** Keep it as the last value of the topic, for those who subscribe later: they get it marked `retained`. An empty payload clears it. */
  retain?: boolean | undefined;
  /** A topic where answers are awaited, for patterns that `request()` does not cover. */
  replyTo?: string | undefined;
  /** What answers have to repeat, 1 to 64 bytes. */
  correlation?: Uint8Array | undefined;
}

export interface RequestOptions extends SendOptions {
  /** Milliseconds to wait for the reply, 1 to 86,400,000. Default 5000. Also the time to live, unless `ttl` is given. */
  timeout?: number | undefined;
}

/** What has passed since the agent was made, and what waits now. */
export interface AgentCounts {
  published: number;
  received: number;
  /** Messages dropped because their checksum did not hold; each was an `error` event. */
  checksumMismatches: number;
  /** All frames dropped, those included. */
  badFrames: number;
  /** Bytes of messages that wait to be sent. */
  waitingBytes: number;
}

const SEND_OPTIONS: readonly (keyof SendOptions)[] = ['priority', 'ttl', 'key', 'headers', 'traceparent'];
const ASSURED_OPTIONS: readonly (keyof AssuredOptions)[] = [
  ...SEND_OPTIONS,
  'assured',
  'messageId',
  'delay',
  'retry',
  'timeout',
];
const PUBLISH_OPTIONS: readonly (keyof PublishOptions)[] = [
  ...ASSURED_OPTIONS,
  'replyTo',
  'correlation',
  'retain',
];
/** What only a mailbox can do. */
const MAILBOX_ONLY = ['delay', 'retry'] as const;
const REQUEST_OPTIONS: readonly (keyof RequestOptions)[] = [...SEND_OPTIONS, 'timeout'];

const DEFAULT_TIMEOUT = 5000;
const MAX_TIMEOUT = 86_400_000;

/** How often `drain()` looks whether the socket is empty (ms). */
const FLUSH_POLL = 5;

export class Agent {
  private readonly session: Session;
  private readonly directory: Directory;
  private draining: boolean;
  /** Bytes of messages whose receiver is still being looked up: within maxBuffered too. */
  private undecided: number;
  /** Each of those look-ups, until its message is sent or has failed. */
  private readonly lookUps: Set<Promise<void>>;

  /** For the SDK: see `connect()`. */
  constructor(session: Session) {
    this.session = session;
    this.directory = new Directory(session.calls);
    this.draining = false;
    this.undecided = 0;
    this.lookUps = new Set();
  }

  get agentId(): string {
    return this.session.settings.agentId;
  }

  /** Whether a connection stands right now. Publishing works without: it waits for the next one. */
  get connected(): boolean {
    return this.session.isConnected;
  }

  /** The node that this agent is, or was last, connected to. */
  get node(): string {
    return this.session.nodeName;
  }

  get counts(): AgentCounts {
    const { outbox, inbox } = this.session;
    return {
      published: outbox.published,
      received: inbox.counts.messages,
      checksumMismatches: inbox.counts.checksumMismatches,
      badFrames: inbox.counts.badFrames,
      waitingBytes: outbox.waiting + this.undecided,
    };
  }

  /**
   * Calls `handler` for every message on the topics that match `pattern` (`*`: one level, `**`: any number).
   * Resolves once every live shard of the node knows. Messages may come before that; one that several patterns of
   * this agent match is given to the handler of each. Rejects with BAD_PATTERN, FORBIDDEN_TOPIC, LIMIT_REACHED,
   * TIMEOUT, CLOSED; with `group` also with NO_JOURNAL, JOURNAL_FULL, MAILBOX_UNAVAILABLE.
   *
   * With `{ capability }`, one that this agent named in `connect()`, it shares what is sent to that capability with
   * `{ assured: true }`: each message goes to one of those that do, and is kept until that one has acked it, also while nobody
   * is there. What is sent live comes as the event `message`.
   */
  subscribe(pattern: string, handler: Handler, options?: SubscribeOptions): Promise<Subscription>;
  subscribe(target: CapabilityTarget, handler: Handler, options?: MailboxOptions): Promise<Subscription>;
  async subscribe(
    target: string | CapabilityTarget,
    handler: Handler,
    options?: SubscribeOptions,
  ): Promise<Subscription> {
    this.session.checkOpen();
    if (this.draining)
      throw new FlowbusError('CLOSED', 'The agent is draining: it takes no new subscriptions.');
    const { subscriptions } = this.session;
    if (typeof target !== 'object' || target === null) return subscriptions.add(target, handler, options);
    return subscriptions.serve(target.capability, handler, options);
  }

  /**
   * Publishes a live message: to whoever is subscribed now, at most once. False: more waits than is good, please
   * `await agent.drained()` before the next; the message was taken all the same. Bytes are copied during the call.
   * Throws BAD_TOPIC, BAD_OPTION, PAYLOAD_TOO_LARGE, BUFFER_FULL, CLOSED; then it was not taken.
   *
   * With `assured: true` a promise, which resolves once every matching mailbox has stored the message, and rejects
   * with NO_MAILBOX, MAILBOX_FULL, JOURNAL_FULL, MAILBOX_UNAVAILABLE, TIMEOUT, DISCONNECTED or any of the above. With the same `messageId` it is safe to repeat.
   */
  publish(topic: string, payload: Payload, options: PublishOptions & { assured: true }): Promise<Stored>;
  publish(
    topic: string,
    payload: Payload,
    options?: PublishOptions & { assured?: false | undefined },
  ): boolean;
  publish(topic: string, payload: Payload, options?: PublishOptions): boolean | Promise<Stored>;
  publish(topic: string, payload: Payload, options?: PublishOptions): boolean | Promise<Stored> {
    const { outbox, topics, settings } = this.session;
    if (options === undefined) return outbox.write(topics.get(topic), payload, settings.lane, 0, null);
    checkCallOptions(options, PUBLISH_OPTIONS);
    if (options.assured === true) return this.publishAssured(() => topics.get(topic), payload, options);
    checkLive(options);
    return outbox.write(topics.get(topic), payload, this.laneOf(options), retainFlag(options), options);
  }

  /**
   * A message to one agent's own address, where it is the event `message`. Returns and throws as `publish`: with `assured: true`
   * it goes to the agent's mailbox, whether or not the agent is there.
   */
  send(agentId: string, payload: Payload, options: AssuredOptions & { assured: true }): Promise<Stored>;
  send(
    agentId: string,
    payload: Payload,
    options?: AssuredOptions & { assured?: false | undefined },
  ): boolean;
  send(agentId: string, payload: Payload, options?: AssuredOptions): boolean | Promise<Stored>;
  send(agentId: string, payload: Payload, options?: AssuredOptions): boolean | Promise<Stored> {
    const { outbox, topics, settings } = this.session;
    if (options === undefined) return outbox.write(topics.to(agentId), payload, settings.lane, 0, null);
    checkCallOptions(options, ASSURED_OPTIONS);
    if (options.assured === true) return this.publishAssured(() => topics.to(agentId), payload, options);
    checkLive(options);
    return outbox.write(topics.to(agentId), payload, this.laneOf(options), 0, options);
  }

  /**
   * A live message to one of the agents that have a capability and are online, in turn, as the directory knew them
   * at most a second ago (up to ten while it is asked again). When there is none, that is an `error` event with
   * UNKNOWN_AGENT. The first message of a while waits for the directory. Returns and throws as `publish`.
   *
   * With `assured: true` it goes to the mailbox of the capability, and from there to one of the agents that have it and
   * subscribe to `{ capability }`, whether or not one is there now. NO_MAILBOX when none ever did.
   */
  sendTo(
    target: CapabilityTarget,
    payload: Payload,
    options: AssuredOptions & { assured: true },
  ): Promise<Stored>;
  sendTo(
    target: CapabilityTarget,
    payload: Payload,
    options?: AssuredOptions & { assured?: false | undefined },
  ): boolean;
  sendTo(target: CapabilityTarget, payload: Payload, options?: AssuredOptions): boolean | Promise<Stored>;
  sendTo(target: CapabilityTarget, payload: Payload, options?: AssuredOptions): boolean | Promise<Stored> {
    const capability = capabilityOf(target);
    this.session.checkOpen();
    // Before the directory is asked: once it has answered there is nobody to throw at.
    if (options !== undefined) checkCallOptions(options, ASSURED_OPTIONS);
    if (options?.assured === true) {
      const { topics } = this.session;
      const address = () => topics.get(capabilityAddress(checkCapability(capability)));
      return this.publishAssured(address, payload, options);
    }
    if (options !== undefined) checkLive(options);
    try {
      const agentId = this.directory.pick(capability);
      if (agentId !== null) return this.send(agentId, payload, options);
    } catch (error) {
      if (!(error instanceof FlowbusError) || error.code !== 'UNKNOWN_AGENT') throw error;
      this.session.events.error(error);
      return true;
    }
    return this.sendLater(capability, payload, options);
  }

  /**
   * Sends to an agent, or one that has a capability, and resolves with its reply. Rejects with UNKNOWN_AGENT,
   * TIMEOUT, HANDLER_FAILED (the other side threw, its message is in this one), DISCONNECTED (the connection broke
   * with the request under way: it may or may not have been served), LIMIT_REACHED (65,536 are pending), or what
   * `publish` throws.
   */
  async request(
    target: string | CapabilityTarget,
    payload: Payload,
    options: RequestOptions = {},
  ): Promise<Message> {
    this.session.checkOpen();
    checkCallOptions(options, REQUEST_OPTIONS);
    const timeout = checkInteger('timeout', options.timeout ?? DEFAULT_TIMEOUT, 1, MAX_TIMEOUT);
    if (typeof target === 'string') return this.ask(target, payload, options, timeout);
    const capability = capabilityOf(target);
    let agentId = this.directory.pick(capability);
    let body = payload;
    if (agentId === null) {
      // The caller may do with its bytes what it likes while the directory is asked.
      body = encodePayload(payload);
      agentId = await this.directory.choose(capability);
    }
    try {
      return await this.ask(agentId, body, options, timeout);
    } catch (error) {
      if (error instanceof FlowbusError && error.code === 'UNKNOWN_AGENT') {
        this.directory.forget(capability, agentId);
      }
      throw error;
    }
  }

  /** Looks agents up in the directory of the whole cluster. Rejects with BAD_OPTION, DISCONNECTED, TIMEOUT. */
  async agents(filter?: AgentFilter): Promise<AgentRecord[]> {
    this.session.checkOpen();
    return this.directory.agents(filter);
  }

  /** Resolves as soon as `publish()` may go on after it returned false. Rejects when the agent ends before. */
  drained(): Promise<void> {
    return this.session.outbox.drained();
  }

  /**
   * Comes to rest: ends all subscriptions, lets handlers finish, awaits the replies and acks that are due, and then,
   * while `publish()` throws CLOSED, until all that was published has left the process. The connection stays until
   * `close()`. Without a connection it waits for the next one. Rejects when the agent ends before.
   */
  async drain(): Promise<void> {
    const { subscriptions, consumers, dispatch, requests, outbox } = this.session;
    this.session.checkOpen();
    this.draining = true;
    await subscriptions.clear();
    await dispatch.drain();
    // Not before: what the handlers have done is acked first.
    consumers.clear();
    await requests.empty();
    await Promise.all(this.lookUps);
    outbox.seal(new FlowbusError('CLOSED', 'The agent has been drained: it takes no new messages.'));
    outbox.flush();
    while (!outbox.isEmpty) {
      this.session.checkOpen();
      await new Promise((resolve) => setTimeout(resolve, FLUSH_POLL));
    }
  }

  /**
   * Ends the agent, for good. What waits is sent as far as the broker's credit reaches, everything pending rejects
   * with CLOSED. To lose nothing, `drain()` first. Never rejects.
   */
  close(): Promise<void> {
    return this.session.close();
  }

  on<K extends keyof AgentEvents>(event: K, listener: AgentEvents[K]): this {
    this.session.events.add(event, listener, false);
    return this;
  }

  once<K extends keyof AgentEvents>(event: K, listener: AgentEvents[K]): this {
    this.session.events.add(event, listener, true);
    return this;
  }

  off<K extends keyof AgentEvents>(event: K, listener: AgentEvents[K]): this {
    this.session.events.remove(event, listener);
    return this;
  }

  private laneOf(options: SendOptions): number {
    return options.priority === undefined ? this.session.settings.lane : laneOf(options.priority);
  }

  /** Not an async function: that would be a second promise for each message. */
  private publishAssured(
    topic: () => OutgoingTopic,
    payload: Payload,
    options: PublishOptions,
  ): Promise<Stored> {
    const { session } = this;
    const { outbox, requests, dispatch } = session;
    try {
      session.checkOpen();
      const timeout = checkInteger('timeout', options.timeout ?? DEFAULT_TIMEOUT, 1, MAX_TIMEOUT);
      const { key, ack } = requests.openAssured(timeout, options.messageId);
      try {
        const extensions: OutgoingExtensions = {
          replyTo: options.replyTo,
          correlation: options.correlation,
          messageId: options.messageId ?? requests.messageId,
          ttl: options.ttl,
          key: options.key,
          traceparent: options.traceparent,
          headers: options.headers,
          delay: options.delay === 0 ? undefined : options.delay,
          retry: options.retry,
        };
        outbox.write(topic(), payload, this.laneOf(options), Flag.assured | retainFlag(options), extensions);
        dispatch.listen();
      } catch (error) {
        requests.failAssured(key, asFlowbusError(error));
      }
      return ack;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  private ask(agentId: string, payload: Payload, options: RequestOptions, timeout: number): Promise<Message> {
    const { outbox, topics, requests, dispatch, replyAddress } = this.session;
    const { key, reply } = requests.openRequest(timeout);
    try {
      const extensions: OutgoingExtensions = {
        replyTo: replyAddress,
        correlation: requests.correlation,
        ttl: options.ttl ?? timeout,
        key: options.key,
        traceparent: options.traceparent,
        headers: options.headers,
      };
      outbox.write(topics.to(agentId), payload, this.laneOf(options), 0, extensions);
      dispatch.listen();
    } catch (error) {
      requests.failRequest(key, asFlowbusError(error));
    }
    return reply;
  }

  private sendLater(capability: string, payload: Payload, options: AssuredOptions | undefined): boolean {
    const { events, settings } = this.session;
    const body = encodePayload(payload);
    const kept = options === undefined ? undefined : { ...options };
    const size = body.bytes.length;
    if (this.undecided + size > settings.maxBuffered) {
      throw new FlowbusError('BUFFER_FULL', `${this.undecided} bytes wait for an answer of the directory.`);
    }
    this.undecided += size;
    const lookUp = this.directory
      .choose(capability)
      .then((agentId) => void this.send(agentId, body, kept))
      .catch((error) => events.error(asFlowbusError(error)))
      .finally(() => {
        this.undecided -= size;
        this.lookUps.delete(lookUp);
      });
    this.lookUps.add(lookUp);
    return this.undecided <= settings.maxBuffered / 2;
  }
}

function retainFlag({ retain }: PublishOptions): number {
  if (retain === undefined || retain === false) return 0;
  if (retain !== true) throw badOption('retain', retain, 'true or false');
  return Flag.retain;
}

function capabilityOf(target: unknown): string {
  if (typeof target === 'object' && target !== null && 'capability' in target) {
    if (typeof target.capability === 'string') return target.capability;
  }
  throw badOption('The receiver', target, 'an agentId or { capability: text }');
}

/** Throws BAD_OPTION for what only a mailbox can do. */
function checkLive(options: AssuredOptions): void {
  for (const name of MAILBOX_ONLY) {
    if (options[name] === undefined) continue;
    throw new FlowbusError(
      'BAD_OPTION',
      `${name} needs assured: true, since a live message is kept nowhere.`,
    );
  }
}

function asFlowbusError(error: unknown): FlowbusError {
  if (error instanceof FlowbusError) return error;
  return new FlowbusError('BAD_OPTION', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}
