/** Whoever takes messages out of a mailbox, up to `prefetch` unacked ones. */

/** Bytes of unacked messages with one consumer: what waits for its socket stays bounded whatever `prefetch` says. */
export const MAX_IN_FLIGHT_BYTES = 1024 * 1024;

export class Consumer {
  readonly id: number;
  prefetch: number;
  inFlight: number;
  inFlightBytes: number;
  /** It consumes from the mailbox no more. */
  left: boolean;

  constructor(id: number, prefetch: number) {
    this.id = id;
    this.prefetch = prefetch;
    this.inFlight = 0;
    this.inFlightBytes = 0;
    this.left = false;
  }

  /** Whether it may get a message now. One always fits, however large. */
  get isFree(): boolean {
    return !this.left && this.inFlight < this.prefetch && this.inFlightBytes < MAX_IN_FLIGHT_BYTES;
  }
}
