/**
 * Assured delivery: how fast messages are stored, with many on their way and one at a time, how fast a backlog is consumed with an
 * ack for each, how long a message takes at a fixed rate, and what live messages pay for it. JetStream does the same where it is installed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Option } from 'commander';
import { present, runBeside, type Task } from '../beside.js';
import { now } from '../clock.js';
import { integer, integers, names, payloadFlag } from '../flags.js';
import type { Role } from '../role.js';
import type { PublisherOperations } from '../roles/publisher.js';
import {
  type Account,
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Goal,
  type Result,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage, settingOf } from '../stage.js';
import { runLoad } from './throughput.js';

const TOPIC = 'bench.assured';
const IDLE_TOPIC = 'bench.idle';
const SECONDS = 3;
const WARMUP = 2;
/** Publishes on their way at a time, where it is a backlog that is wanted. */
const FILLING = 4096;
/** Of a backlog, the part that is consumed before it is timed. */
const WARMUP_PART = 0.25;
/** So far ahead does the schedule begin (ms): until the publisher has been told. */
const AHEAD = 50;
/** Beyond the length of the run, how long the last acks may take (ms). */
const PATIENCE = 120_000;

/** Messages of these bytes are what the goals are for. */
const GOAL_PAYLOAD = 64;
const GOAL_RATE = 20_000;
const LIVE = { publishers: 1, subscribers: 1, burst: 256, topics: 1 };
const MAY_COST = 0.03;
/** Seconds, on the goals' machine: "recovery takes seconds". */
const RECOVERY_GOAL = 10_000;

const TASK_NAMES = ['publish', 'consume', 'pace', 'live', 'recover'] as const;
type TaskName = (typeof TASK_NAMES)[number];
const USUAL_TASKS = TASK_NAMES.filter((name) => name !== 'recover');

interface AssuredOptions extends CommonOptions {
  outstanding: readonly number[];
  backlog: number;
  rate: number;
  payload: number;
  recover: number;
  tasks: readonly TaskName[];
}

type Publisher = Role<PublisherOperations>;

