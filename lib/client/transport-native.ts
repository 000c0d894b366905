/** The transport of browsers: the WebSocket that the platform has. It cannot be paused. */
import { describe } from '../errors.js';
import {
  FailedTransport,
  MAX_IN_TRANSPORT,
  SUBPROTOCOL,
  type Transport,
  type TransportReader,
} from './transport.js';

/** How often a congested socket is looked at (ms): the platform has no event for it. */
const POLL_INTERVAL = 5;

/** How long an orderly close may take before the reader is told that it is over (ms). */
const CLOSE_TIMEOUT = 2000;

class NativeTransport implements Transport {
  private readonly socket: WebSocket;
  private readonly reader: TransportReader;
  private poll: ReturnType<typeof setTimeout> | undefined;
  private closeTimer: ReturnType<typeof setTimeout> | undefined;
  private ended: boolean;

  constructor(url: string, reader: TransportReader) {
    this.reader = reader;
    this.poll = undefined;
    this.closeTimer = undefined;
    this.ended = false;
    this.socket = new WebSocket(url, SUBPROTOCOL);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => reader.onOpen();
    this.socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (this.ended) return;
      // A text message would be a broker that takes this for a JSON client: as a batch it fails as BAD_MAGIC.
      const { data } = event;
      reader.onMessage(typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data));
    };
    this.socket.onclose = (event) => this.end(event.code, event.reason);
  }

  get bufferedAmount(): number {
    return this.socket.readyState === WebSocket.OPEN ? this.socket.bufferedAmount : Number.POSITIVE_INFINITY;
  }

  send(bytes: Uint8Array, done: (() => void) | null): void {
    // Never over a SharedArrayBuffer: batches are made by the SDK. The platform copies them during the call.
    this.socket.send(bytes as Uint8Array<ArrayBuffer>);
    if (done !== null) done();
    if (this.poll === undefined && this.socket.bufferedAmount > MAX_IN_TRANSPORT) this.watch();
  }

  close(): void {
    this.socket.close(1000);
    this.closeTimer ??= setTimeout(
      () => this.end(1006, 'the broker did not answer the close'),
      CLOSE_TIMEOUT,
    );
  }

  abort(): void {
    this.socket.close();
    // A dead network would keep the platform waiting for the other side's close for a minute.
    queueMicrotask(() => this.end(1006, ''));
  }

  pause(): boolean {
    return false;
  }

  resume(): void {}

  private watch(): void {
    this.poll = setTimeout(() => {
      this.poll = undefined;
      if (this.ended) return;
      if (this.socket.bufferedAmount > MAX_IN_TRANSPORT / 2) this.watch();
      else this.reader.onWritable();
    }, POLL_INTERVAL);
  }

  private end(code: number, reason: string): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.poll);
    clearTimeout(this.closeTimer);
    this.reader.onClose(code, reason);
  }
}

export function openNative(url: string, reader: TransportReader): Transport {
  try {
    return new NativeTransport(url, reader);
  } catch (cause) {
    return new FailedTransport(reader, describe(cause));
  }
}
