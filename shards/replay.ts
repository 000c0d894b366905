/**
 * One replay: messages of the past, from the rings of all shards, into the lanes of one session, as fast as that drains. When it has caught
 * up with every ring in one and the same turn, the session is subscribed: what came before was replayed, what comes after is live. Messages that were
 * under way from other shards at that moment come as well; their places tell the reader that it has them.
 */
import { HistoryMerge, type HistorySource } from '../lib/queues/history-merge.js';
import { C } from '../lib/telemetry/counters.js';
import { decodeTopic, matches } from '../lib/topics/topic.js';
import type { Replay as WireWish } from '../lib/wire/control.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  LANE_NORMAL,
  OFFSET_FLAGS,
  OFFSET_TOTAL,
  readU32,
  viewOf,
} from '../lib/wire/frame.js';
import { PAST_HEADER, PastKind, Progress, replayingPayload, Stage, writePast } from '../lib/wire/past.js';
import { readTimeToLive } from '../lib/wire/ttl.js';
import { controlFrame } from '../lib/wire/writer.js';
import type { Exchange } from './exchange.js';
import type { History } from './history.js';
import type { Session } from './session.js';

/** Records that are looked at in one turn: about a millisecond. */
const STEPS = 4096;
/** Milliseconds that a message may have been under way to an agent when that was last heard. */
const UNDER_WAY = 5000;

/** What is to be replayed: as the wire has it, but of one or more patterns. A message that several of them match comes once. */
export type ReplayWish = Omit<WireWish, 'pattern'> & { readonly patterns: readonly string[] };

export class Replay {
  readonly session: Session;
  readonly wish: ReplayWish;
  readonly #exchange: Exchange;
  readonly #history: History;
  readonly #merge: HistoryMerge;
  /** What the agent has already; null: it wants all that it asks for. */
  readonly #progress: Progress | null;
  readonly #onBegin: () => void;
  #begun: boolean;
  /** In the record at hand: where its next frame lies, and its place; -1 when none is. */
  #at: number;
  #place: number;
  readonly #out: Uint8Array;
  readonly #view: DataView;

  /** `onBegin` is called when it is found where it begins, before the first message. */
  constructor(exchange: Exchange, history: History, session: Session, wish: ReplayWish, onBegin: () => void) {
    this.session = session;
    this.wish = wish;
    this.#exchange = exchange;
    this.#history = history;
    this.#progress = progressOf(wish, history);
    const { cursor, last, age, patterns } = wish;
    const resumes = this.#progress !== null;
    this.#merge = new HistoryMerge(history.readers(), {
      matches: (bytes, start, end) => {
        const topic = decodeTopic(bytes, start, end) ?? '';
        return patterns.some((pattern) => matches(pattern, topic));
      },
      last: cursor !== null || last === null ? Number.POSITIVE_INFINITY : last,
      // With a cursor that is not of this history, what came since the agent was last heard is all that can be said.
      since: exchange.clock - (age ?? Number.POSITIVE_INFINITY) - (resumes ? UNDER_WAY : 0),
      progress: this.#progress,
    });
    this.#merge.gap = cursor !== null && !resumes;
    this.#onBegin = onBegin;
    this.#begun = false;
    this.#at = -1;
    this.#place = 0;
    this.#out = new Uint8Array(exchange.settings.maxPayload);
    this.#view = viewOf(this.#out);
  }

  /** Puts up to `budget` bytes in line, or one message if `socketEmpty`. True when it has caught up with all rings, at this moment. */
  feed(budget: number, socketEmpty: boolean): boolean {
    const merge = this.#merge;
    if (!this.#begun) {
      if (!merge.seek(STEPS)) return false;
      this.#begun = true;
      this.#onBegin();
      this.#announce(Stage.begins, merge.starts());
    }
    let left = budget;
    for (let steps = STEPS; steps > 0; steps--) {
      const source = merge.next(steps);
      this.#reportGap();
      if (source === null) return merge.caughtUp;
      left = this.#putRecord(source, left, socketEmpty && left === budget);
      if (left < 0) return false;
    }
    return false;
  }

  /** Live messages follow: all before these places have been replayed. */
  announceEnd(): void {
    this.#announce(Stage.caughtUp, this.#merge.passed());
  }

  #announce(stage: number, places: readonly number[]): void {
    const payload = replayingPayload(this.wish.stream, stage, this.#history.name, places);
    this.session.control(controlFrame(FrameType.replaying, 0, Encoding.bytes, payload));
  }

  #reportGap(): void {
    if (!this.#merge.gap) return;
    this.#merge.gap = false;
    this.session.sink?.gap(-1, 'history');
  }

  /** Puts what the budget has room for of the record at hand in line; returns what is left of it, or less than 0: it had to stop.
   * `alone`: the first may be larger. */
  #putRecord(source: HistorySource, budget: number, alone: boolean): number {
    const { reader, slot } = source;
    const { scratch, framesEnd, lane } = reader;
    if (this.#at < 0) {
      this.#at = reader.topicEnd;
      this.#place = reader.first;
    }
    let left = budget;
    while (this.#at < framesEnd) {
      const size = readU32(scratch, this.#at + OFFSET_TOTAL);
      const end = this.#at + size;
      // Frames were checked by the door; a size that is none could only be memory that somebody scribbled over.
      if (size < HEADER_SIZE || end > framesEnd) break;
      const wanted = this.#place >= source.start && (this.#progress?.wants(slot, lane, this.#place) ?? true);
      if (wanted && !this.#isExpired(scratch, this.#at, reader.arrival)) {
        const whole = HEADER_SIZE + PAST_HEADER + reader.topicEnd + size;
        if (whole > this.#out.length) this.session.sink?.gap(1, 'history');
        else {
          if (whole > left && !(alone && left === budget)) return -1;
          this.#put(source, end);
          left -= whole;
        }
      }
      this.#at = end;
      this.#place++;
    }
    this.#at = -1;
    source.ready = false;
    return left;
  }

  #put({ reader, slot }: HistorySource, end: number): void {
    const size = writePast(
      this.#out,
      this.#view,
      0,
      this.wish.stream,
      PastKind.replayed,
      slot,
      this.#place,
      this.#exchange.clock - reader.arrival,
      reader.scratch,
      reader.senderEnd,
      reader.topicEnd,
      this.#at,
      end,
    );
    this.session.deliver(LANE_NORMAL, this.#out, 0, size, 1);
    this.#exchange.counters[C.replayed]++;
  }

  #isExpired(bytes: Uint8Array, start: number, arrival: number): boolean {
    if ((bytes[start + OFFSET_FLAGS] & Flag.expires) === 0) return false;
    return this.#exchange.clock - arrival >= readTimeToLive(bytes, start);
  }
}

/** What the cursor of a wish says; null: there is none, or it is of another history. */
function progressOf({ cursor }: ReplayWish, history: History): Progress | null {
  if (cursor === null) return null;
  const progress = new Progress();
  return history.isNamed(cursor) && progress.read(cursor) ? progress : null;
}
