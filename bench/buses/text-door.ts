/** flowbus's text door: JSON over a plain WebSocket, as a script without the SDK would use it. */
import { once } from 'node:events';
import { type RawData, WebSocket } from 'ws';
import type { Priority } from '../../lib/client/index.js';
import { type BusClient, Notes, WINDOW } from './bus.js';

/** What the broker sends, as far as it matters here (PROTOCOL.md, JSON text door). */
interface Said {
  op: string;
  ref?: number;
  shard?: number;
  missed?: number;
  code?: string;
  message?: string;
  data?: unknown;
  encoding?: 'base64';
}

function bytesOf({ data, encoding }: Said): Uint8Array {
  if (typeof data !== 'string') return Buffer.from(JSON.stringify(data));
  return Buffer.from(data, encoding ?? 'utf8');
}

export class TextDoorClient implements BusClient {
  readonly answer = null;
  readonly assured = null;
  readonly request = null;
  shard = 0;
  missed = 0;
  readonly #ws: WebSocket;
  readonly #name: string;
  readonly #notes = new Notes();
  /** Answers that are awaited, by `ref`. Bounded by what the bench asks at a time. */
  readonly #asked = new Map<number, { resolve(said: Said): void; reject(error: Error): void }>();
  readonly #onWritten: () => void;
  #lastRef = 0;
  #onMessage: (said: Said) => void = () => {};
  /** Messages that the socket has not written yet, and who waits for it. */
  #onWay = 0;
  #waiting: (() => void)[] = [];

  private constructor(ws: WebSocket, name: string) {
    this.#ws = ws;
    this.#name = name;
    this.#onWritten = () => this.#written();
    ws.on('message', (data: RawData) => this.#heard(JSON.parse(String(data)) as Said));
    ws.on('error', (error) => this.#notes.add(`${name}: ${error.message}`));
    ws.on('close', (code, reason) => {
      if (code !== 1000) this.#notes.add(`${name}: lost its connection, ${code} ${reason}`);
      for (const { reject } of this.#asked.values()) reject(new Error(`${name} lost its connection`));
    });
  }

  static async connect(url: string, name: string): Promise<TextDoorClient> {
    const ws = new WebSocket(`${url}/?agentId=${name}`, 'agent-protocol-v1', { perMessageDeflate: false });
    await once(ws, 'open');
    const client = new TextDoorClient(ws, name);
    const welcome = await client.#ask({ op: 'hello', agentId: name });
    client.shard = welcome.shard ?? 0;
    return client;
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array | string, priority?: Priority): boolean {
    const message =
      typeof payload === 'string'
        ? { op: 'publish', topic, data: payload, priority }
        : {
            op: 'publish',
            topic,
            data: Buffer.from(payload).toString('base64'),
            encoding: 'base64',
            priority,
          };
    this.#onWay++;
    this.#ws.send(JSON.stringify(message), this.#onWritten);
    return this.#onWay < WINDOW;
  }

  async drained(): Promise<void> {
    if (this.#onWay > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async count(pattern: string, onMessage: () => void): Promise<void> {
    this.#onMessage = onMessage;
    await this.#ask({ op: 'subscribe', pattern });
  }

  async receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    this.#onMessage = (said) => onMessage(bytesOf(said));
    await this.#ask({ op: 'subscribe', pattern });
  }

  /** The broker reads in order: when it answers, it has everything. */
  async flush(): Promise<void> {
    await this.#ask({ op: 'ping' });
  }

  async close(): Promise<void> {
    if (this.#ws.readyState === WebSocket.CLOSED) return;
    this.#ws.close(1000);
    await once(this.#ws, 'close');
  }

  #ask(operation: object): Promise<Said> {
    return new Promise((resolve, reject) => {
      const ref = ++this.#lastRef;
      this.#asked.set(ref, { resolve, reject });
      this.#ws.send(JSON.stringify({ ...operation, ref }));
    });
  }

  #heard(said: Said): void {
    if (said.op === 'message') this.#onMessage(said);
    else if (said.op === 'error') this.#failed(said);
    else if (said.op === 'gap') {
      this.missed += said.missed ?? 0;
      this.#notes.add(`${this.#name}: a gap of ${said.missed ?? 'unknown'} messages`);
    } else if (said.ref !== undefined) this.#answered(said.ref)?.resolve(said);
  }

  #failed({ ref, code, message }: Said): void {
    const why = `${this.#name}: ${code} ${message}`;
    if (ref === undefined) this.#notes.add(why);
    else this.#answered(ref)?.reject(new Error(why));
  }

  #answered(ref: number) {
    const question = this.#asked.get(ref);
    this.#asked.delete(ref);
    return question;
  }

  #written(): void {
    if (--this.#onWay !== 0) return;
    for (const resume of this.#waiting.splice(0)) resume();
  }
}
