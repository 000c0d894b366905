/** A reader of an event stream that comes back where it stopped, as the EventSource of a browser does. */
import { type ClientRequest, get, type IncomingMessage } from 'node:http';
import type { Reachable } from './node.js';
import type { TextAnswer } from './text-agent.js';

export interface StreamMessage extends TextAnswer {
  from: string;
  topic: string;
  priority: string;
  replayed?: true;
  retained?: true;
}

export class EventReader {
  readonly messages: StreamMessage[] = [];
  readonly gaps: { missed: number; reason: string }[] = [];
  /** What it says when it comes back; '' before the first. */
  lastId = '';
  /** Of the last attempt; 0 as long as there is no answer. */
  status = 0;
  /** The whole answer when it is no stream. */
  refusal = '';
  readonly #node: Reachable;
  readonly #path: string;
  #request: ClientRequest | null = null;

  constructor(node: Reachable, query: string) {
    this.#node = node;
    this.#path = `/v1/subscribe?${query}`;
    this.open();
  }

  /** A connection of its own, which may come to any shard. */
  open(): void {
    const headers = this.lastId === '' ? {} : { 'Last-Event-ID': this.lastId };
    this.status = 0;
    const { host, port } = this.#node.address;
    const request = get({ host, port, path: this.#path, headers, agent: false }, (response) => {
      this.status = response.statusCode ?? 0;
      this.#read(request, response);
    });
    request.on('error', () => {});
    this.#request = request;
  }

  /** What has not come by now is lost. */
  breakOff(): void {
    const request = this.#request;
    this.#request = null;
    request?.destroy();
  }

  #read(request: ClientRequest, response: IncomingMessage): void {
    let text = '';
    response.setEncoding('utf8').on('error', () => {});
    response.on('data', (piece: string) => {
      if (this.#request !== request) return;
      if (this.status !== 200) {
        this.refusal += piece;
        return;
      }
      const blocks = (text + piece).split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) this.#take(block);
    });
  }

  #take(block: string): void {
    const field = (name: string): string | undefined =>
      block
        .split('\n')
        .find((line) => line.startsWith(`${name}: `))
        ?.slice(name.length + 2);
    this.lastId = field('id') ?? this.lastId;
    const data = field('data');
    if (data === undefined) return;
    if (field('event') === 'message') this.messages.push(JSON.parse(data) as StreamMessage);
    else if (field('event') === 'gap') this.gaps.push(JSON.parse(data) as { missed: number; reason: string });
  }
}
