/** One connection that speaks frames: what it sends is taken apart here, what its session has for it is written here. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { ERRORS, type ErrorCode, FlowbusError } from '../../lib/errors.js';
import { type Chunk, HEADROOM } from '../../lib/queues/chunks.js';
import { C } from '../../lib/telemetry/counters.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { forgetBatch } from '../../lib/wire/batch-checksum.js';
import { checksumHolds } from '../../lib/wire/checksum.js';
import {
  type BreakerChange,
  type Consume,
  type ControlCodec,
  type Hello,
  jsonControl,
  type MailboxPressure,
  type Replay,
} from '../../lib/wire/control.js';
import { Encoding, FrameType, readU32, writeU64 } from '../../lib/wire/frame.js';
import { controlFrame, encodeControl } from '../../lib/wire/writer.js';
import type { Refusal } from '../publishing.js';
import type { Session, Sink } from '../session.js';
import type { Opened } from '../sessions.js';
import { agentPage } from './agents.js';
import { closeWith, LEAVING } from './closing.js';
import { specOf } from './consume.js';
import type { DoorContext } from './context.js';
import { admit, subscribe, subscribeProblem } from './hello.js';

const MAX_PING = 125;
/** RFC 6455, 5.2: FIN and opcode "binary". */
const FIN_BINARY = 0x82;

const State = { greeting: 0, opening: 1, open: 2, closed: 3 } as const;

export class BinaryConnection implements Sink {
  readonly announces = true;
  readonly #context: DoorContext;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #reader: BatchReader;
  readonly #writing: Chunk[];
  readonly #written: () => void;
  #codec: ControlCodec;
  #session: Session | null;
  #state: number;

  constructor(context: DoorContext, ws: WebSocket, socket: Socket) {
    this.#context = context;
    this.#ws = ws;
    this.#socket = socket;
    this.#reader = READER;
    this.#writing = [];
    this.#written = () => this.#onWritten();
    this.#codec = context.avro;
    this.#session = null;
    this.#state = State.greeting;
  }

  // What comes in.

  receive(data: Buffer, binary: boolean): void {
    const { exchange, maxPayload, publishing } = this.#context;
    exchange.counters[C.batchesIn]++;
    this.alive();
    if (!binary) {
      this.#fail('BAD_TYPE', 'This connection speaks frames: send binary messages.', 0);
      return;
    }
    const reader = this.#reader;
    forgetBatch();
    reader.open(data, 0, data.length, maxPayload);
    const session = this.#session;
    if (session === null) {
      this.#greet(reader);
      return;
    }
    let bytes = 0;
    for (let step = reader.next(); step !== Step.end && this.#state === State.open; step = reader.next()) {
      if (step === Step.frame && reader.type === FrameType.publish) {
        if (reader.sender !== session.sender.number) {
          this.#refuse(publishing.finish(session, data));
          this.#fail('FORGED_SENDER', null, 0);
          break;
        }
        bytes += reader.end - reader.start;
        if (publishing.extend(session, reader)) continue;
        this.#refuse(publishing.finish(session, data));
        this.#refuse(publishing.take(session, reader));
        continue;
      }
      this.#refuse(publishing.finish(session, data));
      if (step === Step.frame) this.#control(session, reader);
      else this.#fail(reader.error!, null, step === Step.refused ? referenceOf(reader) : 0);
    }
    this.#refuse(publishing.finish(session, data));
    if (bytes !== 0 && !session.ended) session.charge(bytes);
  }

