/** A list of messages that are linked through themselves: each is in one list at most, and leaves it in one step. */
import type { MailboxEntry } from './mailbox-entry.js';

export class EntryList {
  head: MailboxEntry | null;
  tail: MailboxEntry | null;

  constructor() {
    this.head = null;
    this.tail = null;
  }

  append(entry: MailboxEntry): void {
    entry.previous = this.tail;
    entry.next = null;
    if (this.tail === null) this.head = entry;
    else this.tail.next = entry;
    this.tail = entry;
  }

  prepend(entry: MailboxEntry): void {
    entry.previous = null;
    entry.next = this.head;
    if (this.head === null) this.tail = entry;
    else this.head.previous = entry;
    this.head = entry;
  }

  /** `next` is in this list, or null: then it is the last. */
  insert(entry: MailboxEntry, next: MailboxEntry | null): void {
    if (next === null) this.append(entry);
    else if (next.previous === null) this.prepend(entry);
    else {
      entry.previous = next.previous;
      entry.next = next;
      next.previous.next = entry;
      next.previous = entry;
    }
  }

  /** `entry` is in this list. */
  remove(entry: MailboxEntry): void {
    if (entry.previous === null) this.head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === null) this.tail = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = null;
    entry.next = null;
  }
}
