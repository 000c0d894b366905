/**
 * What outlives a connection: finds a broker, greets it, and when it is lost finds another, while subscriptions,
 * unsent messages and pending calls are carried over. All parts of an agent meet here.
 */
import { FlowbusError } from '../errors.js';
import { agentAddress } from '../topics/topic.js';
import type { BatchReader } from '../wire/batch.js';
import type { Consume, Consuming, ControlCodec, ControlPayloads, Hello, Welcome } from '../wire/control.js';
import { Encoding, FrameType, writeU32 } from '../wire/frame.js';
import { Acks } from './acks.js';
import type { Announcements } from './announcements.js';
import { Arrivals, type ConnectionTalk } from './arrivals.js';
import type { AssuredMessage } from './assured-message.js';
import { type AskingKind, type CallKind, type CallOffice, type CallPayload, Calls } from './calls.js';
import { Connection, type ConnectionOwner, type Ending } from './connection.js';
import { type ConsumerOffice, Consumers } from './consumers.js';
import { readControl } from './control.js';
import { Dispatch, type DispatchOwner } from './dispatch.js';
import { Emitter } from './events.js';
import { groupPatterns, makeHello, restorePatterns } from './greeting.js';
import { Identity } from './identity.js';
import { Inbox } from './inbox.js';
import type { Message } from './message.js';
import type { Settings } from './options.js';
import { Outbox, type OutboxOwner } from './outbox.js';
import { OutgoingTopics } from './outgoing-topics.js';
import { PressedMailboxes } from './pressed.js';
import { Dialer, isFinal, plain } from './reconnect.js';
import { Replies } from './replies.js';
import { Requests, Unsent } from './requests.js';
import type { Rewriter } from './requeue.js';
import { Subscriptions } from './subscriptions.js';
import type { OpenTransport } from './transport.js';

interface Attempt {
  resolve(): void;
  reject(ending: Ending): void;
}

