/** Whether messages are still what their publishers sealed: before they are journaled, when they are read back, when they are replayed. */
import { decodeTopic } from '../lib/topics/topic.js';
import { checksumHolds, Seeds } from '../lib/wire/checksum.js';
import { HEADER_SIZE, OFFSET_TOPIC_LENGTH } from '../lib/wire/frame.js';

export class Integrity {
  readonly #seeds: Seeds;

  constructor() {
    this.#seeds = new Seeds();
  }

  /** Whether the checksum of a publish frame holds. `topic`: '' when the frame spells it out. */
  holds(from: string, topic: string, src: Uint8Array, start: number, end: number): boolean {
    const at = start + HEADER_SIZE;
    const text = topic === '' ? decodeTopic(src, at, at + src[start + OFFSET_TOPIC_LENGTH]) : topic;
    return text !== null && checksumHolds(src, start, end - start, this.#seeds.of(from, text));
  }
}
