/**
 * Several histories read as one: walks back from their ends to where what is wanted begins, then forward, merged by the time at which
 * messages came. In steps, so that nobody has to wait for a long walk.
 */
import type { Progress } from '../wire/past.js';
import type { HistoryReader } from './history-ring.js';

export interface Wanted {
  matches(topic: Uint8Array, start: number, end: number): boolean;
  /** So many of the last messages; Infinity: all. */
  last: number;
  /** None that came before (ms, on the clock of the records). */
  since: number;
  /** Only what this one does not have; null: whatever matches. Then `since` says from when on it does not: a gap before is none. */
  progress: Progress | null;
}

/** One of the histories. */
export class HistorySource {
  readonly slot: number;
  readonly reader: HistoryReader;
  /** The least place that is wanted. */
  start: number;
  /** Back: a record was read that is not yet used up. Forward: likewise, and its frames are copied. */
  ready: boolean;
  /** Back: there is nothing more to find. */
  done: boolean;

  constructor(slot: number, reader: HistoryReader) {
    this.slot = slot;
    this.reader = reader;
    this.start = reader.expected;
    this.ready = false;
    this.done = false;
  }

  get end(): number {
    return this.reader.first + this.reader.count;
  }
}

export class HistoryMerge {
  readonly sources: readonly HistorySource[];
  /** What was wanted is no longer there, or was overwritten on the way. For the caller to take back. */
  gap: boolean;
  /** The last `next` found nothing, anywhere. */
  caughtUp: boolean;
  readonly #wanted: Wanted;
  #left: number;
  #found: boolean;

  /** `readers`: by slot, each behind its last record. */
  constructor(readers: readonly HistoryReader[], wanted: Wanted) {
    this.sources = readers.map((reader, slot) => new HistorySource(slot, reader));
    this.gap = false;
    this.caughtUp = false;
    this.#wanted = wanted;
    this.#left = wanted.last;
    this.#found = wanted.last === 0;
  }

  /** Looks at up to `steps` records on the way back. True when the beginning is found, and `next` may be called. */
  seek(steps: number): boolean {
    for (let i = 0; i < steps && !this.#found; i++) {
      const source = this.#newest();
      if (source === null) this.#found = true;
      else if (this.#wanted.progress !== null) this.#back(source, this.#wanted.progress);
      else this.#take(source);
    }
    if (this.#found) for (const source of this.sources) source.ready = false;
    return this.#found;
  }

  /** By slot: where it begins. */
  starts(): number[] {
    return this.sources.map(({ start }) => start);
  }

  /** By slot: everything before has been passed. */
  passed(): number[] {
    return this.sources.map(({ reader }) => reader.expected);
  }

  /**
   * The history whose record comes next, its frames copied, after a look at up to `steps` records; null when there is none, or not within the
   * steps. It comes again until its `ready` is taken back.
   */
  next(steps: number): HistorySource | null {
    let left = steps;
    let oldest: HistorySource | null = null;
    for (const source of this.sources) {
      while (!source.ready) {
        if (left-- === 0) {
          this.caughtUp = false;
          return null;
        }
        if (!this.#forward(source)) break;
      }
      if (source.ready && (oldest === null || source.reader.arrival < oldest.reader.arrival)) oldest = source;
    }
    this.caughtUp = oldest === null;
    return oldest;
  }

  /** False: there is no further record. */
  #forward(source: HistorySource): boolean {
    const { reader } = source;
    const more = reader.forward();
    if (reader.lost) {
      reader.lost = false;
      this.gap = true;
    }
    if (!more) return false;
    if (source.end <= source.start || !this.#matches(reader)) return true;
    if (reader.copy()) source.ready = true;
    else this.gap = true;
    return true;
  }

  /** The history whose next record on the way back is the newest. */
  #newest(): HistorySource | null {
    let newest: HistorySource | null = null;
    for (const source of this.sources) {
      if (source.done) continue;
      if (!source.ready) {
        source.ready = source.reader.back();
        if (!source.ready) {
          this.#exhausted(source);
          continue;
        }
      }
      if (newest === null || source.reader.arrival > newest.reader.arrival) newest = source;
    }
    return newest;
  }

  /** There is nothing before `source.start` any more: it may have been overwritten. */
  #exhausted(source: HistorySource): void {
    source.done = true;
    const { progress, since } = this.#wanted;
    if (source.start <= 1) return;
    if (progress === null) this.gap = true;
    else if (source.start > progress.least(source.slot) && source.reader.oldest > since) this.gap = true;
  }

  #take(source: HistorySource): void {
    const { reader } = source;
    if (reader.arrival < this.#wanted.since) {
      this.#found = true;
      return;
    }
    source.ready = false;
    source.start = reader.first;
    if (!this.#matches(reader)) return;
    this.#left -= reader.count;
    if (this.#left > 0) return;
    source.start -= this.#left;
    this.#found = true;
  }

  #back(source: HistorySource, progress: Progress): void {
    if (source.end <= progress.least(source.slot)) source.done = true;
    else source.start = source.reader.first;
    source.ready = false;
  }

  #matches(reader: HistoryReader): boolean {
    return this.#wanted.matches(reader.scratch, reader.senderEnd, reader.topicEnd);
  }
}
