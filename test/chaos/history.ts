/**
 * What publishers were promised and what consumers got, under unique ids: no acked message lost, none twice but where that is
 * flagged, and for one consumer each publisher's messages in their order but where they came again.
 */
import assert from 'node:assert/strict';
import type { Message } from '../../lib/client/index.js';

export class History {
  /** Acked to their publishers. */
  readonly acked = new Set<string>();
  /** How often each was received. */
  readonly received = new Map<string, number>();
  readonly wrong: string[] = [];
  repeats = 0;
  private readonly last = new Map<string, number>();

  /** `ordered`: whoever receives is the only consumer of its mailbox. */
  receive(message: Message, ordered: boolean): void {
    const id = message.text();
    const before = this.received.get(id) ?? 0;
    this.received.set(id, before + 1);
    if (message.redelivered > 0) this.repeats++;
    if (before > 0 && message.redelivered === 0) this.wrong.push(`${id} came again without a flag`);
    if (!ordered || message.redelivered > 0) return;
    const [publisher, number] = id.split(':');
    const last = this.last.get(publisher) ?? 0;
    if (Number(number) <= last) this.wrong.push(`${id} came after ${last}`);
    this.last.set(publisher, Number(number));
  }

  get missing(): string[] {
    return [...this.acked].filter((id) => !this.received.has(id));
  }

  check(): void {
    assert.deepEqual(this.wrong, []);
    assert.deepEqual(this.missing, []);
  }
}
