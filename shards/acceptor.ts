/** Accepts the node's connections, reads the request line of each, and gives it to the shard it is placed on. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type ErrorCode, FlowbusError } from '../lib/errors.js';
import { type Arrival, handleOf } from './arrival.js';
import { agentIdOf, MAX_REQUEST_LINE, RequestPeek } from './peek.js';
import type { Placement } from './placement.js';
import { Refusals } from './refusal.js';
import type { NodeLog, Supervisor } from './supervisor.js';

/** Connections that the kernel holds until they are accepted; it may allow less (net.core.somaxconn). */
const BACKLOG = 10_000;
const KEEP_ALIVE = 30_000;
/** Refusals are logged as sums, so often (ms). */
const REPORT_INTERVAL = 1000;

export interface AcceptorLimits {
  /** Connections of which the request line is awaited. */
  maxPeeks: number;
  /** Connections that wait while no shard is live. */
  maxWaiting: number;
  /** How long they wait (ms). */
  waitLimit: number;
}

export const ACCEPTOR_LIMITS: AcceptorLimits = {
  // Each holds at most a request line: 4096 × 8 KiB = 32 MiB, when all of them stall just before its end.
  maxPeeks: 4096,
  maxWaiting: 4096,
  waitLimit: 5000,
};

export interface AcceptorOptions {
  /** Time for the request line (ms). */
  upgradeTimeout: number;
  /** Of the whole node. */
  maxConnections: number;
  limits: AcceptorLimits;
  placement: Placement;
  supervisor: Supervisor;
  log: NodeLog;
}

/** What went wrong with listening, in one line that says what to do. */
export function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const at = `port ${port} on ${host}`;
  const options = { cause: error };
  switch (error.code) {
    case 'EADDRINUSE':
      return new FlowbusError(
        'PORT_IN_USE',
        `${at} is in use by another program: stop that, or choose another port (--port, FLOWBUS_PORT)`,
        options,
      );
    case 'EACCES':
      return new FlowbusError(
        'BAD_CONFIG',
        `${at} is not allowed to this user: choose a port above 1023 (--port, FLOWBUS_PORT)`,
        options,
      );
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new FlowbusError(
        'BAD_CONFIG',
        `host ${host} is no address of this machine: choose another (--host, FLOWBUS_HOST)`,
        options,
      );
    default:
      return error;
  }
}

export class Acceptor {
  readonly #options: AcceptorOptions;
  readonly #server: Server;
  readonly #refusals: Refusals;
  readonly #peeks: Map<Socket, { readonly peek: RequestPeek; readonly timer: NodeJS.Timeout }>;
  // Listeners of all sockets that are peeked at: `this` is the socket.
  readonly #onData: (this: Socket, chunk: Buffer) => void;
  readonly #onClose: (this: Socket) => void;
  readonly #onLate: (socket: Socket) => void;
  readonly #waiting: Map<Arrival, NodeJS.Timeout>;
  readonly #refused: Map<ErrorCode, number>;
  #report: NodeJS.Timeout | undefined;
  /** Connections may go to shards. Before, they wait, lest the first shard that is ready gets them all. */
  #open: boolean;
  #closed: boolean;

