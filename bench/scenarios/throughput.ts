/** One publisher as fast as it goes, one or more subscribers that have everything. */
import { sleep } from '../clock.js';
import type { Role } from '../role.js';
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

const TOPIC = 'bench.throughput';
const SECONDS = 4;
/** Long enough for the compilers of all processes to have settled. */
const WARMUP = 5;

/** The goals are for messages of this size (bytes), for one and for ten subscribers (delivered messages per second). */
const GOAL_PAYLOAD = 64;
const GOALS: Readonly<Record<number, number>> = { 1: 1_500_000, 10: 6_000_000 };

type Mark = { count: number; at: number };

function rateOf(before: Mark, after: Mark): number {
  return ((after.count - before.count) / (after.at - before.at)) * 1000;
}

function rates(before: readonly Mark[], after: readonly Mark[]): number {
  return before.reduce((sum, mark, index) => sum + rateOf(mark, after[index]), 0);
}

interface Measured {
  publisher: Mark;
  subscribers: Mark[];
  broker: { cpu: number | null; at: number };
}

/** Each count is taken with its own time: a busy process answers when it comes to it. */
async function measure(
  stage: Stage,
  publisher: Role<PublisherOperations>,
  subscribers: readonly Role<SubscriberOperations>[],
): Promise<Measured> {
  const broker = stage.cpu();
  const [mark, ...marks] = await Promise.all([
    publisher.ask('mark', null),
    ...subscribers.map((subscriber) => subscriber.ask('mark', null)),
  ]);
  return { publisher: mark, subscribers: marks, broker };
}

/** Nanoseconds of the broker's processor time for each message that came to a subscriber. */
function cpuPerDelivery(before: Measured, after: Measured, delivered: number): number | null {
  if (before.broker.cpu === null || after.broker.cpu === null || delivered === 0) return null;
  const share = (after.broker.cpu - before.broker.cpu) / (after.broker.at - before.broker.at);
  return (share * 1e9) / delivered;
}

async function run(stage: Stage, options: BenchOptions, takers: number, index: number): Promise<Run> {
  const { payload, burst, seconds, warmup } = options;
  const subscribers = await Promise.all(
    Array.from({ length: takers }, () => stage.role<SubscriberOperations>('subscriber')),
  );
  const shards = await Promise.all(
    subscribers.map((subscriber, number) =>
      subscriber.ask('connect', {
        url: stage.url,
        agentId: `subscriber-${index}-${number}`,
        topic: TOPIC,
        timed: false,
      }),
    ),
  );
  const publisher = await stage.role<PublisherOperations>('publisher');
  const home = await publisher.ask('connect', { url: stage.url, agentId: `publisher-${index}` });
  await publisher.ask('flood', { topic: TOPIC, payload, burst });
  await sleep((warmup ?? WARMUP) * 1000);
  const before = await measure(stage, publisher, subscribers);
  await sleep((seconds ?? SECONDS) * 1000);
  const after = await measure(stage, publisher, subscribers);
  const { published, errors } = await publisher.ask('finish', null);
  const received = await arrivals(published, async () => {
    const marks = await Promise.all(subscribers.map((subscriber) => subscriber.ask('mark', null)));
    return marks.map(({ count }) => count);
  });
  const notes = await Promise.all(subscribers.map((subscriber) => subscriber.ask('notes', null)));
  const delivered = rates(before.subscribers, after.subscribers);
  return {
    values: {
      delivered,
      published: rateOf(before.publisher, after.publisher),
      cpuPerDelivery: cpuPerDelivery(before, after, delivered),
      batch: await stage.batch(),
      acrossShards: shards.filter((shard) => shard !== home).length,
    },
    account: accountOf(published, received),
    notes: [...errors, ...notes.flat()],
  };
}

function figuresOf(options: BenchOptions, takers: number): FigureShape[] {
  const goal = options.payload === GOAL_PAYLOAD ? GOALS[takers] : undefined;
  return [
    {
      name: 'delivered',
      unit: 'per second',
      goal: goal === undefined ? null : { value: goal, at: 'least' },
    },
    { name: 'published', unit: 'per second' },
    { name: 'cpuPerDelivery', unit: 'ns' },
    { name: 'batch', unit: 'count' },
    { name: 'acrossShards', unit: 'count' },
  ];
}

export const throughput: Scenario = {
  name: 'throughput',
  summary: 'one publisher at full speed, 1 and 10 subscribers (--subscribers), each agent a process',
  async run(options, tell) {
    const results = [];
    for (const takers of options.subscribers) {
      const what = {
        scenario: 'throughput',
        case: `1→${takers}`,
        conditions: {
          'payload bytes': options.payload,
          'messages per burst': options.burst,
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
          shards: options.shards ?? 'one per core',
        },
        figures: figuresOf(options, takers),
      };
      results.push(
        await repeat(what, options.runs, tell, (index) =>
          onStage(options.shards, (stage) => run(stage, options, takers, index)),
        ),
      );
    }
    return results;
  },
};
