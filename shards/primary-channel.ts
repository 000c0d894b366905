/**
 * The worker's end of the channel to the primary. `joinPrimary` is all that a worker has to call: it answers
 * pings, reports the load and takes over connections.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';
import { dieWithParent } from './parent-death.js';
import {
  BOOT_VARIABLE,
  type BootData,
  type ConnectionMessage,
  isPrimaryMessage,
  type WorkerMessage,
} from './worker-protocol.js';

/** How often a worker reports its load (ms). */
const LOAD_INTERVAL = 1000;

export interface PrimaryListener {
  /** A connection of this shard, for `httpServer.emit('connection', socket)`. */
  onConnection(socket: Socket): void;
  onPeerUp(slot: number, incarnation: number): void;
  onPeerDown(slot: number, incarnation: number): void;
  /** Drain within `timeoutMs`, then call `channel.drained()`. Called once at most. */
  onDrain(timeoutMs: number): void;
  /** Connections open now. Asked about once a second. */
  connections(): number;
}

export interface PrimaryChannel {
  /** From now on connections may come to a shard, when the boot data says `accept: 'primary'`. */
  ready(recovered: number, addresses?: readonly string[]): void;
  /** Not ready yet, and still at work on what its journal holds. */
  recovering(): void;
  /** Reports the end of the drain, and exits with code 0 once that is sent. */
  drained(): void;
}

/**
 * The boot data of this process.
 * @throws Error when it was not forked by a primary
 */
export function readBootData(environment: NodeJS.ProcessEnv = process.env): BootData {
  const text = environment[BOOT_VARIABLE];
  if (text === undefined) throw new Error(`${BOOT_VARIABLE} is not set: only the primary starts workers`);
  return JSON.parse(text) as BootData;
}

/**
 * Makes a socket of a handle that the primary sent, gives back to it what the primary had read, and passes it on.
 * To be called in the very turn of the `message` event: nothing may be read from the handle before.
 */
export function adoptConnection(
  message: ConnectionMessage,
  handle: unknown,
  emit: (socket: Socket) => void,
): void {
  if (handle === undefined || handle === null) return;
  // Half-open as http.Server makes its own: a client may end its side and still await the response.
  const options: SocketConstructorOpts & { handle: unknown } = {
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: true,
  };
  const socket = new Socket(options);
  // Batches are gathered here, not by TCP.
  socket.setNoDelay(true);
  socket.unshift(message.head);
  emit(socket);
}

function send(message: WorkerMessage, sent?: () => void): void {
  // A channel that is closed already, or breaks now, ends this process through 'disconnect'.
  process.send?.(message, undefined, undefined, () => sent?.());
}

/** Reports why this worker cannot go on, and exits with code 1 once that is sent. */
export function reportFailure(code: string, message: string): void {
  send({ type: 'failed', code, message }, () => process.exit(1));
}

/** Begins to listen to the primary. Call it once, first thing; signals are the primary's business from then on. */
export function joinPrimary(listener: PrimaryListener): PrimaryChannel {
  let adopted = 0;
  let draining = false;

  dieWithParent();
  // A terminal's Ctrl-C and some service managers signal the whole group: it is the primary that says when to drain.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});
  process.on('message', (message: unknown, handle: unknown) => {
    if (!isPrimaryMessage(message)) return;
    switch (message.type) {
      case 'connection':
        adopted = message.serial;
        adoptConnection(message, handle, (socket) => listener.onConnection(socket));
        break;
      case 'ping':
        send({ type: 'pong' });
        break;
      case 'peer-up':
        listener.onPeerUp(message.slot, message.incarnation);
        break;
      case 'peer-down':
        listener.onPeerDown(message.slot, message.incarnation);
        break;
      case 'drain':
        if (!draining) listener.onDrain(message.timeoutMs);
        draining = true;
        break;
    }
  });

  return {
    ready(recovered, addresses = []) {
      send({ type: 'ready', recovered, addresses });
      setInterval(() => {
        send({ type: 'load', connections: listener.connections(), adopted });
      }, LOAD_INTERVAL).unref();
    },
    recovering() {
      send({ type: 'recovering' });
    },
    drained() {
      send({ type: 'drained' }, () => process.exit(0));
    },
  };
}
