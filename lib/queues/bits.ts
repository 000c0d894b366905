/** A set of small integers as a growing bitmap. Its bound is that of the numbers put in: n / 8 bytes. */
export class Bits {
  #words: Int32Array;

  constructor() {
    this.#words = EMPTY;
  }

  has(n: number): boolean {
    const word = n >>> 5;
    return word < this.#words.length && (this.#words[word] & (1 << (n & 31))) !== 0;
  }

  add(n: number): void {
    const word = n >>> 5;
    if (word >= this.#words.length) {
      const grown = new Int32Array(Math.max(4, 1 << (32 - Math.clz32(word))));
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[word] |= 1 << (n & 31);
  }

  clear(): void {
    this.#words = EMPTY;
  }
}

const EMPTY = new Int32Array(0);
