/** A message as a handler sees it. */
import { describe, FlowbusError } from '../errors.js';
import { Extension, Extensions } from '../wire/extensions.js';
import {
  Flag,
  HEADER_SIZE,
  LANES,
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_SEQUENCE,
  OFFSET_TIMESTAMP,
  OFFSET_TOPIC_LENGTH,
  type Priority,
  readU32,
  readU64,
} from '../wire/frame.js';
import { PastKind } from '../wire/past.js';
import type { Payload } from './payload.js';
import type { Replaying } from './replaying.js';

export interface ReplyOptions {
  /** Default: that of the message replied to. */
  priority?: Priority | undefined;
  /** Milliseconds after which the reply is not worth delivering, 1 to 86,400,000. */
  ttl?: number | undefined;
  /** At most 64 names of 1 to 255 bytes, 65,535 bytes in all. */
  headers?: Readonly<Record<string, string>> | undefined;
}

/** Whoever received the message, and can answer it. */
export interface MessageOrigin {
  reply(message: Message, payload: Payload, options: ReplyOptions | undefined): boolean;
}

const ENCODINGS = ['bytes', 'text', 'json', 'avro'] as const;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
/** Reads the extensions of whichever message is asked; what it returns are copies, or views into the message. */
const reader = new Extensions();

/** A topic, or an agent. */
export interface Named {
  readonly text: string;
}

/**
 * Everything is read out of the frame when it is asked for. A message may be kept: its bytes are never reused.
 * It keeps the whole batch alive that it came in, up to 64 KiB; to keep a small part for long, copy it out with
 * `text()`, `json()` or `payload.slice()`.
 */
export class Message {
  // One object per message is all the receive path allocates, so it holds references and offsets, and no values.
  private readonly bytes: Uint8Array;
  private readonly start: number;
  private readonly end: number;
  private readonly route: Named;
  private readonly sender: Named;
  private readonly origin: MessageOrigin;

