/** What a journal says when it is read from its beginning: the mailboxes of a slot, with what has not left them. */
import { type Attempt, type Life, remember } from '../../lib/queues/attempts.js';
import { MailboxEntry } from '../../lib/queues/mailbox-entry.js';
import { IdBudget, RecentIds } from '../../lib/queues/recent-ids.js';
import { delayOfFrame, keyOfFrame } from '../../lib/wire/delivery.js';
import { KNOWN_IDS } from '../home.js';
import { MAX_MAILBOX_NUMBER } from '../mailbox-ref.js';
import { type HomeRecord, readHomeRecord } from './home-record.js';
import type { JournalVisitor, ReadMessage } from './records.js';

export interface RecoveredMailbox {
  readonly number: number;
  readonly record: HomeRecord;
  /** The segment that says what it is. */
  readonly segment: number;
  /** In the order of their offsets: what was written again stands later in the files than what came after it. */
  readonly entries: readonly MailboxEntry[];
  /** The ids of the latest messages, gone or not. */
  readonly recent: RecentIds;
}

class Found {
  readonly number: number;
  /** Null until it is read: once the segment with it is dropped, it stands behind some of the messages. */
  record: HomeRecord | null;
  nextOffset: number;
  segment: number;
  readonly byOffset: Map<number, MailboxEntry>;
  readonly recent: RecentIds;

  constructor(number: number, ids: IdBudget) {
    this.number = number;
    this.record = null;
    this.nextOffset = 1;
    this.segment = 0;
    this.byOffset = new Map();
    this.recent = new RecentIds(KNOWN_IDS, ids);
  }
}

/** Of what is damaged there may be none to read; whoever takes the message will see. */
function keyOf(bytes: Uint8Array, start: number, end: number): string {
  try {
    return keyOfFrame(bytes, start, end);
  } catch {
    return '';
  }
}

export class Recovery implements JournalVisitor {
  readonly #found: Map<number, Found>;
  #segment: number;
  readonly #ids: IdBudget;
  readonly #wall: number;
  /** Read so far, gone or not. */
  messages: number;

  /** `ids`: for those that the mailboxes have seen. `wall`: ms since the epoch. */
  constructor(ids = new IdBudget(Number.POSITIVE_INFINITY), wall = Date.now()) {
    this.#found = new Map();
    this.#segment = 0;
    this.#ids = ids;
    this.#wall = wall;
    this.messages = 0;
  }

  /** What follows is of this segment. */
  begin(segment: number): void {
    this.#segment = segment;
  }

  mailboxes(): RecoveredMailbox[] {
    return [...this.#found.values()].flatMap(({ number, record, nextOffset, segment, byOffset, recent }) => {
      if (record === null) return [];
      const entries = [...byOffset.values()].sort((a, b) => a.offset - b.offset);
      return [{ number, record: { ...record, nextOffset }, segment, entries, recent }];
    });
  }

  onMailbox(number: number, text: string): void {
    const record = readHomeRecord(text);
    if (record === null || number < 1 || number > MAX_MAILBOX_NUMBER) return;
    const found = this.#of(number);
    found.record = record;
    found.nextOffset = Math.max(record.nextOffset, found.nextOffset);
    found.segment = this.#segment;
  }

  onMessage(message: ReadMessage): void {
    this.messages++;
    const found = this.#of(message.mailbox);
    const { offset, lane, from, topic, deadline, bytes, start, end, stored } = message;
    // The clock may have been set back since: what is not delayed must not wait until it gets there again.
    const storedAt = Math.min(message.storedAt, this.#wall);
    if (offset >= found.nextOffset) found.nextOffset = offset + 1;
    if (message.idEnd > message.idStart) found.recent.add(from, bytes, message.idStart, message.idEnd);
    const known = found.byOffset.get(offset);
    if (known !== undefined) {
      // It was written again, to be rid of the old segment.
      known.bytes = bytes;
      known.start = start;
      known.end = end;
      known.segment = this.#segment;
      known.stored = stored;
      // What it says of attempts follows it.
      known.attempts = null;
      return;
    }
    const entry = new MailboxEntry(
      offset,
      lane,
      from,
      topic,
      keyOf(bytes, start, end),
      bytes,
      start,
      end,
      storedAt,
      deadline,
      this.#segment,
      delayOfFrame(bytes, start, end),
    );
    entry.stored = stored;
    // Nobody knows to whom it was delivered before the process ended.
    entry.repeated = true;
    found.byOffset.set(offset, entry);
  }

  onGone(number: number, first: number, count: number): void {
    const found = this.#found.get(number);
    if (found === undefined) return;
    for (let offset = first; offset < first + count; offset++) found.byOffset.delete(offset);
  }

  onFailed(number: number, offset: number, failures: number, text: string): void {
    const entry = this.#found.get(number)?.byOffset.get(offset);
    if (entry === undefined) return;
    entry.failures = failures;
    if (text === '') return;
    entry.attempts ??= [];
    remember(entry.attempts, JSON.parse(text) as Attempt);
  }

  onLives(number: number, offset: number, text: string): void {
    const entry = this.#found.get(number)?.byOffset.get(offset);
    if (entry !== undefined) entry.lives = JSON.parse(text) as Life[];
  }

  onClosed(number: number): void {
    this.#found.get(number)?.recent.clear();
    this.#found.delete(number);
  }

  #of(number: number): Found {
    let found = this.#found.get(number);
    if (found === undefined) {
      found = new Found(number, this.#ids);
      this.#found.set(number, found);
    }
    return found;
  }
}
