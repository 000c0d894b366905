/** What V8 says of its garbage collections with `--trace-gc`, and what that comes to. */

/**
 * One collection: process, kind, megabytes of heap before and after it, milliseconds that it took. With a precision of 0.1 MB, whose
 * errors cancel out from one collection to the next.
 */
const LINE =
  /^\[(\d+):[^\]]*\]\s+\d+ ms: (Scavenge|Mark-Compact).*? ([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB, ([\d.]+) \//;

const MB = 1024 * 1024;

export interface Garbage {
  /** Bytes allocated on the JavaScript heaps, from each process's first collection to its last. */
  bytes: number;
  collections: number;
  /** Milliseconds that they took, of all processes together. */
  pauses: number;
}

export class GarbageLog {
  /** Of each process, the heap behind its last collection (MB). */
  readonly #heaps: Map<number, number>;
  #bytes: number;
  #collections: number;
  #pauses: number;
  #rest: string;

  constructor() {
    this.#heaps = new Map();
    this.#bytes = 0;
    this.#collections = 0;
    this.#pauses = 0;
    this.#rest = '';
  }

  /** Whatever the processes print, in pieces of any size. */
  push(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#read(line);
  }

  /** Of all processes, so far. */
  get sum(): Garbage {
    return { bytes: this.#bytes, collections: this.#collections, pauses: this.#pauses };
  }

  #read(line: string): void {
    const match = LINE.exec(line);
    if (match === null) return;
    const [pid, , before, after, took] = match.slice(1).map(Number);
    const heap = this.#heaps.get(pid);
    this.#heaps.set(pid, after);
    if (heap !== undefined) this.#bytes += (before - heap) * MB;
    this.#collections++;
    this.#pauses += took;
  }
}

/** What came between two sums. */
export function garbageBetween(before: Garbage, after: Garbage): Garbage {
  return {
    bytes: after.bytes - before.bytes,
    collections: after.collections - before.collections,
    pauses: after.pauses - before.pauses,
  };
}
