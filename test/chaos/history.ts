/**
 * What publishers were promised and what consumers got, under unique ids: no acked message lost, none twice but where that is
 * flagged, and everything in its order but for what came again.
 */
import assert from 'node:assert/strict';

/** `publisher:lane:key:number`: the numbers of one publisher, lane and key only rise. */
export type Id = string;

export interface Receipt {
  id: Id;
  /** 0 where this was said to be the first delivery. */
  redelivered: number;
  /** Microseconds of a clock that all processes of the machine share. */
  at: number;
  /** The process that got it. */
  by: number;
}

export function idOf(publisher: string, lane: string, key: string, number: number): Id {
  return `${publisher}:${lane}:${key}:${number}`;
}

/** What the numbers of an id count. */
export function chainOf(id: Id): string {
  return id.slice(0, id.lastIndexOf(':'));
}

export function numberOf(id: Id): number {
  return Number(id.slice(id.lastIndexOf(':') + 1));
}

export function keyOf(id: Id): string {
  return id.split(':')[2];
}

/** A clock of the machine, not of the process. */
export function clock(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

export class History {
  /** Acked to their publishers. */
  readonly acked = new Set<Id>();
  readonly receipts: Receipt[] = [];
  readonly #received = new Set<Id>();
  readonly #pauses: { by: number; from: number; to: number; stale: Set<string> }[] = [];

  receive(receipt: Receipt): void {
    this.receipts.push(receipt);
    this.#received.add(receipt.id);
  }

  /**
   * The process stood still from `from` until now, for longer than its leases. What had been delivered to it by then went to others,
   * and what followed that as well, before it could say a word: that it handles it all the same when it goes on, no bus can prevent.
   */
  resumed(by: number, from: number): void {
    this.#pauses.push({ by, from, to: clock(), stale: new Set() });
  }

  get missing(): Id[] {
    return [...this.acked].filter((id) => !this.#received.has(id));
  }

  /** Times that something came that was said to be a repeat. */
  get repeats(): number {
    return this.receipts.filter(({ redelivered }) => redelivered > 0).length;
  }

  /**
   * `order`: with one consumer, what is no repeat comes in the order of its chain. By key, among many, nothing comes behind what
   * follows it, repeats neither: until it is acked the next one waits.
   */
  check(order: 'one-consumer' | 'by-key' | 'none'): void {
    assert.deepEqual(this.missing, [], 'acked and never received');
    assert.deepEqual(this.#unflagged(), [], 'twice, and not flagged');
    if (order !== 'none') assert.deepEqual(this.#disorder(order === 'by-key'), [], 'out of order');
  }

  #unflagged(): Id[] {
    const first = new Set<Id>();
    const wrong: Id[] = [];
    for (const { id, redelivered } of this.receipts) {
      if (redelivered > 0) continue;
      if (first.has(id)) wrong.push(id);
      first.add(id);
    }
    return wrong;
  }

  #disorder(repeatsToo: boolean): string[] {
    const wrong: string[] = [];
    const last = new Map<string, number>();
    // Processes report each by themselves: only the clock says what came first.
    for (const receipt of [...this.receipts].sort((a, b) => a.at - b.at)) {
      const { id, redelivered } = receipt;
      if (redelivered > 0 && !repeatsToo) continue;
      const chain = chainOf(id);
      const before = last.get(chain) ?? 0;
      if (numberOf(id) >= before) last.set(chain, numberOf(id));
      else if (!this.#isStale(receipt)) wrong.push(`${id} after ${before}: ${this.#storyOf(id, before)}`);
    }
    return wrong;
  }

  /**
   * Whether it is of a delivery whose lease ended while its process stood still: somebody else has got the message since. One for each
   * key, for a consumer has no more of one key at a time.
   */
  #isStale({ id, by, at, redelivered }: Receipt): boolean {
    const key = keyOf(id);
    const pause = this.#pauses.find(
      (one) =>
        one.by === by &&
        at >= one.to &&
        !one.stale.has(key) &&
        this.receipts.some(
          (other) =>
            other.id === id &&
            other.by !== by &&
            other.at >= one.from &&
            other.at < at &&
            other.redelivered >= redelivered,
        ),
    );
    pause?.stale.add(key);
    return pause !== undefined;
  }

  /** All that happened to it and to what follows it, for whoever has to find out why. */
  #storyOf(id: Id, next: number): string {
    const chain = chainOf(id);
    return this.receipts
      .filter(
        (one) => chainOf(one.id) === chain && numberOf(one.id) >= numberOf(id) && numberOf(one.id) <= next,
      )
      .sort((a, b) => a.at - b.at)
      .map(
        ({ id: one, by, at, redelivered }) => `${at} ${numberOf(one)} by ${by}, redelivered ${redelivered}`,
      )
      .join('; ');
  }
}
