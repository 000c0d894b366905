/** A message from a mailbox: it stays there until it is acked, and comes again when it is not. */
import { FlowbusError } from '../errors.js';
import { Message, type MessageOrigin, type Named } from './message.js';

/** Where acks go. */
export interface AckOffice {
  /** `ordered`: others with its key wait for it. */
  ack(mailbox: number, offset: number, ordered: boolean): void;
  nack(mailbox: number, offset: number, reason: string): void;
}

export class AssuredMessage extends Message {
  /** The mailbox's handle, and where in it the message stands. */
  readonly mailbox: number;
  readonly offset: number;
  /** Which attempt this is, from 1 on: failures before it are counted, consumers that just left are not. */
  readonly attempt: number;
  /** Milliseconds from the delivery on, after which it goes to somebody else unless it is acked. */
  readonly lease: number;
  private readonly repeated: boolean;
  private readonly office: AckOffice;
  private open: boolean;

  /** For the SDK. */
  constructor(
    bytes: Uint8Array,
    start: number,
    end: number,
    route: Named,
    sender: Named,
    origin: MessageOrigin,
    delivery: { mailbox: number; offset: number; attempt: number; repeated: boolean; lease: number },
    office: AckOffice,
  ) {
    super(bytes, start, end, route, sender, origin);
    this.mailbox = delivery.mailbox;
    this.offset = delivery.offset;
    this.attempt = delivery.attempt;
    this.lease = delivery.lease;
    this.repeated = delivery.repeated;
    this.office = office;
    this.open = true;
  }

  override get redelivered(): number {
    return Math.max(this.attempt - 1, this.repeated ? 1 : 0);
  }

  /** Whether it was acked or nacked. */
  get isSettled(): boolean {
    return !this.open;
  }

  override ack(): Promise<void> {
    if (!this.open) return Promise.resolve();
    this.open = false;
    this.office.ack(this.mailbox, this.offset, this.hasKey);
    return Promise.resolve();
  }

  override nack(reason = ''): Promise<void> {
    if (typeof reason !== 'string') {
      return Promise.reject(new FlowbusError('BAD_OPTION', 'The reason of a nack must be a text.'));
    }
    if (!this.open) return Promise.resolve();
    this.open = false;
    this.office.nack(this.mailbox, this.offset, reason);
    return Promise.resolve();
  }
}
