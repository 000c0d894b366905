/** nats-server, over TCP and over WebSocket, with nats.js. */
import { type Msg, type NatsConnection, wsconnect } from '@nats-io/nats-core';
import { connect as tcpConnect } from '@nats-io/transport-node';
import { WebSocket } from 'ws';
import {
  type AssuredClient,
  type Bus,
  type BusClient,
  type BusServer,
  type Membership,
  Notes,
  type ServerOptions,
  WINDOW,
} from './bus.js';
import { freePort, startProgram } from './program.js';

const REQUEST_TIMEOUT = 10_000;

export class NatsClient implements BusClient {
  readonly shard = null;
  readonly missed = null;
  readonly assured: AssuredClient | null;
  readonly answer: () => Promise<void>;
  readonly request: (name: string, payload: Uint8Array) => Promise<unknown>;
  readonly #connection: NatsConnection;
  readonly #notes = new Notes();
  #published = 0;

  constructor(connection: NatsConnection, name: string, assured: AssuredClient | null = null) {
    this.#connection = connection;
    this.assured = assured;
    this.answer = async () => {
      connection.subscribe(`agent.${name}`, {
        callback: (_, message: Msg) => {
          message.respond(message.data);
        },
      });
      await connection.flush();
    };
    this.request = (to, payload) => connection.request(`agent.${to}`, payload, { timeout: REQUEST_TIMEOUT });
    connection.closed().then((error) => {
      if (error instanceof Error) this.#notes.add(`${name}: lost its connection, ${error.message}`);
    });
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array): boolean {
    this.#connection.publish(topic, payload);
    return ++this.#published % WINDOW !== 0;
  }

  drained(): Promise<void> {
    return this.#connection.flush();
  }

  async count(pattern: string, onMessage: () => void): Promise<void> {
    this.#connection.subscribe(natsPattern(pattern), { callback: onMessage });
    await this.#connection.flush();
  }

  async receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    this.#connection.subscribe(natsPattern(pattern), { callback: (_, message) => onMessage(message.data) });
    await this.#connection.flush();
  }

  flush(): Promise<void> {
    return this.#connection.flush();
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

function natsPattern(pattern: string): string {
  return pattern.replace(/\*\*$/, '>');
}

/** `more`: further settings. */
export async function startNats(webSocket: boolean, more: readonly string[] = []) {
  const port = await freePort();
  const webSocketPort = webSocket ? await freePort() : 0;
  return startProgram({
    name: 'nats-server',
    version: { args: ['--version'], pattern: / v(\S+)/ },
    settings: [
      `listen: 127.0.0.1:${port}`,
      // What waits for a slow subscriber is not to end its connection in a measurement.
      'max_pending: 1GB',
      'write_deadline: 60s',
      ...more,
      ...(webSocket ? [`websocket { listen: "127.0.0.1:${webSocketPort}", no_tls: true }`] : []),
    ].join('\n'),
    args: (file) => ['-c', file],
    port: webSocket ? webSocketPort : port,
    url: webSocket ? `ws://127.0.0.1:${webSocketPort}` : `127.0.0.1:${port}`,
  });
}

/** With a route to each node that it joins. */
async function startMember({ node, join }: Membership): Promise<BusServer> {
  const [port, monitor] = [await freePort(), await freePort()];
  const address = `127.0.0.1:${port}`;
  const routes = join.map((other) => JSON.stringify(`nats-route://${other}`)).join(', ');
  const server = await startNats(false, [
    `server_name: ${node}`,
    `http: "127.0.0.1:${monitor}"`,
    `cluster { name: bench, listen: "${address}", routes: [${routes}] }`,
  ]);
  return {
    ...server,
    member: {
      address,
      pid: () => null,
      async linked() {
        const response = await fetch(`http://127.0.0.1:${monitor}/routez`);
        return ((await response.json()) as { num_routes: number }).num_routes > 0;
      },
    },
  };
}

export const nats: Bus = {
  start: ({ cluster }: ServerOptions) => (cluster === null ? startNats(false) : startMember(cluster)),
  connect: async (url, name) => new NatsClient(await tcpConnect({ servers: url, name }), name),
};

export const natsWebSocket: Bus = {
  start: () => startNats(true),
  async connect(url, name) {
    // Node 20 has none of its own.
    Object.assign(globalThis, { WebSocket });
    return new NatsClient(await wsconnect({ servers: url, name }), name);
  },
};
