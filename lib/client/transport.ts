/**
 * What carries batches between an agent and a broker. Node and browsers bring their own; tests bring a scripted
 * one. Everything above this interface is the same everywhere.
 */
export const SUBPROTOCOL = 'agent-protocol-v1';

export interface Transport {
  /**
   * Bytes taken by `send` that the operating system (or the browser's network process) does not have yet. Infinity
   * when nothing is taken any more: what is not given to a dying connection can go over the next.
   */
  readonly bufferedAmount: number;
  /**
   * Sends one binary message. `bytes` must stay as they are until `done` is called, which may happen at once;
   * null: nobody waits for that, and the bytes are never touched again.
   */
  send(bytes: Uint8Array, done: (() => void) | null): void;
  /** Ends the connection in good order after what was sent; `onClose` follows. */
  close(): void;
  /** Ends it at once; `onClose` follows. */
  abort(): void;
  /** Stops reading until `resume`, so that the broker feels it. False: this kind of transport cannot. */
  pause(): boolean;
  resume(): void;
}

/** Whoever uses a transport. */
export interface TransportReader {
  onOpen(): void;
  /** One binary message. The bytes are the reader's from now on. */
  onMessage(bytes: Uint8Array): void;
  /** `bufferedAmount` has fallen to half of `MAX_IN_TRANSPORT`, or below, after it had been above that. */
  onWritable(): void;
  /**
   * The connection has ended, or never came to be. Exactly once, the last call.
   * `code`: WebSocket close code, 1006 when there was none. `reason`: what is known, may be empty.
   */
  onClose(code: number, reason: string): void;
}

/** Begins to connect. Never throws: what fails comes as `onClose`, and never during this call. */
export type OpenTransport = (url: string, reader: TransportReader) => Transport;

/** No batch is given to a transport that holds more than this (bytes): what waits elsewhere can still be reordered. */
export const MAX_IN_TRANSPORT = 1024 * 1024;

/** Stands in where the platform refused to make a socket at all. */
export class FailedTransport implements Transport {
  readonly bufferedAmount: number;

  constructor(reader: TransportReader, reason: string) {
    this.bufferedAmount = Number.POSITIVE_INFINITY;
    queueMicrotask(() => reader.onClose(1006, reason));
  }

  send(_bytes: Uint8Array, done: (() => void) | null): void {
    if (done !== null) done();
  }

  close(): void {}

  abort(): void {}

  pause(): boolean {
    return false;
  }

  resume(): void {}
}
