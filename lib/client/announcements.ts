/** What the broker has announced on this connection: which topic and which agent the numbers in headers stand for. */
import { FlowbusError } from '../errors.js';
import { decodeTopic, REPLY_PREFIX } from '../topics/topic.js';
import { crc32 } from '../wire/checksum.js';
import { equals, utf8 } from '../wire/text.js';
import type { ActiveSubscription, Wanted } from './subscriptions.js';

/**
 * Announced topics, and senders, at most. A broker that announces more is left with LIMIT_REACHED; the next
 * connection begins with empty tables.
 */
export const MAX_ANNOUNCED = 262_144;

/** Topics, and senders, that are spelled out and remembered, at most; the map is simply begun anew when it is full. */
const MAX_SPELLED = 4096;

export class Sender {
  readonly number: number;
  readonly text: string;
  /** CRC-32 of the agentId and a zero byte: where the checksum seed of each of its topics begins. */
  readonly crc: number;

  constructor(number: number, text: string) {
    this.number = number;
    this.text = text;
    const bytes = utf8(`${text}\0`);
    this.crc = crc32(bytes, 0, bytes.length, 0);
  }
}

/** The bus itself. */
const BUS = new Sender(0, 'flowbus');

/** Where messages on a topic go. */
export const RouteKind = {
  subscriptions: 0,
  /** To this agent's own address. */
  own: 1,
  /** To one of this agent's reply addresses. */
  reply: 2,
  /** Out of a mailbox, whatever its topic. */
  mailbox: 3,
  /** A message of the past, likewise. */
  past: 4,
} as const;
export type RouteKind = (typeof RouteKind)[keyof typeof RouteKind];

export class IncomingTopic implements Wanted {
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly kind: RouteKind;
  targets: readonly ActiveSubscription[];
  version: number;
  /** The sender of the last message, and the checksum seed of that pair. */
  private sender: Sender | null;
  private seed: number;

  constructor(text: string, kind: RouteKind) {
    this.text = text;
    this.bytes = utf8(text);
    this.kind = kind;
    this.targets = [];
    this.version = -1;
    this.sender = null;
    this.seed = 0;
  }

  /** The seed of `sender` on this topic. Other than the last is computed: 1 ns per byte is less than a map costs. */
  seedOf(sender: Sender): number {
    if (sender === this.sender) return this.seed;
    this.sender = sender;
    this.seed = crc32(this.bytes, 0, this.bytes.length, sender.crc);
    return this.seed;
  }
}

export class Announcements {
  private readonly ownAddress: string;
  private readonly topics: Map<number, IncomingTopic>;
  private readonly senders: Map<number, Sender>;
  private readonly spelled: Map<string, IncomingTopic>;
  private readonly named: Map<string, Sender>;
  // The last of each, because neighbours in a batch are mostly alike.
  private lastId: number;
  private lastTopic: IncomingTopic | null;
  private lastSender: Sender;
  private lastSpelled: IncomingTopic | null;

  constructor(ownAddress: string) {
    this.ownAddress = ownAddress;
    this.topics = new Map();
    this.senders = new Map([[0, BUS]]);
    this.spelled = new Map();
    this.named = new Map();
    this.lastId = 0;
    this.lastTopic = null;
    this.lastSender = BUS;
    this.lastSpelled = null;
  }

  /** Numbers belong to a connection. */
  reset(): void {
    this.topics.clear();
    this.senders.clear();
    this.senders.set(0, BUS);
    this.lastId = 0;
    this.lastTopic = null;
    this.lastSender = BUS;
  }

  /** The topic of an announced id. */
  topic(id: number): IncomingTopic | null {
    if (id === this.lastId) return this.lastTopic;
    const topic = this.topics.get(id);
    if (topic === undefined) return null;
    this.lastId = id;
    this.lastTopic = topic;
    return topic;
  }

  sender(number: number): Sender | null {
    if (number === this.lastSender.number) return this.lastSender;
    const sender = this.senders.get(number);
    if (sender === undefined) return null;
    this.lastSender = sender;
    return sender;
  }

  /** The topic spelled out in `b[start, end)`; null when that is not UTF-8. */
  spelledOut(b: Uint8Array, start: number, end: number): IncomingTopic | null {
    const last = this.lastSpelled;
    if (last !== null && equals(last.bytes, b, start, end)) return last;
    const text = decodeTopic(b, start, end);
    if (text === null) return null;
    const topic = this.topicOf(text);
    this.lastSpelled = topic;
    return topic;
  }

  topicOf(text: string): IncomingTopic {
    let topic = this.spelled.get(text);
    if (topic === undefined) {
      if (this.spelled.size >= MAX_SPELLED) this.spelled.clear();
      topic = new IncomingTopic(text, this.kindOf(text));
      this.spelled.set(text, topic);
    }
    return topic;
  }

  /** A sender that is named, not numbered. */
  senderOf(text: string): Sender {
    let sender = this.named.get(text);
    if (sender === undefined) {
      if (this.named.size >= MAX_SPELLED) this.named.clear();
      sender = new Sender(0, text);
      this.named.set(text, sender);
    }
    return sender;
  }

  /** `id` stands for `text` from now on. Throws LIMIT_REACHED. */
  addTopic(id: number, text: string): void {
    const known = this.topics.get(id);
    if (known?.text === text) return;
    if (known === undefined && this.topics.size >= MAX_ANNOUNCED) throw tooMany('topics');
    this.topics.set(id, new IncomingTopic(text, this.kindOf(text)));
    this.lastId = 0;
    this.lastTopic = null;
  }

  /** Throws LIMIT_REACHED. */
  addSender(number: number, text: string): void {
    const known = this.senders.get(number);
    if (number === 0 || known?.text === text) return;
    if (known === undefined && this.senders.size > MAX_ANNOUNCED) throw tooMany('senders');
    this.senders.set(number, new Sender(number, text));
    this.lastSender = BUS;
  }

  private kindOf(text: string): RouteKind {
    if (text === this.ownAddress) return RouteKind.own;
    return text.startsWith(REPLY_PREFIX) ? RouteKind.reply : RouteKind.subscriptions;
  }
}

function tooMany(what: string): FlowbusError {
  return new FlowbusError('LIMIT_REACHED', `The broker announced more than ${MAX_ANNOUNCED} ${what}.`);
}
