/** Critical messages to a subscriber whose connection is full of background: do they wait behind it? */
import { Option } from 'commander';
import { now, sleep } from '../clock.js';
import { integer, payloadFlag } from '../flags.js';
import type { Role } from '../role.js';
import type { PublisherOperations } from '../roles/publisher.js';
import type { SubscriberOperations } from '../roles/subscriber.js';
import {
  type Account,
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage, settingOf } from '../stage.js';

const CRITICAL = 'bench.critical';
const BACKGROUND = 'bench.background';
const SECONDS = 3;
const WARMUP = 2;

/** So far ahead does the schedule begin (ms): until the publisher has been told. */
const AHEAD = 50;

/** Beyond the length of the run, how long the publisher may need to publish it all (ms). */
const PATIENCE = 60_000;

/** What each flooder publishes before it lets its event loop turn. */
const BURST = 256;

const GOAL_P99 = 2000;

interface PriorityOptions extends CommonOptions {
  rate: number;
  payload: number;
  flooders: number;
}

/** Background messages that come, per second, between these two times of the machine's clock. */
async function backgroundRate(
  subscriber: Role<SubscriberOperations>,
  from: number,
  until: number,
): Promise<number> {
  await sleep(from - now());
  const before = await subscriber.ask('mark', null);
  await sleep(until - now());
  const after = await subscriber.ask('mark', null);
  const came = after.count - after.timed - (before.count - before.timed);
  return (came / (after.at - before.at)) * 1000;
}

/** What came of both kinds. Background that was shed, and told as a gap, is not lost; a critical message always is. */
function account(
  critical: { published: number; received: number },
  background: { published: number; received: number; missed: number },
): Account {
  const urgent = accountOf(critical.published, [critical.received]);
  const bulk = accountOf(background.published, [background.received]);
  return {
    expected: urgent.expected + bulk.expected,
    received: urgent.received + bulk.received,
    lost: urgent.lost + Math.max(0, bulk.lost - background.missed),
    repeated: urgent.repeated + bulk.repeated,
  };
}

async function finish(makers: readonly Role<PublisherOperations>[]) {
  const finished = await Promise.all(makers.map((maker) => maker.ask('finish', null, PATIENCE)));
  return {
    published: finished.reduce((sum, one) => sum + one.published, 0),
    notes: finished.flatMap((one) => one.notes),
  };
}

/** What the subscriber has had once everything came or was told as a gap, or nothing more comes. */
async function settled(subscriber: Role<SubscriberOperations>, published: number) {
  const look = async () => {
    const [{ count, timed }, missed] = await Promise.all([
      subscriber.ask('mark', null),
      subscriber.ask('missed', null),
    ]);
    return { critical: timed, background: count - timed, missed: missed ?? 0 };
  };
  await arrivals(published, async () => {
    const { critical, background, missed } = await look();
    return [critical + background + missed];
  });
  return look();
}

/** Who takes part; the flood has begun. */
async function gather(stage: Stage, flooders: number, payload: number, index: number) {
  const subscriber = await stage.subscriber(`subscriber-${index}`);
  const publisher = await stage.publisher(`publisher-${index}`);
  const floods = await Promise.all(
    Array.from({ length: flooders }, (_, number) => stage.publisher(`flooder-${index}-${number}`)),
  );
  await subscriber.role.ask('subscribe', { pattern: CRITICAL, timed: true });
  await subscriber.role.ask('subscribe', { pattern: BACKGROUND, timed: false });
  const makers = floods.map(({ role }) => role);
  const flood = { topic: BACKGROUND, topics: 1, payload, burst: BURST, priority: 'background' } as const;
  await Promise.all(makers.map((maker) => maker.ask('flood', flood)));
  return { subscriber, publisher, makers };
}

async function run(stage: Stage, flooders: number, options: PriorityOptions, index: number): Promise<Run> {
  const { rate, payload } = options;
  const { subscriber, publisher, makers } = await gather(stage, flooders, payload, index);
  const start = now() + AHEAD;
  const from = start + (options.warmup ?? WARMUP) * 1000;
  const until = from + (options.seconds ?? SECONDS) * 1000;
  await subscriber.role.ask('recordFrom', from);
  const messagesIn = (milliseconds: number) => Math.round((milliseconds * rate) / 1000);
  const pace = { topic: CRITICAL, payload, rate, start, priority: 'critical' } as const;
  const [lateness, background] = await Promise.all([
    publisher.role.ask(
      'pace',
      { ...pace, messages: messagesIn(until - start), warmup: messagesIn(from - start) },
      until - start + PATIENCE,
    ),
    backgroundRate(subscriber.role, from, until),
  ]);
  const urgent = await finish([publisher.role]);
  const bulk = await finish(makers);
  const had = await settled(subscriber.role, urgent.published + bulk.published);
  const { p50, p99, p999, max } = await subscriber.role.ask('latencies', null);
  const [holds] = await stage.counters('flowbus_holds_total');
  return {
    values: {
      p50,
      p99,
      p999,
      max,
      latenessP99: lateness.p99,
      background,
      backgroundShed: had.missed,
      holds,
      acrossShards: subscriber.shard === publisher.shard ? 0 : 1,
    },
    account: account(
      { published: urgent.published, received: had.critical },
      { published: bulk.published, received: had.background, missed: had.missed },
    ),
    notes: [...urgent.notes, ...bulk.notes, ...(await subscriber.role.ask('notes', null))],
  };
}

function figuresOf(flooded: boolean): FigureShape[] {
  return [
    { name: 'p50', unit: 'us' },
    { name: 'p99', unit: 'us', goal: flooded ? { value: GOAL_P99, at: 'most' } : null },
    ...['p999', 'max', 'latenessP99'].map((name): FigureShape => ({ name, unit: 'us' })),
    ...(flooded
      ? ([
          { name: 'background', unit: 'per second' },
          { name: 'backgroundShed', unit: 'count' },
          { name: 'holds', unit: 'count' },
        ] as const)
      : []),
    { name: 'acrossShards', unit: 'count' },
  ];
}

export const priority: Scenario = {
  name: 'priority',
  summary:
    'latency of critical messages to a subscriber that is flooded with background, and without the flood',
  usual: true,
  flags: [
    new Option('--rate <n>', 'critical messages per second').argParser(integer(1, 1_000_000)).default(200),
    new Option('--flooders <n>', 'publishers of background, each as fast as it goes')
      .argParser(integer(1, 100))
      .default(1),
    payloadFlag(),
  ],
  async run(options: PriorityOptions, tell) {
    const results = [];
    for (const flooders of [0, options.flooders]) {
      const what = {
        scenario: 'priority',
        case: flooders === 0 ? 'without a flood' : 'under a flood',
        conditions: {
          'critical messages per s': options.rate,
          'payload bytes': options.payload,
          ...(flooders === 0 ? {} : { 'publishers of background': flooders }),
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
          shards: options.shards ?? 'one per core',
        },
        figures: figuresOf(flooders > 0),
      };
      results.push(
        await repeat(what, options.runs, tell, (index) =>
          onStage(settingOf('flowbus', options), (stage) => run(stage, flooders, options, index)),
        ),
      );
    }
    return results;
  },
};
