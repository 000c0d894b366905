/** Publishers as fast as they go, subscribers that have everything. */
import { InvalidArgumentError, Option } from 'commander';
import type { ClientName } from '../buses/bus.js';
import { sleep } from '../clock.js';
import { integer, integers, payloadsFlag } from '../flags.js';
import type { Role } from '../role.js';
import type { PublisherOperations } from '../roles/publisher.js';
import type { SubscriberOperations } from '../roles/subscriber.js';
import {
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Goal,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, costs, onStage, type Stage, settingOf, type Usage } from '../stage.js';

const TOPIC = 'bench.throughput';
const SECONDS = 4;
/** Long enough for the compilers of all processes to have settled. */
const WARMUP = 5;

/** Messages of these bytes are what the goals are for. */
const GOAL_PAYLOAD = 64;
const GOAL_BURST = 256;

/** One thing to measure: how many publish to how many, and what. */
export interface Load {
  publishers: number;
  subscribers: number;
  payload: number;
  burst: number;
  topics: number;
  /** How they speak; payloads are text then. Default: as users of the bus do, and bytes. */
  speak?: { publishers: ClientName; subscribers: ClientName };
}

export interface ThroughputOptions extends CommonOptions {
  cases: readonly { publishers: number; subscribers: number }[];
  payload: readonly number[];
  burst: readonly number[];
  topics: number;
}

type Mark = { count: number; at: number };

function rateOf(before: Mark, after: Mark): number {
  return ((after.count - before.count) / (after.at - before.at)) * 1000;
}

function rates(before: readonly Mark[], after: readonly Mark[]): number {
  return before.reduce((sum, mark, index) => sum + rateOf(mark, after[index]), 0);
}

interface Measured {
  publishers: Mark[];
  subscribers: Mark[];
  broker: Usage;
}

/** Each count is taken with its own time: a busy process answers when it comes to it. */
async function measure(
  stage: Stage,
  publishers: readonly Role<PublisherOperations>[],
  subscribers: readonly Role<SubscriberOperations>[],
): Promise<Measured> {
  const broker = stage.usage();
  const [published, received] = await Promise.all([
    Promise.all(publishers.map((publisher) => publisher.ask('mark', null))),
    Promise.all(subscribers.map((subscriber) => subscriber.ask('mark', null))),
  ]);
  return { publishers: published, subscribers: received, broker };
}

/** One run of `load`. `index` is part of the names, by which agents are placed. */
export async function runLoad(stage: Stage, load: Load, options: CommonOptions, index: number): Promise<Run> {
  const { payload, burst, topics, speak } = load;
  const subscribers = await Promise.all(
    Array.from({ length: load.subscribers }, (_, number) =>
      stage.subscriber(`subscriber-${index}-${number}`, speak?.subscribers),
    ),
  );
  const takers = subscribers.map(({ role }) => role);
  const pattern = topics === 1 ? TOPIC : `${TOPIC}.**`;
  await Promise.all(takers.map((taker) => taker.ask('subscribe', { pattern, timed: false })));
  const publishers = await Promise.all(
    Array.from({ length: load.publishers }, (_, number) =>
      stage.publisher(`publisher-${index}-${number}`, speak?.publishers),
    ),
  );
  const makers = publishers.map(({ role }) => role);
  await Promise.all(
    makers.map((maker) =>
      maker.ask('flood', { topic: TOPIC, topics, payload, burst, text: speak !== undefined }),
    ),
  );
  await sleep((options.warmup ?? WARMUP) * 1000);
  const before = await measure(stage, makers, takers);
  await sleep((options.seconds ?? SECONDS) * 1000);
  const after = await measure(stage, makers, takers);
  const finished = await Promise.all(makers.map((maker) => maker.ask('finish', null)));
  const total = finished.reduce((sum, { published }) => sum + published, 0);
  const received = await arrivals(total, async () => {
    const marks = await Promise.all(takers.map((taker) => taker.ask('mark', null)));
    return marks.map(({ count }) => count);
  });
  const notes = await Promise.all(takers.map((taker) => taker.ask('notes', null)));
  const delivered = rates(before.subscribers, after.subscribers);
  const homes = new Set(publishers.map(({ shard }) => shard));
  return {
    values: {
      delivered,
      published: rates(before.publishers, after.publishers),
      ...costs(before.broker, after.broker, delivered),
      batch: await stage.batch(),
      acrossShards: subscribers.filter(({ shard }) => shard !== null && !homes.has(shard)).length,
    },
    account: accountOf(total, received),
    notes: [...finished.flatMap((one) => one.notes), ...notes.flat()],
  };
}