  alive(): void {
    const now = this.#context.exchange.tick();
    if (this.#session !== null) this.#session.heard = now;
  }

  oversized(): void {
    this.#fail('OVERSIZED', null, 0);
  }

  closed(code: number): void {
    const session = this.#session;
    this.#state = State.closed;
    this.#session = null;
    if (session === null || session.sink !== this) return;
    this.#context.exchange.counters[C.disconnects]++;
    this.#context.exchange.tick();
    this.#context.sessions.lost(session, !LEAVING.has(code));
  }

  #greet(reader: BatchReader): void {
    const step = reader.next();
    if (step === Step.broken || step === Step.refused) {
      this.#fail(reader.error!, null, 0);
      return;
    }
    if (step === Step.end || reader.type !== FrameType.hello || this.#state !== State.greeting) {
      this.#fail('HELLO_REQUIRED', null, 0);
      return;
    }
    const reference = reader.sequence;
    this.#codec = reader.encoding === Encoding.json ? jsonControl : this.#context.avro;
    if (!checksumHolds(reader.bytes, reader.start, reader.end - reader.start, 0)) {
      this.#fail('BAD_HELLO', 'The checksum of the hello does not match.', reference);
      return;
    }
    let hello: Hello;
    try {
      hello = this.#codec.decode('hello', reader.bytes, reader.payloadStart, reader.end);
    } catch (error) {
      this.#fail('BAD_HELLO', error instanceof FlowbusError ? error.message : null, reference);
      return;
    }
    if (reader.next() !== Step.end) {
      this.#fail('HELLO_REQUIRED', 'Wait for the welcome before sending more.', reference);
      return;
    }
    this.#state = State.opening;
    admit(this.#context, hello, () => this.#state === State.closed).then(
      (opened) => this.#welcome(opened, reference),
      (error: unknown) => this.#notAdmitted(error, reference),
    );
  }

