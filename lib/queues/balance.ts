/**
 * Which of a mailbox's consumers gets the next message: by `least-in-flight` who has the fewest unacked ones, in turn among
 * equals, so that the quick get more; by `round-robin` each in turn, so that all get as many. Either passes over those who may
 * get nothing now.
 */
import type { Balance } from '../wire/control.js';
import type { Consumer } from './consumer.js';

/** Consumers among which the one with the least in flight is sought: a crowd does not make each message dearer. */
const COMPARED = 16;

export class Balancer {
  readonly consumers: Consumer[];
  /** Whose turn it is. */
  #turn: number;
  /** Who was picked last; it has had its turn once it got something. */
  #picked: number;

  constructor() {
    this.consumers = [];
    this.#turn = 0;
    this.#picked = -1;
  }

  add(consumer: Consumer): void {
    this.consumers.push(consumer);
  }

  /** False when it was not there. The turn of the others stays. */
  remove(consumer: Consumer): boolean {
    const at = this.consumers.indexOf(consumer);
    if (at < 0) return false;
    this.consumers.splice(at, 1);
    if (at < this.#turn) this.#turn--;
    this.#picked = -1;
    return true;
  }

  /** Who is to get the next message; null when none of them may get one now. */
  pick(balance: Balance, now: number): Consumer | null {
    const { consumers } = this;
    const count = consumers.length;
    const compared = balance === 'round-robin' ? 1 : COMPARED;
    let best = -1;
    let seen = 0;
    for (let i = 0; i < count && seen < compared; i++) {
      const at = (this.#turn + i) % count;
      if (!consumers[at].mayTake(now)) continue;
      seen++;
      if (best < 0 || consumers[at].inFlight < consumers[best].inFlight) best = at;
    }
    this.#picked = best;
    return best < 0 ? null : consumers[best];
  }

  /** `consumer` got a message. If it was picked, the next in the row has the turn. */
  gave(consumer: Consumer): void {
    const picked = this.#picked;
    if (picked < 0 || this.consumers[picked] !== consumer) return;
    this.#picked = -1;
    this.#turn = picked + 1 >= this.consumers.length ? 0 : picked + 1;
  }
}
