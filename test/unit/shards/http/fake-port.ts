/** A shard for the HTTP door that remembers what it was asked, and a real server before it. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { type ErrorCode, FlowbusError } from '../../../../lib/errors.js';
import type { ClusterNode } from '../../../../lib/mesh.js';
import type { Encoding } from '../../../../lib/wire/frame.js';
import type { JsonAgentRecord } from '../../../../lib/wire/json.js';
import { createHttpDoor, type HttpDoorOptions } from '../../../../shards/http/door.js';
import { Gate } from '../../../../shards/http/gate.js';
import type {
  AgentFilter,
  AgentRecords,
  DeadLetterPort,
  HttpDoorPort,
  PublishOptions,
  Readiness,
  StreamHandle,
  StreamSink,
  StreamStart,
} from '../../../../shards/http/port.js';
import { createHttpServer, type HttpServerOptions } from '../../../../shards/http/server.js';

export const RECORD: JsonAgentRecord = {
  agentId: 'planner-1',
  agentType: 'planner',
  capabilities: ['plan'],
  node: 'n1',
  shard: 0,
  state: 'online',
  since: 1,
  metadata: { room: 7 },
};

export interface Published {
  caller: string;
  topic: string;
  payload: string;
  encoding: Encoding;
  options: PublishOptions;
}

interface Stream {
  readonly caller: string;
  readonly patterns: readonly string[];
  readonly start: StreamStart | null;
  readonly sink: StreamSink;
  closes: number;
}

export class FakePort implements HttpDoorPort<string> {
  gate = new Gate({ host: '127.0.0.1', allowedOrigins: [], secured: false });
  maxPayload = 1024;
  token: string | null = null;
  verdict: 'ok' | ErrorCode = 'ok';
  readiness: Readiness = { ready: true, reasons: [] };
  /** Thrown by whatever is asked next. */
  failure: Error | null = null;
  subscribing: Promise<void> = Promise.resolve();
  onOpen: (sink: StreamSink) => void = () => {};
  readonly published: Published[] = [];
  /** Of those that are to be stored. */
  readonly ids: (string | null)[] = [];
  readonly queries: [AgentFilter, string | null, number][] = [];
  readonly streams: Stream[] = [];
  /** Where the reader of each stream is. */
  position: string | null = null;
  readonly statuses: number[] = [];
  readonly failures: unknown[] = [];

  async authorise(token: string | null): Promise<string> {
    if (this.token !== null && token !== this.token) throw new FlowbusError('UNAUTHORIZED');
    return this.token ?? 'anybody';
  }

  publish(
    caller: string,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
  ): 'ok' | ErrorCode {
    if (this.failure !== null) throw this.failure;
    this.published.push({
      caller,
      topic,
      payload: Buffer.from(payload).toString('latin1'),
      encoding,
      options,
    });
    return this.verdict;
  }

  async store(
    caller: string,
    topic: string,
    payload: Uint8Array,
    encoding: Encoding,
    options: PublishOptions,
    id: string | null,
  ): Promise<number> {
    this.publish(caller, topic, payload, encoding, options);
    this.ids.push(id);
    if (this.verdict !== 'ok') throw new FlowbusError(this.verdict);
    return 2;
  }

  async openStream(
    caller: string,
    patterns: readonly string[],
    start: StreamStart | null,
    sink: StreamSink,
  ): Promise<StreamHandle> {
    const stream = { caller, patterns, start, sink, closes: 0 };
    this.streams.push(stream);
    this.onOpen(sink);
    await this.subscribing;
    if (this.failure !== null) throw this.failure;
    return {
      position: () => this.position,
      close: () => {
        stream.closes++;
      },
    };
  }

  agents(filter: AgentFilter, cursor: string | null, limit: number): AgentRecords {
    this.queries.push([filter, cursor, limit]);
    return { records: [RECORD], cursor: 'planner-1' };
  }

  /** Null: there is no cluster. */
  nodes: ClusterNode[] | null = null;

  async cluster(): Promise<ClusterNode[]> {
    if (this.nodes === null) throw new FlowbusError('MESH_OFF');
    return this.nodes;
  }

  readonly letterCalls: unknown[][] = [];
  /** Notes what it is asked, and has nothing. */
  readonly deadLetters: DeadLetterPort = {
    list: async (...asked) => {
      this.letterCalls.push(['list', ...asked]);
      return { letters: [], cursor: null, missing: [] };
    },
    show: async (id) => {
      this.letterCalls.push(['show', id]);
      throw new FlowbusError('NOT_FOUND');
    },
    replay: async (choice) => {
      this.letterCalls.push(['replay', choice]);
      return { done: 1, refused: [], more: false, missing: [] };
    },
    purge: async (choice) => {
      this.letterCalls.push(['purge', choice]);
      return { done: 2, refused: [], more: false, missing: [] };
    },
  };

  ready(): Readiness {
    return this.readiness;
  }

  async metrics(): Promise<{ contentType: string; body: string }> {
    return { contentType: 'text/plain; version=0.0.4; charset=utf-8', body: 'flowbus_agents 1\n' };
  }

  answered(status: number): void {
    this.statuses.push(status);
  }

  failed(error: unknown): void {
    this.failures.push(error);
  }
}

/** The door behind a server as a shard has it: one that does not listen, and is handed its connections. */
export class DoorServer {
  readonly port: FakePort;
  readonly upgraded: string[] = [];
  readonly #server: Server;
  readonly #acceptor: NetServer;
  readonly #sockets = new Set<Socket>();

  private constructor(port: FakePort, options: HttpDoorOptions, serverOptions: HttpServerOptions) {
    this.port = port;
    const upgrade = (req: { url?: string }): void => {
      this.upgraded.push(req.url ?? '');
    };
    this.#server = createHttpServer(createHttpDoor(port, options), upgrade, serverOptions);
    this.#acceptor = createServer((socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      this.#server.emit('connection', socket);
    });
  }

  static async open(
    port: FakePort,
    options: HttpDoorOptions = {},
    serverOptions: HttpServerOptions = {},
  ): Promise<DoorServer> {
    const server = new DoorServer(port, options, serverOptions);
    server.#acceptor.listen(0, '127.0.0.1');
    await once(server.#acceptor, 'listening');
    return server;
  }

  get #number(): number {
    return (this.#acceptor.address() as AddressInfo).port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.#number}${path}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** A bare connection, for requests that no HTTP client would make. `allowHalfOpen`: as in Node. */
  connect(allowHalfOpen = false): Socket {
    return connect({ port: this.#number, host: '127.0.0.1', allowHalfOpen });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#acceptor.close();
    await once(this.#acceptor, 'close');
  }
}

/** All that comes until the other side closes. */
export async function readAll(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}
