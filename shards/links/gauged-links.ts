/** What both kinds of links tell beyond their work, for metrics and for pressure. */
import type { Links, RecordKind } from '../../lib/links.js';

export interface GaugedLinks extends Links {
  /** How full the path to worker `slot` is, 0 to 1: what that worker has not read, or was not sent. */
  occupancy(slot: number, urgent: boolean): number;
  /** How often something unintelligible was read, and skipped, since this worker began. */
  readonly corrupt: number;
}

/**
 * A record that was in hand when each of the last two readers of its path died: it is not given to `onRecord`
 * again, so that nothing crashes in a loop. Same arguments, same rules. Sockets never have one.
 */
export type OnPoison = (
  from: number,
  urgent: boolean,
  kind: RecordKind,
  stamp: number,
  src: Uint8Array,
  start: number,
  end: number,
) => void;

/** Throws RangeError for a record that no path takes: a programming error, not a full path. */
export function checkRecord(start: number, end: number, most: number): void {
  if (end - start > most || end < start) {
    throw new RangeError(`a record has 0 to ${most} bytes, not ${end - start}`);
  }
}
