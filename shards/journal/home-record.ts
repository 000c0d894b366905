/** What a journal holds of a mailbox beside its messages, as JSON. */
import type { MailboxPolicy } from '../../lib/queues/mailbox.js';
import { AGENT_PREFIX, CAPABILITY_PREFIX } from '../../lib/topics/topic.js';
import { type MailboxKind, mailboxName } from '../mailbox-ref.js';

export interface HomeRecord {
  name: string;
  kind: MailboxKind;
  pattern: string;
  epoch: number;
  policy: MailboxPolicy;
  nextOffset: number;
}

/** Null: it is none. The disk may have lost something in it; then its name hardly says what its kind and its pattern do. */
export function readHomeRecord(text: string): HomeRecord | null {
  let record: Partial<HomeRecord> | null;
  try {
    record = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof record !== 'object' || record === null) return null;
  const { name, kind, pattern, epoch, policy, nextOffset } = record;
  const isWhole =
    typeof name === 'string' &&
    typeof pattern === 'string' &&
    isNamedFor(name, kind, pattern) &&
    isCount(epoch) &&
    isCount(nextOffset) &&
    typeof policy === 'object' &&
    policy !== null;
  return isWhole ? (record as HomeRecord) : null;
}

function isNamedFor(name: string, kind: MailboxKind | undefined, pattern: string): boolean {
  switch (kind) {
    case 'agent':
      return (
        pattern.startsWith(AGENT_PREFIX) && name === mailboxName(kind, pattern.slice(AGENT_PREFIX.length), '')
      );
    case 'capability':
      return (
        pattern.startsWith(CAPABILITY_PREFIX) &&
        name === mailboxName(kind, pattern.slice(CAPABILITY_PREFIX.length), '')
      );
    case 'group':
      return name.startsWith('group:') && name.endsWith(`:${pattern}`);
    default:
      return false;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}
