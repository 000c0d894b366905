/**
 * What mailboxes under pressure do to the agents of this shard that feed them. The shard where a mailbox lives tells all others how it
 * is (see lib/queues/fullness.ts); each then looks after its own agents, as they publish: live publishers get no more credit while the
 * mailbox holds them, assured ones are told when it begins and when it ends.
 */
import { slotOfHandle } from './mailbox-ref.js';
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
  /** By handle. */
  readonly #pressed: Map<number, PressedMailbox>;

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
    this.#pressed = new Map();
  }

  /** The shard where the mailbox lives says how it is. */
  heard({ handle, active, holds }: PressureNotice): void {
    if (!active) {
      this.#end(handle);
      return;
    }
    const ref = this.#table.find(handle);
    if (ref === undefined) return;
    ref.pressed ??= new PressedMailbox(ref.notice.name);
    ref.pressed.holds = holds;
    this.#pressed.set(handle, ref.pressed);
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

  /**
   * The connection of a session is gone: it is held no more, and there is nobody to tell. Otherwise those who come and go while a
   * mailbox is full, which may take days, would add up.
   */
  left({ sender: { number } }: Session): void {
    for (const pressed of this.#pressed.values()) {
      pressed.told.delete(number);
      if (pressed.held.delete(number)) this.#port.unhold(number);
    }
  }

  /** Worker `slot` is gone: its mailboxes hold nobody. */
  peerLost(slot: number): void {
    for (const handle of this.#pressed.keys()) if (slotOfHandle(handle) === slot) this.#end(handle);
  }

  #end(handle: number): void {
    const pressed = this.#pressed.get(handle);
    if (pressed === undefined) return;
    this.#pressed.delete(handle);
    const ref = this.#table.find(handle);
    if (ref !== undefined) ref.pressed = null;
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
