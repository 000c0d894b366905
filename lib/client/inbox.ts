/**
 * The way in: takes batches apart, checks every frame, and hands messages to the dispatch, the rest to the session.
 *
 * The broker is trusted with the identity of senders and with nothing else: a frame that does not hold is reported
 * and left out, a batch that cannot be read any further ends the connection.
 */
import { type ErrorCode, FlowbusError } from '../errors.js';
import { BatchReader, Step } from '../wire/batch.js';
import { batchChecksumHolds, forgetBatch } from '../wire/batch-checksum.js';
import { DeliveryReader } from '../wire/delivery.js';
import { Extensions } from '../wire/extensions.js';
import { Flag, FrameType } from '../wire/frame.js';
import { type Past, Places, readPast } from '../wire/past.js';
import { readUtf8 } from '../wire/text.js';
import { Announcements, type IncomingTopic, RouteKind } from './announcements.js';
import { type AckOffice, AssuredMessage } from './assured-message.js';
import type { Dispatch } from './dispatch.js';
import { Message, type MessageOrigin, PastMessage, PlacedMessage } from './message.js';
import type { Replaying } from './replaying.js';

/** The transport bounds the batch, the batch the frame: maxPayload is for what the broker takes. */
const ANY_SIZE = 0xffffffff;

export interface InboxOwner extends MessageOrigin {
  readonly acks: AckOffice;
  /** A message from a mailbox. */
  onDelivery(message: AssuredMessage): void;
  /** A message of the past; `lane`: its own. */
  onPast(message: PastMessage, topic: IncomingTopic, past: Past, lane: number): void;
  /** Whether some subscription that begins in the past has not caught up. */
  isCatchingUp(): boolean;
  /** The subscriptions that begin in the past and take the live message at a place, 0 for none. */
  takers(topic: IncomingTopic, slot: number, lane: number, place: number): readonly Replaying[];
  /** A control frame, its checksum good. It may throw a FlowbusError, which is reported. */
  onControl(frame: BatchReader): void;
  /** `id` is about to stand for another topic: what waits with it must be spelled out first. */
  onTopic(id: number, text: string, before: string | null): void;
  onReply(message: Message): void;
  /** A frame was left out. */
  onBadFrame(error: FlowbusError): void;
  /** The rest of the batch cannot be read, or should not be: the connection must end. */
  onBroken(error: FlowbusError): void;
}

/** What has come in since the agent was made. */
export interface InboxCounts {
  messages: number;
  checksumMismatches: number;
  badFrames: number;
}

export class Inbox {
  /** Publish frames of this session, over all its connections: what a resume must know. */
  received: number;
  readonly announcements: Announcements;
  readonly counts: InboxCounts;
  private readonly owner: InboxOwner;
  private readonly dispatch: Dispatch;
  private readonly reader: BatchReader;
  /** For the message inside a deliver frame. */
  private readonly inner: BatchReader;
  private readonly delivery: DeliveryReader;
  private readonly places: Places;
  private readonly extensions: Extensions;
  /** Set while a batch is read and must not be read any further. */
  private stopped: boolean;

  constructor(ownAddress: string, dispatch: Dispatch, owner: InboxOwner) {
    this.received = 0;
    this.announcements = new Announcements(ownAddress);
    this.counts = { messages: 0, checksumMismatches: 0, badFrames: 0 };
    this.owner = owner;
    this.dispatch = dispatch;
    this.reader = new BatchReader();
    this.inner = new BatchReader();
    this.delivery = new DeliveryReader();
    this.places = new Places();
    this.extensions = new Extensions();
    this.stopped = false;
  }

  /** A new connection begins: nothing is announced yet. */
  begin(): void {
    this.announcements.reset();
    this.places.clear();
  }

  /** The connection has ended, maybe in the middle of a batch. */
  stop(): void {
    this.stopped = true;
  }

  read(bytes: Uint8Array): void {
    const reader = this.reader;
    this.stopped = false;
    forgetBatch();
    reader.open(bytes, 0, bytes.length, ANY_SIZE);
    while (!this.stopped) {
      const step = reader.next();
      if (step === Step.frame) {
        if (reader.type === FrameType.publish) this.readMessage(reader);
        else if (reader.type === FrameType.deliver) this.readDelivery(reader);
        else if (reader.type === FrameType.past) this.readPast(reader);
        else this.readControl(reader);
      } else if (step === Step.refused) {
        // Newer brokers may have types that this client does not know, and need not.
        if (reader.error !== 'BAD_TYPE') this.bad(reader.error ?? 'BAD_FLAGS', 'from the broker');
      } else {
        if (step === Step.broken)
          this.owner.onBroken(new FlowbusError(reader.error ?? 'BAD_SIZE', FROM_BROKER));
        return;
      }
    }
  }

