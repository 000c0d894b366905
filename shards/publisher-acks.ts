/** Acks of assured messages on their way to those who published them: they wait for each other for a moment. */
import { Encoding, FrameType } from '../lib/wire/frame.js';
import { StoredWriter } from '../lib/wire/stored.js';
import { controlFrame } from '../lib/wire/writer.js';
import type { Exchange } from './exchange.js';
import type { Session } from './session.js';

/** Bytes of acks in one frame, at most, and room for one more. */
const ACK_BYTES = 32 * 1024;
const ACK_ROOM = ACK_BYTES + 128;

/**
 * Acks wait so long (ms) while their publisher waits for more of them: with a window full of publishes on their way a
 * write to its socket for each turn costs it, and this shard, more than storing does. Whoever waits for all that it has
 * published, and be it one message, gets them at once.
 */
const HOLD = 0.3;
/** When nothing else ends a turn: as short as timers are (ms). */
const HOLD_TIMER = 1;

/** A busy shard has few publishers at a time. */
const MAX_SPARE = 16;

/** What a publisher waits for. There is one while there is something. */
export class Account {
  readonly session: Session;
  /** Publishes that have no answer. */
  pending: number;
  /** Acks that have not been sent; null: none. */
  acks: StoredWriter | null;
  /** Since when (ms). */
  since: number;

  constructor(session: Session) {
    this.session = session;
    this.pending = 0;
    this.acks = null;
    this.since = 0;
  }
}

export class PublisherAcks {
  readonly #exchange: Exchange;
  /** Bounded by the publishes that wait. */
  readonly #accounts: Map<Session, Account>;
  /** Those that have acks to be sent. */
  #owed: Account[];
  #timer: NodeJS.Timeout | null;
  readonly #spare: StoredWriter[];
  readonly #onTimer: () => void;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#accounts = new Map();
    this.#owed = [];
    this.#timer = null;
    this.#spare = [];
    this.#onTimer = () => {
      this.#timer = null;
      this.#exchange.unsettle();
    };
  }

  /** One more publish of `session` waits for its answer. */
  expect(session: Session): Account {
    let account = this.#accounts.get(session);
    if (account === undefined) {
      account = new Account(session);
      this.#accounts.set(session, account);
    }
    account.pending++;
    return account;
  }

  /** The message with id `id[0, size)` is stored in so many mailboxes: its publisher is to be told. */
  owe(account: Account, id: Uint8Array, size: number, stored: number): void {
    if (account.acks === null) {
      account.acks = this.#spare.pop() ?? new StoredWriter(ACK_ROOM);
      account.since = performance.now();
      this.#owed.push(account);
    }
    account.acks.add(id, 0, size, stored);
    if (account.acks.size >= ACK_BYTES) this.#send(account.session, account.acks);
    this.#exchange.unsettle();
  }

  /** One that was expected has its answer, or will have none. */
  answered(account: Account): void {
    account.pending--;
    this.#forget(account);
  }

  /** The end of a turn. */
  flush(): void {
    const owed = this.#owed;
    if (owed.length === 0) return;
    const now = performance.now();
    this.#owed = [];
    for (const account of owed) {
      if (account.pending > 0 && now - account.since < HOLD) this.#owed.push(account);
      else this.#acknowledge(account);
    }
    if (this.#owed.length > 0 && this.#timer === null) this.#timer = setTimeout(this.#onTimer, HOLD_TIMER);
  }

  #acknowledge(account: Account): void {
    const { session, acks } = account;
    if (acks !== null) {
      account.acks = null;
      this.#send(session, acks);
      if (this.#spare.length < MAX_SPARE) this.#spare.push(acks);
    }
    this.#forget(account);
  }

  #forget(account: Account): void {
    if (account.pending === 0 && account.acks === null) this.#accounts.delete(account.session);
  }

  #send(session: Session, acks: StoredWriter): void {
    if (acks.size > 0 && session.sink !== null)
      session.control(controlFrame(FrameType.ack, 0, Encoding.bytes, acks.bytes.subarray(0, acks.size)));
    acks.clear();
  }
}
