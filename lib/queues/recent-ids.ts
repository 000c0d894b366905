/**
 * The ids of the latest messages, so that one that is repeated is known: two generations, of which the older is forgotten when
 * the younger is full. It knows at least the last `capacity` ids, and at most twice as many.
 */
export class RecentIds {
  readonly #capacity: number;
  #young: Set<string>;
  #old: Set<string>;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#young = new Set();
    this.#old = new Set();
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  has(id: string): boolean {
    return this.#young.has(id) || this.#old.has(id);
  }

  add(id: string): void {
    if (this.#young.size >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Set();
    }
    this.#young.add(id);
  }

  delete(id: string): void {
    this.#young.delete(id);
    this.#old.delete(id);
  }
}
