/**
 * What the ids of another node stand for: they are unique on their own node alone, so each link has tables that lead from them to
 * ids of this one. Senders of other nodes get numbers of the gateway's here, when they are first heard of in a message.
 */
import type { Topic } from '../lib/topics/table.js';
import { senderSeed } from '../lib/wire/checksum.js';
import { utf8 } from '../lib/wire/text.js';
import type { Exchange, Feeder } from './exchange.js';
import type { Route } from './route.js';
import { SENDERS_PER_WORKER, type SenderId } from './sender-ids.js';
import type { TopicId } from './topic-ids.js';

/** Ids of one node that are remembered, of topics and of senders. Who has more is asked to announce them anew. */
export const MAX_FOREIGN_IDS = 131_072;
/** A sender that was quiet for so long (ms) may have to give its number to another: no frame with it is on its way any more. */
const IDLE = 10_000;
/** How many numbers are taken back at a time, and how long it is not tried again when none could be (ms). */
const TAKEN_BACK = 1024;
const NONE_LEFT = 1000;

export class ForeignTopic {
  readonly text: string;
  /** The text as UTF-8. */
  readonly bytes: Uint8Array;
  /** Null: this worker has no id left, and the topic is spelled out. */
  readonly id: TopicId<Route> | null;
  #topic: Topic<Route> | null;

  constructor(text: string, topic: Topic<Route> | null, id: TopicId<Route> | null) {
    this.text = text;
    this.bytes = utf8(text);
    this.id = id;
    this.#topic = topic;
  }

  route(exchange: Exchange): Route {
    let topic = this.#topic;
    if (topic === null || topic.index < 0) {
      topic = exchange.topic(this.text);
      this.#topic = topic;
    }
    return topic === null ? exchange.route(this.text) : exchange.routeOf(topic);
  }
}

/** An agent, or a door, of another node. */
export class ForeignSender implements Feeder {
  readonly number: number;
  readonly text: string;
  /** Its part of the seeds of checksums. */
  readonly seed: number;
  /** Its number here; null: it has none at the moment. */
  id: SenderId | null;
  /** When it last needed that (monotonic ms). */
  usedAt: number;
  /** How many slow takers here hold it back. */
  holds: number;
  readonly #onHold: (sender: ForeignSender) => void;

  constructor(number: number, text: string, onHold: (sender: ForeignSender) => void) {
    this.number = number;
    this.text = text;
    this.seed = senderSeed(text);
    this.id = null;
    this.usedAt = 0;
    this.holds = 0;
    this.#onHold = onHold;
  }

  hold(): void {
    if (++this.holds === 1) this.#onHold(this);
  }

  unhold(): void {
    if (this.holds !== 0 && --this.holds === 0) this.#onHold(this);
  }
}

/** The numbers that the senders of all other nodes have here. */
export class ForeignSenders {
  readonly #exchange: Exchange;
  /** By index of the number: at most 65,535. */
  readonly #bearers: (ForeignSender | undefined)[];
  #noneLeftAt: number;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#bearers = [];
    this.#noneLeftAt = Number.NEGATIVE_INFINITY;
  }

  bearer(number: number): ForeignSender | null {
    const bearer = this.#bearers[number & SENDERS_PER_WORKER];
    return bearer?.id?.number === number ? bearer : null;
  }

  /** Its number here; null: all are in use. */
  idOf(sender: ForeignSender): SenderId | null {
    const { senders, now } = this.#exchange;
    sender.usedAt = now;
    if (sender.id !== null) return sender.id;
    let id = senders.allot(sender.text, now);
    if (id === null && this.#takeBack()) id = senders.allot(sender.text, now);
    if (id === null) return null;
    sender.id = id;
    this.#bearers[id.number & SENDERS_PER_WORKER] = sender;
    return id;
  }

  giveBack(sender: ForeignSender, since: number): void {
    const { id } = sender;
    if (id === null) return;
    sender.id = null;
    this.#bearers[id.number & SENDERS_PER_WORKER] = undefined;
    this.#exchange.senders.giveBack(id, since);
  }

  /** Takes their numbers from those that have been quiet longest. */
  #takeBack(): boolean {
    const { now, clock } = this.#exchange;
    if (clock - this.#noneLeftAt < NONE_LEFT) return false;
    const idle = this.#bearers.filter(
      (sender) => sender !== undefined && sender.holds === 0 && (now - sender.usedAt) >>> 0 >= IDLE,
    ) as ForeignSender[];
    idle.sort((a, b) => (a.usedAt - b.usedAt) | 0);
    for (const sender of idle.slice(0, TAKEN_BACK)) this.giveBack(sender, sender.usedAt);
    if (idle.length === 0) this.#noneLeftAt = clock;
    return idle.length !== 0;
  }
}

/** The ids of one node. */
export class ForeignIds {
  readonly #exchange: Exchange;
  readonly #numbers: ForeignSenders;
  readonly #onHold: (sender: ForeignSender) => void;
  readonly #topics: Map<number, ForeignTopic>;
  readonly #senders: Map<number, ForeignSender>;

  /** `onHold`: a sender is to be held back, or no more. */
  constructor(exchange: Exchange, numbers: ForeignSenders, onHold: (sender: ForeignSender) => void) {
    this.#exchange = exchange;
    this.#numbers = numbers;
    this.#onHold = onHold;
    this.#topics = new Map();
    this.#senders = new Map();
  }

  topic(id: number): ForeignTopic | undefined {
    return this.#topics.get(id);
  }

  sender(number: number): ForeignSender | undefined {
    return this.#senders.get(number);
  }

  /** `text` is a topic that agents may publish on. */
  learnTopic(id: number, text: string): void {
    if (this.#topics.get(id)?.text === text) return;
    // What is unknown then is asked for again.
    if (this.#topics.size >= MAX_FOREIGN_IDS) this.#topics.clear();
    const topic = this.#exchange.topic(text);
    this.#topics.set(id, new ForeignTopic(text, topic, topic === null ? null : this.#exchange.idOf(topic)));
  }

  learnSender(number: number, text: string): void {
    const known = this.#senders.get(number);
    if (known?.text === text) return;
    if (known !== undefined) this.#forget(known);
    else if (this.#senders.size >= MAX_FOREIGN_IDS) this.forgetSenders();
    this.#senders.set(number, new ForeignSender(number, text, this.#onHold));
  }

  forgetSenders(): void {
    for (const sender of this.#senders.values()) this.#forget(sender);
    this.#senders.clear();
  }

  #forget(sender: ForeignSender): void {
    if (sender.holds !== 0) {
      sender.holds = 0;
      this.#onHold(sender);
    }
    this.#numbers.giveBack(sender, this.#exchange.now);
  }
}
