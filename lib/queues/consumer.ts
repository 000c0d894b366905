/** Whoever takes messages out of a mailbox, up to `prefetch` unacked ones, as long as its circuit breaker is closed. */
import { Breaker } from './breaker.js';
import { EntryList } from './entry-list.js';

/** Bytes of unacked messages with one consumer: what waits for its socket stays bounded whatever `prefetch` says. */
export const MAX_IN_FLIGHT_BYTES = 1024 * 1024;

/** No consumer gets so many before it acks one. */
const NO_BOUND = 2 ** 30;

export class Consumer {
  readonly id: number;
  /** Its agentId. */
  readonly name: string;
  prefetch: number;
  /** Its unacked messages, in the order in which it got them: `inFlight` of them. */
  readonly leases: EntryList;
  inFlight: number;
  inFlightBytes: number;
  /** It consumes from the mailbox no more. */
  left: boolean;
  /** The way to it was full: it gets nothing until it has acked something, or some time has passed; and then one message, to see, then two. */
  blocked: boolean;
  /** What came before it went back, and how often that was: what is still under way of a round must go back, too. */
  round: number;
  /** Messages that it may still get before that, and how many these were. */
  #allowance: number;
  #trial: number;
  readonly breaker: Breaker;

  /** Unless `breaker` is given, it stays closed. */
  constructor(id: number, name: string, prefetch: number, breaker = new Breaker()) {
    this.id = id;
    this.name = name;
    this.prefetch = prefetch;
    this.leases = new EntryList();
    this.inFlight = 0;
    this.inFlightBytes = 0;
    this.left = false;
    this.blocked = false;
    this.round = 0;
    this.#allowance = NO_BOUND;
    this.#trial = NO_BOUND;
    this.breaker = breaker;
  }

  /** Whether it may get a message now. One always fits, however large. */
  mayTake(now: number): boolean {
    return (
      !this.left &&
      !this.blocked &&
      this.#allowance > 0 &&
      this.inFlight < this.prefetch &&
      this.inFlightBytes < MAX_IN_FLIGHT_BYTES &&
      this.breaker.admits(now)
    );
  }

  /** It got a message. */
  gave(): void {
    this.#allowance--;
  }

  /** A message did not reach it: its way is full. */
  block(): void {
    this.blocked = true;
    this.#trial = 0;
  }

  /** It has acked something, or some time has passed: if its way was full, it is tried with twice as many as before. */
  retry(): void {
    this.blocked = false;
    this.#trial = this.#trial >= this.prefetch ? NO_BOUND : Math.max(1, 2 * this.#trial);
    this.#allowance = this.#trial;
  }
}
