/** An agent that speaks JSON, as any script could: it does nothing by itself, and acks what it likes. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { until } from './node.js';

export interface TextAnswer {
  op: string;
  ref?: number;
  code?: string;
  id?: string;
  stored?: number;
  mailbox?: number;
  offset?: number;
  attempt?: number;
  redelivered?: number;
  lease?: number;
  topic?: string;
  from?: string;
  data?: unknown;
}

export class TextAgent {
  readonly answers: TextAnswer[] = [];
  /** Called with each message that comes. */
  onMessage: (message: TextAnswer) => void = () => {};
  readonly #socket: WebSocket;
  #lastRef = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      const answer = JSON.parse(data.toString()) as TextAnswer;
      this.answers.push(answer);
      if (answer.op === 'message') this.onMessage(answer);
    });
    socket.on('error', () => {});
  }

  static async join(url: string, agentId: string, capabilities: string[] = []): Promise<TextAgent> {
    const socket = new WebSocket(`${url}/?agentId=${agentId}`, { perMessageDeflate: false });
    const agent = new TextAgent(socket);
    await once(socket, 'open');
    await agent.ask({ op: 'hello', agentId, capabilities });
    return agent;
  }

  get messages(): TextAnswer[] {
    return this.answers.filter(({ op }) => op === 'message');
  }

  send(operation: object): void {
    this.#socket.send(JSON.stringify(operation));
  }

  /** Resolves with the answer, which may be an error. */
  async ask(operation: object): Promise<TextAnswer> {
    const ref = ++this.#lastRef;
    this.send({ ...operation, ref });
    const isAnswer = (answer: TextAnswer): boolean => answer.ref === ref;
    await until(`an answer to ${JSON.stringify(operation)}`, () => this.answers.some(isAnswer));
    return this.answers.find(isAnswer)!;
  }

  end(): void {
    this.#socket.terminate();
  }
}