export class Session
  implements ConnectionOwner, ConnectionTalk, OutboxOwner, DispatchOwner, CallOffice, ConsumerOffice
{
  readonly settings: Settings;
  readonly events: Emitter;
  readonly topics: OutgoingTopics;
  readonly outbox: Outbox;
  readonly subscriptions: Subscriptions;
  readonly consumers: Consumers;
  readonly acks: Acks;
  readonly dispatch: Dispatch;
  readonly inbox: Inbox;
  readonly requests: Requests;
  readonly calls: Calls;
  readonly pressed: PressedMailboxes;
  private readonly replies: Replies;
  private readonly dialer: Dialer;
  private readonly openTransport: OpenTransport;
  private readonly codec: ControlCodec;
  private readonly identity: Identity;
  private connection: Connection | null;
  private attempt: Attempt | null;
  private liveSince: number;
  private closed: FlowbusError | null;
  private onGone: (() => void) | null;
  private greeted: Set<string>;
  /** When the broker was heard last, for subscriptions that begin in the past (ms). */
  private heardAt: number;

  constructor(settings: Settings, urls: readonly string[], open: OpenTransport, codec: ControlCodec) {
    this.settings = settings;
    this.events = new Emitter();
    this.topics = new OutgoingTopics(settings.agentId);
    this.outbox = new Outbox(settings.maxBuffered, this);
    this.calls = new Calls(this);
    this.acks = new Acks(
      (type, payload) => this.sendFrame(type, payload),
      (mailbox) => this.consumers.prefetchOf(mailbox),
    );
    this.consumers = new Consumers(this);
    this.subscriptions = new Subscriptions(this.calls, this.consumers);
    this.dispatch = new Dispatch(
      this.subscriptions,
      this.consumers,
      this.events,
      this,
      settings.maxInFlight,
      settings.maxBuffered,
    );
    this.requests = new Requests();
    this.pressed = new PressedMailboxes(this.events);
    this.replies = new Replies(this.topics, this.outbox, this.events);
    const { acks, dispatch, subscriptions, requests, replies, events } = this;
    const arrivals = new Arrivals(acks, dispatch, subscriptions, requests, replies, events, this);
    this.inbox = new Inbox(agentAddress(settings.agentId), dispatch, arrivals);
    this.dialer = new Dialer(urls, settings, (url, timeout) => this.dial(url, timeout));
    this.openTransport = open;
    this.codec = codec;
    this.identity = new Identity();
    this.connection = null;
    this.attempt = null;
    this.liveSince = 0;
    this.closed = null;
    this.onGone = null;
    this.greeted = new Set();
    this.heardAt = 0;
  }

  get isConnected(): boolean {
    return this.connection?.isLive ?? false;
  }

  get nodeName(): string {
    return this.identity.node;
  }

  get announcements(): Announcements {
    return this.inbox.announcements;
  }

  get replyAddress(): string {
    return this.identity.address;
  }

  /** Throws what the agent ended with. */
  checkOpen(): void {
    if (this.closed !== null) throw new FlowbusError(this.closed.code, this.closed.message);
  }

  /** The first connection. Rejects as `Dialer.first`. */
  async start(): Promise<void> {
    this.dispatch.hold();
    await this.dialer.first();
    const { mailbox } = this.settings;
    if (mailbox !== null) {
      try {
        await this.consumers.add(mailbox, null);
      } catch (error) {
        await this.close();
        throw error;
      }
    }
    // Whoever awaits this puts up its handlers right behind, before what came along with the welcome.
    setTimeout(() => this.dispatch.release(), 0);
  }

  /** Ends the agent: what credit allows still goes out, everything pending is rejected. */
  async close(): Promise<void> {
    if (this.closed !== null) return;
    const connection = this.connection;
    if (this.isConnected) {
      this.outbox.flush();
      this.acks.flush();
    }
    if (connection !== null) {
      const gone = new Promise<void>((resolve) => {
        this.onGone = resolve;
      });
      if (this.dispatch.isPaused) this.resume();
      this.end(new FlowbusError('CLOSED', 'The agent was closed.'));
      connection.close();
      await gone;
    } else this.end(new FlowbusError('CLOSED', 'The agent was closed.'));
  }

  // --- ConnectionOwner

  hello(): Promise<Hello> {
    const patterns = groupPatterns(this.subscriptions.patterns())[0] ?? [];
    this.greeted = new Set(patterns);
    const { session } = this.identity;
    return makeHello(
      this.settings,
      patterns,
      session === null ? null : { session, received: this.inbox.received },
    );
  }

  onBatch(_connection: Connection, bytes: Uint8Array): void {
    if (this.subscriptions.hasReplaying) this.heardAt = performance.now();
    this.inbox.read(bytes);
  }

  onWritable(): void {
    this.outbox.flush();
  }

  onLeaving(connection: Connection): void {
    if (connection === this.connection) this.outbox.detach();
  }

  onEnd(connection: Connection, ending: Ending): void {
    if (connection !== this.connection) return;
    this.connection = null;
    this.inbox.stop();
    this.onGone?.();
    if (this.closed !== null) return;
    if (this.attempt !== null) this.attempt.reject(ending);
    else this.lost(ending);
  }

  // --- ConnectionTalk

  onControl(frame: BatchReader): void {
    if (this.connection !== null) readControl(frame, this.codec, this.connection, this);
  }

  onTopic(id: number, text: string, before: string | null): void {
    if (before !== null) {
      this.outbox.rewrite(this.rewriter(null, null, false));
      this.topics.withdraw(id, before);
      this.outbox.flush();
    }
    this.topics.announce(id, text);
  }

  onBroken(error: FlowbusError): void {
    this.inbox.stop();
    this.events.error(error);
    // A listener may have closed the agent.
    this.connection?.fail('DISCONNECTED', error.message);
  }

  // --- OutboxOwner

  onPressure(active: boolean): void {
    queueMicrotask(() => this.events.pressure(active, undefined));
  }

  onStalled(): void {
    this.dispatch.listen();
  }

  // --- DispatchOwner

  awaitsBroker(): boolean {
    return this.requests.size > 0 || this.calls.size > 0 || this.outbox.isStalled;
  }

  pause(): boolean {
    const connection = this.connection;
    if (connection === null || !connection.transport.pause()) return false;
    connection.setReading(false);
    return true;
  }

  resume(): void {
    this.connection?.transport.resume();
    this.connection?.setReading(true);
  }

  answer(message: Message, value: unknown): void {
    this.replies.answer(message, value);
  }

  refuse(message: Message, reason: string): void {
    this.replies.refuse(message, reason);
  }

  // --- CallOffice

  sendCall<K extends CallKind>(kind: K, payload: CallPayload<K>, ref: number): boolean {
    if (this.connection === null || !this.connection.isLive) return false;
    if (payload === null)
      this.connection.sendFrame(FrameType.everywhere, Encoding.bytes, new Uint8Array(0), ref);
    else this.connection.sendControl(kind as AskingKind, payload as ControlPayloads[AskingKind], ref);
    return true;
  }

  onCall(): void {
    this.dispatch.listen();
  }

  // --- ConsumerOffice

  consume(wish: Consume): Promise<Consuming> {
    return this.calls.consume(wish);
  }

  /** Nothing is asked for it: whatever comes is nobody's, and the connection's end ends it too. */
  leaveMailbox(mailbox: number): void {
    const payload = new Uint8Array(4);
    writeU32(payload, 0, mailbox);
    this.acks.flush();
    this.sendFrame(FrameType.leave, payload);
  }

  deliver(message: AssuredMessage): void {
    this.dispatch.deliverAssured(message);
  }

  private sendFrame(type: FrameType, payload: Uint8Array): void {
    if (this.connection?.isLive) this.connection.sendFrame(type, Encoding.bytes, payload, 0);
  }

  // --- The course of a connection

  welcome(welcome: Welcome): void {
    const connection = this.connection;
    if (connection === null || this.closed !== null) return;
    connection.welcomed(welcome);
    const fresh = !welcome.resumed;
    const { session, address: oldAddress } = this.identity;
    this.identity.welcomed(welcome);
    // Its own connection's end is reported as such.
    const report = (error: FlowbusError): void => {
      if (this.closed === null) this.events.error(error);
    };
    this.liveSince = performance.now();
    restorePatterns(this.calls, this.subscriptions.patterns(), fresh ? this.greeted : null, report);
    if (fresh) {
      this.topics.restartSequences();
      this.inbox.received = 0;
    }
    this.outbox.attach(
      connection.transport,
      welcome.sender,
      welcome.maxPayload,
      welcome.window,
      this.rewriter(null, oldAddress, fresh),
    );
    this.attempt?.resolve();
    if (session === null) return;
    this.subscriptions.reconnected(welcome.resumed && welcome.missed === 0, this.heardAt, report);
    this.consumers.reconnected(report);
    this.events.reconnect({
      url: plain(connection.url),
      attempts: this.dialer.attempts,
      resumed: welcome.resumed,
    });
    if (fresh) {
      if (this.subscriptions.hasLive) this.events.gap({ missed: undefined, reason: 'session-lost' });
    } else if (welcome.missed !== 0) {
      this.events.gap({ missed: welcome.missed < 0 ? undefined : welcome.missed, reason: 'resume' });
    }
  }

  forgetTopicIds(): void {
    this.outbox.rewrite(this.rewriter(null, null, false));
    this.topics.forgetIds();
    this.outbox.flush();
  }

  private lost(ending: Ending): void {
    this.dialer.schedule.stood(performance.now() - this.liveSince);
    this.dispatch.disconnected();
    this.outbox.detach();
    const unsent = new Unsent();
    this.outbox.rewrite(this.rewriter(unsent, null, false));
    this.topics.forgetIds();
    if (isFinal(ending) || this.settings.attempts === 0) {
      this.leave(ending);
      return;
    }
    const why = `The connection broke before the answer came: ${ending.message}`;
    const error = new FlowbusError('DISCONNECTED', why);
    this.requests.disconnected(error, unsent);
    this.calls.disconnected(error);
    // First, so that close() in a listener finds something to close.
    const back = this.comeBack();
    this.pressed.clear();
    this.events.disconnect({ code: ending.code, message: ending.message, reconnecting: true });
    back.catch((cause) => this.leave({ code: 'DISCONNECTED', message: String(cause), reconnect: false }));
  }

  private async comeBack(): Promise<void> {
    const ending = await this.dialer.again();
    if (ending !== null) this.leave(ending);
  }

  private dial(url: string, timeout: number): Promise<Ending | null> {
    return new Promise((resolve) => {
      const settle = (ending: Ending | null): void => {
        this.attempt = null;
        resolve(ending);
      };
      this.attempt = { resolve: () => settle(null), reject: settle };
      this.inbox.begin();
      this.connection = new Connection(url, this.openTransport, this.codec, timeout, this);
    });
  }

  private leave(ending: Ending): void {
    if (this.closed !== null) return;
    this.end(new FlowbusError(ending.code, ending.message));
    this.events.disconnect({ code: ending.code, message: ending.message, reconnecting: false });
  }

  private end(error: FlowbusError): void {
    this.closed = error;
    this.outbox.abandon(error);
    this.requests.failAll(error);
    this.calls.end(error);
    this.dispatch.stop();
    this.dialer.stop();
  }

  private rewriter(unsent: Unsent | null, oldAddress: string | null, renumber: boolean): Rewriter {
    return this.identity.rewriter(this, unsent, oldAddress, renumber);
  }
}
