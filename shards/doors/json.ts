/** One connection that speaks JSON: a text message is one operation, or one answer, or one message delivered. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { ERRORS, type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { Chunk } from '../../lib/queues/chunks.js';
import { C } from '../../lib/telemetry/counters.js';
import { agentAddress, REPLY_PREFIX } from '../../lib/topics/topic.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { FrameType } from '../../lib/wire/frame.js';
import {
  type JsonAnswer,
  type JsonMessage,
  type JsonOp,
  type JsonReplayWish,
  parseOp,
  referenceIn,
} from '../../lib/wire/json.js';
import type { Session, Sink } from '../session.js';
import type { Opened } from '../sessions.js';
import { jsonPage } from './agents.js';
import { closeWith, LEAVING } from './closing.js';
import type { DoorContext } from './context.js';
import { type Entering, Entry } from './entry.js';
import { admit, subscribe, subscribeProblem } from './hello.js';
import { JsonMailboxes } from './json-mailboxes.js';
import { deliveredOf, type JsonMessageOut, messageOf, pastMessageOf, pastOf } from './json-message.js';
import { JsonReplays } from './json-replays.js';
import { JsonRequests } from './json-requests.js';

const DEFAULT_TIMEOUT = 5000;
/** A client that provokes answers and never reads them is cut off at this many unsent bytes. */
const MAX_UNREAD = 4 * 1024 * 1024;

const State = { greeting: 0, opening: 1, open: 2, closed: 3 } as const;

type Operation<K extends JsonOp['op']> = Extract<JsonOp, { op: K }>;

export class JsonConnection implements Sink {
  readonly announces = false;
  readonly #context: DoorContext;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #entry: Entry;
  readonly #mailboxes: JsonMailboxes;
  readonly #reader: BatchReader;
  readonly #written: () => void;
  readonly #requests: JsonRequests;
  #sequence: number;
  /** Subscriptions that began in the past; null: none has. */
  #replays: JsonReplays | null;
  #session: Session | null;
  #state: number;

