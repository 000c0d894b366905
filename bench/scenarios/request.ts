/** Request and reply between two agents: how long, and how many a second. */
import { Option } from 'commander';
import { now } from '../clock.js';
import { integers, payloadFlag } from '../flags.js';
import { type CommonOptions, type FigureShape, type Run, repeat, type Scenario } from '../scenario.js';
import { onStage, type Stage, settingOf } from '../stage.js';

const SECONDS = 3;
const WARMUP = 1;

/** Beyond the length of the run, how long the last answers may take (ms). */
const PATIENCE = 60_000;

const GOAL_P50 = 120;

export interface RequestOptions extends CommonOptions {
  outstanding: readonly number[];
  payload: number;
}

/** One run. `outstanding`: requests on their way at a time. `index` is part of the names, by which agents are placed. */
export async function runRequests(
  stage: Stage,
  what: { outstanding: number; payload: number },
  options: CommonOptions,
  index: number,
): Promise<Run> {
  const callee = `callee-${index}`;
  const [answerer, caller] = await Promise.all([
    stage.subscriber(callee),
    stage.publisher(`caller-${index}`),
  ]);
  await answerer.role.ask('answer', null);
  const seconds = options.seconds ?? SECONDS;
  const from = now() + (options.warmup ?? WARMUP) * 1000;
  const until = from + seconds * 1000;
  const [{ calls, percentiles }, share] = await Promise.all([
    caller.role.ask('call', { name: callee, from, until, ...what }, until - now() + PATIENCE),
    stage.cpuShare(from, until),
  ]);
  const { notes } = await caller.role.ask('finish', null);
  const { p50, p95, p99, p999, max } = percentiles;
  return {
    values: {
      requests: calls / seconds,
      p50,
      p95,
      p99,
      p999,
      max,
      cpuPerRequest: share === null || calls === 0 ? null : (share * 1e6 * seconds) / calls,
      acrossShards: answerer.shard === caller.shard ? 0 : 1,
    },
    // A request that is not answered rejects, and fails the run.
    account: { expected: calls, received: calls, lost: 0, repeated: 0 },
    notes: [...notes, ...(await answerer.role.ask('notes', null))],
  };
}

function figuresOf(outstanding: number): FigureShape[] {
  return [
    { name: 'requests', unit: 'per second' },
    { name: 'p50', unit: 'us', goal: outstanding === 1 ? { value: GOAL_P50, at: 'most' } : null },
    ...['p95', 'p99', 'p999', 'max', 'cpuPerRequest'].map((name): FigureShape => ({ name, unit: 'us' })),
    { name: 'acrossShards', unit: 'count' },
  ];
}

export const request: Scenario = {
  name: 'request',
  summary: 'request and reply between two agents',
  usual: true,
  flags: [
    new Option('--outstanding <list>', 'requests on their way at a time, a case for each')
      .argParser(integers(1, 10_000))
      .default([1, 64], '1,64'),
    payloadFlag(),
  ],
  async run(options: RequestOptions, tell) {
    const { payload } = options;
    const results = [];
    for (const outstanding of options.outstanding) {
      const what = {
        scenario: 'request',
        case: `${outstanding} outstanding`,
        conditions: {
          'payload bytes': payload,
          'warm-up s': options.warmup ?? WARMUP,
          'measured s': options.seconds ?? SECONDS,
          shards: options.shards ?? 'one per core',
        },
        figures: figuresOf(outstanding),
      };
      results.push(
        await repeat(what, options.runs, tell, (index) =>
          onStage(settingOf('flowbus', options), (stage) =>
            runRequests(stage, { outstanding, payload }, options, index),
          ),
        ),
      );
    }
    return results;
  },
};
