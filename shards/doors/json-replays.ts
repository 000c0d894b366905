/** What a connection that speaks JSON leaves out of its live messages, because it gets them, or got them, as messages of the past. */
import { matches } from '../../lib/topics/topic.js';
import type { BatchReader } from '../../lib/wire/batch.js';
import { Places, Progress, readReplaying, Stage } from '../../lib/wire/past.js';

/** One subscription that began in the past. */
class JsonReplay {
  readonly pattern: string;
  readonly progress: Progress;
  caughtUp: boolean;

  constructor(pattern: string) {
    this.pattern = pattern;
    this.progress = new Progress();
    this.caughtUp = false;
  }
}

export class JsonReplays {
  readonly #places: Places;
  /** By stream; at most as many as there are patterns. */
  readonly #byStream: Map<number, JsonReplay>;
  #lastStream: number;

  constructor() {
    this.#places = new Places();
    this.#byStream = new Map();
    this.#lastStream = 0;
  }

  /** A replay begins; returns its stream. */
  begin(pattern: string): number {
    this.forget([pattern]);
    this.#byStream.set(++this.#lastStream, new JsonReplay(pattern));
    return this.#lastStream;
  }

  forget(patterns: readonly string[]): void {
    for (const [stream, { pattern }] of this.#byStream)
      if (patterns.includes(pattern)) this.#byStream.delete(stream);
  }

  /** A place frame. */
  onPlace(reader: BatchReader): void {
    this.#places.note(reader.lane, reader.bytes, reader.payloadStart, reader.end);
  }

  /** A replaying frame. */
  onStage(reader: BatchReader): void {
    const notice = readReplaying(reader.bytes, reader.payloadStart, reader.end);
    const replay = notice === null ? undefined : this.#byStream.get(notice.stream);
    if (replay === undefined) return;
    for (const [slot, place] of notice!.places.entries()) replay.progress.reachAll(slot, place);
    replay.caughtUp = notice!.stage === Stage.caughtUp;
  }

  /** Whether the live message of `lane` that has just come is to be shown. To be called for each. */
  takes(lane: number, topic: string): boolean {
    const place = this.#places.next(lane);
    if (place === 0) return true;
    const { slot } = this.#places;
    for (const { pattern, progress, caughtUp } of this.#byStream.values()) {
      if (matches(pattern, topic) && !(caughtUp && progress.wants(slot, lane, place))) return false;
    }
    return true;
  }
}
