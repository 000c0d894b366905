/** A Unix socket that a worker listens on for its peers. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';

export class Listener {
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  /** `most`: bound of connections; what comes beyond is closed. `onSocket` gets each, with its errors handled. */
  constructor(most: number, onSocket: (socket: Socket) => void) {
    this.#sockets = new Set();
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      // An error is always followed by 'close', and that is what the users of a socket look at.
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      onSocket(socket);
    });
    this.#server.maxConnections = most;
  }

  listen(path: string): Promise<void> {
    // What an incarnation that was killed left behind. There is one live worker to a slot.
    rmSync(path, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      // Exclusive: a cluster worker would otherwise get its connections through the primary.
      this.#server.listen({ path, exclusive: true }, () => {
        this.#server.off('error', reject);
        // An accept that fails (no descriptors) is the peer's to notice: its connection closes, it comes again.
        this.#server.on('error', () => {});
        resolve();
      });
    });
  }

  /** Ends every connection and removes the socket's file. */
  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return Promise.resolve();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
