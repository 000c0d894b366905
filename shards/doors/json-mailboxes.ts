/** What the text door does about mailboxes: assured publishes, consuming, and the acks of what came. */
import { randomUUID } from 'node:crypto';
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { Consume } from '../../lib/wire/control.js';
import { ACK_SIZE, nackPayload, writeAck } from '../../lib/wire/delivery.js';
import type { JsonAnswer, JsonOp } from '../../lib/wire/json.js';
import type { Session } from '../session.js';
import { specOf } from './consume.js';
import type { DoorContext } from './context.js';
import type { Entering, Entry } from './entry.js';

type Settling = Extract<JsonOp, { op: 'ack' | 'nack' }>;
type Consumption = Extract<JsonOp, { op: 'consume' | 'leave' }>;

/** The connection, as it answers its client. */
export interface JsonTeller {
  /** Whether it still is that of the session. */
  isOf(session: Session): boolean;
  /** `answer` gets the reference, if there is one. */
  tell(answer: JsonAnswer, reference: number): void;
  fail(code: ErrorCode, message: string, reference: number, id?: string): void;
  /** Says that a request was carried out, once every live shard knows. */
  acknowledge(session: Session, reference: number): void;
}

export class JsonMailboxes {
  readonly #context: DoorContext;
  readonly #entry: Entry;
  readonly #teller: JsonTeller;

  constructor(context: DoorContext, entry: Entry, teller: JsonTeller) {
    this.#context = context;
    this.#entry = entry;
    this.#teller = teller;
  }

  /** Throws why it is refused at once. */
  store(session: Session, message: Entering, id: string | null, reference: number): void {
    const teller = this.#teller;
    const messageId = id ?? randomUUID();
    const entering = { ...message, extensions: { ...message.extensions, messageId } };
    let bytes: number;
    try {
      bytes = this.#entry.store(session, entering, (stored, code) => {
        if (!teller.isOf(session)) return;
        if (code === null) teller.tell({ op: 'stored', id: messageId, stored }, reference);
        else teller.fail(code, new FlowbusError(code).message, reference, messageId);
      });
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      teller.fail(error.code, error.message, reference, messageId);
      return;
    }
    session.charge(bytes);
  }

  carryOut(session: Session, operation: Consumption | Settling): void {
    if (!('wish' in operation)) this.#settle(session, operation);
    else if (operation.op === 'consume') this.#consume(session, operation.wish, operation.ref);
    else this.#leave(session, operation.wish, operation.ref);
  }

  #consume(session: Session, wish: Consume, reference: number): void {
    const teller = this.#teller;
    this.#context.consuming.consume(session, specOf(session.agent, wish)).then(
      (mailbox) => {
        if (teller.isOf(session)) teller.tell({ op: 'consuming', mailbox }, reference);
      },
      (error: unknown) => {
        if (!(error instanceof FlowbusError)) throw error;
        if (teller.isOf(session)) teller.fail(error.code, error.message, reference);
      },
    );
  }

  /** It need not know the handle: what it consumes from, it has named itself. */
  #leave(session: Session, wish: Consume, reference: number): void {
    this.#context.consuming.leaveNamed(session, specOf(session.agent, wish));
    this.#teller.acknowledge(session, reference);
  }

  #settle(session: Session, operation: Settling): void {
    const { consuming } = this.#context;
    const { mailbox, offset, ref } = operation;
    this.#context.exchange.tick();
    if (operation.op === 'ack') {
      const run = new Uint8Array(ACK_SIZE);
      writeAck(run, 0, mailbox, offset, operation.count);
      consuming.ack(session, run, 0, ACK_SIZE);
    } else {
      const payload = nackPayload(mailbox, offset, operation.reason);
      consuming.nack(session, payload, 0, payload.length);
    }
    this.#teller.acknowledge(session, ref);
  }
}
