/** From an agent on one node to an agent on another: throughput, and what the way between the nodes adds to latency. nats-server with a route beside it. */
import { randomBytes } from 'node:crypto';
import { Option } from 'commander';
import { present, runBeside, type Task } from '../beside.js';
import type { BusName } from '../buses/bus.js';
import { integer, names, payloadFlag } from '../flags.js';
import type { CommonOptions, FigureShape, Goal, Result, Scenario } from '../scenario.js';
import { onStage, type Setting, settingOf } from '../stage.js';
import { runPace } from './latency.js';
import { runLoad } from './throughput.js';

const TASK_NAMES = ['throughput', 'latency'] as const;
type TaskName = (typeof TASK_NAMES)[number];

/** Messages of these bytes, so many at a time or a second, are what the goals are for. */
const GOAL_PAYLOAD = 64;
const GOAL_BURST = 256;
const GOAL_RATE = 10_000;

/** Long enough for the compilers of all processes to have settled (s). */
const WARMUP: Readonly<Record<TaskName, number>> = { throughput: 5, latency: 3 };
const SECONDS: Readonly<Record<TaskName, number>> = { throughput: 4, latency: 3 };

interface MeshOptions extends CommonOptions {
  tasks: readonly TaskName[];
  payload: number;
  burst: number;
  rate: number;
  secret: boolean;
}

const COSTS: readonly FigureShape[] = [
  'cpuPerDelivery',
  'cpuNear',
  'cpuNearMesh',
  'cpuFar',
  'cpuFarMesh',
].map((name) => ({ name, unit: 'ns' }));

function nodesOf(bus: BusName, options: MeshOptions): Setting {
  return {
    ...settingOf(bus, options),
    cluster: { secret: options.secret ? randomBytes(32).toString('hex') : null },
  };
}

function conditionsOf(options: MeshOptions): Task['conditions'] {
  const { payload, secret, shards, warmup, seconds } = options;
  return {
    'payload bytes': payload,
    ...(secret ? { secret: 'flowbus alone has one' } : {}),
    'warm-up s': warmup!,
    'measured s': seconds!,
    'shards of a node': shards ?? 'one per core',
  };
}

function flooding(options: MeshOptions): Task {
  const { payload, burst } = options;
  const asGoal = payload === GOAL_PAYLOAD && burst === GOAL_BURST;
  return {
    name: 'throughput',
    conditions: { ...conditionsOf(options), 'messages per burst': burst },
    figures: [
      { name: 'delivered', unit: 'per second', goal: asGoal ? { value: 500_000, at: 'least' } : null },
      { name: 'published', unit: 'per second' },
      ...COSTS,
    ],
    compared: [
      { name: 'delivered', better: 'more' },
      { name: 'cpuPerDelivery', better: 'less' },
    ],
    without: [],
    run: (bus, index) =>
      onStage(nodesOf(bus, options), (stage) =>
        runLoad(stage, { publishers: 1, subscribers: 1, payload, burst, topics: 1 }, options, index),
      ),
  };
}

/** The same on one node, then on two, or the other way round: what the way between them adds is the difference of each such pair. */
function pacing(options: MeshOptions): Task {
  const { payload, rate } = options;
  const asGoal = payload === GOAL_PAYLOAD && rate <= GOAL_RATE;
  const most = (value: number): Goal | null => (asGoal ? { value, at: 'most' } : null);
  const pace = { rate, payload, load: 0 };
  return {
    name: `latency at ${rate}/s`,
    conditions: conditionsOf(options),
    figures: [
      ...['p50', 'p95', 'p99', 'oneP50', 'oneP95', 'oneP99'].map(
        (name): FigureShape => ({ name, unit: 'us' }),
      ),
      { name: 'addedP50', unit: 'us', goal: most(500) },
      { name: 'addedP95', unit: 'us', goal: most(1000) },
      { name: 'latenessP50', unit: 'us' },
      ...COSTS,
    ],
    compared: [
      { name: 'p50', better: 'less' },
      { name: 'p99', better: 'less' },
      { name: 'cpuPerDelivery', better: 'less' },
    ],
    without: [],
    async run(bus, index) {
      const settings = [settingOf(bus, options), nodesOf(bus, options)];
      if (index % 2 !== 0) settings.reverse();
      const runs = [];
      for (const setting of settings)
        runs.push(await onStage(setting, (stage) => runPace(stage, pace, options, index)));
      if (index % 2 !== 0) runs.reverse();
      const [{ values: one }, two] = runs;
      const added = (figure: string) => two.values[figure]! - one[figure]!;
      return {
        values: {
          ...two.values,
          oneP50: one.p50,
          oneP95: one.p95,
          oneP99: one.p99,
          addedP50: added('p50'),
          addedP95: added('p95'),
        },
        account: two.account,
        notes: runs.flatMap(({ notes }) => notes),
      };
    },
  };
}

const TASKS: Readonly<Record<TaskName, (options: MeshOptions) => Task>> = {
  throughput: flooding,
  latency: pacing,
};

export const mesh: Scenario = {
  name: 'mesh',
  summary:
    'an agent on one node publishes to an agent on another: throughput and latency; also on nats-server',
  usual: false,
  flags: [
    new Option('--tasks <list>', `which work: ${TASK_NAMES.join(', ')}`)
      .argParser(names(TASK_NAMES))
      .default(TASK_NAMES, TASK_NAMES.join(',')),
    payloadFlag(),
    new Option('--burst <n>', 'messages published per turn of the event loop')
      .argParser(integer(1, 100_000))
      .default(GOAL_BURST),
    new Option('--rate <n>', 'messages per second in open loop')
      .argParser(integer(1, 1_000_000))
      .default(GOAL_RATE),
    new Option('--secret', 'the nodes of flowbus share a secret, which encrypts once more').default(false),
  ],
  async run(options: MeshOptions, tell) {
    const buses = await present(['flowbus', 'nats'], options, tell);
    const results: Result[] = [];
    for (const name of options.tasks) {
      const warmup = options.warmup ?? WARMUP[name];
      const seconds = options.seconds ?? SECONDS[name];
      const task = TASKS[name]({ ...options, warmup, seconds });
      results.push(...(await runBeside('mesh', task, buses, options.runs, tell)));
    }
    return results;
  },
};