/** The goals of the design, for those loads that they are set for. */
function goalsOf({ publishers, subscribers, payload, burst, topics }: Load): Record<string, Goal> {
  if (publishers !== 1 || payload !== GOAL_PAYLOAD || burst !== GOAL_BURST) return {};
  const rate = (value: number): Goal => ({ value, at: 'least' });
  const cost = (value: number): Goal => ({ value, at: 'most' });
  if (topics === 10_000 && subscribers === 1) return { delivered: rate(1_500_000) };
  if (topics !== 1) return {};
  if (subscribers === 1) return { delivered: rate(3_500_000), cpuPerDelivery: cost(150) };
  if (subscribers === 10) return { delivered: rate(10_000_000), cpuPerDelivery: cost(60) };
  return {};
}

function figuresOf(load: Load): FigureShape[] {
  const goals = goalsOf(load);
  return (
    [
      ['delivered', 'per second'],
      ['published', 'per second'],
      ['cpuPerDelivery', 'ns'],
      ['batch', 'count'],
      ['acrossShards', 'count'],
    ] as const
  ).map(([name, unit]) => ({ name, unit, goal: goals[name] ?? null }));
}

function conditionsOf(load: Load, options: CommonOptions): Record<string, string | number> {
  return {
    'payload bytes': load.payload,
    'messages per burst': load.burst,
    ...(load.topics === 1 ? {} : { topics: load.topics }),
    'warm-up s': options.warmup ?? WARMUP,
    'measured s': options.seconds ?? SECONDS,
    shards: options.shards ?? 'one per core',
  };
}

function loadsOf({ cases, payload: payloads, burst: bursts, topics }: ThroughputOptions): Load[] {
  return cases.flatMap((one) =>
    payloads.flatMap((payload) => bursts.map((burst) => ({ ...one, payload, burst, topics }))),
  );
}

function caseList(text: string): ThroughputOptions['cases'] {
  return text.split(',').map((part) => {
    const numbers = part.split(':');
    if (numbers.length !== 2)
      throw new InvalidArgumentError('It must be a list of publishers:subscribers, such as 1:1,1:10.');
    const [publishers, subscribers] = numbers.map(integer(1, 1000));
    return { publishers, subscribers };
  });
}

export const throughput: Scenario = {
  name: 'throughput',
  summary: 'publishers at full speed, to one subscriber and to ten, each agent a process',
  usual: true,
  flags: [
    new Option('--cases <list>', 'publishers:subscribers, a case for each')
      .argParser(caseList)
      .default(caseList('1:1,1:10'), '1:1,1:10'),
    payloadsFlag(),
    new Option(
      '--burst <list>',
      'messages published per turn of the event loop, a case for each; 1: no batching',
    )
      .argParser(integers(1, 100_000))
      .default([GOAL_BURST], String(GOAL_BURST)),
    new Option('--topics <n>', 'topics that the messages go to, in random order')
      .argParser(integer(1, 1_000_000))
      .default(1),
  ],
  async run(options: ThroughputOptions, tell) {
    const results = [];
    for (const load of loadsOf(options)) {
      const what = {
        scenario: 'throughput',
        case: `${load.publishers}→${load.subscribers}`,
        conditions: conditionsOf(load, options),
        figures: figuresOf(load),
      };
      results.push(
        await repeat(what, options.runs, tell, (index) =>
          onStage(settingOf('flowbus', options), (stage) => runLoad(stage, load, options, index)),
        ),
      );
    }
    return results;
  },
};
