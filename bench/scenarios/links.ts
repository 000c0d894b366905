/** The links between two workers by themselves: rings in shared memory, and Unix sockets. */
import { Option } from 'commander';
import type { Links } from '../../lib/links.js';
import { sizeSegment } from '../../lib/memory/layout.js';
import { probeSharedMemory } from '../../lib/memory/probe.js';
import { createSegment, freeSharedMemory, removeSegment } from '../../lib/memory/segment.js';
import { createSocketsDir, removeSocketsDir } from '../../shards/sockets-dir.js';
import { now, sleep } from '../clock.js';
import { integers, payloadFlag } from '../flags.js';
import { Role } from '../role.js';
import type { LinkWorkerOperations } from '../roles/link-worker.js';
import {
  accountOf,
  type CommonOptions,
  type FigureShape,
  type Result,
  type Run,
  repeat,
  type Scenario,
  ScenarioRefused,
} from '../scenario.js';
import { arrivals } from '../stage.js';

const SECONDS = 2;
const WARMUP = 1;
const WORKERS = 2;

/** Beyond the length of the run, how long the last ping may take (ms). */
const PATIENCE = 60_000;

interface LinksOptions extends CommonOptions {
  payload: number;
  batch: readonly number[];
}

type Kind = Links['kind'];
type Worker = Role<LinkWorkerOperations>;

/** Opens two workers with links of this kind for `run`, and closes them whatever comes. */
async function withWorkers<T>(
  kind: Kind,
  payload: number,
  run: (sender: Worker, receiver: Worker) => Promise<T>,
): Promise<T> {
  const socketsDir = createSocketsDir();
  let segmentPath: string | null = null;
  const workers: Worker[] = [];
  try {
    if (kind === 'shared-memory') {
      // As large as a broker's with so many workers.
      const sizes = sizeSegment({
        workers: WORKERS,
        metricsBytes: 0,
        historyBytes: 0,
        retainedBytes: 0,
        free: freeSharedMemory(),
      });
      segmentPath = createSegment({ sizes, instance: `bench-${process.pid}` });
    }
    for (let slot = 0; slot < WORKERS; slot++) {
      const worker = await Role.start<LinkWorkerOperations>('link-worker');
      workers.push(worker);
      await worker.ask('open', { kind, slot, socketsDir, segmentPath, payload });
    }
    return await run(workers[0], workers[1]);
  } finally {
    await Promise.all(workers.map((worker) => worker.end()));
    if (segmentPath !== null) removeSegment(segmentPath);
    removeSocketsDir(socketsDir);
  }
}

/** What part of a core a worker kept busy. */
function share(before: { cpu: number; at: number }, after: { cpu: number; at: number }): number {
  return (after.cpu - before.cpu) / (after.at - before.at);
}

async function run(sender: Worker, receiver: Worker, batch: number, options: CommonOptions): Promise<Run> {
  const warmup = (options.warmup ?? WARMUP) * 1000;
  const length = (options.seconds ?? SECONDS) * 1000;
  const marks = () => Promise.all([sender.ask('mark', null), receiver.ask('mark', null)]);
  await sender.ask('flood', batch);
  await sleep(warmup);
  const [senderBefore, before] = await marks();
  await sleep(length);
  const [senderAfter, after] = await marks();
  const sent = await sender.ask('finish', null);
  const received = await arrivals(sent, async () => [(await receiver.ask('mark', null)).count]);
  const { disordered } = await receiver.ask('mark', null);

  const from = now() + warmup;
  const until = from + length;
  const { p50, p99 } = await sender.ask('ping', { from, until }, until - now() + PATIENCE);
  const records = ((after.count - before.count) / (after.at - before.at)) * 1000;
  const shares = { sender: share(senderBefore, senderAfter), receiver: share(before, after) };
  return {
    values: {
      records,
      cpuSender: (shares.sender * 1e9) / records,
      cpuReceiver: (shares.receiver * 1e9) / records,
      cores: shares.sender + shares.receiver,
      refusals: senderAfter.refusals - senderBefore.refusals,
      roundTripP50: p50,
      roundTripP99: p99,
    },
    account: accountOf(sent, received),
    notes: disordered === 0 ? [] : [`${disordered} records came out of order`],
  };
}

const FIGURES: readonly FigureShape[] = [
  { name: 'records', unit: 'per second' },
  { name: 'cpuSender', unit: 'ns' },
  { name: 'cpuReceiver', unit: 'ns' },
  { name: 'cores', unit: 'count' },
  { name: 'refusals', unit: 'count' },
  { name: 'roundTripP50', unit: 'us' },
  { name: 'roundTripP99', unit: 'us' },
];

/** Those that are asked for and work here. */
async function kindsOf({ links }: CommonOptions, tell: (line: string) => void): Promise<Kind[]> {
  if (links === 'unix-socket') return ['unix-socket'];
  if (await probeSharedMemory()) return links === 'auto' ? ['shared-memory', 'unix-socket'] : [links];
  const why = 'links: the probe of shared memory between two processes failed on this machine';
  if (links === 'shared-memory') throw new ScenarioRefused(`${why}; take --links unix-socket.`);
  tell(`${why}; only Unix sockets are measured`);
  return ['unix-socket'];
}

export const links: Scenario = {
  name: 'links',
  summary: 'the links between two workers alone: records one way, and one ping at a time',
  usual: false,
  flags: [
    payloadFlag().default(128),
    new Option('--batch <list>', 'records written per turn of the event loop, a case for each')
      .argParser(integers(1, 100_000))
      .default([512], '512'),
  ],
  async run(options: LinksOptions, tell) {
    const results: Result[] = [];
    for (const kind of await kindsOf(options, tell)) {
      for (const batch of options.batch) {
        const what = {
          scenario: 'links',
          case: kind,
          conditions: {
            'record bytes': options.payload,
            'records per batch': batch,
            'warm-up s': options.warmup ?? WARMUP,
            'measured s': options.seconds ?? SECONDS,
          },
          figures: FIGURES,
        };
        results.push(
          await repeat(what, options.runs, tell, () =>
            withWorkers(kind, options.payload, (sender, receiver) => run(sender, receiver, batch, options)),
          ),
        );
      }
    }
    return results;
  },
};
