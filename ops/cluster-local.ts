/** A cluster on this machine, for trying: starts nodes, says where they are, and ends them with itself. `npm run cluster -- 3` */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';

const FLOWBUS = fileURLToPath(new URL('./cli/main.js', import.meta.url));
const MAX_NODES = 20;
/** Between the port for agents and that for nodes, as a broker has it that is not told. */
const MESH_ABOVE = 1000;
/** Beyond the time that a node has to drain (ms). */
const PATIENCE = 15_000;

interface Options {
  readonly port: number;
  readonly shards: number;
  readonly dataDir?: string;
  readonly json?: boolean;
}

/** What a node prints when it is ready. */
interface Ready {
  readonly url: string;
  readonly node: string;
  readonly mesh: readonly string[];
  readonly pid: number;
}

class LocalNode {
  readonly name: string;
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #exit: string | null;

  constructor(name: string, flags: readonly string[]) {
    this.name = name;
    this.#exit = null;
    // In a group of its own: a Ctrl-C comes to it once, from here.
    this.#child = spawn(process.execPath, [FLOWBUS, 'start', '--json', '--node', name, ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    this.ended = once(this.#child, 'exit').then(([code, signal]) => {
      this.#exit = signal === null ? `with exit code ${code}` : `by ${signal}`;
    });
  }

  /** How it ended; null while it runs. */
  get exit(): string | null {
    return this.#exit;
  }

  /** Rejects when it ends before. */
  async ready(): Promise<Ready> {
    const lines = createInterface({ input: this.#child.stdout! });
    const line = await Promise.race([once(lines, 'line'), this.ended]);
    if (line === undefined) throw new Error(`${this.name} ended ${this.#exit}; its log is above`);
    return JSON.parse(line[0]) as Ready;
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#exit !== null) return;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE);
    await this.ended;
    clearTimeout(timer);
  }
}

/** `at`: the place of a port behind the first one; 0 stays "any". */
function port(first: number, at: number): string {
  return String(first === 0 ? 0 : first + at);
}

function startNode(
  number: number,
  { port: first, shards, dataDir }: Options,
  seed: string | undefined,
): LocalNode {
  const name = `node-${number}`;
  const flags = ['--port', port(first, number - 1), '--mesh-port', port(first, MESH_ABOVE + number - 1)];
  flags.push('--shards', String(shards), '--log-level', 'warn');
  if (seed !== undefined) flags.push('--join', seed);
  if (dataDir !== undefined) flags.push('--data-dir', join(dataDir, name));
  return new LocalNode(name, flags);
}

function say(options: Options, ready: readonly Ready[]): void {
  if (options.json) {
    console.log(JSON.stringify({ event: 'ready', nodes: ready }));
    return;
  }
  console.log(`A cluster of ${ready.length} nodes on this machine:\n`);
  for (const { node, url, mesh } of ready) console.log(`  ${node.padEnd(8)} ${url}  --join ${mesh[0]}`);
  const [first, last] = [ready[0].url, ready[ready.length - 1].url];
  console.log(`\nTry in other terminals:
  npx flowbus cluster --url ${first}
  npx flowbus sub 'demo.**' --url ${last}
  npx flowbus pub demo.hello '{"hi":1}' --url ${first}
\nCtrl-C ends them.`);
}

async function run(count: number, options: Options): Promise<number> {
  const nodes: LocalNode[] = [];
  let stopping: Promise<unknown> | null = null;
  const stop = (signal: NodeJS.Signals): void => {
    stopping ??= Promise.all(nodes.map((node) => node.stop(signal)));
  };
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('SIGTERM', () => stop('SIGTERM'));
  try {
    const start = (number: number, seed?: string): Promise<Ready> => {
      const node = startNode(number, options, seed);
      nodes.push(node);
      return node.ready();
    };
    const first = await start(1);
    const [seed] = first.mesh;
    if (seed === undefined) throw new Error('node-1 takes no other nodes; its log is above');
    const others = Array.from({ length: count - 1 }, (_, i) => start(i + 2, seed));
    say(options, [first, ...(await Promise.all(others))]);
  } catch (error) {
    if (stopping === null)
      console.error(`cluster-local: ${error instanceof Error ? error.message : String(error)}`);
    stop('SIGTERM');
    await stopping;
    return 1;
  }
  for (const node of nodes)
    node.ended.then(() => {
      if (stopping === null)
        console.error(`cluster-local: ${node.name} ended ${node.exit}; the others go on`);
    });
  await Promise.all(nodes.map(({ ended }) => ended));
  return nodes.every(({ exit }) => exit === 'with exit code 0') ? 0 : 1;
}

function between(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

const program = new Command('cluster-local')
  .description('Start a cluster of several nodes on this machine, until Ctrl-C or SIGTERM.')
  .argument('[nodes]', 'how many', between(2, MAX_NODES), 3)
  .addOption(
    new Option(
      '--port <number>',
      `of the first node, the others follow; for nodes ${MESH_ABOVE} more; 0 for any`,
    )
      .argParser(between(0, 60_000))
      .default(8081),
  )
  .addOption(new Option('--shards <number>', 'of each node').argParser(between(1, 60)).default(1))
  .option('--data-dir <path>', 'where each node gets a directory of its own for what must survive')
  .option('--json', 'one JSON line when all are ready, for scripts')
  .exitOverride();

try {
  program.parse();
} catch (error) {
  process.exit(error instanceof CommanderError && error.exitCode === 0 ? 0 : 2);
}
process.exit(await run(program.processedArgs[0] as number, program.opts<Options>()));
