/** The part of `autocannon` that the bench uses; the package brings no types. */
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events';

  interface Options {
    url: string;
    method: 'POST';
    headers: Readonly<Record<string, string>>;
    body: Uint8Array;
    connections: number;
    /** Requests on their way at a time, on each connection. */
    pipelining: number;
    /** Seconds. */
    duration: number;
    /** How often it looks whether its time is over (ms). */
    sampleInt: number;
  }

  interface Outcome {
    requests: { sent: number };
    '2xx': number;
    non2xx: number;
    errors: number;
    timeouts: number;
  }

  /** Emits `response` with the client, the status, the bytes and the milliseconds it took. */
  export default function autocannon(options: Options): EventEmitter & PromiseLike<Outcome>;
}
