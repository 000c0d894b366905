/** How far a start has come with reading its journal, told about once a second: whoever waits for it sees that it goes on. */
export interface Recovered {
  /** Messages read so far, those that have left since included. */
  messages: number;
  /** Of the bytes of the files, 0 to 1, in thousandths. */
  share: number;
}

const INTERVAL = 1000;

export class Progress {
  readonly #tell: (recovered: Recovered) => void;
  readonly #clock: () => number;
  #told: number;

  /** `clock`: milliseconds, monotonic. */
  constructor(tell: (recovered: Recovered) => void, clock: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#clock = clock;
    this.#told = clock();
  }

  /** `read` of `total` bytes of the files. */
  at(messages: number, read: number, total: number): void {
    const now = this.#clock();
    if (now - this.#told < INTERVAL) return;
    this.#told = now;
    this.#tell({ messages, share: total === 0 ? 1 : Math.round((1000 * read) / total) / 1000 });
  }
}
