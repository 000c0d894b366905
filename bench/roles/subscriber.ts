/** A client that subscribes: it counts, and for latency it looks at when a message was due; or that answers requests. */
import type { BusClient, ClientName } from '../buses/bus.js';
import { connectTo } from '../buses/index.js';
import { now } from '../clock.js';
import { Intervals, type Percentiles, Recorder } from './latency.js';
import { LEAST_PAYLOAD, readDue } from './payload.js';
import { serve } from './serve.js';

let client: BusClient | null = null;
let received = 0;
/** Those of them whose time was looked at. */
let timed = 0;
let recordFrom = Number.POSITIVE_INFINITY;
let recorder = new Recorder();
let intervals: Intervals | null = null;

function count(): void {
  received++;
}

function record(payload: Uint8Array): void {
  const time = now();
  received++;
  timed++;
  if (payload.length < LEAST_PAYLOAD) throw new Error('A payload without the time at which it was due.');
  const due = readDue(payload);
  if (due >= recordFrom) recorder.record(time - due);
  intervals?.record(due, time - due);
}

/** Counts of messages whose arrival is noted, in order, and when they had come. */
let awaited: readonly number[] = [];
let passed: number[] = [];

function countAndNote(): void {
  received++;
  if (received === awaited[passed.length]) passed.push(now());
}

function connected(): BusClient {
  if (client === null) throw new Error('it was not connected');
  return client;
}

const operations = {
  /** Resolves with the shard that it is on. */
  async connect(what: { speaks: ClientName; url: string; name: string }): Promise<number | null> {
    client = await connectTo(what.speaks, what.url, what.name);
    return client.shard;
  },

  async subscribe({ pattern, timed: looks }: { pattern: string; timed: boolean }): Promise<void> {
    if (looks) await connected().receive(pattern, record);
    else await connected().count(pattern, count);
  },

  /** Takes what is stored of a topic, and acks each. `notes`: counts of messages, rising, that `passed` is asked for. */
  async consume(what: { topic: string; timed: boolean; notes: readonly number[] }): Promise<void> {
    const { assured } = connected();
    if (assured === null) throw new Error('this bus stores nothing');
    awaited = what.notes;
    passed = [];
    await assured.consume(what.topic, what.timed ? record : countAndNote);
  },

  /** When so many messages as were awaited had come (ms of the machine's clock). */
  passed(): readonly number[] {
    return passed;
  },

  async answer(): Promise<void> {
    const { answer } = connected();
    if (answer === null) throw new Error('this bus knows no requests');
    await answer();
  },

  /** Latencies are recorded of what is due from this time on (ms of the machine's clock). */
  recordFrom(time: number): void {
    recorder = new Recorder();
    recordFrom = time;
  },

  /** The same, but for each second from this time on. */
  recordIntervals(time: number): void {
    intervals = new Intervals(time);
  },

  /** What was due in the second of this number; they are asked for in order, each once. */
  interval(number: number): Percentiles {
    if (intervals === null) throw new Error('it does not record intervals');
    return intervals.take(number);
  },

  latencies(): Percentiles {
    return recorder.percentiles();
  },

  mark(): { count: number; timed: number; at: number } {
    return { count: received, timed, at: now() };
  },

  /** Messages that the bus has told it were left out. */
  missed(): number | null {
    return connected().missed;
  },

  notes(): readonly string[] {
    return connected().notes;
  },
};

export type SubscriberOperations = typeof operations;

serve(operations, async () => {
  await client?.close();
});
