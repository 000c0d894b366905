/**
 * What is due at a time, earliest first: a binary heap. Nothing is taken out before its time; whoever has no more use for an item
 * passes over it when it comes. What is due never (Infinity) is not kept.
 */
export class DeadlineHeap<T> {
  readonly #items: T[];
  readonly #times: number[];

  constructor() {
    this.#items = [];
    this.#times = [];
  }

  get size(): number {
    return this.#items.length;
  }

  /** When the earliest is due; Infinity when there is none. */
  get first(): number {
    return this.#times.length === 0 ? Number.POSITIVE_INFINITY : this.#times[0];
  }

  push(item: T, time: number): void {
    if (time === Number.POSITIVE_INFINITY) return;
    const items = this.#items;
    const times = this.#times;
    let at = items.length;
    items.push(item);
    times.push(time);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (times[parent] <= time) break;
      items[at] = items[parent];
      times[at] = times[parent];
      at = parent;
    }
    items[at] = item;
    times[at] = time;
  }

  /** The earliest, if it is due at `now`; else null. */
  pop(now: number): T | null {
    const items = this.#items;
    const times = this.#times;
    if (times.length === 0 || times[0] > now) return null;
    const result = items[0];
    const item = items.pop()!;
    const time = times.pop()!;
    const size = items.length;
    if (size === 0) return result;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && times[child + 1] < times[child]) child++;
      if (times[child] >= time) break;
      items[at] = items[child];
      times[at] = times[child];
      at = child;
    }
    items[at] = item;
    times[at] = time;
    return result;
  }

  /** Forgets what `keep` says no to. */
  retain(keep: (item: T) => boolean): void {
    const items = this.#items.splice(0);
    const times = this.#times.splice(0);
    for (let i = 0; i < items.length; i++) if (keep(items[i])) this.push(items[i], times[i]);
  }

  values(): IterableIterator<T> {
    return this.#items.values();
  }
}
