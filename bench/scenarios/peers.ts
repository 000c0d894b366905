/** Other buses beside flowbus, in the same run: the same roles do the same work, each with its usual client. */
import { InvalidArgumentError, Option } from 'commander';
import { BUS_NAMES, BusMissing, type BusName } from '../buses/bus.js';
import {
  type Case,
  type CommonOptions,
  type FigureShape,
  type Result,
  type Run,
  resultOf,
  type Scenario,
} from '../scenario.js';
import { onStage, type Stage, settingOf } from '../stage.js';
import { runPace } from './latency.js';
import { runRequests } from './request.js';
import { runLoad } from './throughput.js';

interface PeersOptions extends CommonOptions {
  buses: readonly BusName[];
  tasks: readonly string[];
}

interface Task {
  readonly name: string;
  readonly figures: readonly FigureShape[];
  /** What buses are compared by. `better`: which way is good. */
  readonly compared: readonly { name: string; better: 'more' | 'less' }[];
  /** Buses that cannot do it. */
  readonly without: readonly BusName[];
  run(stage: Stage, options: CommonOptions, index: number): Promise<Run>;
}

const PAYLOAD = 64;
/** What a publisher writes before it lets its event loop turn. */
const BURST = 256;
/** A rate (messages per second) that most of them can serve on a small machine. */
const RATE = 10_000;

function load(publishers: number, subscribers: number, burst: number): Task {
  return {
    name: `${publishers}→${subscribers}${burst === 1 ? ' one by one' : ''}`,
    figures: [
      { name: 'delivered', unit: 'per second' },
      { name: 'cpuPerDelivery', unit: 'ns' },
    ],
    compared: [
      { name: 'delivered', better: 'more' },
      { name: 'cpuPerDelivery', better: 'less' },
    ],
    without: [],
    run: (stage, options, index) =>
      runLoad(stage, { publishers, subscribers, payload: PAYLOAD, burst, topics: 1 }, options, index),
  };
}

const TASKS: readonly Task[] = [
  load(1, 1, BURST),
  load(1, 10, BURST),
  load(1, 1, 1),
  {
    name: `latency at ${RATE}/s`,
    figures: ['p50', 'p95', 'p99', 'p999', 'jitter'].map((name) => ({ name, unit: 'us' })),
    compared: [
      { name: 'p50', better: 'less' },
      { name: 'p99', better: 'less' },
    ],
    without: [],
    run: (stage, options, index) => runPace(stage, { rate: RATE, payload: PAYLOAD, load: 0 }, options, index),
  },
  {
    name: 'request',
    figures: [
      { name: 'requests', unit: 'per second' },
      { name: 'p50', unit: 'us' },
      { name: 'p99', unit: 'us' },
    ],
    compared: [
      { name: 'requests', better: 'more' },
      { name: 'p50', better: 'less' },
    ],
    without: ['redis', 'mosquitto', 'aedes'],
    run: (stage, options, index) => runRequests(stage, { outstanding: 1, payload: PAYLOAD }, options, index),
  },
];

/** The buses that are here, with their versions; `missing` takes what is not. */
async function present(
  options: PeersOptions,
  missing: (text: string) => void,
): Promise<Map<BusName, string>> {
  const found = new Map<BusName, string>();
  for (const bus of options.buses) {
    try {
      found.set(bus, await onStage(settingOf(bus, options), async (stage) => stage.version));
    } catch (error) {
      // The server's process told it as text.
      if (!(error instanceof Error) || !error.message.includes(BusMissing.MARK)) throw error;
      missing(error.message);
    }
  }
  return found;
}

/** How many times better flowbus was than `bus`, run by run. */
function ratios(task: Task, bus: BusName, ours: readonly Run[], theirs: readonly Run[]): Result {
  const runs = ours.map((run, index): Run => {
    const values: Record<string, number | null> = {};
    for (const { name, better } of task.compared) {
      const [own, other] = [run.values[name], theirs[index].values[name]];
      values[name] =
        own === null || other === null || own === 0 || other === 0
          ? null
          : better === 'more'
            ? own / other
            : other / own;
    }
    return { values, account: { expected: 0, received: 0, lost: 0, repeated: 0 }, notes: [] };
  });
  const figures = task.compared.map(({ name }): FigureShape => ({ name, unit: 'ratio' }));
  return resultOf(
    {
      bus: 'flowbus',
      scenario: 'peers',
      case: `${task.name}: flowbus against ${bus}`,
      conditions: {},
      figures,
    },
    runs,
  );
}

function names<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((part) => {
      const name = known.find((one) => one === part);
      if (name === undefined) throw new InvalidArgumentError(`It must be a list of ${known.join(', ')}.`);
      return name;
    });
}

const TASK_NAMES = TASKS.map(({ name }) => name);

export const peers: Scenario = {
  name: 'peers',
  summary:
    'the same work on nats-server, redis-server, mosquitto, aedes and socket.io, those that are installed',
  usual: false,
  flags: [
    new Option('--buses <list>', 'which, beside flowbus')
      .argParser(names(BUS_NAMES))
      .default(BUS_NAMES, BUS_NAMES.slice(1).join(',')),
    new Option('--tasks <list>', `which work: ${TASK_NAMES.join(', ')}`)
      .argParser(names(TASK_NAMES))
      .default(TASK_NAMES, 'all'),
  ],
  async run(options: PeersOptions, tell) {
    const buses = await present(
      { ...options, buses: [...new Set<BusName>(['flowbus', ...options.buses])] },
      tell,
    );
    const results: Result[] = [];
    for (const task of TASKS.filter(({ name }) => options.tasks.includes(name))) {
      const takers = [...buses.keys()].filter((bus) => !task.without.includes(bus));
      const runs = new Map<BusName, Run[]>(takers.map((bus) => [bus, []]));
      // In turn, so that what the machine does meanwhile befalls all of them.
      for (let index = 0; index < options.runs; index++) {
        for (const bus of takers) {
          tell(`peers ${task.name}: ${bus}, run ${index + 1} of ${options.runs}`);
          runs
            .get(bus)!
            .push(await onStage(settingOf(bus, options), (stage) => task.run(stage, options, index)));
        }
      }
      for (const bus of takers) {
        const what: Case = {
          bus,
          scenario: 'peers',
          case: task.name,
          conditions: { version: buses.get(bus)!, 'payload bytes': PAYLOAD },
          figures: task.figures,
        };
        results.push(resultOf(what, runs.get(bus)!));
      }
      for (const bus of takers)
        if (bus !== 'flowbus') results.push(ratios(task, bus, runs.get('flowbus')!, runs.get(bus)!));
    }
    return results;
  },
};
