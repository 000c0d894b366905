/** What is said on one stream with a peer: greetings, then the frames of the link. It ends with the stream. */
import { FlowbusError, isErrorCode } from '../../lib/errors.js';
import { FrameReader, type FrameReceiver, FrameType, frameOf } from './frame.js';
import { decodeGreeting, encodeGreeting, type Greeting } from './greeting.js';
import type { Link, Wire } from './link.js';

/** A stream with a peer, which the one side has opened: libp2p's, or in tests a pair of queues. */
export interface PeerStream extends Wire {
  readonly peer: string;
  /** Ends it when what was written has gone. */
  end(): void;
  /** Ends it at once, and the connection with it. */
  abort(reason: Error): void;
}

/** Who has the links. */
export interface LinkKeeper {
  /** The other side has said who it is. Returns the link, which is attached then, or the code to refuse it with. */
  onGreeting(conversation: Conversation, greeting: Greeting): Link | 'NODE_NAME_TAKEN';
  onAttached(conversation: Conversation, link: Link): void;
  onBatch(link: Link, bytes: Uint8Array): void;
  onRoom(link: Link): void;
  onDirectory(link: Link, bytes: Uint8Array): void;
  /** A batch has come that is to be acknowledged. */
  onOwing(link: Link): void;
  onRefused(conversation: Conversation, code: string): void;
  onOver(conversation: Conversation, reason: Error | null): void;
}

/** Smooths round trips: a new one counts for a quarter. */
const SMOOTHING = 0.25;

export class Conversation implements FrameReceiver, Wire {
  readonly stream: PeerStream;
  readonly greeting: Greeting;
  /** Null until both have greeted. */
  link: Link | null;
  isOver: boolean;
  /** Milliseconds of a clock that only goes forward. */
  readonly begunAt: number;
  heardAt: number;
  /** Of a ping (ms); null: none has come back. */
  roundTrip: number | null;
  bytesIn: number;
  bytesOut: number;
  readonly #keeper: LinkKeeper;
  readonly #reader: FrameReader;
  readonly #clock: () => number;
  #isRefused: boolean;
  #ping: number;
  #pingedAt: number;

  constructor(stream: PeerStream, greeting: Greeting, keeper: LinkKeeper, clock: () => number) {
    this.stream = stream;
    this.greeting = greeting;
    this.link = null;
    this.isOver = false;
    this.begunAt = clock();
    this.heardAt = this.begunAt;
    this.roundTrip = null;
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.#keeper = keeper;
    this.#reader = new FrameReader(this);
    this.#clock = clock;
    this.#isRefused = false;
    this.#ping = 0;
    this.#pingedAt = 0;
    this.write(frameOf(FrameType.greeting, 0, encodeGreeting(greeting)));
  }

  /** What came on the stream. Never throws. */
  read(chunk: Uint8Array): void {
    if (this.isOver) return;
    this.heardAt = this.#clock();
    this.bytesIn += chunk.length;
    try {
      this.#reader.read(chunk);
      this.link?.settle(false);
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** The stream takes more again. */
  writable(): void {
    if (this.link?.flush() === true) this.#keeper.onRoom(this.link);
  }

  /** The stream is gone. */
  closed(reason: Error | null): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#keeper.onOver(this, reason);
  }

  fail(reason: Error): void {
    if (this.isOver) return;
    this.closed(reason);
    this.stream.abort(reason);
  }

  /** False: there is no room for it now. */
  sendDirectory(message: Uint8Array): boolean {
    if (this.link === null || this.stream.isFull) return false;
    this.write(frameOf(FrameType.directory, 0, message));
    return true;
  }

  ping(): void {
    this.#pingedAt = this.#clock();
    this.write(frameOf(FrameType.ping, ++this.#ping));
  }

  onFrame(type: number, number: number, bytes: Uint8Array): boolean {
    const { link } = this;
    if (type === FrameType.greeting) this.#greet(bytes);
    else if (type === FrameType.refusal) this.#refused(bytes);
    else if (link === null) throw new FlowbusError('BAD_CONTROL', 'A node spoke before its greeting.');
    else this.#linkFrame(link, type, number, bytes);
    return !this.isOver && !this.#isRefused;
  }

  #linkFrame(link: Link, type: number, number: number, bytes: Uint8Array): void {
    switch (type) {
      case FrameType.batch:
        link.accept(number, bytes.length);
        this.#keeper.onBatch(link, bytes);
        this.#keeper.onOwing(link);
        break;
      case FrameType.ack:
        if (!link.outgoing.acknowledge(number))
          throw new FlowbusError('BAD_CONTROL', 'A node acknowledged a batch that was not sent.');
        if (link.flush()) this.#keeper.onRoom(link);
        break;
      case FrameType.directory:
        this.#keeper.onDirectory(link, bytes);
        break;
      case FrameType.ping:
        this.write(frameOf(FrameType.pong, number));
        break;
      case FrameType.pong:
        if (number === this.#ping) this.#measure(this.#clock() - this.#pingedAt);
        break;
    }
  }

  #greet(bytes: Uint8Array): void {
    if (this.link !== null) throw new FlowbusError('BAD_CONTROL', 'A node greeted twice.');
    const greeting = decodeGreeting(bytes);
    const link = this.#keeper.onGreeting(this, greeting);
    if (typeof link === 'string') {
      this.#isRefused = true;
      this.write(frameOf(FrameType.refusal, 0, Buffer.from(link)));
      this.stream.end();
      return;
    }
    this.link = link;
    // A link that is new has nothing to go on with, whatever the other side has of the one before.
    const isNew = link.received === 0 && link.outgoing.sent === 0;
    if (!link.attach(this, isNew ? 0 : greeting.received))
      throw new FlowbusError('BAD_CONTROL', 'A node says to have batches that were not sent.');
    if (!this.isOver) this.#keeper.onAttached(this, link);
  }

  #refused(bytes: Uint8Array): void {
    const code = Buffer.from(bytes).toString('latin1');
    this.#keeper.onRefused(this, isErrorCode(code) ? code : 'INTERNAL');
    this.fail(new Error('refused'));
  }

  #measure(time: number): void {
    this.roundTrip = this.roundTrip === null ? time : this.roundTrip + SMOOTHING * (time - this.roundTrip);
  }

  get isFull(): boolean {
    return this.isOver || this.stream.isFull;
  }

  /** The link's wire. */
  write(bytes: Uint8Array): void {
    if (this.isOver) return;
    this.bytesOut += bytes.length;
    this.stream.write(bytes);
  }
}
