/** Many agents that are just there: how fast they connect, what each costs the broker, one message to all of them, and a heartbeat of each. */
import { availableParallelism } from 'node:os';
import { Option } from 'commander';
import { openFilesLimit } from '../accounting.js';
import { now, sleep } from '../clock.js';
import { integer, payloadFlag } from '../flags.js';
import type { Role } from '../role.js';
import { Recorder } from '../roles/latency.js';
import type { PublisherOperations } from '../roles/publisher.js';
import type { SwarmOperations } from '../roles/swarm.js';
import {
  type CommonOptions,
  type FigureShape,
  median,
  type Run,
  repeat,
  type Scenario,
  ScenarioRefused,
} from '../scenario.js';
import { onStage, type Stage, settingOf } from '../stage.js';

const TOPIC = 'bench.all';

/** Connections that are being made at a time, over all swarms. */
const IN_FLIGHT = 256;

/** Broadcasts of a run: the first is warm-up. */
const BROADCASTS = 6;

/** Heartbeats of all, of a run: the first is warm-up. */
const HEARTBEATS = 6;
/** Milliseconds from one heartbeat of an agent to the next, as the SDK has it. */
const HEARTBEAT_INTERVAL = 15_000;
/** Time in which agents beat in turn, and before it as long in which all are silent. */
const SECONDS = 3;
/** So far ahead lies what several processes begin together (ms): until all have been told. */
const AHEAD = 200;

/** How long a broadcast, or a heartbeat of all, may take (ms). */
const PATIENCE = 30_000;

/** How long all connections together may take (ms for each, and at least). */
const CONNECT_PATIENCE = 10;
const LEAST_PATIENCE = 60_000;

/** The warm-up: one in so many agents, at least so many, connect and leave before anything is measured. */
const WARMUP_SHARE = 20;
const LEAST_WARMUP = 10;

/** Memory has settled when it changes by less than this part from one look to the next, or after so many looks. */
const SETTLED = 0.005;
const LOOKS = 20;
/** Between two looks (ms). */
const LOOK = 200;

/** Files that a process of Node has open beside its connections, with room to spare. */
const OTHER_FILES = 200;
/** Hashing does not spread agents evenly: a shard has up to so many times its share. */
const UNEVEN = 1.5;

const GOAL_AGENTS = 10_000;
const GOAL_BYTES = 8 * 1024;
const GOAL_CONNECTS = 5000;

interface ConnectionsOptions extends CommonOptions {
  agents: number;
  swarms: number;
  payload: number;
}

/** Throws ScenarioRefused when a process could not have so many connections open. */
function checkLimit(options: ConnectionsOptions): void {
  const limit = openFilesLimit();
  if (limit === null) return;
  const shards = options.shards ?? availableParallelism();
  const busiest = Math.max(options.agents / options.swarms, Math.min(1, UNEVEN / shards) * options.agents);
  const needed = Math.ceil(busiest) + OTHER_FILES;
  if (needed > limit) {
    throw new ScenarioRefused(
      `connections: ${options.agents} agents need ${needed} open files in one process, and ${limit} are allowed. ` +
        `Raise the limit ("ulimit -Hn", or LimitNOFILE), or take fewer with --agents.`,
    );
  }
}

/** The broker's memory once it has come to rest. */
async function settledMemory(stage: Stage): Promise<ReturnType<Stage['memory']>> {
  let before = stage.memory();
  for (let look = 0; look < LOOKS && before !== null; look++) {
    await sleep(LOOK);
    const after = stage.memory();
    if (after === null || Math.abs(after.bytes - before.bytes) < before.bytes * SETTLED) return after;
    before = after;
  }
  return before;
}

interface Crowd {
  swarms: Role<SwarmOperations>[];
  host: string;
  port: number;
}

/** One address has some 28,000 ports for connections to one server; all of 127.0.0.0/8 is this machine, on Linux. */
function localAddressOf(host: string, index: number): string | undefined {
  return host === '127.0.0.1' && process.platform === 'linux' ? `127.0.0.${index + 2}` : undefined;
}

