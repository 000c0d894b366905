/** A client that publishes, and calls. */
import type { Priority } from '../../lib/client/index.js';
import type { AssuredClient, BusClient, ClientName } from '../buses/bus.js';
import { connectTo } from '../buses/index.js';
import { now } from '../clock.js';
import { type Percentiles, Recorder } from './latency.js';
import { Stamp } from './payload.js';
import { Random } from './random.js';
import { serve } from './serve.js';

let client: BusClient | null = null;
let published = 0;
let flooding = false;
let flood: Promise<void> = Promise.resolve();

function connected(): BusClient {
  if (client === null) throw new Error('it was not connected');
  return client;
}

function storing(): AssuredClient {
  const { assured } = connected();
  if (assured === null) throw new Error('this bus stores nothing');
  return assured;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export interface Flood {
  topic: string;
  /** 1: all on `topic`; more: on so many topics below it, in an order that has no pattern. */
  topics: number;
  payload: number;
  /** Messages published before the event loop turns: 1 leaves nothing to batch. */
  burst: number;
  /** The payload is so many characters, not bytes. */
  text?: boolean;
  priority?: Priority;
}

/** Each of `count` numbers once, shuffled (Fisher and Yates). */
function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  const random = new Random();
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** As fast as the bus takes it. */
async function publishAll({ topic, topics, payload: size, burst, text, priority }: Flood): Promise<void> {
  const publisher = connected();
  const payload = text === true ? 'x'.repeat(size) : new Uint8Array(size);
  const names = topics === 1 ? [topic] : shuffled(topics).map((number) => `${topic}.${number}`);
  let next = 0;
  while (flooding) {
    let go = true;
    for (let i = 0; go && i < burst; i++) {
      go = publisher.publish(names[next], payload, priority);
      if (++next === names.length) next = 0;
      published++;
    }
    if (go) await turn();
    else await publisher.drained();
  }
}

/** Only to sleep on: nobody wakes it. */
const BED = new Int32Array(new SharedArrayBuffer(4));

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
  priority?: Priority;
}

/**
 * In open loop: message i is due at start + i / rate, whatever became of those before, and bears that time. Timers
 * of Node have steps of a millisecond and spinning would take a core from those who are measured, so it sleeps in
 * `Atomics.wait`, however short (the system's timer slack, 50 µs on Linux, comes on top and counts as sent late), in a turn
 * of its own: what the turn before published is on its way by then.
 */
async function publishPaced(pace: Pace, way: Way): Promise<Percentiles> {
  const { topic, payload, rate, start, messages, warmup } = pace;
  const stamp = new Stamp(payload);
  const lateness = new Recorder();
  const interval = 1000 / rate;
  for (let next = 0; next < messages; ) {
    const due = start + next * interval;
    const early = due - now();
    if (early > 0) Atomics.wait(BED, 0, 0, Math.min(early, LONGEST_SLEEP));
    let go = true;
    const time = now();
    while (go && next < messages && start + next * interval <= time) {
      const intended = start + next * interval;
      stamp.write(intended, next);
      go = way.send(topic, stamp.bytes, intended, next);
      if (next >= warmup) lateness.record(time - intended);
      published++;
      next++;
    }
    if (go) await turn();
    else await way.rest();
  }
  return lateness.percentiles();
}

/** How paced messages go out. */
interface Way {
  /** Message `number`, which was due at `intended`. False: no more now, but after `rest`. */
  send(topic: string, payload: Uint8Array, intended: number, number: number): boolean;
  rest(): Promise<void>;
}

/** Assured messages of the pace that may wait for their acks: behind them nothing is sent, and what comes later is late. */
const MOST_UNSTORED = 32_768;

async function storePaced(pace: Pace): Promise<{ lateness: Percentiles; stored: Percentiles }> {
  const assured = storing();
  const recorder = new Recorder();
  let waiting = 0;
  let failure: unknown = null;
  const lateness = await publishPaced(pace, {
    send(topic, payload, intended, number) {
      waiting++;
      assured.publish(topic, payload).then(
        () => {
          waiting--;
          if (number >= pace.warmup) recorder.record(now() - intended);
        },
        (error) => {
          waiting--;
          failure ??= error;
        },
      );
      return waiting < MOST_UNSTORED;
    },
    rest: turn,
  });
  while (waiting > 0) await turn();
  if (failure !== null) throw failure;
  return { lateness, stored: recorder.percentiles() };
}

