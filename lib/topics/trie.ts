/**
 * Patterns and who wants them: from a topic to every value whose pattern matches it.
 *
 * Patterns without a wildcard stand in one hash map and cost one look-up. The others form a trie with a map
 * per node, so a look-up follows the topic's own levels and never depends on how many patterns there are
 * beside its path. Looked up when a topic's route is first needed, not for each message.
 *
 * Bounds: as many entries as were added; whoever adds limits the patterns of each connection.
 */
import { MAX_TOPIC_LEVELS } from '../wire/frame.js';
import { isReserved, isWildcard } from './topic.js';

/** From this many values on, a map of places replaces the search: the crowd on one pattern may leave at once. */
const SEARCHED_VALUES = 16;

/** Several values of one pattern: a set that is walked as a plain array, without an iterator. */
class Crowd<T> {
  readonly items: T[];
  private places: Map<T, number> | null = null;

  constructor(first: T, second: T) {
    this.items = [first, second];
  }

  private placeOf(value: T): number {
    return this.places === null ? this.items.indexOf(value) : (this.places.get(value) ?? -1);
  }

  add(value: T): boolean {
    if (this.placeOf(value) >= 0) return false;
    this.items.push(value);
    if (this.places !== null) {
      this.places.set(value, this.items.length - 1);
    } else if (this.items.length > SEARCHED_VALUES) {
      this.places = new Map(this.items.map((item, place) => [item, place]));
    }
    return true;
  }

  remove(value: T): boolean {
    const place = this.placeOf(value);
    if (place < 0) return false;
    const last = this.items.pop() as T;
    this.places?.delete(value);
    if (place < this.items.length) {
      this.items[place] = last;
      this.places?.set(last, place);
    }
    return true;
  }
}

/** The values of one pattern. Nearly always there is one, which stands for itself: each object less is a cache line less to wait for. */
type Values<T> = T | Crowd<T>;

/** Null: the value was there already. */
function withValue<T>(values: Values<T>, value: T): Values<T> | null {
  if (values instanceof Crowd) return values.add(value) ? values : null;
  return values === value ? null : new Crowd(values, value);
}

/** What is left, null for nothing; undefined: the value was not there. */
function withoutValue<T>(values: Values<T>, value: T): Values<T> | null | undefined {
  if (!(values instanceof Crowd)) return values === value ? null : undefined;
  if (!values.remove(value)) return undefined;
  return values.items.length === 1 ? values.items[0] : values;
}

function countOf<T>(values: Values<T> | null): number {
  if (values === null) return 0;
  return values instanceof Crowd ? values.items.length : 1;
}

function append<T>(values: Values<T>, into: T[]): void {
  if (!(values instanceof Crowd)) {
    into.push(values);
    return;
  }
  const { items } = values;
  for (let i = 0; i < items.length; i++) into.push(items[i]);
}

class PatternNode<T> {
  children: Map<string, PatternNode<T>> | null = null;
  /** The child for `*`. */
  star: PatternNode<T> | null = null;
  /** The child for `**`. */
  deep: PatternNode<T> | null = null;
  values: Values<T> | null = null;
  /**
   * Of a `**` node, during one look-up: bit i is set when it has been entered with i levels consumed. Only these
   * nodes can be reached on several ways; entering each at most once per level is what bounds a look-up.
   */
  entered = 0;

  child(level: string): PatternNode<T> | null {
    if (level === '*') return this.star;
    if (level === '**') return this.deep;
    return this.children?.get(level) ?? null;
  }

  grow(level: string): PatternNode<T> {
    const found = this.child(level);
    if (found !== null) return found;
    const node = new PatternNode<T>();
    if (level === '*') {
      this.star = node;
    } else if (level === '**') {
      this.deep = node;
    } else {
      this.children ??= new Map();
      this.children.set(level, node);
    }
    return node;
  }

  cut(level: string): void {
    if (level === '*') {
      this.star = null;
    } else if (level === '**') {
      this.deep = null;
    } else if (this.children !== null) {
      this.children.delete(level);
      if (this.children.size === 0) this.children = null;
    }
  }

  isEmpty(): boolean {
    return this.children === null && this.star === null && this.deep === null && this.values === null;
  }
}

/**
 * A set of (pattern, value) pairs, values told apart by identity and never null. All patterns and topics
 * given to it must be valid (`patternProblem`, `topicProblem`).
 */
