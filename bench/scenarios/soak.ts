/** Constant load for minutes while agents come and go: whether memory grows, and latency with it. */
import { Option } from 'commander';
import { now, sleep } from '../clock.js';
import { integer, minutes, payloadFlag, runsFlag } from '../flags.js';
import type { Role } from '../role.js';
import type { SubscriberOperations } from '../roles/subscriber.js';
import type { VisitorsOperations } from '../roles/visitors.js';
import {
  type Account,
  accountOf,
  type CommonOptions,
  type FigureShape,
  median,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage, settingOf } from '../stage.js';

const TOPIC = 'bench.soak';
/** Long enough for the heaps of all processes to have grown to what they need. */
const WARMUP = 10;
/** They share the rate. */
const PUBLISHERS = 2;

/** Seconds: a third has at least one sample. */
const LEAST_SECONDS = 3;

/** A second: more than the timer of the one process that sends them all can pace. */
const MOST_VISITS = 500;

/** So far ahead does the schedule begin (ms): until all have been told. */
const AHEAD = 100;

/** Beyond the length of the run, how long publishers and visitors may need to end (ms). */
const PATIENCE = 60_000;

interface SoakOptions extends CommonOptions {
  minutes: number;
  rate: number;
  visits: number;
  payload: number;
}

/** What is seen in one second. */
interface Sample {
  memory: number | null;
  cpu: number | null;
  p50: number | null;
  p99: number | null;
  missing: number;
}

function lengthsOf(options: SoakOptions): { warmup: number; seconds: number } {
  const seconds = Math.round(options.seconds ?? options.minutes * 60);
  return { warmup: options.warmup ?? WARMUP, seconds: Math.max(LEAST_SECONDS, seconds) };
}

/** Least squares: how much more `values` are from one to the next; null without two of them. */
export function slope(values: readonly (number | null)[]): number | null {
  const points = values.flatMap((value, index) => (value === null ? [] : [[index, value]]));
  if (points.length < 2) return null;
  const middle = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const mean = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const [above, below] = points.reduce(
    ([products, squares], [x, y]) => [
      products + (x - middle) * (y - mean),
      squares + (x - middle) * (x - middle),
    ],
    [0, 0],
  );
  return above / below;
}

/** Medians of the first third and of the last. */
export function thirds(values: readonly (number | null)[]): [number | null, number | null] {
  const size = Math.max(1, Math.floor(values.length / 3));
  const middleOf = (some: readonly (number | null)[]): number | null => {
    const known = some.filter((value) => value !== null);
    return known.length === 0 ? null : median(known);
  };
  return [middleOf(values.slice(0, size)), middleOf(values.slice(-size))];
}

/** One sample a second; of the messages, a second later, when all but those that are lost should be there. */
async function watch(
  stage: Stage,
  taker: Role<SubscriberOperations>,
  from: number,
  { seconds, rate }: { seconds: number; rate: number },
): Promise<Sample[]> {
  const samples: Sample[] = [];
  await sleep(from - now());
  let before = stage.cpu();
  for (let second = 1; second <= seconds + 1; second++) {
    await sleep(from + second * 1000 - now());
    if (second <= seconds) {
      const after = stage.cpu();
      const cpu =
        before.cpu === null || after.cpu === null ? null : (after.cpu - before.cpu) / (after.at - before.at);
      before = after;
      samples.push({ memory: stage.memory()?.bytes ?? null, cpu, p50: null, p99: null, missing: 0 });
    }
    if (second === 1) continue;
    const { count, p50, p99 } = await taker.ask('interval', second - 2);
    const sample = samples[second - 2];
    sample.missing = Math.max(0, rate - count);
    if (count > 0) Object.assign(sample, { p50, p99 });
  }
  return samples;
}

function valuesOf(samples: readonly Sample[]): Record<string, number | null> {
  const memory = samples.map((sample) => sample.memory);
  const cpu = samples.map((sample) => sample.cpu).filter((value) => value !== null);
  const growth = slope(memory);
  const [p99First, p99Last] = thirds(samples.map(({ p99 }) => p99));
  return {
    memoryStart: memory[0],
    memoryEnd: memory[memory.length - 1],
    memoryGrowth: growth === null ? null : growth * 60,
    p99First,
    p99Last,
    cpu: cpu.length === 0 ? null : median(cpu),
  };
}

function together(accounts: readonly Account[]): Account {
  const add = (name: keyof Account): number => accounts.reduce((sum, account) => sum + account[name], 0);
  return {
    expected: add('expected'),
    received: add('received'),
    lost: add('lost'),
    repeated: add('repeated'),
  };
}