/** Runs with a directory of its own for what is stored. */
async function withData<T>(run: (data: string) => Promise<T>): Promise<T> {
  const data = mkdtempSync(join(tmpdir(), 'flowbus-stored-'));
  try {
    return await run(data);
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

function goalFor(payload: number, value: number, at: Goal['at']): Goal | null {
  return payload === GOAL_PAYLOAD ? { value, at } : null;
}

/** Stores so many messages, as fast as it goes. */
async function fill(publisher: Publisher, messages: number, payload: number): Promise<void> {
  const whole = { from: 0, until: now() + PATIENCE, messages, outstanding: FILLING };
  await publisher.ask('store', { topic: TOPIC, payload, ...whole }, PATIENCE);
}

/** Consumes all that is stored, timed behind the warm-up. */
async function consumeAll(stage: Stage, messages: number, index: number) {
  const subscriber = await stage.subscriber(`consumer-${index}`);
  const warmup = Math.max(1, Math.floor(messages * WARMUP_PART));
  const before = stage.cpu().cpu;
  await subscriber.role.ask('consume', { topic: TOPIC, timed: false, notes: [warmup, messages] });
  const received = await arrivals(messages, async () => [(await subscriber.role.ask('mark', null)).count]);
  const after = stage.cpu().cpu;
  const [from, to] = await subscriber.role.ask('passed', null);
  return {
    account: accountOf(messages, received),
    rate: to === undefined ? null : ((messages - warmup) / (to - from)) * 1000,
    cpu: before === null || after === null ? null : ((after - before) * 1e6) / messages,
    notes: await subscriber.role.ask('notes', null),
  };
}

/** A fixed number of publishes on their way, for a time; then it is looked whether all of them are there. */
function storing(outstanding: number, options: AssuredOptions): Task {
  const { payload } = options;
  const seconds = options.seconds ?? SECONDS;
  const warmup = options.warmup ?? WARMUP;
  const goal = outstanding === FILLING ? 300_000 : outstanding === 1 ? 20_000 : null;
  return {
    name: outstanding === 1 ? 'publish, one at a time' : `publish, ${outstanding} on their way`,
    conditions: { 'payload bytes': payload, 'warm-up s': warmup, 'measured s': seconds },
    figures: [
      { name: 'stored', unit: 'per second', goal: goal === null ? null : goalFor(payload, goal, 'least') },
      ...['storedP50', 'storedP95', 'storedP99'].map((name): FigureShape => ({ name, unit: 'us' })),
      { name: 'cpuPerPublish', unit: 'ns' },
    ],
    compared: [
      { name: 'stored', better: 'more' },
      { name: 'cpuPerPublish', better: 'less' },
    ],
    without: [],
    run: (bus, index) =>
      withData((data) =>
        onStage(settingOf(bus, options, data), async (stage) => {
          const { role } = await stage.publisher(`publisher-${index}`);
          await role.ask('keep', TOPIC);
          const from = now() + warmup * 1000;
          const until = from + seconds * 1000;
          const run = { topic: TOPIC, payload, outstanding, from, until, messages: null };
          const [{ count, p50, p95, p99 }, share] = await Promise.all([
            role.ask('store', run, until - now() + PATIENCE),
            stage.cpuShare(from, until),
          ]);
          const { published, notes } = await role.ask('finish', null);
          const consumed = await consumeAll(stage, published, index);
          return {
            values: {
              stored: count / seconds,
              storedP50: p50,
              storedP95: p95,
              storedP99: p99,
              cpuPerPublish: share === null || count === 0 ? null : (share * 1e9 * seconds) / count,
            },
            account: consumed.account,
            notes: [...notes, ...consumed.notes],
          };
        }),
      ),
  };
}

function consuming(options: AssuredOptions): Task {
  const { payload, backlog } = options;
  return {
    name: `consume a backlog of ${backlog}, each acked`,
    conditions: { 'payload bytes': payload, 'timed behind': `${WARMUP_PART * 100} % of it` },
    figures: [
      { name: 'consumed', unit: 'per second', goal: goalFor(payload, 500_000, 'least') },
      { name: 'cpuPerConsume', unit: 'ns' },
    ],
    compared: [
      { name: 'consumed', better: 'more' },
      { name: 'cpuPerConsume', better: 'less' },
    ],
    without: [],
    run: (bus, index) =>
      withData((data) =>
        onStage(settingOf(bus, options, data), async (stage) => {
          const { role } = await stage.publisher(`publisher-${index}`);
          await role.ask('keep', TOPIC);
          await fill(role, backlog, payload);
          const { rate, cpu, account, notes } = await consumeAll(stage, backlog, index);
          return { values: { consumed: rate, cpuPerConsume: cpu }, account, notes: [...notes] };
        }),
      ),
  };
}

/** In open loop: from when a message was due until its handler has acked it, and until its publisher has its ack. */
function pacing(options: AssuredOptions): Task {
  const { payload, rate } = options;
  const seconds = options.seconds ?? SECONDS;
  const warmup = options.warmup ?? WARMUP;
  const goal = rate <= GOAL_RATE ? goalFor(payload, 2000, 'most') : null;
  const latencies = [
    'p50',
    'p95',
    'p99',
    'p999',
    'max',
    'storedP50',
    'storedP95',
    'latenessP50',
    'latenessP99',
  ];
  return {
    name: `${rate}/s`,
    conditions: { 'payload bytes': payload, 'warm-up s': warmup, 'measured s': seconds },
    figures: [
      ...latencies.map((name): FigureShape => ({ name, unit: 'us', goal: name === 'p95' ? goal : null })),
      { name: 'cpuPerDelivery', unit: 'ns' },
    ],
    compared: [
      { name: 'p50', better: 'less' },
      { name: 'p95', better: 'less' },
      { name: 'cpuPerDelivery', better: 'less' },
    ],
    without: [],
    run: (bus, index) =>
      withData((data) =>
        onStage(settingOf(bus, options, data), async (stage) => {
          const [subscriber, publisher] = await Promise.all([
            stage.subscriber(`consumer-${index}`),
            stage.publisher(`publisher-${index}`),
          ]);
          await publisher.role.ask('keep', TOPIC);
          await subscriber.role.ask('consume', { topic: TOPIC, timed: true, notes: [] });
          const start = now() + AHEAD;
          const [from, until] = [start + warmup * 1000, start + (warmup + seconds) * 1000];
          await subscriber.role.ask('recordFrom', from);
          const pace = {
            topic: TOPIC,
            payload,
            rate,
            start,
            messages: Math.round((warmup + seconds) * rate),
            warmup: Math.round(warmup * rate),
          };
          const [{ lateness, stored }, share] = await Promise.all([
            publisher.role.ask('storePaced', pace, until - now() + PATIENCE),
            stage.cpuShare(from, until),
          ]);
          const { published, notes } = await publisher.role.ask('finish', null);
          const received = await arrivals(published, async () => [
            (await subscriber.role.ask('mark', null)).count,
          ]);
          const { p50, p95, p99, p999, max } = await subscriber.role.ask('latencies', null);
          return {
            values: {
              p50,
              p95,
              p99,
              p999,
              max,
              storedP50: stored.p50,
              storedP95: stored.p95,
              latenessP50: lateness.p50,
              latenessP99: lateness.p99,
              cpuPerDelivery: share === null ? null : (share * 1e9) / rate,
            },
            account: accountOf(published, received),
            notes: [...notes, ...(await subscriber.role.ask('notes', null))],
          };
        }),
      ),
  };
}

/** A broker that has stored messages is stopped, and another one started where they lie. */
function recovering(options: AssuredOptions): Task {
  const { payload, recover } = options;
  return {
    name: `recover ${recover} messages`,
    conditions: { 'payload bytes': payload },
    figures: [
      { name: 'start', unit: 'ms', goal: goalFor(payload, RECOVERY_GOAL, 'most') },
      { name: 'startEmpty', unit: 'ms' },
      { name: 'memoryFull', unit: 'bytes' },
    ],
    compared: [{ name: 'start', better: 'less' }],
    without: [],
    run: (bus, index) =>
      withData(async (data) => {
        const setting = settingOf(bus, options, data);
        const startEmpty = await onStage(setting, async (stage) => {
          const { role } = await stage.publisher(`publisher-${index}`);
          await role.ask('keep', TOPIC);
          await fill(role, recover, payload);
          return stage.startedIn;
        });
        return onStage(setting, async (stage) => {
          const memoryFull = stage.memory()?.bytes ?? null;
          const { account, notes } = await consumeAll(stage, recover, index);
          return { values: { start: stage.startedIn, startEmpty, memoryFull }, account, notes: [...notes] };
        });
      }),
  };
}

/** Live messages, first without and then beside a mailbox for other topics that somebody consumes from, or the other way round. */
async function live(options: AssuredOptions, tell: (line: string) => void): Promise<Result> {
  const load = { ...LIVE, payload: options.payload };
  const without = (index: number): Promise<Run> =>
    onStage(settingOf('flowbus', options), (stage) => runLoad(stage, load, options, index));
  const beside = (index: number): Promise<Run> =>
    withData((data) =>
      onStage(settingOf('flowbus', options, data), async (stage) => {
        const { role } = await stage.subscriber(`idle-${index}`);
        await role.ask('consume', { topic: IDLE_TOPIC, timed: false, notes: [] });
        return runLoad(stage, load, options, index);
      }),
    );
  const what = {
    scenario: 'assured',
    case: 'live 1→1 beside a mailbox',
    conditions: { 'payload bytes': options.payload, 'messages per burst': LIVE.burst },
    figures: [
      { name: 'delivered', unit: 'per second' },
      { name: 'deliveredWithout', unit: 'per second' },
      { name: 'withMailboxes', unit: 'ratio', goal: { value: 1 - MAY_COST, at: 'least' } },
    ] as const,
  };
  return repeat(what, options.runs, tell, async (index) => {
    const order = index % 2 === 0 ? [without, beside] : [beside, without];
    const runs: Run[] = [];
    for (const run of order) runs.push(await run(index));
    if (index % 2 !== 0) runs.reverse();
    const [alone, both] = runs;
    const { delivered } = both.values;
    const deliveredWithout = alone.values.delivered;
    return {
      values: { delivered, deliveredWithout, withMailboxes: delivered! / deliveredWithout! },
      account: added(alone.account, both.account),
      notes: [...alone.notes, ...both.notes],
    };
  });
}

function added(a: Account, b: Account): Account {
  return {
    expected: a.expected + b.expected,
    received: a.received + b.received,
    lost: a.lost + b.lost,
    repeated: a.repeated + b.repeated,
  };
}

/** What buses do beside each other; the live messages have no tasks here, they are flowbus's alone. */
const TASKS: Readonly<Record<TaskName, (options: AssuredOptions) => Task[]>> = {
  publish: (options) => options.outstanding.map((outstanding) => storing(outstanding, options)),
  consume: (options) => [consuming(options)],
  pace: (options) => [pacing(options)],
  recover: (options) => [recovering(options)],
  live: () => [],
};

export const assured: Scenario = {
  name: 'assured',
  summary:
    'assured messages: stored, consumed with acks, at a fixed rate, and live ones beside them; also on JetStream',
  usual: false,
  flags: [
    new Option('--outstanding <list>', 'publishes that wait for their acks at a time, a case for each')
      .argParser(integers(1, 60_000))
      .default([FILLING, 1], `${FILLING},1`),
    new Option('--backlog <n>', 'messages that are stored, then consumed')
      .argParser(integer(10, 10_000_000))
      .default(500_000),
    new Option('--rate <n>', 'messages per second in open loop')
      .argParser(integer(1, 1_000_000))
      .default(GOAL_RATE),
    new Option('--recover <n>', 'messages that are stored when the broker is restarted')
      .argParser(integer(10, 10_000_000))
      .default(1_000_000),
    new Option('--tasks <list>', `which work: ${TASK_NAMES.join(', ')}`)
      .argParser(names(TASK_NAMES))
      .default(USUAL_TASKS, USUAL_TASKS.join(',')),
    payloadFlag(),
  ],
  async run(options: AssuredOptions, tell) {
    const buses = await present(['flowbus', 'jetstream'], options, tell);
    const tasks = options.tasks.flatMap((name) => TASKS[name](options));
    const results: Result[] = [];
    for (const task of tasks) results.push(...(await runBeside('assured', task, buses, options.runs, tell)));
    if (options.tasks.includes('live')) results.push(await live(options, tell));
    return results;
  },
};
