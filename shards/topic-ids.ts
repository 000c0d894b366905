/**
 * Topic ids, unique on their node: worker slot (8 bits) | incarnation (4 bits) | index (20 bits). The worker that sees
 * a topic first allots one; the others learn it from the announcement. The incarnation keeps an id of a dead
 * worker from being taken for one of its successor.
 */
import type { Topic } from '../lib/topics/table.js';
import { topicAnnouncement } from '../lib/wire/announcement.js';

const INDEX_BITS = 20;

/** `R`: what the table of topics keeps with each. */
export class TopicId<R = unknown> {
  readonly id: number;
  readonly topic: Topic<R>;
  /** Dense in this worker: the bit in the bitmaps of who knows it. */
  readonly index: number;
  readonly announcement: Uint8Array;
  /** Where its losses are counted; -1 before the first one. */
  ledgerRow: number;

  constructor(id: number, topic: Topic<R>, index: number) {
    this.id = id;
    this.topic = topic;
    this.index = index;
    this.announcement = topicAnnouncement(id, topic.bytes);
    this.ledgerRow = -1;
  }
}

export class TopicIds<R = unknown> {
  readonly #prefix: number;
  readonly #limit: number;
  /** By worker and incarnation, then by index; at most `limit` of each, and two incarnations of each worker. */
  readonly #families: (TopicId<R>[] | undefined)[];
  /** How many ids each topic has. */
  readonly #uses: Map<Topic<R>, number>;
  readonly #onUnused: (topic: Topic<R>) => void;
  #count: number;

  /**
   * `limit`: how many ids each worker may allot (at most 2^20). `onUnused` is called with a topic whose last id is gone: that of
   * a worker that has restarted twice since.
   */
  constructor(slot: number, incarnation: number, limit: number, onUnused: (topic: Topic<R>) => void) {
    this.#prefix = familyOf(slot, incarnation);
    this.#limit = limit;
    this.#families = [];
    this.#uses = new Map();
    this.#onUnused = onUnused;
    this.#families[this.#prefix] = [];
    this.#count = 0;
  }

  /** How many ids this worker has allotted. */
  get size(): number {
    return this.#families[this.#prefix]!.length;
  }

  find(id: number): TopicId<R> | undefined {
    const family = this.#families[id >>> INDEX_BITS];
    return family === undefined ? undefined : family[id & ((1 << INDEX_BITS) - 1)];
  }

  /** An id of this worker for `topic`; null when all are taken, and the topic stays spelled out. */
  allot(topic: Topic<R>): TopicId<R> | null {
    const family = this.#families[this.#prefix]!;
    if (family.length >= this.#limit) return null;
    const entry = new TopicId<R>(((this.#prefix << INDEX_BITS) | family.length) >>> 0, topic, this.#count++);
    family.push(entry);
    topic.id = entry.id;
    this.#uses.set(topic, (this.#uses.get(topic) ?? 0) + 1);
    return entry;
  }

  /** Another worker announced `id`. */
  learn(id: number, topic: Topic<R>): TopicId<R> {
    const key = id >>> INDEX_BITS;
    let family = this.#families[key];
    if (family === undefined) {
      family = [];
      this.#families[key] = family;
      this.#forgetOlder(key);
    }
    const entry = new TopicId<R>(id, topic, this.#count++);
    this.#uses.set(topic, (this.#uses.get(topic) ?? 0) + 1);
    family[id & ((1 << INDEX_BITS) - 1)] = entry;
    return entry;
  }

  /** Frames with ids of the incarnation before may still be on their way; those of older ones are not. */
  #forgetOlder(key: number): void {
    const newest = key & 15;
    for (let incarnation = 0; incarnation < 16; incarnation++) {
      if (incarnation === newest || incarnation === ((newest - 1) & 15)) continue;
      const old = this.#families[(key & ~15) | incarnation];
      if (old === undefined) continue;
      this.#families[(key & ~15) | incarnation] = undefined;
      for (const { topic } of old.filter(Boolean)) this.#release(topic);
    }
  }

  #release(topic: Topic<R>): void {
    const uses = this.#uses.get(topic)! - 1;
    if (uses > 0) {
      this.#uses.set(topic, uses);
      return;
    }
    this.#uses.delete(topic);
    this.#onUnused(topic);
  }

  /** Whether `id` may be announced by worker `slot`: nobody speaks for another. */
  belongs(id: number, slot: number): boolean {
    return id >>> 24 === slot + 1 && (id & ((1 << INDEX_BITS) - 1)) < this.#limit;
  }
}

/** Slots count from one here, so that no id is zero, which means "spelled out". */
function familyOf(slot: number, incarnation: number): number {
  return ((slot + 1) << 4) | (incarnation & 15);
}
