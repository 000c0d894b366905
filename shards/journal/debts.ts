/**
 * Records that a full disk did not take and that must not be forgotten: which messages have left, and what mailboxes are. Messages
 * are none, for their publishers are told; nor is what failed of them, which would begin anew. Bounded: each message leaves once,
 * and of a mailbox only the last word counts.
 */
import { readU32, writeU32 } from '../../lib/wire/frame.js';
import { BLOCK_HEADER, RecordType } from './records.js';

export class Debts {
  #gone: Buffer[];
  readonly #mailboxes: Map<number, Buffer>;

  constructor() {
    this.#gone = [];
    this.#mailboxes = new Map();
  }

  get isEmpty(): boolean {
    return this.#gone.length === 0 && this.#mailboxes.size === 0;
  }

  /** Takes over what may not be forgotten of the records of a block. */
  collect(records: Uint8Array): void {
    for (let o = 0; o < records.length; o += readU32(records, o)) {
      const type = records[o + 4];
      if (type === RecordType.message || type === RecordType.failed || type === RecordType.lives) continue;
      const record = Buffer.from(records.subarray(o, o + readU32(records, o)));
      if (type === RecordType.gone) this.#gone.push(record);
      else this.#mailboxes.set(readU32(record, 12), record);
    }
  }

  /** These records were written: of a mailbox they say something later than what is owed. */
  supersede(records: Uint8Array): void {
    for (let o = 0; o < records.length; o += readU32(records, o))
      if (records[o + 4] === RecordType.mailbox || records[o + 4] === RecordType.closed)
        this.#mailboxes.delete(readU32(records, o + 12));
  }

  /** As finished blocks of at most `most` bytes of records each. */
  blocks(most: number, checksum: (records: Uint8Array) => number): Buffer[] {
    const blocks: Buffer[] = [];
    let parts: Buffer[] = [];
    let size = 0;
    const end = (): void => {
      if (size === 0) return;
      const block = Buffer.concat([Buffer.alloc(BLOCK_HEADER), ...parts]);
      writeU32(block, 0, size);
      writeU32(block, 4, checksum(block.subarray(BLOCK_HEADER)));
      blocks.push(block);
      parts = [];
      size = 0;
    };
    for (const record of [...this.#mailboxes.values(), ...this.#gone]) {
      if (size + record.length > most) end();
      parts.push(record);
      size += record.length;
    }
    end();
    return blocks;
  }

  clear(): void {
    this.#gone = [];
    this.#mailboxes.clear();
  }
}
