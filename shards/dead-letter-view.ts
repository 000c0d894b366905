/** Dead letters as those who ask for them see them. */
import { isUtf8 } from 'node:buffer';
import type { LetterDetail, LetterSummary } from '../lib/dead-letter.js';
import { decodeTopic } from '../lib/topics/topic.js';
import { BatchReader, Step } from '../lib/wire/batch.js';
import { Extensions } from '../lib/wire/extensions.js';
import { Encoding, Flag, HEADER_SIZE, LANES, OFFSET_TOPIC_LENGTH } from '../lib/wire/frame.js';
import { dataOf } from '../lib/wire/json.js';
import { readUtf8, toHex } from '../lib/wire/text.js';
import type { PackedLetter } from './dead-letter-replay.js';
import type { DeadLetter } from './dead-letters.js';
import type { LetterNote } from './letter-note.js';

/** UTF-16 units of a reason in a list. */
const MAX_LISTED_REASON = 200;

export function letterId(slot: number, number: number): string {
  return `${slot}-${number}`;
}

/** Slot and number of an id; null when it is none. */
export function parseLetterId(id: string): { slot: number; number: number } | null {
  const match = /^(\d{1,3})-(\d{1,16})$/.exec(id);
  const number = Number(match?.[2]);
  return match !== null && Number.isSafeInteger(number) ? { slot: Number(match[1]), number } : null;
}

export function summaryOf(slot: number, letter: DeadLetter): LetterSummary {
  const { offset, topicText: topic, from, storedAt, note, frameStart, end } = letter;
  const summary = summarise(letterId(slot, offset), topic, from, storedAt, note, end - frameStart);
  return { ...summary, reason: summary.reason.slice(0, MAX_LISTED_REASON) };
}

export function detailOf(slot: number, letter: PackedLetter): LetterDetail {
  const { number, from, storedAt, lane, note } = letter;
  const b = Buffer.from(letter.frame, 'base64');
  const at = HEADER_SIZE;
  const topic = letter.topic || (decodeTopic(b, at, at + b[OFFSET_TOPIC_LENGTH]) ?? '');
  const known = {
    ...summarise(letterId(slot, number), topic, from, storedAt, note, b.length),
    priority: LANES[lane],
    attempts: note.attempts,
    lives: note.lives,
  };
  const reader = new BatchReader();
  reader.open(b, 0, b.length, b.length);
  // What is damaged may be anything.
  if (reader.next() !== Step.frame)
    return { ...known, headers: {}, messageId: null, key: null, ...dataOf(Encoding.bytes, b, 0, b.length) };
  const extensions = new Extensions();
  if ((reader.flags & Flag.extensions) !== 0) extensions.read(b, reader.extensionsStart, reader.payloadStart);
  return {
    ...known,
    headers: extensions.headers ?? {},
    messageId: textOrHex(extensions.messageId),
    key: extensions.key,
    ...dataOf(reader.encoding, b, reader.payloadStart, reader.end),
  };
}

/** Message ids are bytes: those that are text are shown as such. */
function textOrHex(id: Uint8Array | null): string | null {
  if (id === null) return null;
  return isUtf8(id) ? readUtf8(id, 0, id.length) : toHex(id);
}

function summarise(
  id: string,
  topic: string,
  from: string,
  storedAt: number,
  { kind, cause, mailbox, diedAt, failures, attempts }: LetterNote,
  size: number,
): LetterSummary {
  const reason = attempts.filter(({ outcome }) => outcome === 'nack').at(-1)?.reason ?? '';
  return { id, kind, cause, mailbox, topic, from, storedAt, diedAt, failures, reason, size };
}
