/** Publishes over HTTP, with autocannon: each connection posts again as soon as it is answered. */
import autocannon from 'autocannon';
import { now } from '../clock.js';
import { Recorder } from './latency.js';
import { serve } from './serve.js';

/** How often autocannon looks whether its time is over (ms). */
const LOOK = 50;

/** The status of a message that the broker has taken. */
const ACCEPTED = 202;

const operations = {
  /** Until `until` (ms of the machine's clock); recorded from `from` on. */
  async post(what: {
    url: string;
    payload: number;
    connections: number;
    pipelining: number;
    from: number;
    until: number;
  }) {
    const { url, payload, connections, pipelining, from, until } = what;
    const recorder = new Recorder();
    const cannon = autocannon({
      url,
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(payload),
      connections,
      pipelining,
      duration: (until - now()) / 1000,
      sampleInt: LOOK,
    });
    cannon.on('response', (_client: unknown, status: number, _bytes: number, took: number) => {
      const time = now();
      // Its own histogram has steps of a millisecond.
      if (status === ACCEPTED && time >= from && time < until) recorder.record(took);
    });
    const { requests, non2xx, errors, timeouts, ...outcome } = await cannon;
    const notes: string[] = [];
    if (non2xx > 0) notes.push(`${non2xx} requests were answered, but not with success`);
    if (errors > 0) notes.push(`${errors} requests failed, ${timeouts} of them by timeout`);
    return { sent: requests.sent, taken: outcome['2xx'], percentiles: recorder.percentiles(), notes };
  },
};

export type HttpPublisherOperations = typeof operations;

serve(operations);
