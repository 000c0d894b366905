/** The transport of Node: the `ws` package. */

import { WebSocket } from 'ws';
import { describe } from '../errors.js';
import {
  FailedTransport,
  MAX_IN_TRANSPORT,
  SUBPROTOCOL,
  type Transport,
  type TransportReader,
} from './transport.js';

/** Largest message taken from a broker (bytes). Its `maxPayload` is only known from the welcome on. */
const MAX_MESSAGE = 16 * 1024 * 1024;

/** How long an orderly close may take before the socket is destroyed (ms). */
const CLOSE_TIMEOUT = 2000;

const SEND_OPTIONS = { binary: true, compress: false, fin: true };

/**
 * The masking key of zero makes masking the identity, and `ws` skips it: about 1 ns less per byte on both sides.
 * RFC 6455 wants the key unpredictable so that a hostile page cannot plant bytes in old proxies on the way;
 * what runs in Node can write whatever it likes to a socket anyway.
 */
function zeroMask(key: Uint8Array): void {
  key.fill(0);
}

class WsTransport implements Transport {
  private readonly socket: WebSocket;
  private readonly reader: TransportReader;
  /** It was above MAX_IN_TRANSPORT, and the reader has yet to be told that this is over. */
  private congested: boolean;
  private failure: string;
  private closeTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly onSent: () => void;

  constructor(url: string, reader: TransportReader) {
    this.reader = reader;
    this.congested = false;
    this.failure = '';
    this.closeTimer = undefined;
    this.onSent = () => this.sent();
    this.socket = new WebSocket(url, SUBPROTOCOL, {
      perMessageDeflate: false,
      generateMask: zeroMask,
      maxPayload: MAX_MESSAGE,
      followRedirects: false,
    });
    this.socket.on('open', () => reader.onOpen());
    // A text message would be a broker that takes this for a JSON client: read as a batch it fails as BAD_MAGIC.
    this.socket.on('message', (data: Uint8Array) => {
      reader.onMessage(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    });
    this.socket.on('error', (error) => {
      this.failure = error.message;
    });
    this.socket.on('close', (code, reason) => {
      clearTimeout(this.closeTimer);
      reader.onClose(code, reason.length > 0 ? reason.toString() : this.failure);
    });
  }

  get bufferedAmount(): number {
    return this.socket.readyState === WebSocket.OPEN ? this.socket.bufferedAmount : Number.POSITIVE_INFINITY;
  }

  send(bytes: Uint8Array, done: (() => void) | null): void {
    if (done === null) this.socket.send(bytes, SEND_OPTIONS, this.onSent);
    else {
      this.socket.send(bytes, SEND_OPTIONS, () => {
        done();
        this.sent();
      });
    }
    if (this.socket.bufferedAmount > MAX_IN_TRANSPORT) this.congested = true;
  }

  close(): void {
    this.socket.close(1000);
    this.closeTimer ??= setTimeout(() => this.socket.terminate(), CLOSE_TIMEOUT);
  }

  abort(): void {
    this.socket.terminate();
  }

  pause(): boolean {
    this.socket.pause();
    return true;
  }

  resume(): void {
    this.socket.resume();
  }

  private sent(): void {
    if (!this.congested || this.socket.bufferedAmount > MAX_IN_TRANSPORT / 2) return;
    this.congested = false;
    this.reader.onWritable();
  }
}

export function openWs(url: string, reader: TransportReader): Transport {
  try {
    return new WsTransport(url, reader);
  } catch (cause) {
    return new FailedTransport(reader, describe(cause));
  }
}
