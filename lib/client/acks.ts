/**
 * Acks on their way out: they leave together, neighbours as one run of offsets. An ack that nobody waits for waits for others, a
 * millisecond at most; one that makes room for the next message leaves in the turn in which it was given.
 */
import { ACK_SIZE, nackPayload, writeAck } from '../wire/delivery.js';
import { FrameType } from '../wire/frame.js';
import type { AckOffice } from './assured-message.js';

/** Runs in one frame: 32 KiB, within what any broker takes. */
const MAX_RUNS = 2048;
/** How long an ack waits for others (ms). */
const HOLD = 1;
/** Of the messages that a consumer may have in hand, the part that may wait to be acked. */
const HELD_PART = 0.25;

const soon: (task: () => void) => void =
  typeof setImmediate === 'function' ? setImmediate : (task) => setTimeout(task, 0);

/** Sends a frame to the broker. Without a connection there is nobody to tell: what is not acked comes again. */
export type SendFrame = (type: FrameType, payload: Uint8Array) => void;

export class Acks implements AckOffice {
  private readonly sendFrame: SendFrame;
  private readonly prefetchOf: (mailbox: number) => number;
  private readonly runs: Uint8Array;
  private count: number;
  /** The run that is being gathered. */
  private mailbox: number;
  private first: number;
  private length: number;
  /** Messages acked since the last flush. */
  private gathered: number;
  private scheduled: boolean;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly onTurn: () => void;

  /** `prefetchOf`: messages that this agent may have unacked of a mailbox. */
  constructor(sendFrame: SendFrame, prefetchOf: (mailbox: number) => number) {
    this.sendFrame = sendFrame;
    this.prefetchOf = prefetchOf;
    this.runs = new Uint8Array(MAX_RUNS * ACK_SIZE);
    this.count = 0;
    this.mailbox = 0;
    this.first = 0;
    this.length = 0;
    this.gathered = 0;
    this.scheduled = false;
    this.timer = undefined;
    this.onTurn = () => this.flush();
  }

  ack(mailbox: number, offset: number, ordered: boolean): void {
    this.gathered++;
    // The next message with the key waits for this one.
    if (ordered || this.gathered >= this.prefetchOf(mailbox) * HELD_PART) this.schedule();
    else if (!this.scheduled) this.timer ??= setTimeout(this.onTurn, HOLD);
    if (this.length > 0 && mailbox === this.mailbox && offset === this.first + this.length) {
      this.length++;
      return;
    }
    this.endRun();
    if (this.count === MAX_RUNS) this.flush();
    this.mailbox = mailbox;
    this.first = offset;
    this.length = 1;
  }

  nack(mailbox: number, offset: number, reason: string): void {
    this.flush();
    this.sendFrame(FrameType.nack, nackPayload(mailbox, offset, reason));
  }

  /** Sends what was gathered. */
  flush(): void {
    this.scheduled = false;
    this.gathered = 0;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.endRun();
    if (this.count === 0) return;
    const payload = this.runs.slice(0, this.count * ACK_SIZE);
    this.count = 0;
    this.sendFrame(FrameType.ack, payload);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    soon(this.onTurn);
  }

  private endRun(): void {
    if (this.length === 0) return;
    writeAck(this.runs, this.count * ACK_SIZE, this.mailbox, this.first, this.length);
    this.count++;
    this.length = 0;
  }
}
