/** What lives in an old part of a journal is written again at its end, so that the old part can go. */
import type { MailboxEntry } from '../../lib/queues/mailbox-entry.js';
import type { Home } from '../home.js';
import type { Journal } from './journal.js';

/** Writes a message that the journal no longer holds, or soon will not, at its end. */
export function rewrite(journal: Journal, home: Home, entry: MailboxEntry): void {
  const { offset, lane, from, topic, storedAt, deadline, bytes, start, end } = entry;
  const place = journal.message({
    mailbox: home.number,
    offset,
    lane,
    from,
    topic,
    storedAt,
    deadline,
    bytes,
    start,
    end,
    idStart: 0,
    idEnd: 0,
  });
  entry.end = place.start + end - start;
  entry.start = place.start;
  entry.bytes = place.bytes;
  entry.segment = journal.segment;
  entry.stored = place.stored;
  journal.holds(entry);
  if (entry.lives !== null) journal.lives(home.number, entry);
  if (entry.attempts !== null)
    for (const attempt of entry.attempts) journal.failed(home.number, entry, attempt);
  else if (entry.failures > 0) journal.failed(home.number, entry);
}

/** Takes in again what lives in the oldest segment, and drops it. */
export function unburden(journal: Journal, homes: Iterable<Home>, segment: number): void {
  const moved: { entry: MailboxEntry; bytes: Uint8Array; start: number; end: number; stored: number }[] = [];
  const recorded: Home[] = [];
  for (const home of homes) {
    if (home.segment === segment) {
      home.record();
      recorded.push(home);
    }
    for (const entry of home.mailbox.entries()) {
      if (entry.segment !== segment) continue;
      const { bytes, start, end, stored } = entry;
      moved.push({ entry, bytes, start, end, stored });
      journal.released(entry);
      rewrite(journal, home, entry);
    }
  }
  if (journal.flush()) {
    journal.drop();
    return;
  }
  for (const home of recorded) home.segment = segment;
  for (const { entry, bytes, start, end, stored } of moved) {
    journal.released(entry);
    entry.bytes = bytes;
    entry.start = start;
    entry.end = end;
    entry.segment = segment;
    entry.stored = stored;
    journal.holds(entry);
  }
}
