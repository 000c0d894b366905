/**
 * One node's part of the directory: records by key, which only that node writes, and which the others copy. Each change has
 * the next sequence number, and a record keeps that of its last change, in whose order all of them are linked:
 *
 *   floor         oldest                                    newest = sequence
 *     │  forgotten  │ record ─ record ─ tombstone ─ record ─ record
 *
 * So the state itself is the log: whoever has everything up to a sequence number needs the records behind it, each once, and is
 * then up to date, whatever happened to them in between. A removed record leaves a tombstone, or others would not hear of it;
 * when the oldest tombstones are forgotten, those who stopped before them begin anew.
 */
import { crc32 } from 'node:zlib';

/** What became of a key; a value of null: it was removed. */
export interface Change {
  readonly key: string;
  readonly value: Buffer | null;
  readonly sequence: number;
}

/** Tombstones kept at least, however few records there are. */
const SPARE_TOMBSTONES = 1024;

class PartRecord {
  readonly key: string;
  value: Buffer | null;
  sequence: number;
  older: PartRecord | null;
  newer: PartRecord | null;

  constructor(key: string) {
    this.key = key;
    this.value = null;
    this.sequence = 0;
    this.older = null;
    this.newer = null;
  }
}

export class Part {
  /** Of the last change; 0 before the first. */
  sequence: number;
  /** That of the last tombstone that was forgotten. */
  floor: number;
  /** Records that are there. */
  count: number;
  /** Of their keys and values. */
  bytes: number;
  /** The same for all who have the same records: the sum of a hash of each (32 bits), so that a change costs only its own. */
  hash: number;
  /** Tombstones included, which are at most twice as many as `count` and SPARE_TOMBSTONES together. */
  readonly #records: Map<string, PartRecord>;
  #oldest: PartRecord | null;
  #newest: PartRecord | null;
  #tombstones: number;

  constructor() {
    this.sequence = 0;
    this.floor = 0;
    this.count = 0;
    this.bytes = 0;
    this.hash = 0;
    this.#records = new Map();
    this.#oldest = null;
    this.#newest = null;
    this.#tombstones = 0;
  }

  get(key: string): Buffer | null {
    return this.#records.get(key)?.value ?? null;
  }

  /** The owner's next change; null when there is nothing to remove. */
  write(key: string, value: Buffer | null): Change | null {
    if (value === null && this.get(key) === null) return null;
    const change = { key, value, sequence: this.sequence + 1 };
    this.apply(change);
    return change;
  }

  /** Takes in a change that is newer than all it has; false when it is not. */
  apply({ key, value, sequence }: Change): boolean {
    if (sequence <= this.sequence) return false;
    let record = this.#records.get(key);
    if (record === undefined) {
      record = new PartRecord(key);
      this.#records.set(key, record);
    } else {
      this.#uncount(record);
      this.#unlink(record);
    }
    record.value = value;
    record.sequence = sequence;
    this.sequence = sequence;
    this.#link(record);
    this.#count(record);
    this.#forget();
    return true;
  }

  /** Sequence numbers up to here are known to be of records that have changed since: nothing is missing. */
  reach(sequence: number): void {
    if (sequence > this.sequence) this.sequence = sequence;
  }

  /**
   * What changed behind `sequence`, oldest first, up to about `bytes`. `to`: what whoever has taken it in has; `last`: that is all.
   */
  since(sequence: number, bytes: number): { changes: Change[]; to: number; last: boolean } {
    let record = this.#firstBehind(sequence);
    const changes: Change[] = [];
    for (let left = bytes; record !== null && left > 0; record = record.newer) {
      changes.push({ key: record.key, value: record.value, sequence: record.sequence });
      left -= sizeOf(record);
    }
    const last = record === null;
    return { changes, to: last ? this.sequence : changes[changes.length - 1].sequence, last };
  }

  /** The records that are there, in the order of their last changes. */
  *live(): Generator<{ key: string; value: Buffer }> {
    for (let record = this.#oldest; record !== null; record = record.newer)
      if (record.value !== null) yield { key: record.key, value: record.value };
  }

  /** From the newest back: mostly little is asked for. */
  #firstBehind(sequence: number): PartRecord | null {
    if (sequence === 0) return this.#oldest;
    let first: PartRecord | null = null;
    for (let record = this.#newest; record !== null && record.sequence > sequence; record = record.older)
      first = record;
    return first;
  }

  #link(record: PartRecord): void {
    record.older = this.#newest;
    record.newer = null;
    if (this.#newest === null) this.#oldest = record;
    else this.#newest.newer = record;
    this.#newest = record;
  }

  #unlink(record: PartRecord): void {
    if (record.older === null) this.#oldest = record.newer;
    else record.older.newer = record.newer;
    if (record.newer === null) this.#newest = record.older;
    else record.newer.older = record.older;
  }

  #count(record: PartRecord): void {
    if (record.value === null) this.#tombstones++;
    else {
      this.count++;
      this.bytes += sizeOf(record);
      this.hash = (this.hash + hashOf(record)) >>> 0;
    }
  }

  #uncount(record: PartRecord): void {
    if (record.value === null) this.#tombstones--;
    else {
      this.count--;
      this.bytes -= sizeOf(record);
      this.hash = (this.hash - hashOf(record)) >>> 0;
    }
  }

  #forget(): void {
    // Half of them at a time, so that the walk over all records is made once in so many removals.
    const enough = this.count + SPARE_TOMBSTONES;
    if (this.#tombstones <= 2 * enough) return;
    for (let record = this.#oldest; record !== null && this.#tombstones > enough; ) {
      const { newer } = record;
      if (record.value === null) {
        this.floor = record.sequence;
        this.#tombstones--;
        this.#unlink(record);
        this.#records.delete(record.key);
      }
      record = newer;
    }
  }
}

function sizeOf({ key, value }: { key: string; value: Buffer | null }): number {
  return key.length + (value?.length ?? 0);
}

/** CRC-32 is linear, so that sums of it would hide changes that cancel out: mixed by the last step of MurmurHash3. */
function hashOf({ key, value, sequence }: PartRecord): number {
  let h = crc32(value!, (crc32(key) ^ key.length) >>> 0) ^ Math.imul(sequence, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
