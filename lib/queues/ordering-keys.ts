/**
 * The ordering keys of a mailbox: of the messages with one key one at a time holds it, from when it is first handed out until it is
 * gone. The others are parked behind it, in their order.
 */
import { EntryList } from './entry-list.js';
import type { MailboxEntry } from './mailbox-entry.js';

export class OrderingKeys {
  /** By key: what is parked behind the message that holds it. At most one list for each message. */
  readonly #parked: Map<string, EntryList>;

  constructor() {
    this.#parked = new Map();
  }

  /** True when the key was free: `entry` holds it from now on. Else it is parked. */
  hold(entry: MailboxEntry): boolean {
    const parked = this.#parked.get(entry.key);
    if (parked === undefined) {
      this.#parked.set(entry.key, new EntryList());
      entry.holdsKey = true;
      return true;
    }
    parked.append(entry);
    return false;
  }

  /** `entry`, which is parked, is gone. */
  remove(entry: MailboxEntry): void {
    this.#parked.get(entry.key)!.remove(entry);
  }

  /** `entry`, which held its key, is gone: the next one holds it, and is parked no more. Null: there was none. */
  pass(entry: MailboxEntry): MailboxEntry | null {
    const parked = this.#parked.get(entry.key)!;
    const next = parked.head;
    if (next === null) {
      this.#parked.delete(entry.key);
      return null;
    }
    parked.remove(next);
    next.holdsKey = true;
    return next;
  }

  *values(): Generator<MailboxEntry> {
    for (const parked of this.#parked.values())
      for (let entry = parked.head; entry !== null; entry = entry.next) yield entry;
  }
}
