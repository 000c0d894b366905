/**
 * What mailboxes under pressure do to the agents of this shard that feed them. The shard where a mailbox lives tells all others how it
 * is (see lib/queues/fullness.ts); each then looks after its own agents, as they publish: live publishers get no more credit while the
 * mailbox holds them, assured ones are told when it begins and when it ends.
 */
import type { MailboxTable } from './mailbox-table.js';
import { workerOfSender } from './sender-ids.js';
import type { Session, Sink } from './session.js';

/** How a mailbox under pressure is. */
export interface PressureNotice {
  handle: number;
  /** False: it is over. */
  active: boolean;
  /** Live publishers get no credit. */
  holds: boolean;
}

/** A mailbox of the node under pressure. */
export class PressedMailbox {
  readonly name: string;
  holds: boolean;
  /** Agents of this shard, by sender number: those without credit, and those that were told, with the connection that was. */
  readonly held: Set<number>;
  readonly told: Map<number, Sink>;

  constructor(name: string) {
    this.name = name;
    this.holds = false;
    this.held = new Set();
    this.told = new Map();
  }
}

/** What it needs of the exchange. */
export interface BackpressurePort {
  hold(number: number): void;
  unhold(number: number): void;
}

export class Backpressure {
  readonly #slot: number;
  readonly #port: BackpressurePort;
  readonly #table: MailboxTable;
  readonly #bearer: (number: number) => Session | null;

  constructor(
    slot: number,
    port: BackpressurePort,
    table: MailboxTable,
    bearer: (number: number) => Session | null,
  ) {
    this.#slot = slot;
    this.#port = port;
    this.#table = table;
    this.#bearer = bearer;
  }

  /** The shard where the mailbox lives says how it is. */
  heard({ handle, active, holds }: PressureNotice): void {
    const ref = this.#table.find(handle);
    if (ref === undefined) return;
    if (!active) {
      this.#end(ref.pressed);
      ref.pressed = null;
      return;
    }
    ref.pressed ??= new PressedMailbox(ref.notice.name);
    ref.pressed.holds = holds;
    if (!holds) this.#release(ref.pressed);
  }

  /** A live message of `sender` went to a mailbox under pressure. */
  live(pressed: PressedMailbox, sender: number): void {
    if (!pressed.holds || sender === 0 || pressed.held.has(sender) || workerOfSender(sender) !== this.#slot)
      return;
    pressed.held.add(sender);
    this.#port.hold(sender);
  }

  /** An assured one. */
  assured(pressed: PressedMailbox, { sender, sink }: Session): void {
    if (sink === null || pressed.told.get(sender.number) === sink) return;
    pressed.told.set(sender.number, sink);
    sink.pressure?.({ mailbox: pressed.name, active: true });
  }

  /** Worker `slot` is gone: its mailboxes hold nobody. */
  peerLost(slot: number): void {
    for (const ref of this.#table.on(slot)) {
      this.#end(ref.pressed);
      ref.pressed = null;
    }
  }

  #end(pressed: PressedMailbox | null): void {
    if (pressed === null) return;
    this.#release(pressed);
    for (const [number, sink] of pressed.told) {
      if (this.#bearer(number)?.sink === sink) sink.pressure?.({ mailbox: pressed.name, active: false });
    }
  }

  #release(pressed: PressedMailbox): void {
    for (const number of pressed.held) this.#port.unhold(number);
    pressed.held.clear();
  }
}
