/** Where messages go that have come in: to handlers, requests, and the ways of subscriptions through the past. */
import type { FlowbusError } from '../errors.js';
import type { BatchReader } from '../wire/batch.js';
import type { Past } from '../wire/past.js';
import type { Acks } from './acks.js';
import type { IncomingTopic } from './announcements.js';
import type { AssuredMessage } from './assured-message.js';
import type { Dispatch } from './dispatch.js';
import type { Emitter } from './events.js';
import type { InboxOwner } from './inbox.js';
import type { Message, PastMessage, ReplyOptions } from './message.js';
import type { Payload } from './payload.js';
import { type Replaying, takersOf } from './replaying.js';
import type { Replies } from './replies.js';
import type { Requests } from './requests.js';
import type { Subscriptions } from './subscriptions.js';

/** What concerns the connection. */
export type ConnectionTalk = Pick<InboxOwner, 'onControl' | 'onTopic' | 'onBroken'>;

export class Arrivals implements InboxOwner {
  readonly acks: Acks;
  private readonly dispatch: Dispatch;
  private readonly subscriptions: Subscriptions;
  private readonly requests: Requests;
  private readonly replies: Replies;
  private readonly events: Emitter;
  private readonly talk: ConnectionTalk;

  constructor(
    acks: Acks,
    dispatch: Dispatch,
    subscriptions: Subscriptions,
    requests: Requests,
    replies: Replies,
    events: Emitter,
    talk: ConnectionTalk,
  ) {
    this.acks = acks;
    this.dispatch = dispatch;
    this.subscriptions = subscriptions;
    this.requests = requests;
    this.replies = replies;
    this.events = events;
    this.talk = talk;
  }

  onControl(frame: BatchReader): void {
    this.talk.onControl(frame);
  }

  onTopic(id: number, text: string, before: string | null): void {
    this.talk.onTopic(id, text, before);
  }

  onBroken(error: FlowbusError): void {
    this.talk.onBroken(error);
  }

  onBadFrame(error: FlowbusError): void {
    this.events.error(error);
  }

  onDelivery(message: AssuredMessage): void {
    this.dispatch.deliverAssured(message);
  }

  onPast(message: PastMessage, topic: IncomingTopic, past: Past, lane: number): void {
    if (past.stream === 0) {
      this.dispatch.deliver(message, topic);
      return;
    }
    const replaying = this.subscriptions.ofStream(past.stream)?.replaying ?? null;
    if (replaying === null) return;
    if (message.retained || replaying.takesPast(past.slot, lane, past.place))
      this.dispatch.deliverPast(message);
  }

  isCatchingUp(): boolean {
    return this.subscriptions.isCatchingUp;
  }

  takers(topic: IncomingTopic, slot: number, lane: number, place: number): readonly Replaying[] {
    const kept = this.subscriptions.isKept(topic, place !== 0);
    return takersOf(this.subscriptions.targets(topic), slot, lane, place, kept);
  }

  onReply(message: Message): void {
    this.requests.settle(message);
  }

  reply(message: Message, payload: Payload, options: ReplyOptions | undefined): boolean {
    return this.replies.reply(message, payload, options);
  }
}
