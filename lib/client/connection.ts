/** One connection to a broker: from opening the transport over hello and welcome to its end, and its heartbeat. */
import { describe, type ErrorCode, FlowbusError, isErrorCode } from '../errors.js';
import type { ControlCodec, ControlKind, ControlPayloads, Hello, Welcome } from '../wire/control.js';
import { Encoding, FrameType } from '../wire/frame.js';
import { controlFrame } from '../wire/writer.js';
import type { OpenTransport, Transport, TransportReader } from './transport.js';

/**
 * References of the hello and of pings. Nobody waits for these by number, so they may be those of calls as well; but
 * 0 would mean that no answer is needed.
 */
const HELLO_REF = 1;
const PING_REF = 1;

/**
 * Intervals without a word from the broker after which it is given up: the first makes the SDK ask with a ping,
 * and two more pass without an answer.
 */
const SILENT_INTERVALS = 3;

const EMPTY = new Uint8Array(0);

/** Why a connection ended, or did not come to be. */
export interface Ending {
  readonly code: ErrorCode;
  readonly message: string;
  /** False: the broker said that coming back makes no sense. */
  readonly reconnect: boolean;
}

export interface ConnectionOwner {
  /** What to say in hello; asked for when the transport is open. */
  hello(): Promise<Hello>;
  /** A binary message. */
  onBatch(connection: Connection, bytes: Uint8Array): void;
  onWritable(): void;
  /** Nothing may be sent over it any more; its end is yet to come. */
  onLeaving(connection: Connection): void;
  /** The last call. */
  onEnd(connection: Connection, ending: Ending): void;
}

/** `leaving`: still reads, does not send. `failed`: neither. */
const State = { greeting: 0, live: 1, leaving: 2, failed: 3, ended: 4 } as const;
type State = (typeof State)[keyof typeof State];

export class Connection implements TransportReader {
  readonly url: string;
  readonly transport: Transport;
  private readonly codec: ControlCodec;
  private readonly owner: ConnectionOwner;
  private state: State;
  private greeted: boolean;
  /** What the broker, or this side, said before the transport closed. */
  private ending: Ending | null;
  private reading: boolean;
  private sent: boolean;
  private received: boolean;
  private silent: number;
  private lastBeat: number;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `timeout`: how long until the welcome must have come (ms). */
  constructor(
    url: string,
    open: OpenTransport,
    codec: ControlCodec,
    timeout: number,
    owner: ConnectionOwner,
  ) {
    this.url = url;
    this.codec = codec;
    this.owner = owner;
    this.state = State.greeting;
    this.greeted = false;
    this.ending = null;
    this.reading = true;
    this.sent = false;
    this.received = false;
    this.silent = 0;
    this.lastBeat = 0;
    this.timer = setTimeout(() => {
      this.fail('CONNECT_FAILED', `no welcome within ${Math.round(timeout)} ms`);
    }, timeout);
    this.transport = open(url, this);
  }

  /** Frames may be sent. */
  get isLive(): boolean {
    return this.state === State.live;
  }

  /** The welcome has come. */
  get isGreeted(): boolean {
    return this.greeted;
  }

  onOpen(): void {
    this.owner
      .hello()
      .then((hello) => {
        if (this.state === State.greeting) this.sendControl('hello', hello, HELLO_REF);
      })
      .catch((cause) => {
        this.fail(cause instanceof FlowbusError ? cause.code : 'CONNECT_FAILED', describe(cause));
      });
  }

  onMessage(bytes: Uint8Array): void {
    if (this.state >= State.failed) return;
    this.received = true;
    this.owner.onBatch(this, bytes);
  }

  onWritable(): void {
    this.owner.onWritable();
  }

  onClose(code: number, reason: string): void {
    if (this.state === State.ended) return;
    this.state = State.ended;
    clearTimeout(this.timer);
    this.owner.onEnd(this, this.ending ?? this.endingOf(code, reason));
  }

  /** The broker took us in: the heartbeat begins. */
  welcomed(welcome: Welcome): void {
    this.state = State.live;
    this.greeted = true;
    clearTimeout(this.timer);
    this.lastBeat = performance.now();
    this.beatIn(welcome.heartbeatInterval);
  }

  /** Sends a control frame as a message of its own. */
  sendControl<K extends ControlKind>(kind: K, payload: ControlPayloads[K], ref: number): void {
    this.sendFrame(FrameType[kind], this.codec.encoding, this.codec.encode(kind, payload), ref);
  }

  sendFrame(type: FrameType, encoding: Encoding, payload: Uint8Array, ref: number): void {
    this.sent = true;
    this.transport.send(controlFrame(type, ref, encoding, payload), null);
  }

  /** Whether the transport is read: while it is not, silence says nothing about the broker. */
  setReading(reading: boolean): void {
    this.reading = reading;
    this.silent = 0;
  }

  /** The broker said why it is about to close. The first word counts. */
  farewell(code: string, message: string, reconnect: boolean): void {
    this.ending ??= {
      code: isErrorCode(code) ? code : 'DISCONNECTED',
      message: isErrorCode(code) ? message : `${code}: ${message}`,
      reconnect,
    };
  }

  /** This side ends it, at once. */
  fail(code: ErrorCode, message: string): void {
    if (this.state >= State.failed) return;
    this.farewell(code, message, true);
    this.state = State.failed;
    clearTimeout(this.timer);
    this.owner.onLeaving(this);
    this.transport.abort();
  }

  /** This side ends it in good order: what was sent goes out, what is on its way comes in. */
  close(): void {
    if (this.state >= State.leaving) return;
    this.state = State.leaving;
    clearTimeout(this.timer);
    this.owner.onLeaving(this);
    this.transport.close();
  }

  private endingOf(code: number, reason: string): Ending {
    // After a fatal error the close frame repeats its code, in case that the error frame was lost.
    if (isErrorCode(reason)) {
      return { code: reason, message: new FlowbusError(reason).message, reconnect: true };
    }
    const what = reason === '' ? 'the connection closed' : reason;
    return { code: 'DISCONNECTED', message: code === 1006 ? what : `${what} (${code})`, reconnect: true };
  }

  private beatIn(interval: number): void {
    this.timer = setTimeout(() => this.beat(interval), interval);
  }

  private beat(interval: number): void {
    const now = performance.now();
    // A timer that late means that this process stood still: what the broker said meanwhile is yet to be read.
    const stoodStill = now - this.lastBeat > interval * 2;
    this.lastBeat = now;
    this.silent = this.received || stoodStill || !this.reading ? 0 : this.silent + 1;
    if (this.silent >= SILENT_INTERVALS) {
      this.fail('DISCONNECTED', `not a word from the broker for ${SILENT_INTERVALS * interval} ms`);
      return;
    }
    const quiet = !this.sent || !this.received;
    this.received = false;
    if (quiet) this.sendFrame(FrameType.ping, Encoding.bytes, EMPTY, PING_REF);
    // Also after a ping: the next one is due an interval from now.
    this.sent = false;
    this.beatIn(interval);
  }
}
