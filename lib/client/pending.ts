/** Promises that wait for an answer from elsewhere, by the key that the answer will bear. */
import { FlowbusError } from '../errors.js';
import { Deadlines, type Waiting } from './deadlines.js';

class Entry<K, V> implements Waiting {
  readonly key: K;
  readonly resolve: (value: V) => void;
  readonly reject: (error: FlowbusError) => void;
  deadline: number;
  done: boolean;

  constructor(key: K, resolve: (value: V) => void, reject: (error: FlowbusError) => void) {
    this.key = key;
    this.resolve = resolve;
    this.reject = reject;
    this.deadline = 0;
    this.done = false;
  }
}

export class PendingTable<K, V> {
  private readonly entries: Map<K, Entry<K, V>>;
  private readonly deadlines: Deadlines<Entry<K, V>>;
  private readonly what: string;
  private readonly limit: number;
  private emptyWaiters: (() => void)[];

  /** `what` names the entries in messages: "requests". `limit`: how many there may be. */
  constructor(what: string, limit: number) {
    this.entries = new Map();
    this.deadlines = new Deadlines(({ key }, timeout) => {
      this.fail(key, new FlowbusError('TIMEOUT', `No answer came within ${timeout} ms.`));
    });
    this.what = what;
    this.limit = limit;
    this.emptyWaiters = [];
  }

  get size(): number {
    return this.entries.size;
  }

  has(key: K): boolean {
    return this.entries.has(key);
  }

  /**
   * Waits for `key`, at most `timeout` milliseconds, then rejects with TIMEOUT. Throws LIMIT_REACHED when too many
   * wait already. The promise is for the caller to handle: a rejection nobody listens to is reported by the runtime.
   */
  open(key: K, timeout: number): Promise<V> {
    if (this.entries.size >= this.limit) {
      throw new FlowbusError('LIMIT_REACHED', `${this.limit} ${this.what} are pending already.`);
    }
    return new Promise<V>((resolve, reject) => {
      const entry = new Entry(key, resolve, reject);
      this.entries.set(key, entry);
      this.deadlines.add(entry, timeout, this.entries.size);
    });
  }

  /** False when nobody waits for `key` (any more). */
  settle(key: K, value: V): boolean {
    const entry = this.take(key);
    if (entry === undefined) return false;
    entry.resolve(value);
    return true;
  }

  fail(key: K, error: FlowbusError): boolean {
    const entry = this.take(key);
    if (entry === undefined) return false;
    entry.reject(error);
    return true;
  }

  /** Resolves when nothing is pending. */
  empty(): Promise<void> {
    if (this.entries.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.emptyWaiters.push(resolve);
    });
  }

  /** Fails all but those whose keys are in `spared`. */
  failAll(error: FlowbusError, spared: ReadonlySet<K> | null = null): void {
    for (const key of [...this.entries.keys()]) {
      if (spared === null || !spared.has(key)) this.fail(key, error);
    }
    if (this.entries.size === 0) this.deadlines.clear();
  }

  private take(key: K): Entry<K, V> | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    entry.done = true;
    if (this.entries.size === 0 && this.emptyWaiters.length > 0) {
      const waiters = this.emptyWaiters;
      this.emptyWaiters = [];
      for (const resolve of waiters) resolve();
    }
    return entry;
  }
}
