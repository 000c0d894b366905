/**
 * A circuit breaker: keeps messages from a consumer that fails at them, and after a while tries it with one. The pattern is
 * Michael Nygard's ("Release It!", 2007); that both a number and a share of failures open it is the rule of Hystrix.
 *
 *   closed ── too many failures ──▶ open ── cool-down over ──▶ half-open ── the probe is acked in time ──▶ closed
 *                                    ▲                             │
 *                                    └───── the probe fails ◀──────┘  and the next cool-down is twice as long
 *
 * Too many are `failures` of the last 2 × `failures` outcomes, none of them longer ago than `window`: half of what it does fails,
 * whether it is asked for a message in a minute or for a hundred thousand. A failure is a nack, a lease that ended, or an ack
 * that came slowly. A message that is nacked again where it failed last does not count again: that says more about the message.
 *
 * It reads no clock: `now` is monotonic milliseconds.
 */
import type { BreakerReason, BreakerState } from '../wire/control.js';

export interface BreakerPolicy {
  /** How many open it; 0: it stays closed. */
  failures: number;
  /** Milliseconds. */
  window: number;
  /** Milliseconds that it is open for, at first. */
  coolDown: number;
  /** Milliseconds from delivery to ack that count as a failure; 0: SLOW_SHARE of the lease. */
  slowAck: number;
}

/** Of a lease: who takes longer is about to lose messages to others. */
export const SLOW_SHARE = 0.8;
/** A cool-down is at most 2^5 = 32 times as long as the first. */
const MAX_DOUBLINGS = 5;

/** One that counts: which outcome it was, and when. */
interface Failure {
  readonly outcome: number;
  readonly at: number;
}

const STAYS_CLOSED: BreakerPolicy = { failures: 0, window: 0, coolDown: 0, slowAck: 0 };

export class Breaker {
  state: BreakerState;
  /** Milliseconds that it is, or was last, open for. */
  coolDown: number;
  #policy: BreakerPolicy;
  readonly #onChange: (reason: BreakerReason) => void;
  /** Of all messages so far. */
  #outcomes: number;
  /** The latest, as many as open it at most. */
  readonly #failures: Failure[];
  #doublings: number;
  /** When it is half-open. */
  #until: number;
  /** The offset of the message that it is tried with; 0: none. */
  #probe: number;

  /** `onChange`: called behind each change of `state`. */
  constructor(policy = STAYS_CLOSED, onChange: (reason: BreakerReason) => void = () => {}) {
    this.#policy = policy;
    this.state = 'closed';
    this.coolDown = 0;
    this.#onChange = onChange;
    this.#outcomes = 0;
    this.#failures = [];
    this.#doublings = 0;
    this.#until = 0;
    this.#probe = 0;
  }

  /** Works in another way from now on. */
  adopt(policy: BreakerPolicy): void {
    this.#policy = policy;
    if (policy.failures === 0 && this.state !== 'closed') this.#become('closed', 'recovered');
  }

  /** Whether its consumer may get a message now. */
  admits(now: number): boolean {
    if (this.state === 'closed') return true;
    if (this.state === 'open') {
      if (now < this.#until) return false;
      this.#become('half-open', 'cool-down');
    }
    return this.#probe === 0;
  }

  /** Its consumer, which it admits, got the message at `offset`. */
  gave(offset: number): void {
    if (this.state === 'half-open') this.#probe = offset;
  }

  /** The message at `offset` was acked in time. Those that it had before it opened say nothing any more. */
  succeeded(offset: number): void {
    if (this.state === 'closed') this.#outcomes++;
    else if (this.#probe === offset) {
      this.#probe = 0;
      this.#doublings = 0;
      this.#become('closed', 'recovered');
    }
  }

  /** The message at `offset` failed. `again`: as it did before, and it does not count while the breaker is closed. */
  failed(offset: number, reason: BreakerReason, again: boolean, now: number): void {
    if (this.state === 'closed') {
      if (!again && this.#isTooMuch(now)) this.#open(reason, now);
    } else if (this.#probe === offset) {
      this.#probe = 0;
      this.#doublings = Math.min(MAX_DOUBLINGS, this.#doublings + 1);
      this.#open(reason, now);
    }
  }

  /** The message at `offset` was taken back, whatever has become of it: another may be the probe. */
  released(offset: number): void {
    if (this.#probe === offset) this.#probe = 0;
  }

  /** Counts a failure. */
  #isTooMuch(now: number): boolean {
    const { failures, window } = this.#policy;
    const outcome = this.#outcomes++;
    if (failures === 0) return false;
    const counted = this.#failures;
    counted.push({ outcome, at: now });
    while (counted.length > failures) counted.shift();
    const first = counted[0];
    return counted.length === failures && outcome - first.outcome < 2 * failures && now - first.at <= window;
  }

  #open(reason: BreakerReason, now: number): void {
    this.coolDown = this.#policy.coolDown * 2 ** this.#doublings;
    this.#until = now + this.coolDown;
    this.#failures.length = 0;
    this.#become('open', reason);
  }

  #become(state: BreakerState, reason: BreakerReason): void {
    this.state = state;
    this.#onChange(reason);
  }
}
