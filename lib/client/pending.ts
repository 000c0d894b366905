/** Promises that wait for an answer from elsewhere, by the key that the answer will bear. */
import { FlowbusError } from '../errors.js';

interface Entry<V> {
  readonly resolve: (value: V) => void;
  readonly reject: (error: FlowbusError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class PendingTable<K, V> {
  private readonly entries: Map<K, Entry<V>>;
  private readonly what: string;
  private readonly limit: number;
  private emptyWaiters: (() => void)[];

  /** `what` names the entries in messages: "requests". `limit`: how many there may be. */
  constructor(what: string, limit: number) {
    this.entries = new Map();
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
      const timer = setTimeout(() => {
        this.fail(key, new FlowbusError('TIMEOUT', `No answer came within ${timeout} ms.`));
      }, timeout);
      this.entries.set(key, { resolve, reject, timer });
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
  }

  private take(key: K): Entry<V> | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    clearTimeout(entry.timer);
    if (this.entries.size === 0 && this.emptyWaiters.length > 0) {
      const waiters = this.emptyWaiters;
      this.emptyWaiters = [];
      for (const resolve of waiters) resolve();
    }
    return entry;
  }
}