async function gather(
  crowd: Crowd,
  prefix: string,
  agents: number,
): Promise<{ began: number; ended: number }> {
  const { swarms, host, port } = crowd;
  const inFlight = Math.max(1, Math.floor(IN_FLIGHT / swarms.length));
  const times = await Promise.all(
    swarms.map((swarm, index) => {
      const count =
        Math.floor((agents * (index + 1)) / swarms.length) - Math.floor((agents * index) / swarms.length);
      return swarm.ask(
        'connect',
        {
          host,
          port,
          prefix: `${prefix}-${index}`,
          count,
          inFlight,
          topic: TOPIC,
          localAddress: localAddressOf(host, index),
        },
        Math.max(LEAST_PATIENCE, agents * CONNECT_PATIENCE),
      );
    }),
  );
  return {
    began: Math.min(...times.map(({ began }) => began)),
    ended: Math.max(...times.map(({ ended }) => ended)),
  };
}

/** Milliseconds from publishing to the last agent that had it. */
async function broadcast(
  publisher: Role<PublisherOperations>,
  swarms: readonly Role<SwarmOperations>[],
  payload: number,
  number: number,
): Promise<number> {
  const patience = PATIENCE;
  const [at, ...times] = await Promise.all([
    publisher.ask('single', { topic: TOPIC, payload, number }),
    ...swarms.map((swarm) => swarm.ask('broadcast', { number, patience }, 2 * patience)),
  ]);
  return Math.max(...times.map((time) => time.at)) - at;
}

interface Heartbeat {
  /** Milliseconds from when all were due to each answer. */
  answers: number[];
  /** Broker's processor time for each (µs). */
  cpu: number | null;
}

/** One of all agents at once: the most that can come together. */
async function heartbeat(
  stage: Stage,
  swarms: readonly Role<SwarmOperations>[],
  agents: number,
): Promise<Heartbeat> {
  const before = stage.cpu().cpu;
  const what = { due: now() + AHEAD, patience: PATIENCE };
  const answers = await Promise.all(swarms.map((swarm) => swarm.ask('heartbeat', what, 2 * PATIENCE)));
  const after = stage.cpu().cpu;
  return {
    answers: answers.flat(),
    cpu: before === null || after === null ? null : ((after - before) * 1000) / agents,
  };
}

/** Cores that the broker keeps busy while nobody says a word, and while all beat at the interval of the SDK. */
async function beatInTurn(stage: Stage, swarms: readonly Role<SwarmOperations>[], length: number) {
  const from = now();
  const silent = await stage.cpuShare(from, from + length);
  const start = now() + AHEAD;
  const end = start + length;
  const what = { start, end, interval: HEARTBEAT_INTERVAL, patience: PATIENCE };
  const [beating, ...beats] = await Promise.all([
    stage.cpuShare(start, end),
    ...swarms.map((swarm) => swarm.ask('beatInTurn', what, AHEAD + length + 2 * PATIENCE)),
  ]);
  const sent = beats.reduce((sum, swarm) => sum + swarm.sent, 0);
  const answered = beats.reduce((sum, swarm) => sum + swarm.answered, 0);
  return { silent, beating, sent, answered };
}

