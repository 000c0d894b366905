/** When and where to try next: the URLs in turn, with a growing, jittered wait. */
import { type ErrorCode, FlowbusError } from '../errors.js';
import type { Ending } from './connection.js';
import type { Settings } from './options.js';

/** Endings that would only repeat themselves. */
const FINAL: readonly ErrorCode[] = [
  'UNAUTHORIZED',
  'BAD_HELLO',
  'BAD_VERSION',
  'AGENT_REPLACED',
  'BAD_OPTION',
];

/** A connection that stood for so long (ms) makes the waits begin short again; one that did not is flapping. */
const STABLE_AFTER = 5000;

export function isFinal(ending: Ending): boolean {
  return !ending.reconnect || FINAL.includes(ending.code);
}

export class Schedule {
  private readonly urls: readonly string[];
  private readonly minDelay: number;
  private readonly maxDelay: number;
  private readonly random: () => number;
  private next: number;
  private failures: number;

  /** Delays in milliseconds. `random` returns a number in [0, 1). */
  constructor(
    urls: readonly string[],
    minDelay: number,
    maxDelay: number,
    random: () => number = Math.random,
  ) {
    this.urls = urls;
    this.minDelay = minDelay;
    this.maxDelay = maxDelay;
    this.random = random;
    this.next = 0;
    this.failures = 0;
  }

  get count(): number {
    return this.urls.length;
  }

  /** The URL to try now; the following call names the one after it, and after the last the first. */
  url(): string {
    const url = this.urls[this.next];
    this.next = (this.next + 1) % this.urls.length;
    return url;
  }

  /** A connection has ended that stood for `duration` (ms). The next attempt is at the URL behind its own. */
  stood(duration: number): void {
    if (duration >= STABLE_AFTER) this.failures = 0;
  }

  /**
   * How long to wait before the next attempt (ms): anything from 0 to a bound that doubles with each failure in
   * a row. "Full jitter": when a broker with ten thousand agents dies, they come back spread over the whole span.
   */
  delay(): number {
    const bound = Math.min(this.maxDelay, this.minDelay * 2 ** Math.min(this.failures, 30));
    this.failures++;
    return this.random() * bound;
  }
}

/** One attempt at a URL, for at most `timeout` milliseconds. Null: the connection stands. */
export type Dial = (url: string, timeout: number) => Promise<Ending | null>;

/** Looks for a broker: at first, and whenever a connection was lost. */
export class Dialer {
  /** Attempts since the last connection, the one in hand included. */
  attempts: number;
  readonly schedule: Schedule;
  private readonly settings: Settings;
  private readonly dial: Dial;
  private stopped: boolean;
  private waiting: { timer: ReturnType<typeof setTimeout>; wake: () => void } | null;

  constructor(urls: readonly string[], settings: Settings, dial: Dial) {
    this.attempts = 0;
    this.schedule = new Schedule(urls, settings.minDelay, settings.maxDelay);
    this.settings = settings;
    this.dial = dial;
    this.stopped = false;
    this.waiting = null;
  }

  /**
   * Tries each URL once, in order; they share `connectTimeout`. Rejects with CONNECT_FAILED, or at once with the
   * broker's code where the other URLs would answer the same.
   */
  async first(): Promise<void> {
    const until = performance.now() + this.settings.connectTimeout;
    const causes: string[] = [];
    for (let left = this.schedule.count; left > 0; left--) {
      const time = until - performance.now();
      if (time <= 0) break;
      const url = this.schedule.url();
      const ending = await this.dial(url, time / left);
      if (ending === null) return;
      if (isFinal(ending)) throw new FlowbusError(ending.code, ending.message);
      causes.push(`${plain(url)} (${ending.message})`);
    }
    throw new FlowbusError(
      'CONNECT_FAILED',
      `No broker could be reached: ${causes.join(', ')}. Check the URLs, and that the broker runs and listens there.`,
    );
  }

  /** Tries until a connection stands, or `stop` is called: null. Otherwise why it gave up. */
  async again(): Promise<Ending | null> {
    for (this.attempts = 1; ; this.attempts++) {
      await this.sleep(this.schedule.delay());
      if (this.stopped) return null;
      const ending = await this.dial(this.schedule.url(), this.settings.connectTimeout);
      if (ending === null || this.stopped) return null;
      if (isFinal(ending) || this.attempts >= this.settings.attempts) return ending;
    }
  }

  stop(): void {
    this.stopped = true;
    if (this.waiting === null) return;
    clearTimeout(this.waiting.timer);
    this.waiting.wake();
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.waiting = null;
        resolve();
      };
      this.waiting = { timer: setTimeout(wake, ms), wake };
    });
  }
}

/** A URL without what is nobody's business in a log: user, password and query. */
export function plain(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
