/** A publishing agent, over the SDK. */
import { type Agent, connect } from '../../lib/client/index.js';
import { now } from '../clock.js';
import { type Percentiles, Recorder } from './latency.js';
import { Stamp } from './payload.js';
import { serve } from './serve.js';

let agent: Agent | null = null;
let published = 0;
let flooding = false;
let flood: Promise<void> = Promise.resolve();
const errors: string[] = [];
/** Errors that are told, at most. */
const MAX_ERRORS = 10;

function connected(): Agent {
  if (agent === null) throw new Error('it was not connected');
  return agent;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** As fast as the bus takes it. */
async function publishAll(topic: string, size: number, burst: number): Promise<void> {
  const publisher = connected();
  const payload = new Uint8Array(size);
  while (flooding) {
    let go = true;
    for (let i = 0; go && i < burst; i++) {
      go = publisher.publish(topic, payload);
      published++;
    }
    if (go) await turn();
    else await publisher.drained();
  }
}

/** Only to sleep on: nobody wakes it. */
const BED = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps of the operating system overshoot by its timer slack (Linux: 50 µs); below this they are not worth it (ms). */
const SHORTEST_SLEEP = 0.02;

/** A sleep is no longer than this (ms), so that credit and acks are read meanwhile. */
const LONGEST_SLEEP = 1;

export interface Pace {
  topic: string;
  payload: number;
  /** Messages per second. */
  rate: number;
  /** When the first one is due, by the machine's clock (ms). */
  start: number;
  messages: number;
  /** Of so many messages, the first, it is not recorded how late they were sent. */
  warmup: number;
}

/**
 * In open loop: message i is due at start + i / rate, whatever became of those before, and bears that time. Timers
 * of Node have steps of a millisecond and spinning would take a core from those who are measured, so it sleeps in
 * `Atomics.wait`, in a turn of its own: what the turn before published is on its way by then.
 */
async function publishPaced({ topic, payload, rate, start, messages, warmup }: Pace): Promise<Percentiles> {
  const publisher = connected();
  const stamp = new Stamp(payload);
  const lateness = new Recorder();
  const interval = 1000 / rate;
  for (let next = 0; next < messages; ) {
    const due = start + next * interval;
    const early = due - now();
    if (early > SHORTEST_SLEEP) Atomics.wait(BED, 0, 0, Math.min(early, LONGEST_SLEEP));
    let go = true;
    const time = now();
    while (go && next < messages && start + next * interval <= time) {
      const intended = start + next * interval;
      stamp.write(intended, next);
      go = publisher.publish(topic, stamp.bytes);
      if (next >= warmup) lateness.record(time - intended);
      published++;
      next++;
    }
    if (go) await turn();
    else await publisher.drained();
  }
  return lateness.percentiles();
}

const operations = {
  /** Resolves with the shard that the agent is on. */
  async connect({ url, agentId }: { url: string; agentId: string }): Promise<number> {
    agent = await connect(url, { agentId, agentType: 'publisher' });
    agent.on('error', (error) => {
      if (errors.length < MAX_ERRORS) errors.push(`publisher: ${error.code} ${error.message}`);
    });
    const [record] = await agent.agents({ id: agentId });
    return record.shard;
  },

  /** Begins to publish as fast as it goes. */
  flood({ topic, payload, burst }: { topic: string; payload: number; burst: number }): void {
    flooding = true;
    flood = publishAll(topic, payload, burst);
    // Told when the flood is ended.
    flood.catch(() => {});
  },

  pace(pace: Pace): Promise<Percentiles> {
    return publishPaced(pace);
  },

  /** One message, now. Resolves with the time before it. */
  async single({ topic, payload, number }: { topic: string; payload: number; number: number }) {
    const stamp = new Stamp(payload);
    const at = now();
    stamp.write(at, number);
    if (!connected().publish(topic, stamp.bytes)) await connected().drained();
    published++;
    return at;
  },

  mark(): { count: number; at: number } {
    return { count: published, at: now() };
  },

  /** Ends the flood, and waits until all has left. */
  async finish(): Promise<{ published: number; errors: string[] }> {
    flooding = false;
    await flood;
    await connected().drain();
    return { published, errors };
  },
};

export type PublisherOperations = typeof operations;

serve(operations, async () => {
  await agent?.close();
});
