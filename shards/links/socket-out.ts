/** The writing end of one path over a Unix stream socket: a bounded buffer, and a connection that comes and goes. */
import { connect, type Socket } from 'node:net';
import { MAX_RECORD } from '../../lib/links.js';
import { RECORD_HEADER } from '../../lib/queues/ring.js';
import { checkRecord } from './gauged-links.js';
import { encodeGreeting, writeRecordHeader } from './record-stream.js';

/** Between attempts to connect, while something is to be sent (ms): doubled from the first to the last. */
const FIRST_RETRY = 5;
const LAST_RETRY = 200;
/** For what was flushed to be sent while closing (ms). */
const CLOSE_LIMIT = 1000;
/** A buffer starts with this, and grows to the path's bound. */
const FIRST_BYTES = 64 * 1024;

export interface SocketOutOptions {
  /** The peer's socket. */
  path: string;
  /** The slot of this worker. */
  slot: number;
  urgent: boolean;
  /** Bytes that may be unsent. */
  bound: number;
  /** There is room again, after a write that found none. */
  onRoom: () => void;
}

export class SocketOut {
  readonly bound: number;
  readonly #path: string;
  readonly #greeting: Uint8Array;
  readonly #onRoom: () => void;
  readonly #onSent: (error?: Error | null) => void;
  readonly #onRetry: () => void;
  /** Two buffers that change places: one is filled while the other is being sent. Together they hold `bound` at most. */
  #filling: Uint8Array;
  #filled: number;
  #sending: Uint8Array;
  /** Bytes of `#sending` on their way: handed to the connection, which has not said yet that it has sent them. */
  #underway: number;
  #socket: Socket | null;
  #connected: boolean;
  #retry: NodeJS.Timeout | null;
  #retryDelay: number;
  #starved: boolean;
  #closing: (() => void) | null;
  #closed: boolean;

  constructor(options: SocketOutOptions) {
    this.bound = options.bound;
    this.#path = options.path;
    this.#greeting = encodeGreeting(options.slot, options.urgent);
    this.#onRoom = options.onRoom;
    // An error is followed by 'close', which writes the bytes off.
    this.#onSent = (error) => {
      if (!error) this.#sent();
    };
    this.#onRetry = () => {
      this.#retry = null;
      this.#connect();
    };
    this.#filling = new Uint8Array(FIRST_BYTES);
    this.#filled = 0;
    this.#sending = new Uint8Array(FIRST_BYTES);
    this.#underway = 0;
    this.#socket = null;
    this.#connected = false;
    this.#retry = null;
    this.#retryDelay = FIRST_RETRY;
    this.#starved = false;
    this.#closing = null;
    this.#closed = false;
  }

  /** Bytes written and not yet sent. */
  get unsent(): number {
    return this.#filled + this.#underway;
  }

  write(kind: number, stamp: number, src: Uint8Array, start: number, end: number): boolean {
    checkRecord(start, end, MAX_RECORD);
    const length = RECORD_HEADER + end - start;
    if (this.unsent + length > this.bound || this.#closed) {
      this.#starved = true;
      this.flush();
      return false;
    }
    const at = this.#filled;
    if (at + length > this.#filling.length) this.#grow(at + length);
    writeRecordHeader(this.#filling, at, length, kind, stamp);
    this.#filling.set(
      start === 0 && end === src.length
        ? src
        : new Uint8Array(src.buffer, src.byteOffset + start, end - start),
      at + RECORD_HEADER,
    );
    this.#filled = at + length;
    return true;
  }

  flush(): void {
    if (this.#filled === 0 || this.#underway > 0) return;
    if (!this.#connected) {
      this.#connect();
      return;
    }
    const full = this.#filling;
    this.#filling = this.#sending;
    this.#sending = full;
    this.#underway = this.#filled;
    this.#filled = 0;
    this.#socket!.write(full.subarray(0, this.#underway), this.#onSent);
  }

  /** Sends what was written, for a second at most and only where there is a connection. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.flush();
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    const socket = this.#socket;
    if (socket === null) return Promise.resolve();
    return new Promise((resolve) => {
      const limit = setTimeout(() => socket.destroy(), CLOSE_LIMIT);
      socket.once('close', () => {
        clearTimeout(limit);
        resolve();
      });
      this.#closing = () => socket.end(() => socket.destroy());
      this.#closeWhenSent();
    });
  }

  #closeWhenSent(): void {
    if (this.#closing !== null && this.#connected && this.unsent === 0) this.#closing();
  }

  #sent(): void {
    this.#underway = 0;
    this.flush();
    this.#closeWhenSent();
    this.#tellRoom();
  }

  #tellRoom(): void {
    if (!this.#starved || this.#closed) return;
    this.#starved = false;
    this.#onRoom();
  }

  #grow(needed: number): void {
    const size = Math.min(Math.max(needed, 2 * this.#filling.length), this.bound);
    const grown = new Uint8Array(size);
    grown.set(this.#filling.subarray(0, this.#filled));
    this.#filling = grown;
  }

  #connect(): void {
    if (this.#socket !== null || this.#retry !== null || this.#closed) return;
    const socket = connect(this.#path);
    this.#socket = socket;
    // Not a reason for the process to stay.
    socket.unref();
    // Nothing comes back, but without reading the end is not noticed.
    socket.resume();
    socket.on('connect', () => {
      this.#connected = true;
      this.#retryDelay = FIRST_RETRY;
      socket.write(this.#greeting);
      this.flush();
      this.#closeWhenSent();
    });
    // From here to 'close' nothing more is handed to it: what is still in the buffer is for the next one.
    socket.on('end', () => {
      this.#connected = false;
    });
    socket.on('error', () => {
      this.#connected = false;
    });
    socket.on('close', () => this.#onClose());
  }

  #onClose(): void {
    this.#socket = null;
    this.#connected = false;
    // What was underway may have arrived in part: it cannot be sent again.
    this.#underway = 0;
    if (this.#closed) return;
    this.#tellRoom();
    if (this.#filled === 0) return;
    this.#retry = setTimeout(this.#onRetry, this.#retryDelay);
    this.#retry.unref();
    this.#retryDelay = Math.min(2 * this.#retryDelay, LAST_RETRY);
  }
}
