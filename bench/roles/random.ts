/** Numbers without a pattern, the same in every run: the generator is that of Numerical Recipes. */
export class Random {
  #seed = 1;

  /** 0 to `bound` - 1. */
  below(bound: number): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#seed / 2 ** 32) * bound);
  }
}
