/**
 * The id of an event in a stream that can be resumed: how far its reader has come in the history, and when.
 *
 *   <history, 16 hexadecimal digits> . <milliseconds of the machine's clock> [. <slot> - <place> [four more: - <place>]] …
 *
 * Numbers are to base 36. A slot has one place when all lanes wait for the same, else one for each lane.
 */
import { LANE_COUNT, readU64, writeU64 } from '../../lib/wire/frame.js';
import { CURSOR_ENTRY, HISTORY_NAME, MAX_SLOTS } from '../../lib/wire/past.js';
import { toHex } from '../../lib/wire/text.js';

const HISTORY = /^[0-9a-f]{16}$/;
const NUMBER = /^[0-9a-z]{1,11}$/;
const SLOT_ENTRIES = LANE_COUNT * CURSOR_ENTRY;

export interface EventId {
  /** As a replay takes it. */
  readonly cursor: Uint8Array;
  /** Milliseconds. */
  readonly at: number;
}

/** `cursor`: as `Progress.cursor` makes it. */
export function writeEventId({ cursor, at }: EventId): string {
  let text = `${toHex(cursor, 0, HISTORY_NAME)}.${Math.floor(at).toString(36)}`;
  for (let o = HISTORY_NAME; o < cursor.length; o += SLOT_ENTRIES) {
    const places: string[] = [];
    for (let lane = 0; lane < LANE_COUNT; lane++)
      places.push(readU64(cursor, o + lane * CURSOR_ENTRY + 2).toString(36));
    const alike = places.every((place) => place === places[0]);
    text += `.${cursor[o].toString(36)}-${alike ? places[0] : places.join('-')}`;
  }
  return text;
}

/** Null when it is none. */
export function readEventId(text: string): EventId | null {
  const [history, time, ...slots] = text.split('.');
  const at = numberOf(time);
  if (!HISTORY.test(history) || at === null || slots.length > MAX_SLOTS) return null;
  const cursor = new Uint8Array(HISTORY_NAME + slots.length * SLOT_ENTRIES);
  cursor.set(Buffer.from(history, 'hex'));
  let o = HISTORY_NAME;
  for (const one of slots) {
    const [slot, ...places] = one.split('-').map(numberOf);
    if (slot == null || slot >= MAX_SLOTS || places.includes(null)) return null;
    if (places.length !== 1 && places.length !== LANE_COUNT) return null;
    for (let lane = 0; lane < LANE_COUNT; lane++, o += CURSOR_ENTRY) {
      cursor[o] = slot;
      cursor[o + 1] = lane;
      writeU64(cursor, o + 2, places[lane] ?? places[0]!);
    }
  }
  return { cursor, at };
}

function numberOf(text: string | undefined): number | null {
  if (text === undefined || !NUMBER.test(text)) return null;
  const number = Number.parseInt(text, 36);
  return Number.isSafeInteger(number) ? number : null;
}
