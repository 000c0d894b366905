/**
 * What was published on the topics that the configuration keeps: each shard appends what its agents publish to a ring of its own in
 * shared memory, and any shard reads the rings of all. Places number the messages of a ring, from 1 on.
 */
import { createHash } from 'node:crypto';
import { historyOffset } from '../lib/memory/layout.js';
import type { AttachedSegment } from '../lib/memory/segment.js';
import { HistoryReader, HistoryWriter } from '../lib/queues/history-ring.js';
import type { Lanes } from '../lib/queues/lanes.js';
import type { Topic } from '../lib/topics/table.js';
import { matches, patternsOverlap } from '../lib/topics/topic.js';
import { HISTORY_NAME, MAX_SLOTS, PLACE_FRAME, writePlace } from '../lib/wire/past.js';
import { utf8 } from '../lib/wire/text.js';
import type { SenderId } from './sender-ids.js';

/** A place and the slot whose it is, as one number: it is exact up to 2^47 messages of a shard. 0: nowhere. */
export function placeIn(slot: number, place: number): number {
  return place * MAX_SLOTS + slot;
}

export function slotOfPlace(placed: number): number {
  return placed % MAX_SLOTS;
}

export function numberOfPlace(placed: number): number {
  return Math.floor(placed / MAX_SLOTS);
}

// The place of a run and the run, as one piece: neither is shed without the other.
const SCRATCH = new Uint8Array(64 * 1024);
const SCRATCH_VIEW = new DataView(SCRATCH.buffer);

/** Puts a place frame in line, and behind it the run that stands there. */
export function appendPlaced(
  lanes: Lanes,
  lane: number,
  src: Uint8Array,
  start: number,
  end: number,
  frames: number,
  expires: boolean,
  stamp: number,
  place: number,
): void {
  writePlace(SCRATCH, SCRATCH_VIEW, 0, lane, slotOfPlace(place), numberOfPlace(place), frames);
  const size = PLACE_FRAME + end - start;
  if (size > lanes.largest) {
    lanes.append(lane, SCRATCH, 0, PLACE_FRAME, 0, false, 0);
    lanes.append(lane, src, start, end, frames, expires, stamp);
    return;
  }
  SCRATCH.set(src.subarray(start, end), PLACE_FRAME);
  lanes.append(lane, SCRATCH, 0, size, frames, expires, stamp);
}

/** The name of the history of one run of a node. */
export function historyName(instance: string): Uint8Array {
  return createHash('sha256').update(instance).digest().subarray(0, HISTORY_NAME);
}

export class History {
  readonly slot: number;
  /** Differs from run to run of the node: a cursor of another means nothing. */
  readonly name: Uint8Array;
  readonly #segment: AttachedSegment | null;
  readonly #patterns: readonly string[];
  readonly #writer: HistoryWriter | null;

  /** `segment`: null where there is no shared memory; nothing is kept then. */
  constructor(slot: number, name: Uint8Array, segment: AttachedSegment | null, patterns: readonly string[]) {
    const kept = segment !== null && segment.sizes.historyBytes > 0;
    this.slot = slot;
    this.name = name;
    this.#segment = kept ? segment : null;
    this.#patterns = kept ? patterns : [];
    this.#writer = kept
      ? new HistoryWriter(segment.buffer, historyOffset(segment.sizes, slot), segment.sizes.historyBytes)
      : null;
  }

  /** Whether the cursor is of this history. */
  isNamed(cursor: Uint8Array): boolean {
    return cursor.length >= HISTORY_NAME && this.name.every((byte, i) => byte === cursor[i]);
  }

  /** The topics that are kept. */
  get patterns(): readonly string[] {
    return this.#patterns;
  }

  /** Whether messages on `topic` are kept. */
  keeps(topic: string): boolean {
    return this.#patterns.some((pattern) => matches(pattern, topic));
  }

  /** Whether there are topics that `pattern` matches and that are kept. */
  covers(pattern: string): boolean {
    return this.#patterns.some((kept) => patternsOverlap(kept, pattern));
  }

  /** Keeps a run of messages; returns its place, see `placeIn`. `arrival`: monotonic milliseconds. */
  record(
    lane: number,
    arrival: number,
    from: SenderId,
    topic: Topic<unknown> | null,
    text: string,
    src: Uint8Array,
    start: number,
    end: number,
    frames: number,
  ): number {
    const topicBytes = topic === null ? utf8(text) : topic.bytes;
    const first = this.#writer!.write(lane, arrival, from.bytes, topicBytes, src, start, end, frames);
    return first === 0 ? 0 : placeIn(this.slot, first);
  }

  /** One for each slot, behind the last record. */
  readers(): HistoryReader[] {
    const segment = this.#segment;
    if (segment === null) return [];
    const { buffer, sizes } = segment;
    return Array.from(
      { length: sizes.workers },
      (_, slot) => new HistoryReader(buffer, historyOffset(sizes, slot), sizes.historyBytes),
    );
  }

  /** What this shard keeps: bytes, messages, and when the oldest came (0: none). */
  get used(): number {
    return this.#writer?.used ?? 0;
  }

  get kept(): number {
    return this.#writer?.kept ?? 0;
  }

  get oldest(): number {
    return this.#writer?.oldest ?? 0;
  }
}

/** Where nothing is kept. */
export const NO_HISTORY = new History(0, new Uint8Array(8), null, []);
