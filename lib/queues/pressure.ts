/**
 * The state of a bounded backlog: open, pressed (it stalls those who feed it), shedding (it drops instead).
 *
 *   open ── 80 % full ──► pressed ── no progress for `stallLimit`, or pressed for `longestStall` ──► shedding
 *    ▲                       │ 60 %                                                                      │ 60 %
 *    └───────────────────────┴───────────────────────────────────────────────────────────────────────────┘
 *
 * A backlog that makes progress is entitled to stall its feeders, so that a slower subscriber loses nothing; one
 * that does not slows nobody.
 */
export const PressureState = { open: 0, pressed: 1, shedding: 2 } as const;
export type PressureState = (typeof PressureState)[keyof typeof PressureState];

const HIGH = 0.8;
const LOW = 0.6;
const SHED = 0.95;
/**
 * What may wait before even one that stalls its feeders drops: so many times the limit, and no less than what can be on its
 * way before they hear of it (a ring of 4 MiB, what waits for that ring, the feeders' credit), for they cannot stop at once.
 */
const MOST = 16;
const LEAST_MOST = 24 * 1024 * 1024;
/** An episode of stalling ends after this many times the stall limit even while it makes some progress. */
const LONGEST_STALL = 12;

export class Pressure {
  state: PressureState;
  readonly high: number;
  readonly low: number;
  /** Above this many bytes a shedding backlog drops. */
  readonly shedAt: number;
  readonly #most: number;
  readonly #stallLimit: number;
  #since: number;
  #progressAt: number;

  /** `limit`: bytes of backlog. `stallLimit`: milliseconds without progress before it sheds. */
  constructor(limit: number, stallLimit: number) {
    this.state = PressureState.open;
    this.high = Math.floor(limit * HIGH);
    this.low = Math.floor(limit * LOW);
    this.shedAt = Math.floor(limit * SHED);
    this.#most = Math.max(limit * MOST, LEAST_MOST);
    this.#stallLimit = stallLimit;
    this.#since = 0;
    this.#progressAt = 0;
  }

  /** More bytes than this may not wait: what comes beyond is dropped. */
  get bound(): number {
    return this.state === PressureState.shedding ? this.shedAt : this.#most;
  }

  /** After bytes were added. True when the pressure has just begun. */
  filled(bytes: number, now: number): boolean {
    if (this.state !== PressureState.open || bytes < this.high) return false;
    this.state = PressureState.pressed;
    this.#since = now;
    this.#progressAt = now;
    return true;
  }

  /** After bytes were taken out. True when the pressure has just ended. */
  drained(bytes: number, now: number): boolean {
    this.#progressAt = now;
    if (this.state === PressureState.open || bytes > this.low) return false;
    this.state = PressureState.open;
    return true;
  }

  /** Now and then. True when it has just lost its right to stall others. */
  check(now: number): boolean {
    if (this.state !== PressureState.pressed) return false;
    // The clock wraps.
    const still = (now - this.#progressAt) | 0;
    const pressed = (now - this.#since) | 0;
    if (still < this.#stallLimit && pressed < this.#stallLimit * LONGEST_STALL) return false;
    this.state = PressureState.shedding;
    return true;
  }

  /** There is nobody to make progress: drop from now on. */
  shed(): void {
    this.state = PressureState.shedding;
  }
}
