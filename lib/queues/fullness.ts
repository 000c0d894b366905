/**
 * How full a mailbox is, and what follows from that:
 *
 *   open ── 80 % ──► pressed ── 95 % ──► emergency
 *    ▲                ▲   │                  │
 *    └───── 60 % ─────┼───┘                  │
 *                     └──── below 80 % ──────┘        (or, all at once, down to 60 %: open)
 *
 * pressed: whoever publishes to it is told, its less urgent lanes hand out more, and live publishers get no credit, as long as its
 * consumers make progress (see pressure.ts): they might never come.
 * emergency: besides, it takes no live message, so that what is left of it is for assured ones. Those are refused when it is full.
 */
import { Pressure, PressureState } from './pressure.js';

export const FullnessState = { open: 0, pressed: 1, emergency: 2 } as const;
export type FullnessState = (typeof FullnessState)[keyof typeof FullnessState];

/** Of the whole. */
const HIGH = 0.8;
export const EMERGENCY = 0.95;
/** What a full mailbox is to `Pressure`, which counts in whole numbers. */
const WHOLE = 1_000_000;

export class Fullness {
  state: FullnessState;
  readonly #pressure: Pressure;

  /** `stallLimit`: milliseconds without progress before it may hold live publishers no longer. */
  constructor(stallLimit: number) {
    this.state = FullnessState.open;
    this.#pressure = new Pressure(WHOLE, stallLimit);
  }

  /** Whether live publishers get no credit. */
  get holds(): boolean {
    return this.#pressure.state === PressureState.pressed;
  }

  /** After messages came or left. `part`: how full it is, from 0 to 1. `progress`: some left. True when anything has changed. */
  weigh(part: number, progress: boolean, now: number): boolean {
    const { state } = this;
    const held = this.holds;
    const pressure = this.#pressure;
    if (progress) pressure.drained(part * WHOLE, now);
    pressure.filled(part * WHOLE, now);
    if (pressure.state === PressureState.open) this.state = FullnessState.open;
    else if (part >= EMERGENCY) this.state = FullnessState.emergency;
    else if (state !== FullnessState.emergency || part < HIGH) this.state = FullnessState.pressed;
    return this.state !== state || this.holds !== held;
  }

  /** Now and then. True when it has just lost its right to hold anybody. */
  check(now: number): boolean {
    return this.#pressure.check(now);
  }
}
