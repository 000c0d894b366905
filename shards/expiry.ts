/** Drops what is too old in the mailboxes of a shard: so much in a turn, since each is a dead letter, and the rest in those that follow. */
import type { Feeding } from './feeding.js';
import type { Home } from './home.js';

const STEPS_PER_TURN = 1000;

export class Expiry {
  readonly #feeding: Feeding;
  /** In which nobody has looked yet. */
  #left: Home[];

  constructor(feeding: Feeding) {
    this.#feeding = feeding;
    this.#left = [];
  }

  /** Now and then. */
  look(homes: Iterable<Home>): void {
    if (this.#left.length === 0) this.#left = [...homes];
    this.turn();
  }

  /** The end of a turn. Where something is left, there is another one: dead letters are to be written, or mailboxes to be looked at. */
  turn(): void {
    if (this.#left.length === 0) return;
    const wall = Date.now();
    for (let left = STEPS_PER_TURN; left > 0; ) {
      const home = this.#left.at(-1);
      if (home === undefined) return;
      const steps = home.mailbox.expire(wall, left);
      if (steps > 0) this.#feeding.touch(home);
      left -= steps;
      if (left > 0) this.#left.pop();
    }
  }
}
