/**
 * Waking a worker that has nothing to do: it marks itself asleep in shared memory and waits for a byte on its
 * Unix socket; whoever publishes something for it takes the mark away and, if there was one, sends the byte.
 *
 * No wake-up is lost, and nobody polls, because
 * - the writer publishes, then looks at the mark; the reader sets the mark, then looks at all its rings;
 * - the mark is only taken away over a connection that stands, in the same breath as the byte is sent. A writer
 *   without one leaves the mark to others, connects, and sends a byte when connected, whatever the mark says;
 * - when the writer dies between the two, its connection closes, and that wakes the reader as well;
 * - when the reader dies, bytes may be lost with its connections: so each is made anew once. If nobody listens
 *   then, whoever does later reads all its rings after it has begun to listen. That holds for what was published
 *   before the attempt; a ring during one that is refused makes another.
 */
import { connect, type Socket } from 'node:net';
import { Listener } from './listener.js';

/** Until a connection that broke for another reason than nobody listening is made anew (ms). */
const RETRY_DELAY = 20;
/** For a byte to be sent over a connection that is just being made while closing (ms). */
const CLOSE_LIMIT = 1000;
const BYTE = new Uint8Array([1]);

export const AWAKE = 0;
export const ASLEEP = 1;

/** A worker's own doorbell. */
export class Doorbell {
  readonly #listener: Listener;

  constructor(workers: number, onRing: () => void) {
    // A peer that restarts may have two for a moment.
    this.#listener = new Listener(workers * 2, (socket) => {
      socket.on('data', onRing);
      socket.on('close', onRing);
    });
  }

  listen(path: string): Promise<void> {
    return this.#listener.listen(path);
  }

  close(): Promise<void> {
    return this.#listener.close();
  }
}

/** Rings the doorbell of one peer. */
export class Ringer {
  readonly #words: Int32Array;
  readonly #asleepIndex: number;
  readonly #path: string;
  #socket: Socket | null;
  #connected: boolean;
  #failure: string;
  /** Rung while the connection was being made: if nobody listened when that began, somebody may by now. */
  #rung: boolean;
  #retry: NodeJS.Timeout | null;
  #closed: boolean;

  constructor(words: Int32Array, asleepIndex: number, path: string) {
    this.#words = words;
    this.#asleepIndex = asleepIndex;
    this.#path = path;
    this.#socket = null;
    this.#connected = false;
    this.#failure = '';
    this.#rung = false;
    this.#retry = null;
    this.#closed = false;
  }

  /** Wakes the peer if it sleeps. Everything it shall see must be published before. */
  ring(): void {
    if (Atomics.load(this.#words, this.#asleepIndex) === AWAKE) return;
    if (this.#connected) {
      // Of several writers one takes the mark, and its byte wakes the reader for all.
      if (Atomics.exchange(this.#words, this.#asleepIndex, AWAKE) === ASLEEP) this.#socket!.write(BYTE);
    } else {
      this.#rung = this.#socket !== null;
      this.connect();
    }
  }

  /** Connects ahead of the first ring, which is sooner served then. No peer: no harm. */
  connect(): void {
    if (this.#socket !== null || this.#retry !== null || this.#closed) return;
    // The system decides here and now; its answer comes in a later turn.
    const socket = connect(this.#path);
    this.#socket = socket;
    this.#failure = '';
    this.#rung = false;
    // Not a reason for the process to stay.
    socket.unref();
    socket.on('connect', () => {
      this.#connected = true;
      this.#rung = false;
      socket.write(BYTE);
    });
    // Nothing comes back, but without reading the end is not noticed.
    socket.resume();
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure = error.code ?? '';
    });
    socket.on('close', () => this.#onClose());
  }

  /** Waits for a connection that is being made, so that its byte is sent, a second at most. */
  close(): Promise<void> {
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
      const finish = () => socket.end(() => socket.destroy());
      if (this.#connected) finish();
      else socket.once('connect', finish);
    });
  }

  #onClose(): void {
    this.#socket = null;
    this.#connected = false;
    if (this.#closed) return;
    const rung = this.#rung;
    this.#rung = false;
    if (!rung && (this.#failure === 'ENOENT' || this.#failure === 'ECONNREFUSED')) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.connect();
    }, RETRY_DELAY);
    this.#retry.unref();
  }
}
