/** What clients that speak frames ask for beside publishing: one case for each control frame. */
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { BatchReader } from '../../lib/wire/batch.js';
import { checksumHolds } from '../../lib/wire/checksum.js';
import type { Consume, ControlCodec, Replay } from '../../lib/wire/control.js';
import { Encoding, FrameType, readU32 } from '../../lib/wire/frame.js';
import { controlFrame, encodeControl } from '../../lib/wire/writer.js';
import type { Session } from '../session.js';
import { agentPage } from './agents.js';
import { specOf } from './consume.js';
import type { DoorContext } from './context.js';
import { subscribe, subscribeProblem } from './hello.js';

const MAX_PING = 125;

/** The connection, as it answers its client. */
export interface ControlTeller {
  /** Whether it still is that of the session. */
  isOf(session: Session): boolean;
  /** Tells what was wrong; `message`: null for that of the code. */
  fail(code: ErrorCode, message: string | null, reference: number): void;
}

export class ControlFrames {
  /** That of the hello. */
  codec: ControlCodec;
  readonly #context: DoorContext;
  readonly #teller: ControlTeller;

  constructor(context: DoorContext, teller: ControlTeller) {
    this.codec = context.avro;
    this.#context = context;
    this.#teller = teller;
  }

  /** Carries out what the frame asks for that `reader` stands on. */
  carryOut(session: Session, reader: BatchReader): void {
    const { bytes, start, end } = reader;
    const reference = reader.sequence;
    if (!checksumHolds(bytes, start, end - start, 0)) {
      this.#teller.fail('CHECKSUM_MISMATCH', null, reference);
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
            this.codec.decode('subscribe', bytes, reader.payloadStart, end).patterns,
            reference,
          );
          break;
        case FrameType.everywhere:
          this.#acknowledge(session, reference, this.#context.reach.everywhere());
          break;
        case FrameType.unsubscribe: {
          const { patterns } = this.codec.decode('unsubscribe', bytes, reader.payloadStart, end);
          this.#context.replays.cancel(session, patterns);
          this.#context.interest.unsubscribe(session, patterns);
          this.#acknowledge(session, reference);
          break;
        }
        case FrameType.query: {
          const query = this.codec.decode('query', bytes, reader.payloadStart, end);
          const page = agentPage(this.#context.sessions.directory, query, this.#context.maxPayload);
          session.control(encodeControl(this.codec, 'result', reference, page));
          break;
        }
        case FrameType.replay:
          this.#replay(session, this.codec.decode('replay', bytes, reader.payloadStart, end), reference);
          break;
        case FrameType.consume:
          this.#consume(session, this.codec.decode('consume', bytes, reader.payloadStart, end), reference);
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
      this.#teller.fail(error.code, error.message, reference);
    }
  }

  #subscribe(session: Session, patterns: readonly string[], reference: number): void {
    for (const pattern of patterns) {
      const problem = subscribeProblem(pattern);
      if (problem !== null) throw problem;
    }
    subscribe(this.#context, session, patterns).then(() => {
      if (reference !== 0 && this.#teller.isOf(session))
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
        if (this.#teller.isOf(session)) this.#teller.fail(error.code, error.message, reference);
      });
  }

  #consume(session: Session, wish: Consume, reference: number): void {
    this.#context.consuming.consume(session, specOf(session.agent, wish)).then(
      (mailbox) => {
        if (!this.#teller.isOf(session)) return;
        this.#context.exchange.tick();
        session.control(encodeControl(this.codec, 'consuming', reference, { mailbox }));
      },
      (error: unknown) => {
        if (!(error instanceof FlowbusError)) throw error;
        if (this.#teller.isOf(session)) this.#teller.fail(error.code, error.message, reference);
      },
    );
  }

  /** Says that a request was carried out, once every live shard knows, or whoever else has to. */
  #acknowledge(session: Session, reference: number, done = this.#context.interest.settled()): void {
    if (reference === 0) return;
    done.then(() => {
      if (!this.#teller.isOf(session)) return;
      this.#context.exchange.tick();
      session.control(controlFrame(FrameType.ack, reference, Encoding.bytes));
    });
  }
}
