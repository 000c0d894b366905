/**
 * The deadlines of a mailbox's messages: what is over, and what is to be handed out ahead of its turn because it soon will be,
 * earliest deadline first (Liu and Layland, 1973). What leaves the mailbox before is not looked for, but passed over when it comes.
 */
import { DeadlineHeap } from './deadline-heap.js';
import { EntryState, type MailboxEntry } from './mailbox-entry.js';

/** From so many milliseconds before its deadline on a message may be handed out ahead of its turn. */
export const HORIZON = 1000;
/** Deadlines of messages that are gone are forgotten when there are more of them than this and of messages together. */
const SPARE = 1024;

export class Deadlines {
  readonly #ahead: DeadlineHeap<MailboxEntry>;
  /** Within the horizon, and not ready when it was their turn: with a consumer, or parked. They come back to the front of their lane. */
  readonly #passed: DeadlineHeap<MailboxEntry>;

  constructor() {
    this.#ahead = new DeadlineHeap();
    this.#passed = new DeadlineHeap();
  }

  /** `messages`: how many the mailbox holds. */
  add(entry: MailboxEntry, messages: number): void {
    this.#ahead.push(entry, entry.deadline);
    if (this.#ahead.size > 2 * messages + SPARE) this.#ahead.retain(isHere);
  }

  /** The message that is ready and must be gone first, if that is soon; it stays. Those with an ordering key keep their turn. */
  urgent(wall: number): MailboxEntry | null {
    while (this.#ahead.first <= wall + HORIZON) {
      const entry = this.#ahead.peek()!;
      if (entry.state === EntryState.ready && entry.key === '') return entry;
      this.#ahead.pop(wall + HORIZON);
      if (isHere(entry)) this.#passed.push(entry, entry.deadline);
    }
    return null;
  }

  /** Takes out one whose deadline is over, which may be gone; null when there is none. */
  pop(wall: number): MailboxEntry | null {
    return this.#ahead.pop(wall) ?? this.#passed.pop(wall);
  }
}

function isHere(entry: MailboxEntry): boolean {
  return entry.state !== EntryState.gone;
}
