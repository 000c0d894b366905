/**
 * The reading end of the paths over Unix stream sockets. A peer may connect anew before its old connection is
 * read to the end (it was killed and is back): the new one waits, so that a path stays in order.
 */
import type { Socket } from 'node:net';
import type { LinkReader, RecordKind } from '../../lib/links.js';
import {
  decodeGreeting,
  GREETING_BYTES,
  type Greeting,
  RecordParser,
  type RecordSink,
} from './record-stream.js';

/** For a connection to say whose it is (ms). */
const GREETING_LIMIT = 5000;

/** One path: at most one connection that is read, and one that waits for its end. */
export class SocketPath implements RecordSink {
  readonly from: number;
  readonly urgent: boolean;
  readonly #reader: LinkReader;
  readonly #onBatch: () => void;
  readonly #onCorrupt: () => void;
  #parser: RecordParser;
  #current: Socket | null;
  #waiting: Socket | null;
  #waitingBytes: Uint8Array | null;

  constructor(from: number, urgent: boolean, reader: LinkReader, onBatch: () => void, onCorrupt: () => void) {
    this.from = from;
    this.urgent = urgent;
    this.#reader = reader;
    this.#onBatch = onBatch;
    this.#onCorrupt = onCorrupt;
    this.#parser = new RecordParser(this);
    this.#current = null;
    this.#waiting = null;
    this.#waitingBytes = null;
  }

  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void {
    this.#reader.onRecord(this.from, this.urgent, kind as RecordKind, stamp, src, start, end);
  }

  /** `rest`: what came behind the greeting. */
  adopt(socket: Socket, rest: Uint8Array): void {
    if (this.#current === null) {
      this.#read(socket, rest);
      return;
    }
    socket.pause();
    this.#waiting?.destroy();
    this.#waiting = socket;
    this.#waitingBytes = rest;
  }

  #read(socket: Socket, rest: Uint8Array): void {
    this.#current = socket;
    this.#parser = new RecordParser(this);
    socket.on('data', (chunk: Buffer) => this.#push(socket, chunk));
    socket.on('close', () => this.#next());
    this.#push(socket, rest);
    socket.resume();
  }

  #push(socket: Socket, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (!this.#parser.push(bytes, 0)) {
      this.#onCorrupt();
      socket.destroy();
    }
    this.#onBatch();
  }

  #next(): void {
    const socket = this.#waiting;
    const rest = this.#waitingBytes;
    this.#current = null;
    this.#waiting = null;
    this.#waitingBytes = null;
    if (socket !== null && rest !== null && !socket.destroyed) this.#read(socket, rest);
  }
}

/** Reads a new connection's greeting, then calls `onGreeting`; what sends something else is destroyed. */
export function awaitGreeting(
  socket: Socket,
  onGreeting: (socket: Socket, greeting: Greeting, rest: Uint8Array) => boolean,
  onCorrupt: () => void,
): void {
  const limit = setTimeout(() => socket.destroy(), GREETING_LIMIT);
  limit.unref();
  let held: Buffer = Buffer.alloc(0);
  const onClose = () => clearTimeout(limit);
  const onData = (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (held.length < GREETING_BYTES) return;
    clearTimeout(limit);
    socket.off('data', onData);
    socket.off('close', onClose);
    const greeting = decodeGreeting(held);
    if (greeting !== null && onGreeting(socket, greeting, held.subarray(GREETING_BYTES))) return;
    onCorrupt();
    socket.destroy();
  };
  socket.on('data', onData);
  socket.on('close', onClose);
}
