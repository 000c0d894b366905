/**
 * The last value of each topic that was published with retain, for those who subscribe later. Each shard appends what its agents publish to a ring
 * of its own in shared memory, and reads those of all: the newest record of a topic is its value. So the values outlive any shard. Before the oldest
 * records of the own ring give way, those that still count are appended again; what another shard's record has replaced is marked dead.
 */
import type { ErrorCode } from '../lib/errors.js';
import { retainedOffset } from '../lib/memory/layout.js';
import type { AttachedSegment } from '../lib/memory/segment.js';
import { HISTORY_HEADER, HistoryReader, HistoryWriter } from '../lib/queues/history-ring.js';
import { decodeTopic, isReserved, isWildcard, matches } from '../lib/topics/topic.js';
import { Flag, LANE_NORMAL, OFFSET_FLAGS, OFFSET_PAYLOAD_SIZE, readU32, viewOf } from '../lib/wire/frame.js';
import { PastKind, writePast } from '../lib/wire/past.js';
import { utf8 } from '../lib/wire/text.js';
import { readTimeToLive } from '../lib/wire/ttl.js';
import type { Exchange } from './exchange.js';
import type { SenderId } from './sender-ids.js';
import type { Session } from './session.js';

/** Topics of a node, cleared ones for a while included. */
const MAX_VALUES = 65_536;
/** Of the own ring, what may count: the rest is room to append again what does. */
const MOST = 3 / 8;
/** How long it is remembered that a topic was cleared (ms), so that no shard takes an older value for the last one. */
const REMEMBERED = 60_000;
const DEAD = 1;

class Value {
  readonly slot: number;
  readonly time: number;
  /** Where in the ring of its slot it lies. */
  readonly position: number;
  /** Sender · topic · frame. */
  readonly bytes: Uint8Array;
  readonly senderEnd: number;
  readonly topicEnd: number;

  constructor(slot: number, reader: HistoryReader) {
    this.slot = slot;
    this.time = reader.arrival;
    this.position = reader.position;
    this.bytes = reader.scratch.slice(0, reader.framesEnd);
    this.senderEnd = reader.senderEnd;
    this.topicEnd = reader.topicEnd;
  }

  /** The topic was cleared. */
  get isEmpty(): boolean {
    return readU32(this.bytes, this.topicEnd + OFFSET_PAYLOAD_SIZE) === 0;
  }

  get size(): number {
    return this.bytes.length + HISTORY_HEADER;
  }

  hasExpired(now: number): boolean {
    if ((this.bytes[this.topicEnd + OFFSET_FLAGS] & Flag.expires) === 0) return false;
    return now - this.time >= readTimeToLive(this.bytes, this.topicEnd);
  }
}

export class Retained {
  readonly #slot: number;
  readonly #writer: HistoryWriter | null;
  readonly #readers: HistoryReader[];
  /** Goes behind those records of the own ring that need not be kept where they are. */
  readonly #sweep: HistoryReader | null;
  readonly #values: Map<string, Value>;
  /** Bytes of the own ring that count. */
  #own: number;

  /** `segment`: null where there is no shared memory; nothing is retained then. */
  constructor(slot: number, segment: AttachedSegment | null) {
    this.#slot = slot;
    this.#values = new Map();
    this.#own = 0;
    this.#readers = [];
    this.#writer = null;
    this.#sweep = null;
    if (segment === null || segment.sizes.retainedBytes === 0) return;
    const { buffer, sizes } = segment;
    const read = (of: number): HistoryReader => {
      const reader = new HistoryReader(buffer, retainedOffset(sizes, of), sizes.retainedBytes);
      reader.toBeginning();
      return reader;
    };
    this.#writer = new HistoryWriter(buffer, retainedOffset(sizes, slot), sizes.retainedBytes);
    this.#sweep = read(slot);
    for (let of = 0; of < sizes.workers; of++) this.#readers.push(read(of));
    this.catchUp();
  }

  /** Topics that have a value. */
  get count(): number {
    return this.#values.size;
  }

  /** Bytes of the own ring that count. */
  get bytes(): number {
    return this.#own;
  }

  /** Why the frame `src[start, end)` cannot become the value of `topic`; null: it can. */
  problem(
    exchange: Exchange,
    from: SenderId,
    topic: string,
    src: Uint8Array,
    start: number,
    end: number,
  ): ErrorCode | null {
    const writer = this.#writer;
    if (writer === null) return 'HISTORY_UNAVAILABLE';
    if (isReserved(topic)) return 'FORBIDDEN_TOPIC';
    if (end - start > exchange.settings.maxPayload - MARGIN) return 'PAYLOAD_TOO_LARGE';
    if (readU32(src, start + OFFSET_PAYLOAD_SIZE) === 0) return null;
    this.catchUp();
    const before = this.#values.get(topic);
    const freed = before?.slot === this.#slot ? before.size : 0;
    const size = recordSize(from, utf8(topic), end - start);
    return this.#own - freed + size > writer.capacity * MOST || this.#isFull(before, exchange.clock)
      ? 'RETAINED_FULL'
      : null;
  }

