/** socket.io: a server that relays to rooms, the way its guide broadcasts, WebSocket only and without compression. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { io, type Socket } from 'socket.io-client';
import { type Bus, type BusClient, Notes, WINDOW } from './bus.js';

class SocketIoClient implements BusClient {
  readonly shard = null;
  readonly missed = null;
  readonly answer: () => Promise<void>;
  readonly assured = null;
  readonly request: (name: string, payload: Uint8Array) => Promise<unknown>;
  readonly #socket: Socket;
  readonly #notes = new Notes();
  #published = 0;

  constructor(socket: Socket, name: string) {
    this.#socket = socket;
    socket.on('disconnect', (reason) => {
      if (reason !== 'io client disconnect') this.#notes.add(`${name}: lost its connection, ${reason}`);
    });
    this.answer = async () => {
      socket.on('request', (payload: Uint8Array, reply: (payload: Uint8Array) => void) => reply(payload));
      await socket.emitWithAck('join', `agent.${name}`);
    };
    this.request = (to, payload) => socket.emitWithAck('request', `agent.${to}`, payload);
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array): boolean {
    this.#socket.emit('publish', topic, Buffer.from(payload));
    return ++this.#published % WINDOW !== 0;
  }

  drained(): Promise<void> {
    return this.#socket.emitWithAck('flush');
  }

  count(pattern: string, onMessage: () => void): Promise<void> {
    return this.receive(pattern, onMessage);
  }

  async receive(room: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    this.#socket.on('message', onMessage);
    await this.#socket.emitWithAck('join', room);
  }

  flush(): Promise<void> {
    return this.drained();
  }

  async close(): Promise<void> {
    this.#socket.close();
  }
}

export const socketIo: Bus = {
  async start() {
    const http = createServer();
    const server = new Server(http, {
      transports: ['websocket'],
      perMessageDeflate: false,
      serveClient: false,
    });
    server.on('connection', (socket) => {
      socket.on('join', async (room: string, done: () => void) => {
        await socket.join(room);
        done();
      });
      socket.on('publish', (room: string, payload: Uint8Array) => server.to(room).emit('message', payload));
      socket.on('flush', (done: () => void) => done());
      socket.on('request', async (room: string, payload: Uint8Array, reply: (payload: unknown) => void) => {
        const [answer] = await server.to(room).timeout(10_000).emitWithAck('request', payload);
        reply(answer);
      });
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    const { port } = http.address() as { port: number };
    const text = readFileSync(
      new URL('../../../node_modules/socket.io/package.json', import.meta.url),
      'utf8',
    );
    return {
      url: `http://127.0.0.1:${port}`,
      version: (JSON.parse(text) as { version: string }).version,
      pids: () => [process.pid],
      stop: async () => {
        await server.close();
      },
    };
  },

  async connect(url, name) {
    const socket = io(url, { transports: ['websocket'], perMessageDeflate: false, forceNew: true } as object);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', () => resolve());
      socket.once('connect_error', reject);
    });
    return new SocketIoClient(socket, name);
  },
};
