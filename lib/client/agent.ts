/** What `connect()` resolves with: the methods that users call, over the parts that do the work. */
import { FlowbusError } from '../errors.js';
import { capabilityAddress } from '../topics/topic.js';
import type { OutgoingExtensions } from '../wire/extensions.js';
import { Flag } from '../wire/frame.js';
import { type AgentFilter, type AgentRecord, type CapabilityTarget, Directory } from './directory.js';
import type { AgentEvents } from './events.js';
import type { Message } from './message.js';
import {
  ASSURED_OPTIONS,
  type AssuredOptions,
  checkLive,
  extensionsOf,
  PUBLISH_OPTIONS,
  type PublishOptions,
  REQUEST_OPTIONS,
  type RequestOptions,
  retainFlag,
  type SendOptions,
  timeoutOf,
} from './message-options.js';
import { badOption, checkCallOptions, checkCapability, laneOf, type MailboxOptions } from './options.js';
import type { OutgoingTopic } from './outgoing-topics.js';
import { encodePayload, type Payload } from './payload.js';
import type { Stored } from './requests.js';
import type { Session } from './session.js';
import type { Handler, SubscribeOptions, Subscription } from './subscriptions.js';

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
    return this.publishAs(false, topic, payload, options);
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
    return this.publishAs(true, agentId, payload, options);
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
    const timeout = timeoutOf(options);
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

  /** `name`: an agentId, or a topic. */
  private publishAs(
    isAgent: boolean,
    name: string,
    payload: Payload,
    options: PublishOptions,
  ): boolean | Promise<Stored> {
    const { outbox, topics } = this.session;
    if (options.assured === true) {
      const topic = (): OutgoingTopic => (isAgent ? topics.to(name) : topics.get(name));
      return this.publishAssured(topic, payload, options);
    }
    checkLive(options);
    const topic = isAgent ? topics.to(name) : topics.get(name);
    return outbox.write(topic, payload, this.laneOf(options), retainFlag(options), options);
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
      const { key, ack } = requests.openAssured(timeoutOf(options), options.messageId);
      try {
        const extensions = extensionsOf(options, requests.messageId);
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

function capabilityOf(target: unknown): string {
  if (typeof target === 'object' && target !== null && 'capability' in target) {
    if (typeof target.capability === 'string') return target.capability;
  }
  throw badOption('The receiver', target, 'an agentId or { capability: text }');
}

function asFlowbusError(error: unknown): FlowbusError {
  if (error instanceof FlowbusError) return error;
  return new FlowbusError('BAD_OPTION', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}