export class PatternTrie<T extends NonNullable<unknown>> {
  private readonly exact = new Map<string, Values<T>>();
  private root = new PatternNode<T>();
  private wildcards = 0;
  private pairs = 0;
  // The look-up in hand: fields, so that the walk needs neither closure nor long argument lists.
  private levels: string[] = [];
  private into: T[] = [];
  private readonly dirty: PatternNode<T>[] = [];
  private walked = 0;

  /** How many (pattern, value) pairs there are. */
  get size(): number {
    return this.pairs;
  }

  /** How many nodes the latest look-up entered, 0 when the hash map alone answered; at most 17 for each node. */
  get steps(): number {
    return this.walked;
  }

  /** False when the pair was there already. */
  add(pattern: string, value: T): boolean {
    if (isWildcard(pattern)) {
      let node = this.root;
      for (const level of pattern.split('.')) node = node.grow(level);
      const values = node.values === null ? value : withValue(node.values, value);
      if (values === null) return false;
      node.values = values;
      this.wildcards++;
    } else {
      const before = this.exact.get(pattern);
      const values = before === undefined ? value : withValue(before, value);
      if (values === null) return false;
      if (values !== before) this.exact.set(pattern, values);
    }
    this.pairs++;
    return true;
  }

  /** False when there was no such pair. Nodes that nothing needs any more go with it. */
  remove(pattern: string, value: T): boolean {
    if (isWildcard(pattern)) {
      const levels = pattern.split('.');
      const path = [this.root];
      for (const level of levels) {
        const node = path[path.length - 1].child(level);
        if (node === null) return false;
        path.push(node);
      }
      const last = path[levels.length];
      const left = last.values === null ? undefined : withoutValue(last.values, value);
      if (left === undefined) return false;
      last.values = left;
      for (let i = levels.length; i > 0 && path[i].isEmpty(); i--) path[i - 1].cut(levels[i - 1]);
      this.wildcards--;
    } else {
      const values = this.exact.get(pattern);
      const left = values === undefined ? undefined : withoutValue(values, value);
      if (left === undefined) return false;
      if (left === null) this.exact.delete(pattern);
      else if (left !== values) this.exact.set(pattern, left);
    }
    this.pairs--;
    return true;
  }

  /** How many values stand under exactly this pattern: 0 → 1 is the moment to announce interest, 1 → 0 to withdraw it. */
  count(pattern: string): number {
    if (!isWildcard(pattern)) return countOf(this.exact.get(pattern) ?? null);
    let node: PatternNode<T> | null = this.root;
    for (const level of pattern.split('.')) {
      node = node.child(level);
      if (node === null) return 0;
    }
    return countOf(node.values);
  }

  /**
   * Appends to `into` the values of every pattern that matches `topic`, in no particular order: once for each
   * pattern, so a value under two matching patterns is there twice.
   */
  collect(topic: string, into: T[]): void {
    this.walked = 0;
    const exact = this.exact.get(topic);
    if (exact !== undefined) append(exact, into);
    if (this.wildcards === 0) return;
    const levels = topic.split('.');
    if (levels.length > MAX_TOPIC_LEVELS) return;
    this.levels = levels;
    this.into = into;
    if (isReserved(topic)) {
      const child = this.root.child(levels[0]);
      if (child !== null) this.walk(child, 1);
    } else {
      this.walk(this.root, 0);
    }
    for (const node of this.dirty) node.entered = 0;
    this.dirty.length = 0;
  }

  private walk(node: PatternNode<T>, consumed: number): void {
    this.walked++;
    if (consumed === this.levels.length) {
      if (node.values !== null) append(node.values, this.into);
    } else {
      const child = node.children?.get(this.levels[consumed]);
      if (child !== undefined) this.walk(child, consumed + 1);
      if (node.star !== null) this.walk(node.star, consumed + 1);
    }
    const deep = node.deep;
    if (deep === null) return;
    if (deep.entered === 0) this.dirty.push(deep);
    for (let i = consumed; i <= this.levels.length; i++) {
      const bit = 1 << i;
      // Whoever entered it here has gone on to all later levels too.
      if ((deep.entered & bit) !== 0) break;
      deep.entered |= bit;
      this.walk(deep, i);
    }
  }
}
