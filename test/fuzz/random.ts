/** Numbers that are the same for the same seed, on every machine: xorshift32 (Marsaglia, 2003). */
export class Random {
  #state: number;

  /** `seed`: a 32-bit integer; `stream` makes independent ones of the same seed. */
  constructor(seed: number, stream = 0) {
    // Zero would stay zero; and neighbouring seeds should not begin alike.
    this.#state = Math.imul(seed ^ Math.imul(stream + 1, 0x9e3779b1), 0x85ebca6b) | 0 || 1;
    for (let i = 0; i < 8; i++) this.#next();
  }

  /** 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor((this.#next() / 0x1_0000_0000) * bound);
  }

  /** True once in `n` times. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.#next() >>> 8;
    return bytes;
  }

  #next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}
