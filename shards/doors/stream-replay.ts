/** How far an event stream that began in the past has come, and what it leaves out of its live messages because it got them as messages of the past. */
import type { BatchReader } from '../../lib/wire/batch.js';
import { type Past, Places, Progress, readReplaying, Stage } from '../../lib/wire/past.js';
import { type EventId, writeEventId } from './event-id.js';

/** The number of the replay; a stream has one, of all its patterns. */
export const STREAM = 1;

export class StreamReplay {
  readonly #places: Places;
  readonly #progress: Progress;
  /** Of which history, hexadecimal; null before the replay has begun. */
  #history: string | null;
  #caughtUp: boolean;

  /** `from`: what its reader has already, of this history; null: nothing. */
  constructor(from: EventId | null) {
    this.#places = new Places();
    this.#progress = new Progress();
    if (from !== null) this.#progress.read(from.cursor);
    this.#history = null;
    this.#caughtUp = false;
  }

  /** A place frame. */
  onPlace(reader: BatchReader): void {
    this.#places.note(reader.lane, reader.bytes, reader.payloadStart, reader.end);
  }

  /** A replaying frame. */
  onStage(reader: BatchReader): void {
    const notice = readReplaying(reader.bytes, reader.payloadStart, reader.end);
    if (notice === null) return;
    this.#history = notice.history;
    for (const [slot, place] of notice.places.entries()) this.#progress.reachAll(slot, place);
    this.#caughtUp = notice.stage === Stage.caughtUp;
  }

  /** A last value has no place, which is as good as the one before the first. */
  onPast({ slot, place }: Past): void {
    this.#progress.reachAll(slot, place + 1);
  }

  /** Whether the live message of `lane` that has just come is to be shown. To be called for each. */
  takes(lane: number): boolean {
    const place = this.#places.next(lane);
    if (place === 0) return true;
    const { slot } = this.#places;
    if (!this.#caughtUp || !this.#progress.wants(slot, lane, place)) return false;
    this.#progress.reach(slot, lane, place + 1);
    return true;
  }

  /** Behind what was shown last; null before the replay has begun. */
  idAt(clock: number): string | null {
    return this.#history === null
      ? null
      : writeEventId({ cursor: this.#progress.cursor(this.#history), at: clock });
  }
}