  /** For the SDK: the frame `bytes[start, end)`, checked. */
  constructor(
    bytes: Uint8Array,
    start: number,
    end: number,
    route: Named,
    sender: Named,
    origin: MessageOrigin,
  ) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.route = route;
    this.sender = sender;
    this.origin = origin;
  }

  get topic(): string {
    return this.route.text;
  }

  /** The agentId of the publisher, vouched for by the broker; `flowbus` for the bus itself. */
  get from(): string {
    return this.sender.text;
  }

  /** A view, not a copy. */
  get payload(): Uint8Array {
    return this.bytes.subarray(this.end - this.payloadSize, this.end);
  }

  get payloadSize(): number {
    return readU32(this.bytes, this.start + OFFSET_PAYLOAD_SIZE);
  }

  /** What the publisher said the payload is. */
  get encoding(): (typeof ENCODINGS)[number] {
    return ENCODINGS[this.bytes[this.start + OFFSET_LANE] >>> 3];
  }

  /** The payload as UTF-8; malformed parts become U+FFFD. */
  text(): string {
    return decoder.decode(this.payload);
  }

  /** The payload parsed. Throws BAD_JSON. */
  json<T = unknown>(): T {
    try {
      return JSON.parse(this.text()) as T;
    } catch (cause) {
      throw new FlowbusError(
        'BAD_JSON',
        `The payload of a message on ${this.topic} from ${this.from} is not JSON: ${describe(cause)}`,
        { cause },
      );
    }
  }

  /** User headers; a new object at each call. */
  get headers(): Record<string, string> {
    return this.extensions().headers ?? {};
  }

  /** The publisher's clock at the time of publishing: microseconds since the Unix epoch. */
  get timestamp(): number {
    return readU64(this.bytes, this.start + OFFSET_TIMESTAMP);
  }

  /**
   * Counts up for each publisher, topic and priority, as long as the publisher's session lasts; wraps after
   * 4,294,967,295. Holes are nothing to worry about: one subscribes late, messages expire, topics are forgotten,
   * and what enters by the JSON or HTTP door is counted over all topics.
   */
  get sequence(): number {
    return readU32(this.bytes, this.start + OFFSET_SEQUENCE);
  }

  get priority(): Priority {
    return LANES[this.lane];
  }

  /** The publisher compressed the payload, in a way that the agents agreed on. */
  get compressed(): boolean {
    return (this.bytes[this.start + OFFSET_FLAGS] & Flag.compressed) !== 0;
  }

  /** The priority as a number, 0 critical to 4 background. */
  get lane(): number {
    return this.bytes[this.start + OFFSET_LANE] & 7;
  }

  /** Where the sender awaits the answer; null when it awaits none. */
  get replyTo(): string | null {
    return this.extensions().replyTo;
  }

  /** What the answer has to repeat, 1 to 64 bytes; null without. A view, not a copy. */
  get correlation(): Uint8Array | null {
    return this.extensions().correlation;
  }

  /** The publisher's name for the message, 1 to 64 bytes; null without. A view, not a copy. */
  get messageId(): Uint8Array | null {
    return this.extensions().messageId;
  }

  /** The ordering key; null without. */
  get key(): string | null {
    return this.extensions().key;
  }

  protected get hasKey(): boolean {
    return this.extensions().has(Extension.key);
  }

  /** W3C trace context; null without. */
  get traceparent(): string | null {
    return this.extensions().traceparent;
  }

  /**
   * Answers whoever sent this. False: slow down, as with `publish()`. Throws BAD_OPTION when no answer is wanted
   * (`replyTo` is null), and whatever `publish()` throws.
   */
  reply(payload: Payload, options?: ReplyOptions): boolean {
    return this.origin.reply(this, payload, options);
  }

  /** How often somebody may have got it before; 0 for live messages, which come once at most. */
  get redelivered(): number {
    return 0;
  }

  /**
   * The work is done: the mailbox that it came from need not keep it. Resolves at once: the ack leaves within a millisecond; live messages need
   * none. Handlers that return, or whose promise resolves, have done it with that.
   */
  ack(): Promise<void> {
    return Promise.resolve();
  }

  /** The work failed, for a reason: the mailbox delivers it again, after a while that grows. Live messages do not come again. */
  nack(_reason?: string): Promise<void> {
    return Promise.resolve();
  }

  /** It was published before this subscription began, or while its agent was away, and comes out of the broker's history. */
  get replayed(): boolean {
    return false;
  }

  /** It is the last value that was published on its topic with `retain`. */
  get retained(): boolean {
    return false;
  }

  /** For the SDK: whether a subscription that begins in the past takes it; those have what it is about already, or get it as such. */
  isFor(_replaying: Replaying): boolean {
    return true;
  }

  private extensions(): Extensions {
    const { bytes, start } = this;
    if (bytes[start + OFFSET_FLAGS] & Flag.extensions) {
      reader.read(
        bytes,
        start + HEADER_SIZE + bytes[start + OFFSET_TOPIC_LENGTH],
        this.end - this.payloadSize,
      );
    } else reader.clear();
    return reader;
  }
}

/** A live message that stands in the broker's history. */
export class PlacedMessage extends Message {
  /** Of the subscriptions that begin in the past, those that take it. */
  takers: readonly Replaying[] = [];

  override isFor(replaying: Replaying): boolean {
    return this.takers.includes(replaying);
  }
}

/** A message of the past. */
export class PastMessage extends Message {
  /** The stream that it is for. */
  readonly stream: number;
  /** Milliseconds from its arrival at the node until it was sent on. */
  readonly age: number;
  private readonly kind: number;

  /** For the SDK. */
  constructor(
    bytes: Uint8Array,
    start: number,
    end: number,
    route: Named,
    sender: Named,
    origin: MessageOrigin,
    { stream, age, kind }: { stream: number; age: number; kind: number },
  ) {
    super(bytes, start, end, route, sender, origin);
    this.stream = stream;
    this.age = age;
    this.kind = kind;
  }

  override get replayed(): boolean {
    return this.kind === PastKind.replayed;
  }

  override get retained(): boolean {
    return this.kind === PastKind.retained;
  }
}
