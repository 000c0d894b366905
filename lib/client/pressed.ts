/** The mailboxes under pressure that this agent publishes to: each begins and ends once, whatever the broker says how often. */
import type { Emitter } from './events.js';

export class PressedMailboxes {
  private readonly events: Emitter;
  /** By name; at most as many as the node has. */
  private readonly names: Set<string>;

  constructor(events: Emitter) {
    this.events = events;
    this.names = new Set();
  }

  heard(mailbox: string, active: boolean): void {
    if (active === this.names.has(mailbox)) return;
    if (active) this.names.add(mailbox);
    else this.names.delete(mailbox);
    this.events.pressure(active, mailbox);
  }

  /** The connection is gone: on the next one it is told anew. */
  clear(): void {
    for (const mailbox of [...this.names]) this.heard(mailbox, false);
  }
}