/** How one of the publishers publishes. */
function paceOf(
  number: number,
  options: SoakOptions,
  start: number,
  lengths: { warmup: number; length: number },
) {
  const rate = Math.floor(options.rate / PUBLISHERS) + (number < options.rate % PUBLISHERS ? 1 : 0);
  const messages = Math.round(lengths.length * rate);
  const warmup = Math.round(lengths.warmup * rate);
  return { topic: `${TOPIC}.${number}`, payload: options.payload, rate, start, messages, warmup };
}

async function run(stage: Stage, options: SoakOptions, index: number): Promise<Run> {
  const { rate, payload } = options;
  const { warmup, seconds } = lengthsOf(options);
  const length = warmup + seconds;
  const host = `host-${index}`;
  const [{ role: taker }, { role: answerer }, visitors] = await Promise.all([
    stage.subscriber(`subscriber-${index}`),
    stage.subscriber(host),
    stage.role<VisitorsOperations>('visitors'),
  ]);
  const makers = await Promise.all(
    Array.from({ length: PUBLISHERS }, (_, number) => stage.publisher(`publisher-${index}-${number}`)),
  );
  await answerer.ask('answer', null);
  await taker.ask('subscribe', { pattern: `${TOPIC}.*`, timed: true });
  const start = now() + AHEAD;
  const from = start + warmup * 1000;
  await taker.ask('recordIntervals', from);
  const patience = length * 1000 + PATIENCE;
  const visits = Math.max(1, Math.round(options.visits * length));
  const { bus, url } = stage;
  const [samples, came] = await Promise.all([
    watch(stage, taker, from, { seconds, rate }),
    visitors.ask(
      'receive',
      { bus, url, host, prefix: `visitor-${index}`, payload, rate: options.visits, start, from, visits },
      patience,
    ),
    ...makers.map(({ role }, number) =>
      role.ask('pace', paceOf(number, options, start, { warmup, length }), patience),
    ),
  ]);
  const finished = await Promise.all(makers.map(({ role }) => role.ask('finish', null)));
  const published = finished.reduce((sum, one) => sum + one.published, 0);
  const received = await arrivals(published, async () => [(await taker.ask('mark', null)).count]);
  const series = (name: keyof Sample): (number | null)[] => samples.map((sample) => sample[name]);
  const measure = stage.memory()?.measure;
  return {
    values: {
      ...valuesOf(samples),
      visitP50: came.lengths.p50,
      visitP99: came.lengths.p99,
    },
    series: Object.fromEntries(SERIES.map(({ name }) => [name, series(name)])),
    account: together([accountOf(published, received), accountOf(visits, [came.answered])]),
    notes: [
      ...finished.flatMap(({ notes }) => notes),
      ...came.notes,
      ...(await taker.ask('notes', null)),
      ...(measure === undefined
        ? []
        : [`memory is ${measure} of primary and shards, shared memory included`]),
    ],
  };
}

const SERIES: readonly { name: keyof Sample; unit: FigureShape['unit'] }[] = [
  { name: 'memory', unit: 'bytes' },
  { name: 'cpu', unit: 'cores' },
  { name: 'p50', unit: 'us' },
  { name: 'p99', unit: 'us' },
  { name: 'missing', unit: 'count' },
];

const FIGURES: readonly FigureShape[] = [
  { name: 'memoryStart', unit: 'bytes' },
  { name: 'memoryEnd', unit: 'bytes' },
  { name: 'memoryGrowth', unit: 'bytes per minute' },
  { name: 'p99First', unit: 'us' },
  { name: 'p99Last', unit: 'us' },
  { name: 'cpu', unit: 'cores' },
  { name: 'visitP50', unit: 'us' },
  { name: 'visitP99', unit: 'us' },
];

export const soak: Scenario = {
  name: 'soak',
  summary: 'constant load for minutes, agents come and go: memory, processor time and latency over time',
  usual: false,
  flags: [
    // Minutes each: five would rarely be meant.
    runsFlag().default(1),
    new Option('--minutes <m>', 'measured time of one run, unless --seconds says it')
      .argParser(minutes)
      .default(2),
    new Option('--rate <n>', 'messages per second in all')
      .argParser(integer(PUBLISHERS, 10_000_000))
      .default(20_000),
    new Option('--visits <n>', 'agents per second that connect, subscribe, ask and leave')
      .argParser(integer(1, MOST_VISITS))
      .default(20),
    payloadFlag(),
  ],
  async run(options: SoakOptions, tell) {
    const { warmup, seconds } = lengthsOf(options);
    const what = {
      scenario: 'soak',
      case: '',
      conditions: {
        'messages per s': options.rate,
        'visits per s': options.visits,
        'payload bytes': options.payload,
        'warm-up s': warmup,
        'measured s': seconds,
        shards: options.shards ?? 'one per core',
      },
      figures: FIGURES,
      series: SERIES,
    };
    const result = await repeat(what, options.runs, tell, (index) =>
      onStage(settingOf('flowbus', options), (stage) => run(stage, options, index)),
    );
    return [result];
  },
};