  #welcome(opened: Opened | null, reference: number): void {
    if (opened === null) {
      if (this.#state === State.opening) this.#close('AGENT_REPLACED');
      return;
    }
    const { session, resumed, missed } = opened;
    const { exchange, node, slot, maxPayload, sessions } = this.#context;
    exchange.tick();
    this.#state = State.open;
    this.#session = session;
    this.#write(
      encodeControl(this.#codec, 'welcome', reference, {
        agentId: session.agent.agentId,
        session: session.id,
        sender: session.sender.number,
        node,
        shard: slot,
        maxPayload,
        window: session.window,
        heartbeatInterval: session.heartbeatInterval,
        resumed,
        missed,
        topicIds: true,
      }),
    );
    sessions.attach(session, this);
    if (!resumed) this.#context.retained.give(exchange, session, [...session.patterns]);
  }

  #notAdmitted(error: unknown, reference: number): void {
    if (this.#state === State.closed) return;
    if (!(error instanceof FlowbusError)) throw error;
    // Whatever is wrong with a hello, there is no connection without one.
    this.#send(error.code, error.message, true, reference, null, null);
    this.#close(error.code);
  }

  #control(session: Session, reader: BatchReader): void {
    const { bytes, start, end } = reader;
    const reference = reader.sequence;
    if (!checksumHolds(bytes, start, end - start, 0)) {
      this.#fail('CHECKSUM_MISMATCH', null, reference);
      return;
    }
    try {
      switch (reader.type) {
        case FrameType.ping:
          if (reader.payloadSize > MAX_PING)
            throw new FlowbusError('BAD_CONTROL', `A ping bears at most ${MAX_PING} bytes.`);
          session.control(
            controlFrame(FrameType.pong, reference, Encoding.bytes, bytes.subarray(reader.payloadStart, end)),
          );
          break;
        case FrameType.pong:
          break;
        case FrameType.subscribe:
          this.#subscribe(
            session,
            this.#codec.decode('subscribe', bytes, reader.payloadStart, end).patterns,
            reference,
          );
          break;
        case FrameType.everywhere:
          this.#acknowledge(session, reference, this.#context.reach.everywhere());
          break;
        case FrameType.unsubscribe: {
          const { patterns } = this.#codec.decode('unsubscribe', bytes, reader.payloadStart, end);
          this.#context.replays.cancel(session, patterns);
          this.#context.interest.unsubscribe(session, patterns);
          this.#acknowledge(session, reference);
          break;
        }
        case FrameType.query: {
          const query = this.#codec.decode('query', bytes, reader.payloadStart, end);
          const page = agentPage(this.#context.sessions.directory, query, this.#context.maxPayload);
          session.control(encodeControl(this.#codec, 'result', reference, page));
          break;
        }
        case FrameType.replay:
          this.#replay(session, this.#codec.decode('replay', bytes, reader.payloadStart, end), reference);
          break;
        case FrameType.consume:
          this.#consume(session, this.#codec.decode('consume', bytes, reader.payloadStart, end), reference);
          break;
        case FrameType.leave:
          if (reader.payloadSize !== 4)
            throw new FlowbusError('BAD_CONTROL', 'A leave bears the four bytes of a mailbox.');
          this.#context.consuming.leave(session, readU32(bytes, reader.payloadStart));
          this.#acknowledge(session, reference);
          break;
        case FrameType.ack:
          this.#context.consuming.ack(session, bytes, reader.payloadStart, end);
          break;
        case FrameType.nack:
          this.#context.consuming.nack(session, bytes, reader.payloadStart, end);
          break;
        case FrameType.hello:
          throw new FlowbusError('HELLO_REPEATED');
        default:
          throw new FlowbusError('BAD_TYPE', `Frames of type ${reader.type} are not sent to the bus.`);
      }
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      this.#fail(error.code, error.message, reference);
    }
  }

  #subscribe(session: Session, patterns: readonly string[], reference: number): void {
    for (const pattern of patterns) {
      const problem = subscribeProblem(pattern);
      if (problem !== null) throw problem;
    }
    subscribe(this.#context, session, patterns).then(() => {
      if (reference !== 0 && session.sink === this)
        session.control(controlFrame(FrameType.ack, reference, Encoding.bytes));
    });
  }

  #replay(session: Session, wish: Replay, reference: number): void {
    const problem = subscribeProblem(wish.pattern);
    if (problem !== null) throw problem;
    this.#context.replays
      .begin(session, { ...wish, patterns: [wish.pattern] }, () => {
        if (reference !== 0) session.control(controlFrame(FrameType.ack, reference, Encoding.bytes));
      })
      .catch((error: unknown) => {
        if (!(error instanceof FlowbusError)) throw error;
        if (session.sink === this) this.#fail(error.code, error.message, reference);
      });
  }

  #consume(session: Session, wish: Consume, reference: number): void {
    this.#context.consuming.consume(session, specOf(session.agent, wish)).then(
      (mailbox) => {
        if (session.sink !== this) return;
        this.#context.exchange.tick();
        session.control(encodeControl(this.#codec, 'consuming', reference, { mailbox }));
      },
      (error: unknown) => {
        if (!(error instanceof FlowbusError)) throw error;
        if (session.sink === this) this.#fail(error.code, error.message, reference);
      },
    );
  }

  /** Says that a request was carried out, once every live shard knows, or whoever else has to. */
  #acknowledge(session: Session, reference: number, done = this.#context.interest.settled()): void {
    if (reference === 0) return;
    done.then(() => {
      if (session.sink !== this) return;
      this.#context.exchange.tick();
      session.control(controlFrame(FrameType.ack, reference, Encoding.bytes));
    });
  }

  // What goes out.

  get unsent(): number {
    return this.#socket.writableLength;
  }

  send(chunk: Chunk): void {
    this.#writing.push(chunk);
    this.#socket.write(chunk.bytes.subarray(writeMessageHeader(chunk), chunk.end), this.#written);
  }

  #onWritten(): void {
    const chunk = this.#writing.shift();
    if (chunk !== undefined) this.#context.exchange.pool.give(chunk);
    const session = this.#session;
    if (session === null || (session.lanes.empty && session.replays === null)) return;
    this.#context.exchange.tick();
    session.touch();
  }

  credit(limit: number): void {
    const payload = new Uint8Array(8);
    writeU64(payload, 0, limit);
    this.#session?.control(controlFrame(FrameType.credit, 0, Encoding.bytes, payload));
  }

  gap(missed: number, reason: string): void {
    const { counters } = this.#context.exchange;
    counters[C.gapFrames]++;
    counters[C.gapMessages] += Math.max(0, missed);
    this.#session?.control(encodeControl(this.#codec, 'gap', 0, { missed, reason }));
  }

  pressure(change: MailboxPressure): void {
    this.#session?.control(encodeControl(this.#codec, 'pressure', 0, change));
  }

  breaker(change: BreakerChange): void {
    this.#session?.control(encodeControl(this.#codec, 'breaker', 0, change));
  }

  pause(): void {
    this.#ws.pause();
  }

  resume(): void {
    this.#ws.resume();
  }

  probe(): void {
    this.#ws.ping();
  }

  close(code: ErrorCode | null, message: string, reconnect: boolean): void {
    const session = this.#session;
    this.#session = null;
    this.#state = State.closed;
    if (session !== null && code !== null)
      this.#write(encodeControl(this.#codec, 'goaway', 0, { code, message, reconnect }));
    if (code === null) this.#ws.close(1000);
    else closeWith(this.#ws, code);
  }

  refuse(refused: Refusal): void {
    const { code, message, topic, correlation } = refused;
    this.#context.exchange.countError(code);
    this.#send(code, message ?? defaultMessage(code), false, 0, topic, correlation);
  }

  #refuse(refused: Refusal | null): void {
    if (refused !== null) this.refuse(refused);
  }

  /** Tells what was wrong; where no connection can go on after it, ends it. */
  #fail(code: ErrorCode, message: string | null, reference: number): void {
    const fatal = ERRORS[code].fatal || this.#session === null;
    this.#context.exchange.countError(code);
    this.#send(code, message ?? defaultMessage(code), fatal, reference, null, null);
    if (fatal) this.#close(code);
  }

  #send(
    code: ErrorCode,
    message: string,
    fatal: boolean,
    reference: number,
    topic: string | null,
    correlation: Uint8Array | null,
  ): void {
    const frame = encodeControl(this.#codec, 'error', reference, {
      code,
      message,
      fatal,
      topic,
      correlation,
    });
    if (fatal || this.#session === null) this.#write(frame);
    else this.#session.control(frame);
  }

  #close(code: ErrorCode): void {
    const session = this.#session;
    this.#session = null;
    this.#state = State.closed;
    if (session !== null) {
      this.#context.exchange.counters[C.disconnects]++;
      session.sink = null;
      this.#context.sessions.end(session, null, '');
    }
    closeWith(this.#ws, code);
  }

  /** A single frame past the lanes: before there is a session, or as the last word. */
  #write(frame: Uint8Array): void {
    const { pool } = this.#context.exchange;
    const chunk = pool.take(frame.length, 0);
    chunk.bytes.set(frame, chunk.end);
    chunk.end += frame.length;
    this.send(chunk);
  }
}

/** Connections take turns, and a batch is read to its end in one: they share a reader. */
const READER = new BatchReader();

/** That of a control frame; the sequence number of a message refers to nothing. */
function referenceOf(reader: BatchReader): number {
  return reader.type === FrameType.publish ? 0 : reader.sequence;
}

function defaultMessage(code: ErrorCode): string {
  return `${ERRORS[code].summary} ${ERRORS[code].remedy}`;
}

/** Writes the header of an unmasked WebSocket message before the chunk's first byte; returns where it begins. */
function writeMessageHeader(chunk: Chunk): number {
  const { bytes, start } = chunk;
  const size = chunk.size;
  if (size < 126) {
    bytes[start - 2] = FIN_BINARY;
    bytes[start - 1] = size;
    return start - 2;
  }
  if (size < 65536) {
    bytes[start - 4] = FIN_BINARY;
    bytes[start - 3] = 126;
    bytes[start - 2] = size >>> 8;
    bytes[start - 1] = size;
    return start - 4;
  }
  const head = start - HEADROOM;
  bytes[head] = FIN_BINARY;
  bytes[head + 1] = 127;
  bytes.writeUInt32BE(0, head + 2);
  bytes.writeUInt32BE(size, head + 6);
  return head;
}
