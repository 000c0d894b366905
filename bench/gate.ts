/** `npm run bench -- gate`: whether the working tree is slower than a commit, by runs of both in turn. */
import { join } from 'node:path';
import { compare, type Pair, type Verdict } from './comparison.js';
import type { Report } from './report.js';
import { runToEnd, Worktree } from './worktree.js';

/** What is measured: few, so that it is done while somebody waits; between them they use all of the data path. */
const MEASUREMENTS: readonly (readonly string[])[] = [
  ['throughput', '--cases', '1:1'],
  ['throughput', '--cases', '1:10'],
  ['latency', '--rate', '20000'],
  ['request', '--outstanding', '1'],
];

/** Exit code of a bench that does not know what it was asked. */
const USAGE = 2;

export interface GateOptions {
  /** Percent. */
  tolerance: number;
  pairs: number;
  /** For both, as scenarios take them; null: their own. */
  seconds: number | null;
  warmup: number | null;
  shards: number | null;
}

/** What both are run from. */
interface Roots {
  tree: string;
  base: string;
}

/** The base has no such scenario, or no such flag; the message is what it said. */
class NotKnown extends Error {}

/** What the bench of a checkout measures. */
async function measure(
  roots: Roots,
  which: keyof Roots,
  args: readonly string[],
  signal: AbortSignal,
): Promise<Report> {
  const root = roots[which];
  const main = join(root, 'dist', 'bench', 'main.js');
  const { code, out, said } = await runToEnd({ cwd: root, signal }, process.execPath, main, ...args);
  if (code === USAGE && which === 'base') throw new NotKnown(said);
  // Also when it lost messages: what does is fast for the wrong reason.
  if (code !== 0) throw new Error(`gate: "${args.join(' ')}" of the ${which} ended with ${code}: ${said}`);
  return JSON.parse(out) as Report;
}

function argumentsOf(measurement: readonly string[], { seconds, warmup, shards }: GateOptions): string[] {
  const given = Object.entries({ seconds, warmup, shards }).filter(([, value]) => value !== null);
  return [
    ...measurement,
    ...given.flatMap(([name, value]) => [`--${name}`, String(value)]),
    ...['--runs', '1', '--json'],
  ];
}

/** The pairs of one measurement, so far; null when the base does not know it. */
type Taken = Pair[] | null;

/** A B, then B A: what drifts in the machine befalls both alike. */
async function measurePair(
  roots: Roots,
  args: readonly string[],
  isBaseFirst: boolean,
  signal: AbortSignal,
): Promise<Pair> {
  if (isBaseFirst) {
    const base = await measure(roots, 'base', args, signal);
    return { base, tree: await measure(roots, 'tree', args, signal) };
  }
  const tree = await measure(roots, 'tree', args, signal);
  return { tree, base: await measure(roots, 'base', args, signal) };
}

async function take(
  roots: Roots,
  options: GateOptions,
  signal: AbortSignal,
  tell: (line: string) => void,
): Promise<Taken[]> {
  const taken: Taken[] = MEASUREMENTS.map(() => []);
  for (let index = 0; index < options.pairs; index++) {
    for (const [number, measurement] of MEASUREMENTS.entries()) {
      const pairs = taken[number];
      if (pairs === null) continue;
      const title = measurement.join(' ');
      tell(`gate: ${title}: pair ${index + 1} of ${options.pairs}`);
      try {
        pairs.push(await measurePair(roots, argumentsOf(measurement, options), index % 2 === 0, signal));
      } catch (error) {
        if (!(error instanceof NotKnown)) throw error;
        tell(`gate: note: ${title} is skipped, the base does not know it (${error.message})`);
        taken[number] = null;
      }
    }
  }
  return taken;
}

/** `root`: the working tree, built. `commit`: what it is compared with. */
export async function runGate(
  root: string,
  commit: string,
  options: GateOptions,
  signal: AbortSignal,
  tell: (line: string) => void,
): Promise<Verdict> {
  const worktree = await Worktree.build(root, commit, signal, tell);
  try {
    const taken = await take({ tree: root, base: worktree.path }, options, signal, tell);
    const verdicts = taken.flatMap((pairs) =>
      pairs === null ? [] : [compare(pairs, options.tolerance / 100)],
    );
    return {
      comparisons: verdicts.flatMap(({ comparisons }) => comparisons),
      incomparable: verdicts.flatMap(({ incomparable }) => incomparable),
    };
  } finally {
    await worktree.remove();
  }
}
