/** A TCP proxy in front of a node: cuts connections, loses what is on its way, and holds new ones back. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly url: string;
  private readonly server: Server;
  private readonly port: number;
  private readonly pairs = new Set<[Socket, Socket]>();
  private waiting: Socket[] | null = null;

  private constructor(server: Server, port: number) {
    this.server = server;
    this.port = port;
    this.url = `ws://127.0.0.1:${(server.address() as { port: number }).port}`;
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      if (this.waiting === null) this.join(socket);
      else this.waiting.push(socket);
    });
  }

  /** In front of `port` of this machine. */
  static async open(port: number): Promise<TcpProxy> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, port);
  }

  /** From now on the node's bytes are taken and go nowhere. */
  swallow(): void {
    for (const [client, broker] of this.pairs) {
      broker.unpipe(client);
      broker.resume();
    }
  }

  /** Resets all connections; new ones wait for `release`. */
  cut(): void {
    this.waiting ??= [];
    for (const [client, broker] of this.pairs) {
      client.resetAndDestroy();
      broker.resetAndDestroy();
    }
    this.pairs.clear();
  }

  release(): void {
    const sockets = this.waiting ?? [];
    this.waiting = null;
    for (const socket of sockets) this.join(socket);
  }

  close(): void {
    this.cut();
    for (const socket of this.waiting ?? []) socket.destroy();
    this.server.close();
  }

  private join(client: Socket): void {
    const broker = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    const pair: [Socket, Socket] = [client, broker];
    this.pairs.add(pair);
    for (const [one, other] of [pair, [broker, client]]) {
      one.on('error', () => {});
      one.once('close', () => {
        other.destroy();
        this.pairs.delete(pair);
      });
      one.pipe(other);
    }
  }
}