  private readMessage(reader: BatchReader): void {
    this.received++;
    const { bytes, start, end, topicId } = reader;
    const topic =
      topicId === 0
        ? this.announcements.spelledOut(bytes, reader.topicStart, reader.extensionsStart)
        : this.announcements.topic(topicId);
    if (topic === null) {
      if (topicId === 0) this.bad('BAD_UTF8', 'in a topic from the broker');
      else this.bad('UNKNOWN_TOPIC_ID', `topic id ${topicId} was not announced`);
      return;
    }
    const sender = this.announcements.sender(reader.sender);
    if (sender === null) {
      this.bad('UNKNOWN_TOPIC_ID', `sender number ${reader.sender} was not announced`);
      return;
    }
    if (!batchChecksumHolds(bytes, start, end - start, topic.seedOf(sender))) {
      this.counts.checksumMismatches++;
      this.bad('CHECKSUM_MISMATCH', `on ${topic.text} from ${sender.text}`);
      return;
    }
    if (reader.flags & Flag.extensions) {
      const code = this.extensions.read(bytes, reader.extensionsStart, reader.payloadStart);
      if (code !== null) {
        this.bad(code, `on ${topic.text} from ${sender.text}`);
        return;
      }
    }
    this.counts.messages++;
    const { lane } = reader;
    const place = this.places.next(lane);
    if ((place !== 0 || this.owner.isCatchingUp()) && topic.kind === RouteKind.subscriptions) {
      const placed = new PlacedMessage(bytes, start, end, topic, sender, this.owner);
      placed.takers = this.owner.takers(topic, this.places.slot, lane, place);
      this.dispatch.deliver(placed, topic);
      return;
    }
    const message = new Message(bytes, start, end, topic, sender, this.owner);
    if (topic.kind === RouteKind.reply) this.owner.onReply(message);
    else this.dispatch.deliver(message, topic);
  }

  private readPast(outer: BatchReader): void {
    this.received++;
    const { bytes } = outer;
    const past = readPast(bytes, outer.payloadStart, outer.end);
    const reader = this.inner;
    if (past !== null) reader.open(bytes, past.start, past.end, ANY_SIZE);
    if (
      past === null ||
      !batchChecksumHolds(bytes, outer.start, outer.end - outer.start, 0) ||
      reader.next() !== Step.frame ||
      reader.type !== FrameType.publish ||
      reader.end !== past.end
    ) {
      this.bad('BAD_CONTROL', 'in a message of the past');
      return;
    }
    const { start, end, lane } = reader;
    const topic = this.announcements.topicOf(past.topic);
    const sender = this.announcements.senderOf(past.from);
    if (!batchChecksumHolds(bytes, start, end - start, topic.seedOf(sender))) {
      this.counts.checksumMismatches++;
      this.bad('CHECKSUM_MISMATCH', `in a message of the past from ${sender.text}`);
      return;
    }
    this.counts.messages++;
    this.owner.onPast(new PastMessage(bytes, start, end, topic, sender, this.owner, past), topic, past, lane);
  }

  private readDelivery(outer: BatchReader): void {
    const { bytes, end } = outer;
    const reader = this.inner;
    const { delivery } = this;
    if (
      !delivery.read(bytes, outer.payloadStart, end) ||
      !batchChecksumHolds(bytes, outer.start, delivery.start - outer.start, 0) ||
      !isMessage(reader, bytes, delivery.start, end)
    ) {
      this.bad('BAD_CONTROL', 'in a delivery from a mailbox');
      return;
    }
    const { start } = reader;
    const topic =
      reader.topicLength === 0
        ? this.announcements.topicOf(delivery.topic)
        : this.announcements.spelledOut(bytes, reader.topicStart, reader.extensionsStart);
    const sender = this.announcements.senderOf(delivery.from);
    if (topic === null || !batchChecksumHolds(bytes, start, end - start, topic.seedOf(sender))) {
      this.counts.checksumMismatches++;
      this.bad('CHECKSUM_MISMATCH', `in a delivery from ${sender.text}`);
      return;
    }
    this.counts.messages++;
    const message = new AssuredMessage(
      bytes,
      start,
      end,
      topic,
      sender,
      this.owner,
      delivery,
      this.owner.acks,
    );
    this.owner.onDelivery(message);
  }

  private readControl(reader: BatchReader): void {
    const { bytes, start, end } = reader;
    if (!batchChecksumHolds(bytes, start, end - start, 0)) {
      this.counts.checksumMismatches++;
      this.bad('CHECKSUM_MISMATCH', `in a frame of type ${reader.type}`);
      return;
    }
    try {
      if (reader.type === FrameType.topic) this.readTopic(reader);
      else if (reader.type === FrameType.place) {
        if (!this.places.note(reader.lane, bytes, reader.payloadStart, end))
          throw new FlowbusError('BAD_CONTROL', 'A place that is none.');
      } else if (reader.type === FrameType.sender) {
        this.announcements.addSender(reader.sender, readUtf8(bytes, reader.payloadStart, end));
      } else this.owner.onControl(reader);
    } catch (cause) {
      if (!(cause instanceof FlowbusError)) throw cause;
      if (cause.code === 'LIMIT_REACHED') this.owner.onBroken(cause);
      else this.badFrame(cause);
    }
  }

  private readTopic(reader: BatchReader): void {
    const { bytes, topicId } = reader;
    const text = readUtf8(bytes, reader.topicStart, reader.extensionsStart);
    if (topicId === 0 || text === '') {
      throw new FlowbusError('BAD_CONTROL', 'A topic announcement without an id, or without a topic.');
    }
    const before = this.announcements.topic(topicId)?.text ?? null;
    if (before === text) return;
    this.owner.onTopic(topicId, text, before);
    this.announcements.addTopic(topicId, text);
  }

  private bad(code: ErrorCode, what: string): void {
    this.badFrame(new FlowbusError(code, `${new FlowbusError(code).message} (${what})`));
  }

  private badFrame(error: FlowbusError): void {
    this.counts.badFrames++;
    this.owner.onBadFrame(error);
  }
}

/** Whether `bytes[start, end)` is a message, and nothing else; `reader` stands on it then. */
function isMessage(reader: BatchReader, bytes: Uint8Array, start: number, end: number): boolean {
  reader.open(bytes, start, end, ANY_SIZE);
  return reader.next() === Step.frame && reader.type === FrameType.publish && reader.end === end;
}

const FROM_BROKER = 'The broker sent something that is no batch of frames.';
