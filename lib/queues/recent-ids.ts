/**
 * The ids of the latest messages, so that one that is repeated is known: two generations, of which the older is forgotten when
 * the younger is full. It knows at least the last `capacity` ids, and at most twice as many.
 *
 * It keeps 64 bits of hash for each, in flat tables: a set of texts costs ten times the memory and most of the time of storing a
 * message. Those of all mailboxes of a shard have one budget: when it is used up, whoever has needed no more room for longest forgets
 * all of its ids. Seeded at random, so that nobody can make two ids meet; by chance, at 131,072 known ids, one new id in 10^14 does.
 */
const EMPTY = 0;
/** Low word of what was deleted: no hash has it, and neither is it the end of a search. */
const DELETED = 1;
/** Most mailboxes of a node with many hold few messages or none: their tables begin small. */
const LEAST_SLOTS = 16;

class Generation {
  /** High and low word of each slot; at most half of the slots are taken. */
  words: Uint32Array;
  count: number;

  constructor() {
    this.words = new Uint32Array(2 * LEAST_SLOTS);
    this.count = 0;
  }

  /** The slot of the hash; negative (minus one, minus the free slot) when it is not there. */
  find(high: number, low: number): number {
    const { words } = this;
    const mask = words.length / 2 - 1;
    for (let slot = high & mask; ; slot = (slot + 1) & mask) {
      const found = words[2 * slot + 1];
      if (found === EMPTY) return -1 - slot;
      if (found === low && words[2 * slot] === high) return slot;
    }
  }

  add(high: number, low: number): void {
    if (4 * (this.count + 1) > this.words.length) this.#grow();
    const slot = this.find(high, low);
    if (slot >= 0) return;
    this.words[2 * (-1 - slot)] = high;
    this.words[2 * (-1 - slot) + 1] = low;
    this.count++;
  }

  delete(high: number, low: number): void {
    const slot = this.find(high, low);
    if (slot >= 0) this.words[2 * slot + 1] = DELETED;
  }

  #grow(): void {
    const old = this.words;
    this.words = new Uint32Array(2 * old.length);
    this.count = 0;
    for (let i = 0; i < old.length; i += 2) if (old[i + 1] > DELETED) this.add(old[i], old[i + 1]);
  }
}

/** Bytes for the ids of many, but for the little that each has from the beginning. */
export class IdBudget {
  readonly #most: number;
  bytes: number;
  /** Who has taken some; who took some last stands last. */
  readonly #holders: Set<RecentIds>;

  constructor(most: number) {
    this.#most = most;
    this.bytes = 0;
    this.#holders = new Set();
  }

  /** `ids` has `bytes` more than before: others may have to give way. */
  take(ids: RecentIds, bytes: number): void {
    this.bytes += bytes;
    this.#holders.delete(ids);
    this.#holders.add(ids);
    for (const holder of this.#holders) {
      if (this.bytes <= this.#most || holder === ids) return;
      holder.clear();
    }
  }

  /** `ids` has none any more. */
  give(ids: RecentIds, bytes: number): void {
    this.bytes -= bytes;
    this.#holders.delete(ids);
  }
}

const LEAST_BYTES = new Generation().words.byteLength;

export class RecentIds {
  readonly #capacity: number;
  readonly #budget: IdBudget;
  /** What it has of the budget. */
  #bytes: number;
  readonly #seed: Uint32Array;
  #young: Generation;
  #old: Generation;
  #high: number;
  #low: number;

  constructor(
    capacity: number,
    budget: IdBudget = new IdBudget(Number.POSITIVE_INFINITY),
    seed: Uint32Array = crypto.getRandomValues(new Uint32Array(2)),
  ) {
    this.#capacity = capacity;
    this.#budget = budget;
    this.#bytes = 0;
    this.#seed = seed;
    this.#young = new Generation();
    this.#old = new Generation();
    this.#high = 0;
    this.#low = 0;
  }

  /** Ids, and what was deleted and not yet forgotten. */
  get size(): number {
    return this.#young.count + this.#old.count;
  }

  /** Whether `from` has sent a message with the id `b[start, end)`. */
  has(from: string, b: Uint8Array, start: number, end: number): boolean {
    this.#hash(from, b, start, end);
    return this.#young.find(this.#high, this.#low) >= 0 || this.#old.find(this.#high, this.#low) >= 0;
  }

  /** Adds what `has` was asked for last. */
  addAsked(): void {
    if (this.#young.count >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Generation();
    }
    const young = this.#young;
    const { words } = young;
    young.add(this.#high, this.#low);
    if (young.words !== words || young.count === 1) this.#weigh();
  }

  /** Forgets all. */
  clear(): void {
    this.#young = new Generation();
    this.#old = new Generation();
    this.#budget.give(this, this.#bytes);
    this.#bytes = 0;
  }

  add(from: string, b: Uint8Array, start: number, end: number): void {
    this.#hash(from, b, start, end);
    this.addAsked();
  }

  delete(from: string, b: Uint8Array, start: number, end: number): void {
    this.#hash(from, b, start, end);
    this.#young.delete(this.#high, this.#low);
    this.#old.delete(this.#high, this.#low);
  }

  /** A table has grown, or begun. */
  #weigh(): void {
    const bytes = this.#young.words.byteLength + this.#old.words.byteLength - 2 * LEAST_BYTES;
    if (bytes === this.#bytes) return;
    const more = bytes - this.#bytes;
    this.#bytes = bytes;
    this.#budget.take(this, more);
  }

  /** Two rounds of FNV-1a with different seeds, each mixed as in MurmurHash3. */
  #hash(from: string, id: Uint8Array, start: number, end: number): void {
    let a = this.#seed[0];
    let b = this.#seed[1];
    for (let i = 0; i < from.length; i++) {
      const code = from.charCodeAt(i);
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ code, 0x85ebca6b);
    }
    // No sender's name has a zero in it: where it ends, the id begins.
    b = Math.imul(b ^ (b >>> 15), 0xc2b2ae35);
    for (let i = start; i < end; i++) {
      const code = id[i];
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ (b >>> 13) ^ code, 0x85ebca6b);
    }
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b);
    a = Math.imul(a ^ (a >>> 13) ^ b, 0xc2b2ae35);
    b = Math.imul(b ^ (b >>> 16), 0xc2b2ae35);
    this.#high = (a ^ (a >>> 16)) >>> 0;
    // Never what stands for empty or deleted.
    this.#low = ((b ^ (b >>> 13)) | 2) >>> 0;
  }
}
