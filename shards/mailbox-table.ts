/** All mailboxes of the node that this worker knows of, by name and by handle, and their places in the route table. */
import type { Exchange } from './exchange.js';
import type { Home } from './home.js';
import { type MailboxNotice, MailboxRef, mailboxName } from './mailbox-ref.js';

/** Mailboxes of a node. */
export const MAX_MAILBOXES = 65_536;

export class MailboxTable {
  readonly #exchange: Exchange;
  readonly #byName: Map<string, MailboxRef>;
  readonly #byHandle: Map<number, MailboxRef>;
  /** By slot: what a peer that tells everything anew has not told yet. */
  readonly #stale: Map<number, Set<number>>;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#byName = new Map();
    this.#byHandle = new Map();
    this.#stale = new Map();
  }

  get size(): number {
    return this.#byHandle.size;
  }

  find(handle: number): MailboxRef | undefined {
    return this.#byHandle.get(handle);
  }

  named(name: string): MailboxRef | undefined {
    return this.#byName.get(name);
  }

  /** Of an agent or a capability. */
  of(kind: 'agent' | 'capability', name: string): MailboxRef | null {
    return this.#byName.get(mailboxName(kind, name, '')) ?? null;
  }

  /** Of two of one name the one with the higher epoch counts, then that in the higher slot. */
  add(notice: MailboxNotice, home: Home | null): void {
    const ref = new MailboxRef(notice, home);
    this.#stale.get(ref.slot)?.delete(notice.handle);
    const known = this.#byHandle.get(notice.handle);
    if (known !== undefined) {
      ref.pressed = known.pressed;
      this.remove(notice.handle);
    }
    const rival = this.#byName.get(notice.name);
    this.#byHandle.set(notice.handle, ref);
    if (rival === undefined || outranks(notice, rival.notice)) this.#byName.set(notice.name, ref);
    if (notice.kind === 'group') this.#exchange.trie.add(notice.pattern, ref);
    this.#exchange.topics.invalidate(notice.pattern);
  }

  remove(handle: number): void {
    const ref = this.#byHandle.get(handle);
    if (ref === undefined) return;
    this.#byHandle.delete(handle);
    const { name, kind, pattern } = ref.notice;
    if (this.#byName.get(name) === ref) this.#byName.delete(name);
    if (kind === 'group') this.#exchange.trie.remove(pattern, ref);
    this.#exchange.topics.invalidate(pattern);
  }

  /** A peer begins to tell everything anew: what it has not named when it ends is no more. While it is down all of it stands. */
  renew(slot: number): void {
    const handles = [...this.#byHandle.values()].flatMap(({ slot: at, notice }) =>
      at === slot ? [notice.handle] : [],
    );
    this.#stale.set(slot, new Set(handles));
  }

  renewed(slot: number): void {
    for (const handle of this.#stale.get(slot) ?? []) this.remove(handle);
    this.#stale.delete(slot);
  }
}

function outranks(a: MailboxNotice, b: MailboxNotice): boolean {
  return a.epoch !== b.epoch ? a.epoch > b.epoch : a.handle > b.handle;
}
