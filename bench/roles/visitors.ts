/** Agents that come and go: each connects, subscribes, asks another, and leaves. */
import { type BusName, Notes } from '../buses/bus.js';
import { busOf } from '../buses/index.js';
import { now, sleep } from '../clock.js';
import { type Percentiles, Recorder } from './latency.js';
import { serve } from './serve.js';

/** So many are there at a time, at most: who is due then waits, and its time counts. */
const MOST_PRESENT = 64;

export interface Visits {
  bus: BusName;
  url: string;
  /** Who is asked. */
  host: string;
  /** Visitors are called prefix-0, prefix-1 and so on: a new name for each. */
  prefix: string;
  payload: number;
  /** Visits per second. */
  rate: number;
  /** When the first is due, by the machine's clock (ms). */
  start: number;
  /** How long visits take is recorded of those that are due from then on. */
  from: number;
  visits: number;
}

const notes = new Notes();

async function visit({ bus, url, host, prefix, payload }: Visits, number: number): Promise<void> {
  const client = await (await busOf(bus)).connect(url, `${prefix}-${number}`);
  try {
    await client.count(`bench.visit.${prefix}.${number}`, () => {});
    if (client.request === null) throw new Error('this bus knows no requests');
    await client.request(host, new Uint8Array(payload));
  } finally {
    await client.close();
    for (const line of client.notes) notes.add(line);
  }
}

const operations = {
  /** Resolves when all have left, with how many had their answer, and how long that took from when they were due. */
  async receive(what: Visits): Promise<{ answered: number; lengths: Percentiles; notes: readonly string[] }> {
    const lengths = new Recorder();
    const present = new Set<Promise<void>>();
    let answered = 0;
    for (let number = 0; number < what.visits; number++) {
      const due = what.start + (number * 1000) / what.rate;
      await sleep(due - now());
      while (present.size >= MOST_PRESENT) await Promise.race(present);
      const one: Promise<void> = visit(what, number)
        .then(
          () => {
            answered++;
            if (due >= what.from) lengths.record(now() - due);
          },
          (error: Error) => notes.add(`${what.prefix}-${number}: ${error.message}`),
        )
        .finally(() => present.delete(one));
      present.add(one);
    }
    await Promise.all(present);
    return { answered, lengths: lengths.percentiles(), notes: notes.lines };
  },
};

export type VisitorsOperations = typeof operations;

serve(operations);
