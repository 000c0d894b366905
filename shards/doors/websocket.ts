/**
 * The WebSocket door. The first message decides how a connection speaks: a binary hello, or a JSON one. `ws` reads; what is
 * sent by the binary door is written past it, whole messages with their header already in the chunk.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { type ErrorCode, errorEntry } from '../../lib/errors.js';
import { BinaryConnection } from './binary.js';
import { closeWith, TOO_BIG_MESSAGE } from './closing.js';
import type { DoorContext } from './context.js';
import { JsonConnection } from './json.js';

export const SUBPROTOCOL = 'agent-protocol-v1';

export interface Connection {
  receive(data: Buffer, binary: boolean): void;
  /** A sign of life that is no message: the answer to a WebSocket ping. */
  alive(): void;
  /** A message began that is larger than maxPayload; nothing is read any more. */
  oversized(): void;
  closed(code: number): void;
}

/** A connection that has not said how it speaks. */
class Greeting implements Connection {
  readonly since: number;
  readonly #context: DoorContext;
  readonly #ws: GreetedSocket;
  readonly #socket: Socket;
  readonly #over: (greeting: Greeting) => void;

  constructor(context: DoorContext, ws: GreetedSocket, socket: Socket, over: (greeting: Greeting) => void) {
    this.since = context.exchange.now;
    this.#context = context;
    this.#ws = ws;
    this.#socket = socket;
    this.#over = over;
  }

  receive(data: Buffer, binary: boolean): void {
    this.#over(this);
    const connection = binary
      ? new BinaryConnection(this.#context, this.#ws, this.#socket)
      : new JsonConnection(this.#context, this.#ws, this.#socket);
    this.#ws[kConnection] = connection;
    connection.receive(data, binary);
  }

  alive(): void {}

  oversized(): void {
    closeWith(this.#ws, 'OVERSIZED');
  }

  closed(): void {
    this.#over(this);
  }

  expire(): void {
    this.#over(this);
    this.#context.exchange.countError('HELLO_TIMEOUT');
    closeWith(this.#ws, 'HELLO_TIMEOUT');
  }
}

const kConnection = Symbol('connection');

/**
 * What `ws` has to say goes straight to the connection: five listeners on each would stay as long as it does. And `ws` closes a
 * connection by itself when a message is too large, and would not say why.
 */
class GreetedSocket extends WebSocket {
  declare [kConnection]: Connection;

  override emit(event: string | symbol, first?: unknown, second?: unknown): boolean {
    switch (event) {
      case 'message':
        // What still comes behind a fatal error, or a hello that comes just too late, is not answered: the close is on its way.
        if (this.readyState === WebSocket.OPEN) this[kConnection].receive(first as Buffer, second as boolean);
        return true;
      case 'ping':
      case 'pong':
        this[kConnection].alive();
        return true;
      case 'error':
        // `ws` closes the connection itself, with the code that RFC 6455 has for what was wrong; `close` follows.
        return true;
      case 'close':
        this[kConnection].closed(first as number);
        break;
    }
    return super.emit(event, first, second);
  }

  override close(code?: number, reason?: string | Buffer): void {
    if (code === TOO_BIG_MESSAGE && reason === undefined && this.readyState === WebSocket.OPEN)
      this[kConnection].oversized();
    else super.close(code, reason);
  }
}

export class WebSocketDoor {
  readonly #context: DoorContext;
  readonly #server: WebSocketServer;
  /** Bounded by the connections that the node admits, each for `helloTimeout` at most. */
  readonly #greetings: Set<Greeting>;

  constructor(context: DoorContext) {
    this.#context = context;
    this.#greetings = new Set();
    this.#server = new WebSocketServer({
      WebSocket: GreetedSocket,
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: context.maxPayload,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    });
    this.#server.on('wsClientError', (_error, socket) => refuse(socket, 'BAD_UPGRADE'));
  }

  /** Connections that have not said hello. */
  get greetings(): number {
    return this.#greetings.size;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const problem = this.#context.gate.problem(request.headers);
    if (problem !== null) {
      refuse(socket, problem);
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (ws) =>
      this.#open(ws as GreetedSocket, socket as Socket),
    );
  }

  /** Now and then: who has not said hello in time. */
  check(): void {
    const { exchange, helloTimeout } = this.#context;
    for (const greeting of this.#greetings) {
      if ((exchange.now - greeting.since) >>> 0 > helloTimeout) greeting.expire();
    }
  }

  #open(ws: GreetedSocket, socket: Socket): void {
    this.#context.exchange.tick();
    const greeting = new Greeting(this.#context, ws, socket, (over) => this.#greetings.delete(over));
    this.#greetings.add(greeting);
    ws[kConnection] = greeting;
  }
}

/** Answers an upgrade request that becomes no WebSocket. */
function refuse(socket: Duplex, code: ErrorCode): void {
  const { summary, remedy, httpStatus } = errorEntry(code);
  const body = `${JSON.stringify({ code, message: `${summary} ${remedy}` })}\n`;
  const head = `HTTP/1.1 ${httpStatus} ${STATUS_CODES[httpStatus!]}\r\nContent-Type: application/json\r\n`;
  socket.end(`${head}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
}
