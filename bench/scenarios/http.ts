/** Publishing over HTTP, one request for each message, to a subscriber that has everything. */
import { Option } from 'commander';
import { now } from '../clock.js';
import { integer, payloadFlag } from '../flags.js';
import type { HttpPublisherOperations } from '../roles/http-publisher.js';
import {
  type Account,
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Run,
  repeat,
  type Scenario,
} from '../scenario.js';
import { arrivals, onStage, type Stage, settingOf } from '../stage.js';

const TOPIC = 'bench.http';
const SECONDS = 3;
const WARMUP = 2;

/** Beyond the length of the run, how long the last answers may take (ms). */
const PATIENCE = 60_000;

interface HttpOptions extends CommonOptions {
  connections: number;
  pipelining: number;
  payload: number;
}

/**
 * What the broker took must come. Requests without an answer, because the run was over, may have been carried out or
 * not: what comes beyond those taken is a repetition only when more comes than was ever sent.
 */
function account({ taken, sent }: { taken: number; sent: number }, received: number): Account {
  return accountOf(Math.max(taken, Math.min(received, sent)), [received]);
}

async function run(stage: Stage, options: HttpOptions, index: number): Promise<Run> {
  const { connections, pipelining, payload } = options;
  const { role: subscriber } = await stage.subscriber(`subscriber-${index}`);
  await subscriber.ask('subscribe', { pattern: TOPIC, timed: false });
  const cannon = await stage.role<HttpPublisherOperations>('http-publisher');
  const seconds = options.seconds ?? SECONDS;
  const from = now() + (options.warmup ?? WARMUP) * 1000;
  const until = from + seconds * 1000;
  const url = `${stage.url.replace(/^ws/, 'http')}/v1/publish/${TOPIC}`;
  const [posted, share] = await Promise.all([
    cannon.ask('post', { url, payload, connections, pipelining, from, until }, until - now() + PATIENCE),
    stage.cpuShare(from, until),
  ]);
  const [received] = await arrivals(posted.taken, async () => [(await subscriber.ask('mark', null)).count]);
  const { count, p50, p95, p99, p999, max } = posted.percentiles;
  return {
    values: {
      requests: count / seconds,
      p50,
      p95,
      p99,
      p999,
      max,
      cpuPerRequest: share === null || count === 0 ? null : (share * 1e6 * seconds) / count,
    },
    account: account(posted, received),
    notes: [...posted.notes, ...(await subscriber.ask('notes', null))],
  };
}

const FIGURES: readonly FigureShape[] = [
  { name: 'requests', unit: 'per second' },
  ...['p50', 'p95', 'p99', 'p999', 'max', 'cpuPerRequest'].map((name): FigureShape => ({ name, unit: 'us' })),
];

export const http: Scenario = {
  name: 'http',
  summary: 'POST /v1/publish/<topic> with autocannon, to a subscriber that counts',
  usual: false,
  flags: [
    new Option('--connections <n>', 'that post at the same time').argParser(integer(1, 10_000)).default(10),
    new Option('--pipelining <n>', 'requests on their way at a time, on each connection')
      .argParser(integer(1, 1000))
      .default(1),
    payloadFlag(),
  ],
  async run(options: HttpOptions, tell) {
    const what = {
      scenario: 'http',
      case: `${options.connections} connections`,
      conditions: {
        'payload bytes': options.payload,
        pipelining: options.pipelining,
        'warm-up s': options.warmup ?? WARMUP,
        'measured s': options.seconds ?? SECONDS,
        shards: options.shards ?? 'one per core',
      },
      figures: FIGURES,
    };
    const result = await repeat(what, options.runs, tell, (index) =>
      onStage(settingOf('flowbus', options), (stage) => run(stage, options, index)),
    );
    return [result];
  },
};
