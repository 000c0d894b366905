/**
 * What goes to and fro about the history of a node. PROTOCOL.md has the contract. No Node built-ins here: browsers load it.
 *
 *   past      0 stream (u32) · 4 kind (1 replayed, 2 retained) · 5 slot · 6 size of the sender · 7 size of the topic ·
 *             8 place (u64) · 16 age (u32, ms) · 20 zero · 24 sender · topic · the publish frame
 *   replaying 0 stream (u32) · 4 kind (1 begins, 2 has caught up) · 5 zero · 8 name of the history (8 bytes) · 16 a place (u64) for each slot
 *   place     0 slot · 1 zero · 4 count (u32) · 8 place (u64)
 *   a cursor  0 name of the history (8 bytes) · then for each slot and lane: 0 slot · 1 lane · 2 place (u64)
 */
import { sealFrame } from './checksum.js';
import {
  Encoding,
  FrameType,
  HEADER_SIZE,
  LANE_COUNT,
  LANE_NORMAL,
  readU32,
  readU64,
  writeHeader,
  writeU32,
  writeU64,
} from './frame.js';
import { readUtf8, toHex } from './text.js';

export const PAST_HEADER = 24;
export const PLACE_FRAME = HEADER_SIZE + 16;
export const HISTORY_NAME = 8;
/** Slot, lane and place. */
export const CURSOR_ENTRY = 10;
/** Slots of a node that can have a history. */
export const MAX_SLOTS = 64;
/** Bytes of a cursor, at most. */
export const MAX_CURSOR = HISTORY_NAME + MAX_SLOTS * LANE_COUNT * CURSOR_ENTRY;

/** Messages that a replay may be asked for; how many there are is for the broker's memory to say. */
export const MAX_LAST = 0x7fffffff;

export const PastKind = { replayed: 1, retained: 2 } as const;
export type PastKind = (typeof PastKind)[keyof typeof PastKind];
export const Stage = { begins: 1, caughtUp: 2 } as const;

export interface Past {
  /** As the client named the replay that it belongs to; 0: all that match. */
  stream: number;
  kind: number;
  slot: number;
  /** Where in the history of its slot it stands; 0: nowhere. */
  place: number;
  /** Milliseconds since it came to the node. */
  age: number;
  from: string;
  topic: string;
  /** The publish frame is `[start, end)` of the bytes that it was read from. */
  start: number;
  end: number;
}

/**
 * Writes a past frame at `o` of `b`, of which `view` is a view, around the publish frame `src[start, end)`; `src` begins with the sender,
 * up to `senderEnd`, and the topic, up to `topicEnd`. Returns where it ends.
 */
export function writePast(
  b: Uint8Array,
  view: DataView,
  o: number,
  stream: number,
  kind: PastKind,
  slot: number,
  place: number,
  age: number,
  src: Uint8Array,
  senderEnd: number,
  topicEnd: number,
  start: number,
  end: number,
): number {
  const p = o + HEADER_SIZE;
  b.set(src.subarray(0, topicEnd), p + PAST_HEADER);
  const frame = p + PAST_HEADER + topicEnd;
  b.set(src.subarray(start, end), frame);
  const total = frame + end - start - o;
  writeHeader(
    view,
    o,
    FrameType.past,
    0,
    LANE_NORMAL,
    Encoding.bytes,
    total,
    total - HEADER_SIZE,
    0,
    0,
    0,
    0,
    0,
  );
  writeU32(b, p, stream);
  b[p + 4] = kind;
  b[p + 5] = slot;
  b[p + 6] = senderEnd;
  b[p + 7] = topicEnd - senderEnd;
  writeU64(b, p + 8, place);
  writeU32(b, p + 16, Math.min(0xffffffff, Math.max(0, Math.floor(age))));
  writeU32(b, p + 20, 0);
  sealFrame(b, o, total, 0);
  return o + total;
}

/** Reads the payload `b[start, end)` of a past frame; null when it is none. */
export function readPast(b: Uint8Array, start: number, end: number): Past | null {
  if (end - start < PAST_HEADER + HEADER_SIZE) return null;
  const from = start + PAST_HEADER;
  const topic = from + b[start + 6];
  const frame = topic + b[start + 7];
  if (frame + HEADER_SIZE > end || b[start + 5] >= MAX_SLOTS) return null;
  return {
    stream: readU32(b, start),
    kind: b[start + 4],
    slot: b[start + 5],
    place: readU64(b, start + 8),
    age: readU32(b, start + 16),
    from: readUtf8(b, from, topic),
    topic: readUtf8(b, topic, frame),
    start: frame,
    end,
  };
}

export interface Replaying {
  stream: number;
  stage: number;
  /** Hexadecimal. */
  history: string;
  /** By slot: where it begins, or what has been passed. */
  places: number[];
}

export function replayingPayload(
  stream: number,
  stage: number,
  history: Uint8Array,
  places: readonly number[],
): Uint8Array {
  const b = new Uint8Array(16 + places.length * 8);
  writeU32(b, 0, stream);
  b[4] = stage;
  b.set(history, 8);
  for (const [slot, place] of places.entries()) writeU64(b, 16 + slot * 8, place);
  return b;
}

