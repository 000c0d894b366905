/**
 * The HTTP server of a shard. It does not listen: the primary hands it connections, which the shard emits as
 * `connection`. Node enforces headersTimeout and requestTimeout only on servers that listen, so the bound on idle
 * and dripping connections is here.
 */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  STATUS_CODES,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { FlowbusError } from '../../lib/errors.js';
import { statusOf } from './answer.js';

/** Of one request (bytes); the primary reads as much while it waits for the first one. */
const MAX_HEADER = 8 * 1024;
/** Milliseconds without a byte in either direction. Event streams send a comment more often than that. */
const SILENCE = 30_000;
/** What clients are told: less than IDLE, so that they let go first and no request meets a closing socket. */
const KEEP_ALIVE = 25_000;
/** Milliseconds from one answer, or from the hand-over, until the next request's headers are complete. */
const IDLE = 30_000;
/** Milliseconds that a refused connection is still read: a close with bytes unread is a reset, which can overtake the answer. */
const LINGER = 1000;

export interface HttpServerOptions {
  /** Until the first request must be complete (milliseconds); default: as `idle`. */
  first?: number;
  /** Until the next request must be complete (milliseconds); default 30,000. */
  idle?: number;
}

interface Connection {
  requests: number;
  /** Its first request is still to come. */
  first: boolean;
  idleSince: number;
  /** How long it may be idle now (ms). */
  limit: number;
}

/** As many connections as the primary hands over; each leaves when it closes or becomes a WebSocket. */
class IdleWatch {
  readonly #connections = new Map<Duplex, Connection>();
  readonly #first: number;
  readonly #idle: number;
  /** One for all: `this` is the socket. */
  readonly #onClose: (this: Duplex) => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(first: number, idle: number) {
    this.#first = first;
    this.#idle = idle;
    const watch = this;
    this.#onClose = function () {
      watch.remove(this);
    };
  }

  add(socket: Socket): void {
    const idleSince = performance.now();
    this.#connections.set(socket, { requests: 0, first: true, idleSince, limit: this.#first });
    socket.on('close', this.#onClose);
    this.#timer ??= setInterval(() => this.#sweep(), Math.min(this.#first, this.#idle) / 4).unref();
  }

  remove(socket: Duplex): void {
    if (!this.#connections.delete(socket)) return;
    // A WebSocket may live long; it shall not keep what its upgrade needed.
    socket.off('close', this.#onClose);
    if (this.#connections.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  /** A request of this connection is not answered yet. */
  busy(socket: Duplex): boolean {
    return (this.#connections.get(socket)?.requests ?? 0) > 0;
  }

  begin(socket: Duplex): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    connection.requests++;
    connection.first = false;
  }

  end(socket: Duplex): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    connection.requests--;
    connection.idleSince = performance.now();
    connection.limit = this.#idle;
  }

  #sweep(): void {
    const now = performance.now();
    for (const [socket, connection] of this.#connections) {
      if (connection.requests > 0 || now - connection.idleSince <= connection.limit) continue;
      if (!connection.first) {
        socket.destroy();
        continue;
      }
      connection.first = false;
      connection.idleSince = now;
      connection.limit = LINGER;
      socket.end(lateAnswer(this.#first));
    }
  }
}

/** For a request of which only the beginning came: there is no `ServerResponse` for it. */
function lateAnswer(limit: number): string {
  const { code, message } = new FlowbusError('UPGRADE_TIMEOUT', `no whole request within ${limit} ms`);
  const status = statusOf(code);
  const body = `${JSON.stringify({ code, message })}\n`;
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  );
}

/**
 * A server for the door's listener. `upgrade` gets every connection that asks to become a WebSocket; from then on it
 * is bounded by its taker, not here.
 */
export function createHttpServer(
  listener: RequestListener,
  upgrade: (req: IncomingMessage, socket: Duplex, head: Buffer) => void,
  { idle = IDLE, first = idle }: HttpServerOptions = {},
): Server {
  const watch = new IdleWatch(first, idle);
  const server = createServer({ maxHeaderSize: MAX_HEADER, keepAliveTimeout: KEEP_ALIVE });
  server.on('connection', (socket) => watch.add(socket));
  server.on('request', (req, res) => {
    const { socket } = req;
    if (socket.writableEnded) {
      // It was refused, for being late, before it was whole.
      socket.destroy();
      return;
    }
    watch.begin(socket);
    // Not `server.timeout`: connections that become WebSockets would have a timer each before their first byte, and keep it.
    // Until the first request is complete, `first` is the bound.
    socket.setTimeout(SILENCE);
    res.once('close', () => watch.end(socket));
    listener(req, res);
  });
  server.on('upgrade', (req, socket, head) => {
    if (watch.busy(socket) || socket.writableEnded) {
      // The answer that is still to come would stand among the frames; or it came too late, and was refused.
      socket.destroy();
      return;
    }
    watch.remove(socket);
    upgrade(req, socket, head);
  });
  return server;
}
