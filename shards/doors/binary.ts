/** One connection that speaks frames: what it sends is taken apart here, what its session has for it is written here. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { ERRORS, type ErrorCode, FlowbusError } from '../../lib/errors.js';
import { type Chunk, HEADROOM } from '../../lib/queues/chunks.js';
import { C } from '../../lib/telemetry/counters.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { forgetBatch } from '../../lib/wire/batch-checksum.js';
import { checksumHolds } from '../../lib/wire/checksum.js';
import { type BreakerChange, type Hello, jsonControl, type MailboxPressure } from '../../lib/wire/control.js';
import { Encoding, FrameType, writeU64 } from '../../lib/wire/frame.js';
import { controlFrame, encodeControl } from '../../lib/wire/writer.js';
import type { Refusal } from '../publishing.js';
import type { Session, Sink } from '../session.js';
import type { Opened } from '../sessions.js';
import { closeWith, LEAVING } from './closing.js';
import type { DoorContext } from './context.js';
import { ControlFrames, type ControlTeller } from './control-frames.js';
import { admit } from './hello.js';

/** RFC 6455, 5.2: FIN and opcode "binary". */
const FIN_BINARY = 0x82;

const State = { greeting: 0, opening: 1, open: 2, closed: 3 } as const;

export class BinaryConnection implements Sink, ControlTeller {
  readonly announces = true;
  readonly #context: DoorContext;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #reader: BatchReader;
  readonly #writing: Chunk[];
  readonly #written: () => void;
  readonly #control: ControlFrames;
  #session: Session | null;
  #state: number;

  constructor(context: DoorContext, ws: WebSocket, socket: Socket) {
    this.#context = context;
    this.#ws = ws;
    this.#socket = socket;
    this.#reader = READER;
    this.#writing = [];
    this.#written = () => this.#onWritten();
    this.#control = new ControlFrames(context, this);
    this.#session = null;
    this.#state = State.greeting;
  }

  // What comes in.

  receive(data: Buffer, binary: boolean): void {
    const { exchange, maxPayload, publishing } = this.#context;
    exchange.counters[C.batchesIn]++;
    this.alive();
    if (!binary) {
      this.fail('BAD_TYPE', 'This connection speaks frames: send binary messages.', 0);
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
          this.fail('FORGED_SENDER', null, 0);
          break;
        }
        bytes += reader.end - reader.start;
        if (publishing.extend(session, reader)) continue;
        this.#refuse(publishing.finish(session, data));
        this.#refuse(publishing.take(session, reader));
        continue;
      }
      this.#refuse(publishing.finish(session, data));
      if (step === Step.frame) this.#control.carryOut(session, reader);
      else this.fail(reader.error!, null, step === Step.refused ? referenceOf(reader) : 0);
    }
    this.#refuse(publishing.finish(session, data));
    if (bytes !== 0 && !session.ended) session.charge(bytes);
  }

  alive(): void {
    const now = this.#context.exchange.tick();
    if (this.#session !== null) this.#session.heard = now;
  }

  oversized(): void {
    this.fail('OVERSIZED', null, 0);
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
      this.fail(reader.error!, null, 0);
      return;
    }
    if (step === Step.end || reader.type !== FrameType.hello || this.#state !== State.greeting) {
      this.fail('HELLO_REQUIRED', null, 0);
      return;
    }
    const reference = reader.sequence;
    this.#control.codec = reader.encoding === Encoding.json ? jsonControl : this.#context.avro;
    if (!checksumHolds(reader.bytes, reader.start, reader.end - reader.start, 0)) {
      this.fail('BAD_HELLO', 'The checksum of the hello does not match.', reference);
      return;
    }
    let hello: Hello;
    try {
      hello = this.#control.codec.decode('hello', reader.bytes, reader.payloadStart, reader.end);
    } catch (error) {
      this.fail('BAD_HELLO', error instanceof FlowbusError ? error.message : null, reference);
      return;
    }
    if (reader.next() !== Step.end) {
      this.fail('HELLO_REQUIRED', 'Wait for the welcome before sending more.', reference);
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
      encodeControl(this.#control.codec, 'welcome', reference, {
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
    this.#session?.control(encodeControl(this.#control.codec, 'gap', 0, { missed, reason }));
  }

  pressure(change: MailboxPressure): void {
    this.#session?.control(encodeControl(this.#control.codec, 'pressure', 0, change));
  }

  breaker(change: BreakerChange): void {
    this.#session?.control(encodeControl(this.#control.codec, 'breaker', 0, change));
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
      this.#write(encodeControl(this.#control.codec, 'goaway', 0, { code, message, reconnect }));
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

  isOf(session: Session): boolean {
    return session.sink === this;
  }

  /** Tells what was wrong; where no connection can go on after it, ends it. */
  fail(code: ErrorCode, message: string | null, reference: number): void {
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
    const frame = encodeControl(this.#control.codec, 'error', reference, {
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
