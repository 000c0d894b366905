/** Acks on their way out: those of one turn leave in one frame, neighbours as one run of offsets. */
import { ACK_SIZE, nackPayload, writeAck } from '../wire/delivery.js';
import { FrameType } from '../wire/frame.js';
import type { AckOffice } from './assured-message.js';

/** Runs in one frame: 32 KiB, within what any broker takes. */
const MAX_RUNS = 2048;
const later: (task: () => void) => void =
  typeof setImmediate === 'function' ? setImmediate : (task) => setTimeout(task, 0);

/** Sends a frame to the broker. Without a connection there is nobody to tell: what is not acked comes again. */
export type SendFrame = (type: FrameType, payload: Uint8Array) => void;

export class Acks implements AckOffice {
  private readonly sendFrame: SendFrame;
  private readonly runs: Uint8Array;
  private count: number;
  /** The run that is being gathered. */
  private mailbox: number;
  private first: number;
  private length: number;
  private scheduled: boolean;
  private readonly onTurn: () => void;

  constructor(sendFrame: SendFrame) {
    this.sendFrame = sendFrame;
    this.runs = new Uint8Array(MAX_RUNS * ACK_SIZE);
    this.count = 0;
    this.mailbox = 0;
    this.first = 0;
    this.length = 0;
    this.scheduled = false;
    this.onTurn = () => this.flush();
  }

  ack(mailbox: number, offset: number): void {
    if (this.length > 0 && mailbox === this.mailbox && offset === this.first + this.length) {
      this.length++;
      return;
    }
    this.endRun();
    if (this.count === MAX_RUNS) this.flush();
    this.mailbox = mailbox;
    this.first = offset;
    this.length = 1;
    if (this.scheduled) return;
    this.scheduled = true;
    later(this.onTurn);
  }

  nack(mailbox: number, offset: number, reason: string): void {
    this.flush();
    this.sendFrame(FrameType.nack, nackPayload(mailbox, offset, reason));
  }

  /** Sends what was gathered. */
  flush(): void {
    this.scheduled = false;
    this.endRun();
    if (this.count === 0) return;
    const payload = this.runs.slice(0, this.count * ACK_SIZE);
    this.count = 0;
    this.sendFrame(FrameType.ack, payload);
  }

  private endRun(): void {
    if (this.length === 0) return;
    writeAck(this.runs, this.count * ACK_SIZE, this.mailbox, this.first, this.length);
    this.count++;
    this.length = 0;
  }
}