export interface Storing {
  topic: string;
  payload: number;
  /** Publishes that wait for their acks at a time. */
  outstanding: number;
  /** Recorded from this time on, until that (ms of the machine's clock). */
  from: number;
  until: number;
  /** No more than these; null: as many as go. */
  messages: number | null;
}

/** One publish after the other, each when the one before it is stored. */
class Loop {
  readonly #run: Storing;
  readonly #assured: AssuredClient;
  readonly #payload: Uint8Array;
  readonly #recorder: Recorder;
  readonly #end: (error?: unknown) => void;
  readonly #onStored: () => void;
  readonly #onFailed: (error: unknown) => void;
  #began: number;

  /** `end` is called once. */
  constructor(run: Storing, assured: AssuredClient, recorder: Recorder, end: (error?: unknown) => void) {
    this.#run = run;
    this.#assured = assured;
    this.#payload = new Uint8Array(run.payload);
    this.#recorder = recorder;
    this.#end = end;
    this.#onStored = () => this.#stored();
    this.#onFailed = (error) => end(error);
    this.#began = 0;
  }

  next(time: number): void {
    const { topic, until, messages } = this.#run;
    if (time >= until || (messages !== null && published >= messages)) {
      this.#end();
      return;
    }
    published++;
    this.#began = time;
    this.#assured.publish(topic, this.#payload).then(this.#onStored, this.#onFailed);
  }

  #stored(): void {
    const time = now();
    const { from, until } = this.#run;
    if (this.#began >= from && time < until) this.#recorder.record(time - this.#began);
    this.next(time);
  }
}

/** Resolves when all are stored; rejects when one could not be. */
function storeAll(run: Storing): Promise<Percentiles> {
  const assured = storing();
  const recorder = new Recorder();
  return new Promise((resolve, reject) => {
    let open = run.outstanding;
    const end = (error?: unknown): void => {
      if (error !== undefined) reject(error);
      else if (--open === 0) resolve(recorder.percentiles());
    };
    for (let i = 0; i < run.outstanding; i++) new Loop(run, assured, recorder, end).next(now());
  });
}

const operations = {
  /** Resolves with the shard that it is on. */
  async connect(what: { speaks: ClientName; url: string; name: string }): Promise<number | null> {
    client = await connectTo(what.speaks, what.url, what.name);
    return client.shard;
  },

  /** Begins to publish as fast as it goes. */
  flood(what: Flood): void {
    flooding = true;
    flood = publishAll(what);
    // Told when the flood is ended.
    flood.catch(() => {});
  },

  pace(pace: Pace): Promise<Percentiles> {
    const publisher = connected();
    return publishPaced(pace, {
      send: (topic, payload) => publisher.publish(topic, payload, pace.priority),
      rest: () => publisher.drained(),
    });
  },

  /** Assured messages on `topic` are stored from then on. */
  keep(topic: string): Promise<void> {
    return storing().keep(topic);
  },

  /** Assured messages, as fast as they are stored. */
  store(run: Storing): Promise<Percentiles> {
    return storeAll(run);
  },

  /** Assured messages at a rate: how late they were sent, and from when they were due until they were stored. */
  storePaced(pace: Pace): Promise<{ lateness: Percentiles; stored: Percentiles }> {
    return storePaced(pace);
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

  /** Calls `name` until `until` (ms of the machine's clock), `outstanding` at a time; recorded from `from` on. */
  async call(what: { name: string; payload: number; outstanding: number; from: number; until: number }) {
    const { request } = connected();
    if (request === null) throw new Error('this bus knows no requests');
    const payload = new Uint8Array(what.payload);
    const recorder = new Recorder();
    let calls = 0;
    const caller = async (): Promise<void> => {
      for (let began = now(); began < what.until; ) {
        await request(what.name, payload);
        const ended = now();
        if (began >= what.from) {
          recorder.record(ended - began);
          calls++;
        }
        began = ended;
      }
    };
    await Promise.all(Array.from({ length: what.outstanding }, caller));
    return { calls, percentiles: recorder.percentiles() };
  },

  mark(): { count: number; at: number } {
    return { count: published, at: now() };
  },

  /** Ends the flood, and waits until all has left. */
  async finish(): Promise<{ published: number; notes: readonly string[] }> {
    flooding = false;
    await flood;
    await connected().flush();
    return { published, notes: connected().notes };
  },
};

export type PublisherOperations = typeof operations;

serve(operations, async () => {
  await client?.close();
});
