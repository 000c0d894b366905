/** Requests of a connection that speaks JSON: the broker makes their correlations, and knows their replies by them. */
import { FlowbusError } from '../../lib/errors.js';
import { ERROR_HEADER } from '../../lib/wire/extensions.js';
import type { JsonAnswer } from '../../lib/wire/json.js';
import type { JsonMessageOut } from './json-message.js';

/** Requests that one connection may have open. */
const MAX_REQUESTS = 1024;

interface Request {
  reference: number;
  timer: NodeJS.Timeout;
}

export class JsonRequests {
  /** By correlation, hexadecimal. */
  readonly #open: Map<string, Request>;
  #last: number;

  constructor() {
    this.#open = new Map();
    this.#last = 0;
  }

  /** Returns the correlation. `onLate` is called once `timeout` milliseconds have passed without a reply. Throws LIMIT_REACHED. */
  open(reference: number, timeout: number, onLate: (timeout: number) => void): Buffer {
    if (this.#open.size >= MAX_REQUESTS)
      throw new FlowbusError('LIMIT_REACHED', `A connection may have ${MAX_REQUESTS} requests open.`);
    const correlation = Buffer.alloc(8);
    correlation.writeDoubleLE(++this.#last);
    const timer = setTimeout(() => {
      this.#open.delete(correlation.toString('hex'));
      onLate(timeout);
    }, timeout);
    this.#open.set(correlation.toString('hex'), { reference, timer });
    return correlation;
  }

  forget(correlation: Buffer): void {
    this.#take(correlation.toString('hex'));
  }

  forgetAll(): void {
    for (const { timer } of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
  }

  /** What a message on a reply address is to its client: the answer to a request, or a message like others. */
  answerOf(message: JsonMessageOut): JsonAnswer {
    const { data, from, encoding, correlation, headers } = message;
    const request = correlation === undefined ? undefined : this.#take(correlation);
    if (request === undefined) return message;
    const ref = request.reference;
    const failure = headers?.[ERROR_HEADER];
    if (failure !== undefined)
      return { op: 'error', ref, code: 'HANDLER_FAILED', message: `${from}: ${failure}`, fatal: false };
    return { op: 'reply', ref, from, data, ...(encoding === undefined ? {} : { encoding }) };
  }

  #take(correlation: string): Request | undefined {
    const request = this.#open.get(correlation);
    if (request === undefined) return undefined;
    clearTimeout(request.timer);
    this.#open.delete(correlation);
    return request;
  }
}
