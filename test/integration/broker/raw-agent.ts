/** Agents without the SDK: they see each frame, and may misbehave. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { avroControl } from '../../../lib/wire/avro.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import type { Gap, Goaway, Hello, Welcome } from '../../../lib/wire/control.js';
import { FrameType } from '../../../lib/wire/frame.js';
import { encodeControl } from '../../../lib/wire/writer.js';
import { until } from './node.js';

export interface RawMessage {
  topic: string;
  text: string;
  lane: number;
}

const HELLO: Hello = {
  agentId: 'raw',
  agentType: 'agent',
  capabilities: [],
  subscriptions: [],
  priority: 2,
  heartbeatInterval: 0,
  metadata: '{}',
  token: null,
  resume: null,
};

const sockets: WebSocket[] = [];

/** They leave for good: a session whose connection just broke would stay for the resume window. */
export async function closeSockets(): Promise<void> {
  await Promise.all(
    sockets.splice(0).map(async (socket) => {
      if (socket.readyState === WebSocket.CLOSED) return;
      const closed = once(socket, 'close');
      const timer = setTimeout(() => socket.terminate(), CLOSE_LIMIT);
      socket.resume();
      socket.close(1000);
      await closed;
      clearTimeout(timer);
    }),
  );
}

const CLOSE_LIMIT = 1000;

function open(url: string, answersPings: boolean): WebSocket {
  const socket = new WebSocket(url, 'agent-protocol-v1', {
    perMessageDeflate: false,
    autoPong: answersPings,
  });
  socket.on('error', () => {});
  sockets.push(socket);
  return socket;
}

export class RawAgent {
  readonly socket: WebSocket;
  /** All messages, in the order of their arrival; none where they are only counted. */
  readonly messages: RawMessage[] = [];
  received = 0;
  readonly gaps: Gap[] = [];
  readonly errors: string[] = [];
  goaway: Goaway | null = null;
  welcome: Welcome | null = null;
  /** The close code, once it is closed. */
  closed: number | null = null;
  private readonly keep: boolean;
  private readonly reader = new BatchReader();
  private readonly topics = new Map<number, string>();

  private constructor(socket: WebSocket, keep: boolean) {
    this.socket = socket;
    this.keep = keep;
    socket.on('message', (data: Buffer) => this.read(data));
    socket.once('close', (code) => {
      this.closed = code;
    });
  }

  /** `url` decides the shard: with `?agentId=…`, or without. Resolves with the welcome. */
  static async join(
    url: string,
    hello: Partial<Hello>,
    { answersPings = true, keep = true } = {},
  ): Promise<RawAgent> {
    const socket = open(url, answersPings);
    await once(socket, 'open');
    const agent = new RawAgent(socket, keep);
    socket.send(encodeControl(avroControl, 'hello', 1, { ...HELLO, ...hello }));
    await until('the welcome', () => agent.welcome !== null || agent.closed !== null);
    if (agent.welcome === null) throw new Error(`closed before the welcome: ${agent.errors}`);
    return agent;
  }

  get missed(): number {
    return this.gaps.reduce((sum, gap) => sum + gap.missed, 0);
  }

  private read(data: Buffer): void {
    const { reader } = this;
    reader.open(data, 0, data.length, data.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      if (step !== Step.frame) throw new Error(`the broker sent ${reader.error}`);
      const { bytes, payloadStart, end } = reader;
      switch (reader.type) {
        case FrameType.publish:
          this.received++;
          if (this.keep) this.messages.push(this.message(data));
          break;
        case FrameType.topic:
          this.topics.set(reader.topicId, data.toString('utf8', reader.topicStart, reader.extensionsStart));
          break;
        case FrameType.welcome:
          this.welcome = avroControl.decode('welcome', bytes, payloadStart, end);
          break;
        case FrameType.gap:
          this.gaps.push(avroControl.decode('gap', bytes, payloadStart, end));
          break;
        case FrameType.goaway:
          this.goaway = avroControl.decode('goaway', bytes, payloadStart, end);
          break;
        case FrameType.error:
          this.errors.push(avroControl.decode('error', bytes, payloadStart, end).code);
          break;
      }
    }
  }

  private message(data: Buffer): RawMessage {
    const { topicId, topicStart, extensionsStart, payloadStart, end, lane } = this.reader;
    const topic =
      topicId === 0 ? data.toString('utf8', topicStart, extensionsStart) : this.topics.get(topicId);
    if (topic === undefined) throw new Error(`topic id ${topicId} was not announced`);
    return { topic, text: data.toString('utf8', payloadStart, end), lane };
  }
}

type Json = Record<string, unknown>;

/** An agent that speaks JSON. */
export class JsonAgent {
  readonly socket: WebSocket;
  readonly received: Json[] = [];
  closed: number | null = null;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => this.received.push(JSON.parse(data.toString()) as Json));
    socket.once('close', (code) => {
      this.closed = code;
    });
  }

  static async join(url: string, hello: Json, { answersPings = true } = {}): Promise<JsonAgent> {
    const socket = open(url, answersPings);
    await once(socket, 'open');
    const agent = new JsonAgent(socket);
    agent.send({ op: 'hello', ...hello });
    await agent.next('welcome');
    return agent;
  }

  send(operation: Json): void {
    this.socket.send(JSON.stringify(operation));
  }

  all(op: string): Json[] {
    return this.received.filter((answer) => answer.op === op);
  }

  /** The first of what came, or comes, with this op, and `ref` if given. */
  async next(op: string, ref?: number): Promise<Json> {
    let found: Json | undefined;
    await until(op, () => {
      found = this.all(op).find((answer) => ref === undefined || answer.ref === ref);
      return found !== undefined || this.closed !== null;
    });
    if (found === undefined) throw new Error(`closed before ${op}: ${JSON.stringify(this.received)}`);
    return found;
  }

  /** Sends it and resolves with the answer that has its reference. */
  ask(operation: Json, ref: number, op: string): Promise<Json> {
    this.send({ ...operation, ref });
    return this.next(op, ref);
  }
}