  constructor(options: AcceptorOptions) {
    this.#options = options;
    this.#refusals = new Refusals();
    this.#peeks = new Map();
    this.#waiting = new Map();
    this.#refused = new Map();
    this.#open = false;
    this.#closed = false;
    const acceptor = this;
    this.#onData = function (chunk) {
      acceptor.#read(this, chunk);
    };
    this.#onClose = function () {
      acceptor.#forget(this);
    };
    this.#onLate = (socket) => {
      this.#forget(socket);
      this.#refuse(socket, 'UPGRADE_TIMEOUT', `no request line within ${options.upgradeTimeout} ms`);
    };
    // Whether writes may wait is the shard's to say: here nothing is written but one refusal.
    this.#server = createServer(
      { allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE },
      (socket) => this.#accept(socket),
    );
  }

  /** Begins to accept. Rejects as `listenError` says. `canHandOver`: sockets can be stopped in the way that takes. */
  listen(host: string, port: number): Promise<{ host: string; port: number; canHandOver: boolean }> {
    return new Promise((resolve, reject) => {
      const fail = (error: NodeJS.ErrnoException) => reject(listenError(error, host, port));
      this.#server.once('error', fail);
      this.#server.listen({ host, port, backlog: BACKLOG }, () => {
        this.#server.off('error', fail);
        // A failed accept (no descriptor left, for instance) is that client's trouble, and comes again.
        this.#server.on('error', (error) =>
          this.#options.log.error({ error: error.message }, 'accept failed'),
        );
        const address = this.#server.address() as AddressInfo;
        const canHandOver = typeof handleOf(this.#server)?.readStop === 'function';
        resolve({ host: address.address, port: address.port, canHandOver });
      });
    });
  }

  /** Hands over what has waited for the shards, and from now on at once. */
  open(): void {
    this.#open = true;
    this.onLive();
  }

  onLive(): void {
    if (!this.#open) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [arrival, timer] of waiting) {
      clearTimeout(timer);
      this.#place(arrival);
    }
  }

  /** Places connections anew whose shard did not get them. */
  onReturned(arrivals: Arrival[]): void {
    for (const arrival of arrivals) this.#place(arrival);
  }

  /** Stops to accept; what has not gone to a shard yet is refused. Resolves when the port is free. */
  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#report);
    // Not `server.close(callback)`: that waits for refused connections that linger. The port is free at once.
    if (this.#server.listening) this.#server.close();
    for (const socket of [...this.#peeks.keys()]) {
      this.#forget(socket);
      this.#refuse(socket, 'SHUTTING_DOWN', 'the node is stopping');
    }
    for (const [{ socket }, timer] of this.#waiting) {
      clearTimeout(timer);
      this.#refuse(socket, 'SHUTTING_DOWN', 'the node is stopping');
    }
    this.#waiting.clear();
    return new Promise((resolve) => setImmediate(resolve));
  }

  #accept(socket: Socket): void {
    socket.on('error', ignore);
    const { limits, maxConnections, supervisor, upgradeTimeout } = this.#options;
    if (this.#peeks.size >= limits.maxPeeks) {
      this.#refuse(socket, 'OVERLOADED', 'too many connections are at their upgrade request');
      return;
    }
    if (this.#peeks.size + this.#waiting.size + supervisor.connections() >= maxConnections) {
      this.#refuse(socket, 'OVERLOADED', `the node has its ${maxConnections} connections (maxConnections)`);
      return;
    }
    const timer = setTimeout(this.#onLate, upgradeTimeout, socket);
    this.#peeks.set(socket, { peek: new RequestPeek(), timer });
    socket.on('close', this.#onClose);
    socket.on('end', destroy);
    socket.on('data', this.#onData);
  }

  #read(socket: Socket, chunk: Buffer): void {
    const peek = this.#peeks.get(socket)?.peek;
    if (peek === undefined) return;
    const progress = peek.push(chunk);
    if (progress === 'more') return;
    // In this very turn: whatever comes later must stay in the kernel for the shard.
    handleOf(socket)?.readStop?.();
    socket.pause();
    this.#forget(socket);
    if (progress === 'line') this.#place({ socket, head: peek.head, agentId: agentIdOf(peek.requestLine) });
    else
      this.#refuse(socket, 'UPGRADE_TOO_LARGE', `the request line is longer than ${MAX_REQUEST_LINE} bytes`);
  }

  #forget(socket: Socket): void {
    clearTimeout(this.#peeks.get(socket)?.timer);
    this.#peeks.delete(socket);
    socket.off('data', this.#onData);
    socket.off('end', destroy);
    socket.off('close', this.#onClose);
  }

  #place(arrival: Arrival): void {
    if (this.#closed) {
      this.#refuse(arrival.socket, 'SHUTTING_DOWN', 'the node is stopping');
      return;
    }
    const slot = this.#open ? this.#options.placement.place(arrival.agentId) : -1;
    const shard = slot < 0 ? null : this.#options.supervisor.live(slot);
    if (shard === null) this.#wait(arrival);
    else if (!shard.deliver(arrival)) {
      this.#refuse(arrival.socket, 'OVERLOADED', `too many connections wait for shard ${slot}`);
    }
  }

  #wait(arrival: Arrival): void {
    const { maxWaiting, waitLimit } = this.#options.limits;
    if (this.#waiting.size >= maxWaiting) {
      this.#refuse(arrival.socket, 'OVERLOADED', 'no shard is live, and too many connections wait for one');
      return;
    }
    const timer = setTimeout(() => {
      this.#waiting.delete(arrival);
      this.#refuse(arrival.socket, 'OVERLOADED', 'no shard is live');
    }, waitLimit);
    this.#waiting.set(arrival, timer);
  }

  #refuse(socket: Socket, code: ErrorCode, message: string): void {
    this.#refusals.refuse(socket, code, message);
    if (this.#closed) return;
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1);
    this.#report ??= setTimeout(() => this.#reportRefusals(), REPORT_INTERVAL);
  }

  #reportRefusals(): void {
    this.#report = undefined;
    const refused = Object.fromEntries(this.#refused);
    this.#refused.clear();
    this.#options.log.warn({ refused }, 'connections were refused');
  }
}

function destroy(this: Socket): void {
  this.destroy();
}

/** A client may go away at any time; 'close' follows, and that is what counts. */
function ignore(): void {}
