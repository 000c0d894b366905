/**
 * The topics that a worker knows, each with its cached route: bounded, and told precisely when a pattern comes or goes.
 *
 * Two structures over the same topics: a hash map from text, and a trie by level for `invalidate`. Unpinned
 * topics also form a ring of age for second-chance eviction (the clock algorithm, Corbató 1968, as a queue);
 * pinned ones stay out of it, so that nothing ever steps over them.
 */
import { MAX_TOPIC_LEVELS } from '../wire/frame.js';
import { isReserved, isWildcard } from './topic.js';

const encoder = new TextEncoder();

/** A known topic. Its owner (the table's) sets `route`, `id` and `hits`. */
export class Topic<R> {
  readonly text: string;
  /** The text as UTF-8, as it stands on the wire; 1 to 255 bytes. Not to be changed. */
  readonly bytes: Uint8Array;
  /** 0 to capacity - 1, reused after eviction; -1 once this topic has been evicted. */
  index: number;
  /** Where messages on this topic go; null = not known, look it up. Cleared by `invalidate` and at eviction. */
  route: R | null = null;
  /** The node-wide id under which it is announced; 0 = none. */
  id = 0;
  /** How often it was seen. A change counts as use when the next victim is sought. */
  hits = 0;
  /** Pinned topics are not evicted. Changed by `pin` and `unpin` alone. */
  pinned = false;
  /** Used since the clock last came by. `get` sets it. */
  touched = false;
  // What follows belongs to the table.
  /** `hits` when the clock last came by. */
  hitsSeen = 0;
  older: Topic<R> | null = null;
  newer: Topic<R> | null = null;
  readonly node: LevelNode<R>;

  constructor(text: string, index: number, node: LevelNode<R>) {
    this.text = text;
    this.bytes = encoder.encode(text);
    this.index = index;
    this.node = node;
  }
}

class LevelNode<R> {
  readonly level: string;
  readonly parent: LevelNode<R> | null;
  children: Map<string, LevelNode<R>> | null = null;
  topic: Topic<R> | null = null;

  constructor(level: string, parent: LevelNode<R> | null) {
    this.level = level;
    this.parent = parent;
  }
}

/**
 * A pattern as a set machine: bit i means "the first i pattern levels are matched", so that a walk carries all
 * readings of `**` in one integer and enters every trie node at most once. 16 levels need 17 bits.
 */
class Levels {
  readonly texts: string[];
  readonly accept: number;
  /** Bits of the positions in front of a `*` or `**`. */
  readonly wild: number;
  /** Bits of the positions in front of a `**`. */
  readonly deep: number;
  /** Position i and those behind it that a `**` of zero levels reaches. */
  readonly from: number[];

  constructor(pattern: string) {
    this.texts = pattern.split('.');
    const count = this.texts.length;
    this.accept = 1 << count;
    this.from = new Array<number>(count + 1).fill(0);
    this.from[count] = this.accept;
    let wild = 0;
    let deep = 0;
    for (let i = count - 1; i >= 0; i--) {
      const bit = 1 << i;
      this.from[i] = bit;
      if (this.texts[i] === '*') {
        wild |= bit;
      } else if (this.texts[i] === '**') {
        wild |= bit;
        deep |= bit;
        this.from[i] |= this.from[i + 1];
      }
    }
    this.wild = wild;
    this.deep = deep;
  }

  /** Where the wildcards among `positions` lead over one more level, whatever its text. */
  overAny(positions: number): number {
    let reached = 0;
    for (let rest = positions & this.wild; rest !== 0; rest &= rest - 1) {
      const i = 31 - Math.clz32(rest & -rest);
      reached |= this.from[(this.deep & (1 << i)) !== 0 ? i : i + 1];
    }
    return reached;
  }

  /** Where the literals among `positions` lead over a level with this text. */
  over(positions: number, text: string): number {
    let reached = 0;
    for (let rest = positions & ~this.wild & ~this.accept; rest !== 0; rest &= rest - 1) {
      const i = 31 - Math.clz32(rest & -rest);
      if (this.texts[i] === text) reached |= this.from[i + 1];
    }
    return reached;
  }
}

/** At most `capacity` topics. All topics and patterns given to it must be valid. */
export class TopicTable<R> {
  /** The most topics it holds. */
  readonly capacity: number;
  private readonly onEvict: (topic: Topic<R>) => void;
  private readonly byText = new Map<string, Topic<R>>();
  private readonly byIndex: Topic<R>[] = [];
  private readonly root = new LevelNode<R>('', null);
  private oldest: Topic<R> | null = null;
  private newest: Topic<R> | null = null;

