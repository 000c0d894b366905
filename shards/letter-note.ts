/** What is known of a dead letter beside the message, as the journal of letters has it: JSON. */
import { LETTER_KINDS, type LetterKind } from '../lib/dead-letter.js';
import type { Attempt, Cause, Life } from '../lib/queues/attempts.js';

export interface LetterNote {
  kind: LetterKind;
  cause: Cause;
  mailbox: string;
  diedAt: number;
  failures: number;
  attempts: Attempt[];
  lives: Life[];
}

/** Null: it is none. The disk may have lost something in it, be it in the name of a field. */
export function readLetterNote(text: string): LetterNote | null {
  let note: Partial<LetterNote> | null;
  try {
    note = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof note !== 'object' || note === null) return null;
  const { kind, cause, mailbox, diedAt, failures, attempts, lives } = note;
  const isWhole =
    LETTER_KINDS.includes(kind as LetterKind) &&
    typeof cause === 'string' &&
    typeof mailbox === 'string' &&
    Number.isSafeInteger(diedAt) &&
    Number.isSafeInteger(failures) &&
    areAttempts(attempts) &&
    Array.isArray(lives) &&
    lives.every((life: Partial<Life> | null) => areAttempts(life?.attempts));
  return isWhole ? (note as LetterNote) : null;
}

function areAttempts(attempts: unknown): boolean {
  return (
    Array.isArray(attempts) &&
    attempts.every(
      (attempt: Partial<Attempt> | null) =>
        typeof attempt?.consumer === 'string' && typeof attempt.reason === 'string',
    )
  );
}
