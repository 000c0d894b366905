/** Waiting for a condition that can only come true when something has changed. */
import assert from 'node:assert/strict';

/** The longest wait for anything that the broker must do (ms). */
const PATIENCE = 8000;

export class Changes {
  readonly #waiting = new Set<() => void>();

  /** To be called whenever a condition may have come true. */
  happened(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** `why` says what is known, where waiting was in vain. */
  async until(what: string, condition: () => boolean, why: () => string): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.happened();
    }, PATIENCE);
    try {
      while (!condition()) {
        if (late) assert.fail(`${what}: not within ${PATIENCE} ms; ${why()}`);
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
