/** What the live path leaves to the garbage collector: bytes that the broker's processes allocate for each message. */

import { Option } from 'commander';
import { sleep } from '../clock.js';
import { integers, payloadFlag } from '../flags.js';
import { type Garbage, GarbageLog, garbageBetween } from '../garbage.js';
import {
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage, settingOf } from '../stage.js';

const SECONDS = 4;
/** Long enough for the compilers to have settled: code that is not compiled yet allocates more. */
const WARMUP = 5;
const TOPIC = 'bench.garbage';

interface GarbageOptions extends CommonOptions {
  burst: readonly number[];
  payload: number;
}

interface Sample {
  frames: number;
  batches: number;
  received: number;
  at: number;
  garbage: Garbage;
}

async function run(
  stage: Stage,
  log: GarbageLog,
  { burst, payload }: { burst: number; payload: number },
  options: CommonOptions,
  index: number,
): Promise<Run> {
  const subscriber = await stage.subscriber(`subscriber-${index}`);
  await subscriber.role.ask('subscribe', { pattern: TOPIC, timed: false });
  const publisher = await stage.publisher(`publisher-${index}`);
  const sample = async (): Promise<Sample> => {
    const [batches, frames] = await stage.counters('flowbus_batches_in_total', 'flowbus_publishes_total');
    const { count, at } = await subscriber.role.ask('mark', null);
    return { frames, batches, received: count, at, garbage: log.sum };
  };
  await publisher.role.ask('flood', { topic: TOPIC, topics: 1, payload, burst });
  await sleep((options.warmup ?? WARMUP) * 1000);
  const before = await sample();
  await sleep((options.seconds ?? SECONDS) * 1000);
  const after = await sample();
  const { published, notes } = await publisher.role.ask('finish', null);
  const received = await arrivals(published, async () => [(await subscriber.role.ask('mark', null)).count]);
  const { bytes, collections, pauses } = garbageBetween(before.garbage, after.garbage);
  const seconds = (after.at - before.at) / 1000;
  const frames = after.frames - before.frames;
  const batches = after.batches - before.batches;
  return {
    values: {
      perMessage: bytes / frames,
      perBatch: bytes / batches,
      batch: frames / batches,
      delivered: (after.received - before.received) / seconds,
      collections: collections / seconds,
      pauses: pauses / seconds,
    },
    account: accountOf(published, received),
    notes: [...notes, ...(await subscriber.role.ask('notes', null))],
  };
}

const FIGURES: readonly FigureShape[] = [
  { name: 'perMessage', unit: 'bytes' },
  { name: 'perBatch', unit: 'bytes' },
  { name: 'batch', unit: 'count' },
  { name: 'delivered', unit: 'per second' },
  { name: 'collections', unit: 'per second' },
  { name: 'pauses', unit: 'ms' },
];

export const garbage: Scenario = {
  name: 'garbage',
  summary: 'what the broker allocates for each message, from V8’s own log of its collections',
  usual: false,
  flags: [
    new Option('--burst <list>', 'messages published per turn of the event loop, a case for each')
      .argParser(integers(1, 100_000))
      .default([1, 256], '1,256'),
    payloadFlag(),
  ],
  async run(options: GarbageOptions, tell) {
    const { payload } = options;
    const results = [];
    for (const burst of options.burst) {
      const what = {
        scenario: 'garbage',
        case: `bursts of ${burst}`,
        conditions: {
          'payload bytes': payload,
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
          shards: options.shards ?? 'one per core',
        },
        figures: FIGURES,
      };
      results.push(
        await repeat(what, options.runs, tell, (index) => {
          const log = new GarbageLog();
          return onStage(
            settingOf('flowbus', options),
            (stage) => run(stage, log, { burst, payload }, options, index),
            (text) => log.push(text),
          );
        }),
      );
    }
    return results;
  },
};