async function run(stage: Stage, options: ConnectionsOptions): Promise<Run> {
  const { agents, payload } = options;
  const { hostname, port } = new URL(stage.url);
  const { role: publisher } = await stage.publisher('publisher');
  const swarms = await Promise.all(
    Array.from({ length: options.swarms }, () => stage.role<SwarmOperations>('swarm')),
  );
  const crowd = { swarms, host: hostname, port: Number(port) };
  await gather(crowd, 'warm', Math.max(LEAST_WARMUP, Math.floor(agents / WARMUP_SHARE)));
  await Promise.all(swarms.map((swarm) => swarm.ask('disperse', null)));

  const before = await settledMemory(stage);
  const cpuBefore = stage.cpu().cpu;
  const { began, ended } = await gather(crowd, 'agent', agents);
  const cpuAfter = stage.cpu().cpu;
  const after = await settledMemory(stage);

  const times: number[] = [];
  for (let number = 0; number < BROADCASTS; number++) {
    const time = await broadcast(publisher, swarms, payload, number);
    if (number > 0) times.push(time);
  }
  const beats: Heartbeat[] = [];
  for (let number = 0; number < HEARTBEATS; number++) {
    const beat = await heartbeat(stage, swarms, agents);
    if (number > 0) beats.push(beat);
  }
  const cpuPerHeartbeat = beats.some(({ cpu }) => cpu === null) ? null : median(beats.map(({ cpu }) => cpu!));
  const recorder = new Recorder();
  for (const { answers } of beats) for (const time of answers) recorder.record(time);
  const answers = recorder.percentiles();
  const inTurn = await beatInTurn(stage, swarms, (options.seconds ?? SECONDS) * 1000);

  const received = await Promise.all(swarms.map((swarm) => swarm.ask('received', null)));
  const notes = await Promise.all(swarms.map((swarm) => swarm.ask('notes', null)));
  const finished = await publisher.ask('finish', null);
  const total = received.reduce((sum, count) => sum + count, answers.count + inTurn.answered);
  const expected = agents * (BROADCASTS + HEARTBEATS - 1) + inTurn.sent;
  const time = median(times);
  return {
    values: {
      connects: (agents / (ended - began)) * 1000,
      memoryEach: before === null || after === null ? null : (after.bytes - before.bytes) / agents,
      memoryBefore: before?.bytes ?? null,
      cpuPerConnect:
        cpuBefore === null || cpuAfter === null ? null : ((cpuAfter - cpuBefore) * 1000) / agents,
      broadcast: time,
      broadcastRate: (agents / time) * 1000,
      heartbeat: median(beats.map((beat) => beat.answers.reduce((last, time) => Math.max(last, time), 0))),
      heartbeatP50: answers.p50,
      heartbeatP99: answers.p99,
      cpuPerHeartbeat,
      silentCores: inTurn.silent,
      heartbeatCores: inTurn.beating,
    },
    account: {
      expected,
      received: total,
      lost: Math.max(0, expected - total),
      repeated: Math.max(0, total - expected),
    },
    notes: [
      ...finished.notes,
      ...notes.flat(),
      ...(after === null ? [] : [`memory is ${after.measure} of primary and shards, shared memory included`]),
    ],
  };
}

function figuresOf(options: ConnectionsOptions): FigureShape[] {
  const asGoal = options.agents >= GOAL_AGENTS;
  return [
    { name: 'memoryEach', unit: 'bytes', goal: asGoal ? { value: GOAL_BYTES, at: 'most' } : null },
    { name: 'memoryBefore', unit: 'bytes' },
    { name: 'connects', unit: 'per second', goal: asGoal ? { value: GOAL_CONNECTS, at: 'least' } : null },
    { name: 'cpuPerConnect', unit: 'us' },
    { name: 'broadcast', unit: 'ms' },
    { name: 'broadcastRate', unit: 'per second' },
    { name: 'heartbeat', unit: 'ms' },
    { name: 'heartbeatP50', unit: 'us' },
    { name: 'heartbeatP99', unit: 'us' },
    { name: 'cpuPerHeartbeat', unit: 'us' },
    { name: 'silentCores', unit: 'cores' },
    { name: 'heartbeatCores', unit: 'cores' },
  ];
}

export const connections: Scenario = {
  name: 'connections',
  summary:
    'agents that are only connected: connect rate, broker memory each, a message to all, a heartbeat of all',
  usual: true,
  flags: [
    new Option('--agents <n>', 'how many').argParser(integer(1, 1_000_000)).default(10_000),
    new Option('--swarms <n>', 'processes that hold them').argParser(integer(1, 64)).default(4),
    payloadFlag(),
  ],
  async run(options: ConnectionsOptions, tell) {
    checkLimit(options);
    const what = {
      scenario: 'connections',
      case: '',
      conditions: {
        agents: options.agents,
        'swarm processes': options.swarms,
        'payload bytes': options.payload,
        'broadcasts per run': BROADCASTS - 1,
        shards: options.shards ?? 'one per core',
      },
      figures: figuresOf(options),
    };
    const result = await repeat(what, options.runs, tell, () =>
      onStage(settingOf('flowbus', options), (stage) => run(stage, options)),
    );
    return [result];
  },
};
