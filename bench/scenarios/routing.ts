/** What it costs to find those who take a topic, among few subscriptions and among very many. */
import { Option } from 'commander';
import { integers } from '../flags.js';
import { Role } from '../role.js';
import type { HolderOperations } from '../roles/holder.js';
import type { RouterOperations } from '../roles/router.js';
import {
  type CommonOptions,
  type FigureShape,
  type Result,
  type Run,
  repeat,
  resultOf,
  type Scenario,
} from '../scenario.js';
import { onStage, type Stage, settingOf } from '../stage.js';
import { runLoad } from './throughput.js';

const SECONDS = 0.5;
const WARMUP = 0.3;

/** How long all subscriptions together may take (ms). */
const PATIENCE = 300_000;

/** With fewer subscriptions, the memory of each drowns in that of everything else. */
const LEAST_WEIGHED = 1000;

/** The seed's goal: a match among a million costs at most this many times one among ten. */
const GOAL_FEW = 10;
const GOAL_MANY = 1_000_000;
const GOAL_RATIO = 1.5;

/** Subscriptions of one agent: the default of the broker. */
const EACH = 10_000;

/** Of the messages that are published beside the subscriptions. */
const BESIDE = { publishers: 1, subscribers: 1, payload: 64, burst: 256, topics: 10_000 } as const;

interface RoutingOptions extends CommonOptions {
  subscriptions: readonly number[];
  held: readonly number[];
}

const KINDS = [
  { name: 'exact', wildcards: false },
  { name: 'wildcard', wildcards: true },
] as const;

const LOOKUPS = ['match', 'cachedText', 'cachedId'] as const;

/** One run of one size. */
async function runLookups(count: number, wildcards: boolean, options: CommonOptions): Promise<Run> {
  const router = await Role.start<RouterOperations>('router');
  try {
    const memoryEach = await router.ask('subscribe', { count, wildcards }, PATIENCE);
    await router.ask('learn', null, PATIENCE);
    const run: Run = {
      values: { memoryPerSubscription: count < LEAST_WEIGHED ? null : memoryEach },
      account: { expected: 0, received: 0, lost: 0, repeated: 0 },
      notes: [],
    };
    const length = (options.seconds ?? SECONDS) * 1000;
    const warmup = (options.warmup ?? WARMUP) * 1000;
    for (const what of LOOKUPS) {
      const { lookups, takers, cost } = await router.ask(
        'time',
        { what, warmup, length },
        warmup + length + PATIENCE,
      );
      run.values[what] = cost;
      // Each topic has one taker; a look-up that finds another number has gone wrong.
      run.account.expected += lookups;
      run.account.received += takers;
      run.account.lost += Math.max(0, lookups - takers);
      run.account.repeated += Math.max(0, takers - lookups);
    }
    return run;
  } finally {
    await router.end();
  }
}

function figuresOf(count: number, sizes: readonly number[]): FigureShape[] {
  const [few, many] = [sizes[0], sizes[sizes.length - 1]];
  const figures = LOOKUPS.map((name): FigureShape => ({ name, unit: 'ns' }));
  if (count >= LEAST_WEIGHED) figures.push({ name: 'memoryPerSubscription', unit: 'bytes' });
  if (count > few && count === many) {
    const asGoal = few === GOAL_FEW && many === GOAL_MANY;
    figures.push({
      name: 'matchRatio',
      unit: 'ratio',
      goal: asGoal ? { value: GOAL_RATIO, at: 'most' } : null,
    });
  }
  return figures;
}

/** All sizes with patterns of one kind; the most is compared with the fewest, run by run. */
async function compareSizes(
  kind: (typeof KINDS)[number],
  options: RoutingOptions,
  tell: (line: string) => void,
): Promise<Result[]> {
  const sizes = [...new Set(options.subscriptions)].sort((a, b) => a - b);
  const runs: Run[][] = sizes.map(() => []);
  for (let index = 0; index < options.runs; index++) {
    for (const [place, count] of sizes.entries()) {
      tell(`routing ${count} ${kind.name}: run ${index + 1} of ${options.runs}`);
      const run = await runLookups(count, kind.wildcards, options);
      run.values.matchRatio = run.values.match! / (runs[0][index] ?? run).values.match!;
      runs[place].push(run);
    }
  }
  return sizes.map((count, place) =>
    resultOf(
      {
        bus: 'flowbus',
        scenario: 'routing',
        case: `${count} ${kind.name}`,
        conditions: {
          'takers of a topic': 1,
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
        },
        figures: figuresOf(count, sizes),
      },
      runs[place],
    ),
  );
}

/** Throughput of two agents, while others hold subscriptions that have nothing to do with it. */
async function runBeside(stage: Stage, held: number, options: CommonOptions, index: number): Promise<Run> {
  if (held === 0) return runLoad(stage, BESIDE, options, index);
  const holder = await stage.role<HolderOperations>('holder');
  const took = await holder.ask('hold', { url: stage.url, count: held, each: EACH }, PATIENCE);
  const run = await runLoad(stage, BESIDE, options, index);
  run.values.subscribes = (held / took) * 1000;
  run.notes.push(...(await holder.ask('notes', null)));
  return run;
}

function besideFigures(held: number): FigureShape[] {
  return [
    { name: 'delivered', unit: 'per second' },
    { name: 'cpuPerDelivery', unit: 'ns' },
    { name: 'acrossShards', unit: 'count' },
    ...(held === 0 ? [] : [{ name: 'subscribes', unit: 'per second' } as const]),
  ];
}

function measureBeside(held: number, options: CommonOptions, tell: (line: string) => void): Promise<Result> {
  const what = {
    scenario: 'routing',
    case: `1→1 beside ${held} subscriptions`,
    conditions: {
      'payload bytes': BESIDE.payload,
      topics: BESIDE.topics,
      'subscriptions of an agent': EACH,
      shards: options.shards ?? 'one per core',
    },
    figures: besideFigures(held),
  };
  return repeat(what, options.runs, tell, (index) =>
    onStage(settingOf('flowbus', options), (stage) => runBeside(stage, held, options, index)),
  );
}

export const routing: Scenario = {
  name: 'routing',
  summary: 'the routing decision among ten subscriptions and among a million, exact and wildcard',
  usual: false,
  flags: [
    new Option('--subscriptions <list>', 'how many there are, a case for each and kind of pattern')
      .argParser(integers(1, 10_000_000))
      .default([10, 1000, 100_000, 1_000_000], '10,1000,100000,1000000'),
    new Option(
      '--held <list>',
      'subscriptions that agents hold while two others exchange messages, a case for each',
    )
      .argParser(integers(0, 1_000_000))
      .default([0, 100_000], '0,100000'),
  ],
  async run(options: RoutingOptions, tell) {
    const results: Result[] = [];
    for (const kind of KINDS) results.push(...(await compareSizes(kind, options, tell)));
    for (const held of options.held) results.push(await measureBeside(held, options, tell));
    return results;
  },
};