  constructor(context: DoorContext, ws: WebSocket, socket: Socket) {
    this.#context = context;
    this.#ws = ws;
    this.#socket = socket;
    this.#entry = new Entry(context);
    this.#mailboxes = new JsonMailboxes(context, this.#entry, {
      isOf: (session) => session.sink === this,
      tell: (answer, reference) => this.#answer({ ...answer, ...refOf(reference) }),
      fail: (code, message, reference, id) => this.#fail(code, message, reference, id),
      acknowledge: (session, reference) => this.#acknowledge(session, reference),
    });
    this.#reader = new BatchReader();
    this.#written = () => this.#onWritten();
    this.#requests = new JsonRequests();
    this.#sequence = 0;
    this.#replays = null;
    this.#session = null;
    this.#state = State.greeting;
  }

  // What comes in.

  receive(data: Buffer, binary: boolean): void {
    this.#context.exchange.counters[C.batchesIn]++;
    this.alive();
    if (this.#state === State.closed) return;
    if (binary) {
      this.#fail('BAD_TYPE', 'This connection speaks JSON: send text messages.', 0);
      return;
    }
    const text = data.toString();
    let operation: JsonOp | null = null;
    try {
      operation = parseOp(text);
      this.#carryOut(operation);
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      this.#fail(error.code, error.message, operation === null ? referenceIn(text) : operation.ref);
    }
  }

  alive(): void {
    const now = this.#context.exchange.tick();
    if (this.#session !== null) this.#session.heard = now;
  }

  oversized(): void {
    this.#fail('OVERSIZED', `A message may have ${this.#context.maxPayload} bytes.`, 0);
  }

  closed(code: number): void {
    const session = this.#session;
    this.#state = State.closed;
    this.#session = null;
    this.#requests.forgetAll();
    if (session === null || session.sink !== this) return;
    this.#context.exchange.counters[C.disconnects]++;
    // Whoever speaks JSON cannot resume; that it broke off counts all the same.
    if (session.consumes !== null && !LEAVING.has(code)) this.#context.exchange.leave(session, true);
    this.#context.sessions.lost(session, false);
  }

  #carryOut(operation: JsonOp): void {
    if (operation.op === 'hello') {
      this.#hello(operation);
      return;
    }
    const session = this.#session;
    if (session === null) throw new FlowbusError('HELLO_REQUIRED');
    const { interest, sessions, maxPayload } = this.#context;
    const reference = operation.ref;
    switch (operation.op) {
      case 'subscribe':
        for (const pattern of operation.patterns) {
          const problem = subscribeProblem(pattern);
          if (problem !== null) throw problem;
        }
        if (operation.replay !== null) this.#replay(session, operation.patterns, operation.replay, reference);
        else this.#subscribe(session, operation.patterns, reference);
        break;
      case 'unsubscribe':
        this.#context.replays.cancel(session, operation.patterns);
        this.#replays?.forget(operation.patterns);
        interest.unsubscribe(session, operation.patterns);
        this.#acknowledge(session, reference);
        break;
      case 'publish':
      case 'reply':
        this.#publish(session, operation.topic, operation.message, reference);
        break;
      case 'send':
        this.#publish(session, agentAddress(operation.to), operation.message, reference);
        break;
      case 'request':
        this.#request(session, operation);
        break;
      case 'agents': {
        const page = jsonPage(sessions.directory, operation.query, maxPayload);
        this.#answer({ op: 'agents', ...refOf(reference), ...page });
        break;
      }
      case 'everywhere':
        this.#acknowledge(session, reference, this.#context.reach.everywhere());
        break;
      case 'ping':
        this.#answer({ op: 'pong', ...refOf(reference) });
        break;
      case 'store':
        this.#mailboxes.store(
          session,
          this.#entering(session, operation.topic, operation.message),
          operation.id,
          reference,
        );
        break;
      default:
        this.#mailboxes.carryOut(session, operation);
    }
  }

  #subscribe(session: Session, patterns: readonly string[], reference: number): void {
    subscribe(this.#context, session, patterns).then(() => {
      if (reference !== 0 && session.sink === this) this.#answer({ op: 'ack', ref: reference });
    });
  }

  /** Answered when all of them have begun, or with the first that is refused. */
  #replay(session: Session, patterns: readonly string[], wish: JsonReplayWish, reference: number): void {
    this.#replays ??= new JsonReplays();
    let waiting = patterns.length;
    for (const pattern of patterns) {
      const stream = this.#replays.begin(pattern);
      const acknowledge = (): void => {
        if (--waiting === 0 && reference !== 0) this.#answer({ op: 'ack', ref: reference });
      };
      this.#context.replays
        .begin(session, { patterns: [pattern], stream, ...wish, cursor: null }, acknowledge)
        .catch((error: unknown) => {
          if (!(error instanceof FlowbusError)) throw error;
          this.#replays?.forget([pattern]);
          if (session.sink === this) this.#fail(error.code, error.message, reference);
        });
    }
  }

  #hello({ hello, ref }: Operation<'hello'>): void {
    if (this.#state !== State.greeting) throw new FlowbusError('HELLO_REPEATED');
    this.#state = State.opening;
    const { exchange } = this.#context;
    if (hello.agentId === '')
      hello.agentId = `guest-${exchange.settings.slot}-${(++guests).toString(36)}-${randomTail()}`;
    admit(this.#context, hello, () => this.#state === State.closed).then(
      (opened) => this.#welcome(opened, ref),
      (error: unknown) => {
        if (!(error instanceof FlowbusError)) throw error;
        if (this.#state === State.closed) return;
        this.#fail(error.code, error.message, ref);
      },
    );
  }

  #welcome(opened: Opened | null, reference: number): void {
    if (opened === null) {
      if (this.#state === State.opening) closeWith(this.#ws, 'AGENT_REPLACED');
      return;
    }
    const { session } = opened;
    const { node, slot, maxPayload, sessions } = this.#context;
    this.#state = State.open;
    this.#session = session;
    this.#answer({
      op: 'welcome',
      ...refOf(reference),
      agentId: session.agent.agentId,
      session: session.id,
      sender: session.sender.number,
      node,
      shard: slot,
      maxPayload,
      heartbeatInterval: session.heartbeatInterval,
    });
    sessions.attach(session, this);
    this.#context.retained.give(this.#context.exchange, session, [...session.patterns]);
  }

  #entering(session: Session, topic: string, message: JsonMessage): Entering {
    return {
      topic,
      lane: message.lane ?? session.lane,
      encoding: message.payload.encoding,
      payload: message.payload.bytes,
      sequence: ++this.#sequence,
      retain: message.retain,
      extensions: {
        ttl: message.ttl ?? undefined,
        key: message.key ?? undefined,
        headers: message.headers ?? undefined,
        replyTo: message.replyTo ?? undefined,
        correlation: message.correlation ?? undefined,
        delay: message.delay ?? undefined,
        retry: message.retry ?? undefined,
      },
    };
  }

  #publish(session: Session, topic: string, message: JsonMessage, reference: number): void {
    const entering = this.#entering(session, topic, message);
    const { code, message: why, bytes } = this.#entry.publish(session.sender, entering);
    if (code !== null) throw new FlowbusError(code, why ?? undefined);
    session.charge(bytes);
    if (reference !== 0) this.#answer({ op: 'ack', ref: reference });
  }

  #request(session: Session, { to, message, timeout, ref }: Operation<'request'>): void {
    const replyTo = `${REPLY_PREFIX}${this.#context.node}.${session.sender.number.toString(36)}.json`;
    const correlation = this.#requests.open(ref, timeout ?? DEFAULT_TIMEOUT, (limit) => {
      this.#fail('TIMEOUT', `No reply from ${to} within ${limit} ms.`, ref);
    });
    try {
      this.#publish(session, agentAddress(to), { ...message, replyTo, correlation }, 0);
    } catch (error) {
      this.#requests.forget(correlation);
      throw error;
    }
  }

  #acknowledge(session: Session, reference: number, done = this.#context.interest.settled()): void {
    if (reference === 0) return;
    done.then(() => {
      if (session.sink === this) this.#answer({ op: 'ack', ref: reference });
    });
  }

  // What goes out.

  get unsent(): number {
    return this.#socket.writableLength;
  }

  send(chunk: Chunk): void {
    const { exchange } = this.#context;
    const reader = this.#reader;
    reader.open(chunk.bytes, chunk.start, chunk.end, chunk.size);
    for (let step = reader.next(); step === Step.frame; step = reader.next()) {
      if (reader.type === FrameType.deliver) {
        const message = deliveredOf(reader);
        if (message !== null) this.#write(message);
      } else if (reader.type === FrameType.publish) {
        const message = messageOf(exchange, reader);
        const takes = this.#replays?.takes(reader.lane, message?.topic ?? '') ?? true;
        if (message !== null && takes) this.#deliver(message);
      } else if (reader.type === FrameType.past) {
        const message = pastMessageOf(reader.bytes, pastOf(reader));
        if (message !== null) this.#write(message);
      } else if (reader.type === FrameType.place) this.#replays?.onPlace(reader);
      else if (reader.type === FrameType.replaying) this.#replays?.onStage(reader);
    }
    exchange.pool.give(chunk);
  }

  #deliver(message: JsonMessageOut): void {
    this.#write(message.topic.startsWith(REPLY_PREFIX) ? this.#requests.answerOf(message) : message);
  }

  #onWritten(): void {
    const session = this.#session;
    if (session === null || (session.lanes.empty && session.replays === null)) return;
    this.#context.exchange.tick();
    session.touch();
  }

  /** Reads of a JSON client are paused instead: it knows no credit. */
  credit(): void {}

  gap(missed: number, reason: string): void {
    const { counters } = this.#context.exchange;
    counters[C.gapFrames]++;
    counters[C.gapMessages] += Math.max(0, missed);
    this.#answer({ op: 'gap', missed, reason });
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
    this.#session = null;
    this.#state = State.closed;
    this.#requests.forgetAll();
    if (code === null) this.#ws.close(1000);
    else {
      this.#write({ op: 'goaway', code, message, reconnect });
      closeWith(this.#ws, code);
    }
  }

  #fail(code: ErrorCode, message: string, reference: number, id?: string): void {
    // Without a session there is nothing to go on with, and no time limit but this.
    const fatal = ERRORS[code].fatal || this.#session === null;
    this.#context.exchange.countError(code);
    this.#answer({ op: 'error', code, message, fatal, ...refOf(reference), ...(id !== undefined && { id }) });
    if (!fatal) return;
    const session = this.#session;
    this.#session = null;
    this.#state = State.closed;
    this.#requests.forgetAll();
    if (session !== null) {
      this.#context.exchange.counters[C.disconnects]++;
      session.sink = null;
      this.#context.sessions.end(session, null, '');
    }
    closeWith(this.#ws, code);
  }

  /** What answers the client itself waits in no lane; a client that does not read it is cut off. */
  #answer(answer: JsonAnswer): void {
    if (this.#socket.writableLength > MAX_UNREAD) {
      if (this.#session !== null) this.#context.exchange.cutOff(this.#session);
      return;
    }
    this.#write(answer);
  }

  #write(answer: JsonAnswer): void {
    this.#ws.send(JSON.stringify(answer), this.#written);
  }
}

/** The `ref` of an answer: none to what had none. */
function refOf(reference: number): { ref?: number } {
  return reference === 0 ? {} : { ref: reference };
}

let guests = 0;

function randomTail(): string {
  return Math.floor(Math.random() * 36 ** 5).toString(36);
}
