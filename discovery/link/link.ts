/**
 * The way to one other node: what is kept of it while streams come and go. It does no input or output of its own. Each side knows the
 * link by a number of its own, its session; it goes on with a new stream when both still know both numbers, and else begins anew.
 */
import { FlowbusError } from '../../lib/errors.js';
import type { NodeLink } from '../../lib/mesh.js';
import { FrameType, frameOf } from './frame.js';
import { Outgoing } from './outgoing.js';

/** One stream, as a link writes to it. */
export interface Wire {
  /** It takes no more at the moment. When it does again, whoever has the wire calls `flush`. */
  readonly isFull: boolean;
  /** Keeps `bytes` until they have gone. Never throws: a wire that breaks is detached. */
  write(bytes: Uint8Array): void;
}

/** So many bytes that came are acknowledged at once, a sixteenth of the window; fewer a moment later, together. */
const ACK_BYTES = 256 * 1024;

export class Link implements NodeLink {
  readonly node: string;
  readonly peer: string;
  readonly session: number;
  readonly peerSession: number;
  readonly outgoing: Outgoing;
  /** The number of the last batch that came, and of the last one that was acknowledged. */
  received: number;
  #acknowledged: number;
  #bytesOwed: number;
  #wire: Wire | null;
  #isFlushing: boolean;
  /** When it lost its stream (ms); 0: it has one. */
  detachedAt: number;

  constructor(node: string, peer: string, session: number, peerSession: number) {
    this.node = node;
    this.peer = peer;
    this.session = session;
    this.peerSession = peerSession;
    this.outgoing = new Outgoing();
    this.received = 0;
    this.#acknowledged = 0;
    this.#bytesOwed = 0;
    this.#wire = null;
    this.#isFlushing = false;
    this.detachedAt = 0;
  }

  get unsent(): number {
    return this.outgoing.unsent;
  }

  /** There is an acknowledgement to be sent: `settle` does. */
  get owes(): boolean {
    return this.received > this.#acknowledged;
  }

  send(src: Uint8Array, start: number, end: number): void {
    this.outgoing.append(src, start, end);
    this.flush();
  }

  /** A stream is there, whose other side has everything up to `received`. False: it says to have what was never sent. */
  attach(wire: Wire, received: number): boolean {
    if (!this.outgoing.rewind(received)) return false;
    // The greeting has said it.
    this.#acknowledged = this.received;
    this.#bytesOwed = 0;
    this.#wire = wire;
    this.detachedAt = 0;
    this.flush();
    return true;
  }

  detach(now: number): void {
    this.#wire = null;
    this.detachedAt = now;
  }

  /** Writes what the stream and the window take; true when there is less unsent than before. */
  flush(): boolean {
    // Writing may say that there is room again, while it still writes.
    if (this.#isFlushing) return false;
    const before = this.outgoing.unsent;
    this.#isFlushing = true;
    while (this.#wire !== null && !this.#wire.isFull) {
      const bytes = this.outgoing.take();
      if (bytes === null) break;
      this.#wire.write(bytes);
    }
    this.#isFlushing = false;
    return this.outgoing.unsent < before;
  }

  /** A batch came. Throws BAD_CONTROL unless it is the next one: greetings have told where a stream goes on, so nothing comes twice. */
  accept(number: number, length: number): void {
    if (number !== this.received + 1)
      throw new FlowbusError('BAD_CONTROL', `Batch ${number} came behind batch ${this.received}.`);
    this.received = number;
    this.#bytesOwed += length;
  }

  /** Acknowledges, at once when there is much to be acknowledged, and `all`: even a little. */
  settle(all: boolean): void {
    if (!this.owes || this.#wire === null || (!all && this.#bytesOwed < ACK_BYTES)) return;
    this.#acknowledged = this.received;
    this.#bytesOwed = 0;
    this.#wire.write(frameOf(FrameType.ack, this.received));
  }
}