  /** Takes the frame `src[start, end)` for the value of `topic`; one without payload clears it. Returns why not. */
  set(
    exchange: Exchange,
    from: SenderId,
    topic: string,
    src: Uint8Array,
    start: number,
    end: number,
  ): ErrorCode | null {
    const problem = this.problem(exchange, from, topic, src, start, end);
    if (problem !== null) return problem;
    this.catchUp();
    const before = this.#values.get(topic);
    if (before === undefined && readU32(src, start + OFFSET_PAYLOAD_SIZE) === 0) return null;
    const topicBytes = utf8(topic);
    this.#makeRoom(recordSize(from, topicBytes, end - start), exchange.clock);
    const time = Math.max(exchange.clock, before?.time ?? 0);
    this.#writer!.write(src[start + 7] & 7, time, from.bytes, topicBytes, src, start, end, 1);
    this.catchUp();
    return null;
  }

  /** Puts the values that match one of `patterns` in line for a session that has just subscribed. */
  give(exchange: Exchange, session: Session, patterns: readonly string[], stream = 0): void {
    this.catchUp();
    if (this.#values.size === 0) return;
    const exact = patterns.length === 1 && !isWildcard(patterns[0]);
    const found = exact ? [this.#values.get(patterns[0])] : this.#values.values();
    for (const value of found) {
      if (value === undefined || value.isEmpty || value.hasExpired(exchange.clock)) continue;
      const topic = decodeTopic(value.bytes, value.senderEnd, value.topicEnd)!;
      if (exact || patterns.some((pattern) => matches(pattern, topic)))
        this.#put(exchange, session, value, stream);
    }
  }

  /** Takes over what other shards have retained since. */
  catchUp(): void {
    for (const [slot, reader] of this.#readers.entries()) {
      while (reader.forward()) if (reader.copy()) this.#apply(slot, reader);
      if (!reader.lost) continue;
      // Overtaken: all that counts is still there, further on.
      reader.lost = false;
      this.#rebuild();
      return;
    }
  }

  #rebuild(): void {
    this.#values.clear();
    this.#own = 0;
    for (const [slot, reader] of this.#readers.entries()) {
      reader.toBeginning();
      while (reader.forward()) if (reader.copy()) this.#apply(slot, reader);
      reader.lost = false;
    }
  }

  #apply(slot: number, reader: HistoryReader): void {
    if (reader.mark === DEAD) return;
    const topic = decodeTopic(reader.scratch, reader.senderEnd, reader.topicEnd);
    if (topic === null) return;
    const before = this.#values.get(topic);
    const isOlder =
      before !== undefined &&
      (reader.arrival < before.time || (reader.arrival === before.time && slot < before.slot));
    const value = new Value(slot, reader);
    if (isOlder) {
      if (slot === this.#slot) this.#writer!.remark(value.position, DEAD);
      return;
    }
    if (before?.slot === this.#slot) {
      this.#own -= before.size;
      if (slot !== this.#slot) this.#writer!.remark(before.position, DEAD);
    }
    if (slot === this.#slot) this.#own += value.size;
    this.#values.set(topic, value);
  }

  #isFull(before: Value | undefined, now: number): boolean {
    if (before !== undefined || this.#values.size < MAX_VALUES) return false;
    for (const [topic, value] of this.#values)
      if (value.isEmpty && now - value.time > REMEMBERED) this.#values.delete(topic);
    return this.#values.size >= MAX_VALUES;
  }

  /** Appends again what counts of the oldest records, until `size` more bytes take the place of none that does. */
  #makeRoom(size: number, now: number): void {
    const writer = this.#writer!;
    const sweep = this.#sweep!;
    const spare = 2 * size + writer.capacity / 32;
    while (sweep.left + spare > writer.capacity && sweep.forward()) {
      sweep.lost = false;
      const topic = decodeTopic(sweep.scratch, sweep.senderEnd, sweep.topicEnd);
      const value = topic === null ? undefined : this.#values.get(topic);
      if (value === undefined || value.slot !== this.#slot || value.position !== sweep.position) continue;
      if (value.isEmpty && now - value.time > REMEMBERED) {
        this.#values.delete(topic!);
        this.#own -= value.size;
        continue;
      }
      const { bytes, senderEnd, topicEnd } = value;
      const sender = bytes.subarray(0, senderEnd);
      writer.write(
        LANE_NORMAL,
        value.time,
        sender,
        bytes.subarray(senderEnd, topicEnd),
        bytes,
        topicEnd,
        bytes.length,
        1,
      );
      // Its new place.
      this.catchUp();
    }
  }

  #put(exchange: Exchange, session: Session, value: Value, stream: number): void {
    const { bytes, senderEnd, topicEnd, slot, time } = value;
    const out = new Uint8Array(exchange.settings.maxPayload);
    const size = writePast(
      out,
      viewOf(out),
      0,
      stream,
      PastKind.retained,
      slot,
      0,
      exchange.clock - time,
      bytes,
      senderEnd,
      topicEnd,
      topicEnd,
      bytes.length,
    );
    if (!session.deliver(LANE_NORMAL, out, 0, size, 1)) session.missing(1);
  }
}

/** What a past frame has beside the message, at most. */
const MARGIN = 512;

function recordSize(from: SenderId, topic: Uint8Array, frame: number): number {
  return HISTORY_HEADER + from.bytes.length + topic.length + frame;
}
