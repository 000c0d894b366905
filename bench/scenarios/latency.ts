/** One publisher at a fixed rate in open loop, one subscriber: from when a message was due to its handler. */
import { Option } from 'commander';
import { now } from '../clock.js';
import { integer, integers, payloadFlag } from '../flags.js';
import {
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Goal,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, costs, onStage, type Stage, settingOf } from '../stage.js';

const TOPIC = 'bench.latency';
const LOAD_TOPIC = 'bench.load';
const SECONDS = 3;
const WARMUP = 1;

/** So far ahead does the schedule begin (ms): until the publisher has been told. */
const AHEAD = 50;

/** Beyond the length of the run, how long the publisher may need to publish it all (ms). */
const PATIENCE = 60_000;

/** The goals of the design, in microseconds, for rates up to these and messages of this size. */
const GOAL_PAYLOAD = 64;
const GOAL_RATE = 100_000;
const GOALS: Readonly<Record<string, number>> = { p50: 150, p95: 500, p99: 1000, jitter: 100 };

export interface LatencyOptions extends CommonOptions {
  rate: readonly number[];
  payload: number;
  load: number;
}

export interface Pace {
  rate: number;
  payload: number;
  /** Messages per second of another publisher to another subscriber. */
  load: number;
}

export function lengthsOf(options: CommonOptions): { warmup: number; length: number } {
  const warmup = (options.warmup ?? WARMUP) * 1000;
  return { warmup, length: warmup + (options.seconds ?? SECONDS) * 1000 };
}

/** One run of one rate. `index` is part of the names, by which agents are placed. */
export async function runPace(
  stage: Stage,
  { rate, payload, load }: Pace,
  options: CommonOptions,
  index: number,
): Promise<Run> {
  const { warmup, length } = lengthsOf(options);
  const pair = async (name: string, topic: string, timed: boolean) => {
    const [subscriber, publisher] = await Promise.all([
      stage.subscriber(`${name}subscriber-${index}`),
      stage.publisher(`${name}publisher-${index}`),
    ]);
    await subscriber.role.ask('subscribe', { pattern: topic, timed });
    return { subscriber, publisher };
  };
  const { subscriber, publisher } = await pair('', TOPIC, true);
  const others = load === 0 ? null : await pair('other-', LOAD_TOPIC, false);
  const start = now() + AHEAD;
  await subscriber.role.ask('recordFrom', start + warmup);
  const pace = (topic: string, perSecond: number) => ({
    topic,
    payload,
    rate: perSecond,
    start,
    messages: Math.round((length * perSecond) / 1000),
    warmup: Math.round((warmup * perSecond) / 1000),
  });
  const [lateness, [before, after]] = await Promise.all([
    publisher.role.ask('pace', pace(TOPIC, rate), length + PATIENCE),
    stage.usages(start + warmup, start + length),
    others?.publisher.role.ask('pace', pace(LOAD_TOPIC, load), length + PATIENCE),
  ]);
  const { published, notes } = await publisher.role.ask('finish', null);
  const received = await arrivals(published, async () => [(await subscriber.role.ask('mark', null)).count]);
  const { p50, p95, p99, p999, max, jitter } = await subscriber.role.ask('latencies', null);
  return {
    values: {
      p50,
      p95,
      p99,
      p999,
      max,
      jitter,
      latenessP50: lateness.p50,
      latenessP99: lateness.p99,
      ...costs(before, after, rate + load),
      batch: await stage.batch(),
      acrossShards: subscriber.shard === publisher.shard ? 0 : 1,
    },
    account: accountOf(published, received),
    notes: [...notes, ...(await subscriber.role.ask('notes', null))],
  };
}

function figuresOf({ rate, payload, load }: Pace): FigureShape[] {
  const asGoal = rate <= GOAL_RATE && payload === GOAL_PAYLOAD && load === 0;
  const goalOf = (name: string): Goal | null =>
    asGoal && name in GOALS ? { value: GOALS[name], at: 'most' } : null;
  return [
    ...['p50', 'p95', 'p99', 'p999', 'max', 'jitter', 'latenessP50', 'latenessP99'].map(
      (name): FigureShape => ({ name, unit: 'us', goal: goalOf(name) }),
    ),
    { name: 'cpuPerDelivery', unit: 'ns' },
    { name: 'batch', unit: 'count' },
    { name: 'acrossShards', unit: 'count' },
  ];
}

export const latency: Scenario = {
  name: 'latency',
  summary: 'publish to handler at fixed rates, in open loop, from the intended send time',
  usual: true,
  flags: [
    new Option('--rate <list>', 'messages per second, a case for each')
      .argParser(integers(1, 10_000_000))
      .default([20_000, 100_000], '20000,100000'),
    payloadFlag(),
    new Option('--load <n>', 'messages per second between two other agents meanwhile')
      .argParser(integer(0, 10_000_000))
      .default(0),
  ],
  async run(options: LatencyOptions, tell) {
    const { payload, load } = options;
    const results = [];
    for (const rate of options.rate) {
      const pace = { rate, payload, load };
      const what = {
        scenario: 'latency',
        case: `${rate}/s`,
        conditions: {
          'payload bytes': payload,
          ...(load === 0 ? {} : { 'beside it, messages per s': load }),
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
          shards: options.shards ?? 'one per core',
        },
        figures: figuresOf(pace),
      };
      results.push(
        await repeat(what, options.runs, tell, (index) =>
          onStage(settingOf('flowbus', options), (stage) => runPace(stage, pace, options, index)),
        ),
      );
    }
    return results;
  },
};