/** Reads the payload `b[start, end)` of a replaying frame; null when it is none. */
export function readReplaying(b: Uint8Array, start: number, end: number): Replaying | null {
  const size = end - start - 16;
  if (size < 0 || size % 8 !== 0 || size / 8 > MAX_SLOTS) return null;
  const places: number[] = [];
  for (let at = start + 16; at < end; at += 8) places.push(readU64(b, at));
  return {
    stream: readU32(b, start),
    stage: b[start + 4],
    history: toHex(b, start + 8, start + 16),
    places,
  };
}

/** Writes a place frame at `o`: the next `count` messages of `lane` stand at `place` and behind it. Returns where it ends. */
export function writePlace(
  b: Uint8Array,
  view: DataView,
  o: number,
  lane: number,
  slot: number,
  place: number,
  count: number,
): number {
  const p = o + HEADER_SIZE;
  writeHeader(view, o, FrameType.place, 0, lane, Encoding.bytes, PLACE_FRAME, 16, 0, 0, 0, 0, 0);
  writeU32(b, p, slot);
  writeU32(b, p + 4, count);
  writeU64(b, p + 8, place);
  sealFrame(b, o, PLACE_FRAME, 0);
  return o + PLACE_FRAME;
}

/** Reads along where in the history each live message of a connection stands. */
export class Places {
  /** Of the message that `next` was called for last. */
  slot: number;
  private readonly slots: Uint8Array;
  private readonly left: Uint32Array;
  private readonly places: Float64Array;

  constructor() {
    this.slot = 0;
    this.slots = new Uint8Array(LANE_COUNT);
    this.left = new Uint32Array(LANE_COUNT);
    this.places = new Float64Array(LANE_COUNT);
  }

  /** A place frame on `lane`, its payload `b[start, end)`. False when it is none. */
  note(lane: number, b: Uint8Array, start: number, end: number): boolean {
    if (end - start !== 16 || b[start] >= MAX_SLOTS) return false;
    this.slots[lane] = b[start];
    this.left[lane] = readU32(b, start + 4);
    this.places[lane] = readU64(b, start + 8);
    return true;
  }

  /** The place of the live message of `lane` that has just come; 0: it has none. */
  next(lane: number): number {
    if (this.left[lane] === 0) return 0;
    this.left[lane]--;
    this.slot = this.slots[lane];
    return this.places[lane]++;
  }

  /** Another connection begins. */
  clear(): void {
    this.left.fill(0);
  }
}

/** How far one reader of the history has come: by slot and lane, the place of what it wants next. */
export class Progress {
  private readonly wanted: Float64Array;
  private readonly known: Uint8Array;

  constructor() {
    this.wanted = new Float64Array(MAX_SLOTS * LANE_COUNT);
    this.known = new Uint8Array(MAX_SLOTS);
  }

  wants(slot: number, lane: number, place: number): boolean {
    return place >= this.wanted[slot * LANE_COUNT + lane];
  }

  /** It has all before `place`: of one lane. */
  reach(slot: number, lane: number, place: number): void {
    const at = slot * LANE_COUNT + lane;
    if (place > this.wanted[at]) this.wanted[at] = place;
    this.known[slot] = 1;
  }

  /** Of all lanes. */
  reachAll(slot: number, place: number): void {
    for (let lane = 0; lane < LANE_COUNT; lane++) this.reach(slot, lane, place);
  }

  /** The least place that is wanted of a slot, whatever the lane; 0 when nothing was heard of it. */
  least(slot: number): number {
    return Math.min(...this.wanted.subarray(slot * LANE_COUNT, (slot + 1) * LANE_COUNT));
  }

  clear(): void {
    this.wanted.fill(0);
    this.known.fill(0);
  }

  /** As the broker is told. `history`: hexadecimal. */
  cursor(history: string): Uint8Array {
    const slots = [...this.known.keys()].filter((slot) => this.known[slot] === 1);
    const b = new Uint8Array(HISTORY_NAME + slots.length * LANE_COUNT * CURSOR_ENTRY);
    for (let i = 0; i < HISTORY_NAME; i++) b[i] = Number.parseInt(history.slice(2 * i, 2 * i + 2), 16);
    let o = HISTORY_NAME;
    for (const slot of slots) {
      for (let lane = 0; lane < LANE_COUNT; lane++, o += CURSOR_ENTRY) {
        b[o] = slot;
        b[o + 1] = lane;
        writeU64(b, o + 2, this.wanted[slot * LANE_COUNT + lane]);
      }
    }
    return b;
  }

  /** Takes over what a cursor says; false when it is none. */
  read(cursor: Uint8Array): boolean {
    if (cursor.length < HISTORY_NAME || (cursor.length - HISTORY_NAME) % CURSOR_ENTRY !== 0) return false;
    for (let o = HISTORY_NAME; o < cursor.length; o += CURSOR_ENTRY) {
      if (cursor[o] >= MAX_SLOTS || cursor[o + 1] >= LANE_COUNT) return false;
      this.reach(cursor[o], cursor[o + 1], readU64(cursor, o + 2));
    }
    return true;
  }
}
