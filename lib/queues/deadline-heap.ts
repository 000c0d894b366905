/**
 * What is due at a time, earliest first, and of equal times what was pushed first: a binary heap. Nothing is taken out before its
 * time; whoever has no more use for an item passes over it when it comes. What is due never (Infinity) is not kept.
 */
export class DeadlineHeap<T> {
  readonly #items: T[];
  readonly #times: number[];
  /** How many were pushed before. */
  readonly #orders: number[];
  #pushed: number;

  constructor() {
    this.#items = [];
    this.#times = [];
    this.#orders = [];
    this.#pushed = 0;
  }

  get size(): number {
    return this.#items.length;
  }

  /** When the earliest is due; Infinity when there is none. */
  get first(): number {
    return this.#times.length === 0 ? Number.POSITIVE_INFINITY : this.#times[0];
  }

  /** The earliest, whether or not it is due; null when there is none. */
  peek(): T | null {
    return this.#items.length === 0 ? null : this.#items[0];
  }

  push(item: T, time: number): void {
    if (time !== Number.POSITIVE_INFINITY) this.#insert(item, time, this.#pushed++);
  }

  /** The earliest, if it is due at `now`; else null. */
  pop(now: number): T | null {
    const items = this.#items;
    const times = this.#times;
    const orders = this.#orders;
    if (times.length === 0 || times[0] > now) return null;
    const result = items[0];
    const item = items.pop()!;
    const time = times.pop()!;
    const order = orders.pop()!;
    const size = items.length;
    if (size === 0) return result;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#isBefore(child + 1, times[child], orders[child])) child++;
      if (!this.#isBefore(child, time, order)) break;
      this.#copy(child, at);
      at = child;
    }
    items[at] = item;
    times[at] = time;
    orders[at] = order;
    return result;
  }

  /** Forgets what `keep` says no to. */
  retain(keep: (item: T) => boolean): void {
    const items = this.#items.splice(0);
    const times = this.#times.splice(0);
    const orders = this.#orders.splice(0);
    for (let i = 0; i < items.length; i++) if (keep(items[i])) this.#insert(items[i], times[i], orders[i]);
  }

  #insert(item: T, time: number, order: number): void {
    let at = this.#items.length;
    this.#items.push(item);
    this.#times.push(time);
    this.#orders.push(order);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (this.#isBefore(parent, time, order)) break;
      this.#copy(parent, at);
      at = parent;
    }
    this.#items[at] = item;
    this.#times[at] = time;
    this.#orders[at] = order;
  }

  #isBefore(at: number, time: number, order: number): boolean {
    const own = this.#times[at];
    return own < time || (own === time && this.#orders[at] < order);
  }

  #copy(from: number, to: number): void {
    this.#items[to] = this.#items[from];
    this.#times[to] = this.#times[from];
    this.#orders[to] = this.#orders[from];
  }
}