  /**
   * `capacity`: an integer of at least 1, else a RangeError. `onEvict` is called with each topic that has to make
   * room, after the table forgot its text, while its `index`, `id` and `route` still stand; it must not throw nor
   * change the table.
   */
  constructor(capacity: number, onEvict: (topic: Topic<R>) => void) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`capacity must be an integer of at least 1, not ${capacity}`);
    }
    this.capacity = capacity;
    this.onEvict = onEvict;
  }

  get size(): number {
    return this.byText.size;
  }

  /** The topic of this text; that it was asked for counts as use. */
  get(text: string): Topic<R> | undefined {
    const topic = this.byText.get(text);
    if (topic !== undefined) topic.touched = true;
    return topic;
  }

  /** The topic with this index; counts as no use (its owner counts `hits`). */
  at(index: number): Topic<R> | undefined {
    return this.byIndex[index];
  }

  /**
   * The topic of this text, made if need be. A full table evicts the topic longest without use; null when all
   * are pinned. A new one has not been used yet: those that are seen once go before those that are seen again.
   */
  add(text: string): Topic<R> | null {
    const known = this.get(text);
    if (known !== undefined) return known;
    let index = this.byText.size;
    if (index >= this.capacity) {
      const victim = this.nextVictim();
      if (victim === null) return null;
      index = victim.index;
      this.evict(victim);
    }
    const node = this.grow(text);
    const topic = new Topic<R>(text, index, node);
    node.topic = topic;
    this.byText.set(text, topic);
    this.byIndex[index] = topic;
    this.append(topic);
    return topic;
  }

  /** Keeps the topic from eviction until `unpin`. Pins are not counted; an evicted topic stays evicted. */
  pin(topic: Topic<R>): void {
    if (topic.pinned || topic.index < 0) return;
    topic.pinned = true;
    this.unlink(topic);
  }

  /** Lets the topic be evicted again, as if it had just been used. */
  unpin(topic: Topic<R>): void {
    if (!topic.pinned) return;
    topic.pinned = false;
    topic.touched = true;
    this.append(topic);
  }

  /**
   * Clears `route` of exactly those topics that `pattern` matches; returns how many had one. Follows literal
   * levels by hash and looks at every child only at a wildcard: `a.**` costs what lies below `a`, `*.a` one
   * look-up per first level, and `**.a` has to walk the whole table.
   */
  invalidate(pattern: string): number {
    if (!isWildcard(pattern)) {
      const topic = this.byText.get(pattern);
      return topic === undefined ? 0 : clearRoute(topic);
    }
    const levels = new Levels(pattern);
    if (levels.texts.length > MAX_TOPIC_LEVELS) return 0;
    return this.clear(this.root, levels, levels.from[0]);
  }

  /** Clears every route, those of reserved topics too, which no pattern reaches in one call. */
  invalidateAll(): number {
    let cleared = 0;
    for (const topic of this.byIndex) cleared += clearRoute(topic);
    return cleared;
  }

  private clear(node: LevelNode<R>, levels: Levels, positions: number): number {
    let cleared = 0;
    if ((positions & levels.accept) !== 0 && node.topic !== null) cleared += clearRoute(node.topic);
    if (node.children === null) return cleared;
    const base = levels.overAny(positions);
    if (base === 0) {
      // Without a wildcard here there is one position at most: two only ever stem from a `**`, which stays.
      const literal = positions & ~levels.accept;
      if (literal === 0) return cleared;
      const i = 31 - Math.clz32(literal);
      const child = node.children.get(levels.texts[i]);
      return child === undefined ? cleared : cleared + this.clear(child, levels, levels.from[i + 1]);
    }
    const first = node === this.root;
    for (const child of node.children.values()) {
      if (first && isReserved(child.level)) continue;
      cleared += this.clear(child, levels, base | levels.over(positions, child.level));
    }
    return cleared;
  }

  /** Each topic passed over had been used since the last pass, so the passes are paid for by the uses. */
  private nextVictim(): Topic<R> | null {
    for (;;) {
      const topic = this.oldest;
      if (topic === null) return null;
      if (!topic.touched && topic.hits === topic.hitsSeen) return topic;
      topic.touched = false;
      topic.hitsSeen = topic.hits;
      this.unlink(topic);
      this.append(topic);
    }
  }

  private evict(topic: Topic<R>): void {
    this.byText.delete(topic.text);
    this.unlink(topic);
    this.prune(topic.node);
    this.onEvict(topic);
    topic.index = -1;
    topic.route = null;
  }

  private grow(text: string): LevelNode<R> {
    let node = this.root;
    for (const level of text.split('.')) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = new LevelNode(level, node);
        node.children.set(level, child);
      }
      node = child;
    }
    return node;
  }

  private prune(leaf: LevelNode<R>): void {
    leaf.topic = null;
    let node = leaf;
    while (node.parent !== null && node.topic === null && node.children === null) {
      const siblings = node.parent.children;
      if (siblings !== null) {
        siblings.delete(node.level);
        if (siblings.size === 0) node.parent.children = null;
      }
      node = node.parent;
    }
  }

  private append(topic: Topic<R>): void {
    topic.older = this.newest;
    topic.newer = null;
    if (this.newest === null) this.oldest = topic;
    else this.newest.newer = topic;
    this.newest = topic;
  }

  private unlink(topic: Topic<R>): void {
    if (topic.older === null) this.oldest = topic.newer;
    else topic.older.newer = topic.newer;
    if (topic.newer === null) this.newest = topic.older;
    else topic.newer.older = topic.older;
    topic.older = null;
    topic.newer = null;
  }
}

function clearRoute<R>(topic: Topic<R>): number {
  if (topic.route === null) return 0;
  topic.route = null;
  return 1;
}
