/** From a dead letter back to a message in a mailbox, with all that is known of it. */
import type { ErrorCode } from '../lib/errors.js';
import { type Life, MAX_LIVES_KEPT } from '../lib/queues/attempts.js';
import { MailboxEntry } from '../lib/queues/mailbox-entry.js';
import { keyOfFrame } from '../lib/wire/delivery.js';
import { Flag, OFFSET_FLAGS } from '../lib/wire/frame.js';
import { readTimeToLive } from '../lib/wire/ttl.js';
import type { DeadLetter } from './dead-letters.js';
import type { Home } from './home.js';
import type { Integrity } from './integrity.js';
import type { Journal } from './journal/journal.js';
import type { LetterNote } from './letter-note.js';

/** A dead letter as workers send it to each other: as JSON. */
export interface PackedLetter {
  number: number;
  from: string;
  /** '' when the frame spells it out. */
  topic: string;
  lane: number;
  storedAt: number;
  note: LetterNote;
  /** Base64. */
  frame: string;
}

export function packed(letter: DeadLetter): PackedLetter {
  const { offset: number, from, topic, lane, storedAt, note, bytes, frameStart, end } = letter;
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset + frameStart, end - frameStart).toString('base64');
  return { number, from, topic, lane, storedAt, note, frame };
}

/** A letter, and the mailbox that it is for. */
export interface Revival {
  home: Home;
  letter: PackedLetter;
}

/**
 * Puts letters back into their mailboxes, with one write. What hinders each: MAILBOX_FULL, JOURNAL_FULL, CHECKSUM_MISMATCH,
 * PAYLOAD_TOO_LARGE: its frame has more than `largest` bytes.
 */
export function reviveAll(
  journal: Journal,
  integrity: Integrity,
  largest: number,
  dead: readonly Revival[],
  wall: number,
): (ErrorCode | null)[] {
  const revived: [Home, MailboxEntry][] = [];
  const codes = dead.map(({ home, letter }): ErrorCode | null => {
    const { from, topic } = letter;
    const frame = Buffer.from(letter.frame, 'base64');
    if (!integrity.holds(from, topic, frame, 0, frame.length)) return 'CHECKSUM_MISMATCH';
    if (frame.length > largest) return 'PAYLOAD_TOO_LARGE';
    if (!home.mailbox.hasRoom(frame.length)) return 'MAILBOX_FULL';
    if (!journal.hasRoom(frame.length)) return 'JOURNAL_FULL';
    revived.push([home, revive(journal, home, letter, frame, wall)]);
    return null;
  });
  if (journal.flush()) return codes;
  for (const [home, entry] of revived) {
    home.mailbox.withdraw(entry);
    journal.released(entry);
  }
  return codes.map((code) => code ?? 'JOURNAL_FULL');
}

/** Puts the message into `home`, as one that has just come, and its lives with it. */
function revive(
  journal: Journal,
  home: Home,
  letter: PackedLetter,
  frame: Buffer,
  wall: number,
): MailboxEntry {
  const { from, topic, lane } = letter;
  const ttl = (frame[OFFSET_FLAGS] & Flag.expires) === 0 ? 0 : readTimeToLive(frame, 0);
  const deadline = ttl === 0 ? Number.POSITIVE_INFINITY : wall + ttl;
  const offset = home.mailbox.nextOffset;
  const message = { from, topic, lane, idStart: 0, idEnd: 0, storedAt: wall, deadline, bytes: frame };
  const place = journal.message({ ...message, mailbox: home.number, offset, start: 0, end: frame.length });
  const entry = new MailboxEntry(
    offset,
    lane,
    from,
    topic,
    keyOfFrame(frame, 0, frame.length),
    place.bytes,
    place.start,
    place.start + frame.length,
    wall,
    deadline,
    journal.segment,
  );
  entry.stored = place.stored;
  entry.repeated = true;
  entry.lives = livesOf(letter);
  journal.holds(entry);
  journal.lives(home.number, entry);
  home.mailbox.put(entry);
  return entry;
}

function livesOf({ storedAt, note }: PackedLetter): Life[] {
  const { diedAt, cause, failures, attempts, lives } = note;
  return [...lives, { storedAt, diedAt, cause, failures, attempts }].slice(-MAX_LIVES_KEPT);
}
