/** Other buses beside flowbus, in the same run: the same roles do the same work, each with its usual client. */
import { Option } from 'commander';
import { present, runBeside, type Task } from '../beside.js';
import { BUS_NAMES, type BusName } from '../buses/bus.js';
import { names } from '../flags.js';
import type { CommonOptions, Result, Run, Scenario } from '../scenario.js';
import { onStage, type Stage, settingOf } from '../stage.js';
import { runPace } from './latency.js';
import { runRequests } from './request.js';
import { runLoad } from './throughput.js';

interface PeersOptions extends CommonOptions {
  buses: readonly BusName[];
  tasks: readonly string[];
}

/** A task whose run has one stage. */
interface PeersTask extends Omit<Task, 'run' | 'conditions'> {
  run(stage: Stage, options: CommonOptions, index: number): Promise<Run>;
}

const PAYLOAD = 64;
/** What a publisher writes before it lets its event loop turn. */
const BURST = 256;
/** A rate (messages per second) that most of them can serve on a small machine. */
const RATE = 10_000;

function load(publishers: number, subscribers: number, burst: number): PeersTask {
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

const TASKS: readonly PeersTask[] = [
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
    const wanted = [...new Set<BusName>(['flowbus', ...options.buses])];
    const buses = await present(wanted, options, tell);
    const results: Result[] = [];
    for (const task of TASKS.filter(({ name }) => options.tasks.includes(name))) {
      const whole: Task = {
        ...task,
        conditions: { 'payload bytes': PAYLOAD },
        run: (bus, index) => onStage(settingOf(bus, options), (stage) => task.run(stage, options, index)),
      };
      results.push(...(await runBeside('peers', whole, buses, options.runs, tell)));
    }
    return results;
  },
};
