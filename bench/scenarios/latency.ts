/** One publisher at a fixed rate in open loop, one subscriber: from when a message was due to its handler. */
import { now, sleep } from '../clock.js';
import type { PublisherOperations } from '../roles/publisher.js';
import type { SubscriberOperations } from '../roles/subscriber.js';
import {
  accountOf,
  type BenchOptions,
  type FigureShape,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage } from '../stage.js';

const TOPIC = 'bench.latency';
const SECONDS = 3;
const WARMUP = 1;

/** So far ahead does the schedule begin (ms): until the publisher has been told. */
const AHEAD = 50;

/** The goals are for this rate and size. */
const GOAL_RATE = 20_000;
const GOAL_PAYLOAD = 64;
const GOALS: Readonly<Record<string, number>> = { p50: 500, p95: 1000, p99: 2000 };

/** Beyond the length of the run, how long the publisher may need to publish it all (ms). */
const PATIENCE = 60_000;

/** Seconds of the broker's processor time for each second between these two times of the machine's clock. */
async function cpuShare(stage: Stage, from: number, to: number): Promise<number | null> {
  await sleep(from - now());
  const before = stage.cpu();
  await sleep(to - now());
  const after = stage.cpu();
  if (before.cpu === null || after.cpu === null) return null;
  return (after.cpu - before.cpu) / (after.at - before.at);
}

async function run(stage: Stage, options: BenchOptions, index: number): Promise<Run> {
  const { payload, rate } = options;
  const warmup = (options.warmup ?? WARMUP) * 1000;
  const length = warmup + (options.seconds ?? SECONDS) * 1000;
  const subscriber = await stage.role<SubscriberOperations>('subscriber');
  const publisher = await stage.role<PublisherOperations>('publisher');
  const shard = await subscriber.ask('connect', {
    url: stage.url,
    agentId: `subscriber-${index}`,
    topic: TOPIC,
    timed: true,
  });
  const home = await publisher.ask('connect', { url: stage.url, agentId: `publisher-${index}` });
  const start = now() + AHEAD;
  await subscriber.ask('recordFrom', start + warmup);
  const pace = {
    topic: TOPIC,
    payload,
    rate,
    start,
    messages: Math.round((length * rate) / 1000),
    warmup: Math.round((warmup * rate) / 1000),
  };
  const [lateness, share] = await Promise.all([
    publisher.ask('pace', pace, length + PATIENCE),
    cpuShare(stage, start + warmup, start + length),
  ]);
  const { published, errors } = await publisher.ask('finish', null);
  const received = await arrivals(published, async () => [(await subscriber.ask('mark', null)).count]);
  const { p50, p95, p99, p999, max } = await subscriber.ask('latencies', null);
  return {
    values: {
      p50,
      p95,
      p99,
      p999,
      max,
      latenessP50: lateness.p50,
      latenessP99: lateness.p99,
      cpuPerDelivery: share === null ? null : (share * 1e9) / rate,
      batch: await stage.batch(),
      acrossShards: shard === home ? 0 : 1,
    },
    account: accountOf(published, received),
    notes: [...errors, ...(await subscriber.ask('notes', null))],
  };
}

function figuresOf(options: BenchOptions): FigureShape[] {
  const asGoal = options.rate === GOAL_RATE && options.payload === GOAL_PAYLOAD;
  const percentiles = ['p50', 'p95', 'p99', 'p999', 'max'].map((name): FigureShape => {
    const goal = asGoal ? GOALS[name] : undefined;
    return { name, unit: 'us', goal: goal === undefined ? null : { value: goal, at: 'most' } };
  });
  return [
    ...percentiles,
    { name: 'latenessP50', unit: 'us' },
    { name: 'latenessP99', unit: 'us' },
    { name: 'cpuPerDelivery', unit: 'ns' },
    { name: 'batch', unit: 'count' },
    { name: 'acrossShards', unit: 'count' },
  ];
}

export const latency: Scenario = {
  name: 'latency',
  summary: 'publish to handler at a fixed rate (--rate), in open loop, from the intended send time',
  async run(options, tell) {
    const what = {
      scenario: 'latency',
      case: '',
      conditions: {
        'messages per s': options.rate,
        'payload bytes': options.payload,
        'warm-up s': options.warmup ?? WARMUP,
        'measured s': options.seconds ?? SECONDS,
        shards: options.shards ?? 'one per core',
      },
      figures: figuresOf(options),
    };
    const result = await repeat(what, options.runs, tell, (index) =>
      onStage(options.shards, (stage) => run(stage, options, index)),
    );
    return [result];
  },
};
