/** `npm run demo`: a broker, a crowd of agents, one piece of real work, and a check of what comes out. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type Agent, connect } from '../../lib/client/index.js';
import { makeConfig } from '../../lib/config/index.js';
import { createLogger } from '../../lib/telemetry/log.js';
import { type RunningNode, startNode } from '../../shards/primary.js';
import { CommandError, Exit, failureLine, failureOf } from '../cli/exit.js';
import { Output } from '../cli/output.js';
import { COORDINATOR, Coordinator, findWorkers } from './coordinator.js';
import { type Corpus, readCorpus, type Task, tasksOf } from './corpus.js';
import { addCount, type Count, countWords, differenceOf, emptyCount, topWords } from './count.js';
import { Collection, type CrashReport, publishTasks } from './crash.js';
import { Crews } from './crews.js';
import { Monitor } from './monitor.js';
import { type DemoReport, progressLine, resultLines, startLines } from './report.js';

/** dist/ops/demo/main.js → the packages beside the checkout's sources. */
const NODE_MODULES = fileURLToPath(new URL('../../../node_modules', import.meta.url));

/** How long all workers together may take to appear in the directory (ms). */
const APPEARING = 10_000;

/** How long the monitor may take to see the last status (ms), and how often that is looked at. */
const LAST_STATUS = 2000;
const LOOK = 10;

/** No demo takes longer (ms). */
const DEADLINE = 55_000;

/** Time of the broker to say goodbye (ms). */
const DRAIN_TIMEOUT = 2000;

/** Lines of progress. */
const STEPS = 10;

const TOP = 10;

interface DemoOptions {
  workers: number;
  processes: number;
  corpus: string;
  timeout: number;
  stuck: number;
  json?: boolean;
}

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

const EXAMPLES = `
Examples:
  npm run demo
  npm run demo -- --workers 200 --processes 8
  npm run demo -- --stuck 2 --timeout 500

Exit codes: 0 the result is right · 1 it is not, or something failed · 2 wrong arguments · 130 interrupted`;

function commandLine(): Command {
  return (
    new Command('demo')
      .description(
        'Agents count the words of the texts under node_modules, over a broker that is started for it; the result is checked.',
      )
      .addOption(new Option('--workers <n>', 'agents that count').argParser(integer(1, 1000)).default(50))
      .addOption(
        new Option('--processes <n>', 'processes that hold the workers').argParser(integer(1, 64)).default(5),
      )
      .addOption(new Option('--corpus <folder>', 'where the texts are').default(NODE_MODULES, 'node_modules'))
      .addOption(
        new Option('--timeout <ms>', 'how long a worker may take for a task')
          .argParser(integer(10, 60_000))
          .default(5000),
      )
      .addOption(
        new Option('--stuck <n>', 'workers that take tasks and never answer: others get their tasks')
          .argParser(integer(0, 1000))
          .default(0),
      )
      .option('--json', 'one JSON object with the result instead of the text')
      .addHelpText('after', EXAMPLES)
      .allowExcessArguments(false)
      // What goes wrong is printed once, by main.
      .configureOutput({ outputError: () => {} })
      .exitOverride()
  );
}

function load(folder: string): { corpus: Corpus; tasks: Task[] } {
  let corpus: Corpus;
  try {
    corpus = readCorpus(folder);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(
      Exit.usage,
      'BAD_OPTION',
      `the corpus cannot be read (${why})`,
      'Name a folder with --corpus.',
    );
  }
  const tasks = tasksOf(corpus);
  if (tasks.length > 0) return { corpus, tasks };
  throw new CommandError(
    Exit.usage,
    'BAD_OPTION',
    `there are no *.md and no LICENSE* files in ${folder}`,
    'Name a folder with some by --corpus.',
  );
}

/** Everything that has to be ended, whatever comes, and also what was only about to start. */
class Scene {
  #node: Promise<RunningNode> | null = null;
  /** Where the broker keeps its journals meanwhile. */
  #dataDir: string | null = null;
  #crews: Crews | null = null;
  readonly #agents: Promise<Agent>[] = [];
  #ended = false;

  startNode(): Promise<RunningNode> {
    this.#dataDir = mkdtempSync(join(tmpdir(), 'flowbus-demo-'));
    const config = makeConfig({
      port: 0,
      logLevel: 'warn',
      drainTimeout: DRAIN_TIMEOUT,
      dataDir: this.#dataDir,
    });
    this.#node = startNode(config, createLogger(config));
    return this.#node;
  }

  agent(url: string, agentId: string): Promise<Agent> {
    this.#check();
    const agent = connect(url, { agentId, agentType: agentId, mailbox: agentId === COORDINATOR });
    this.#agents.push(agent);
    return agent;
  }

  startCrews(crews: Crews): Promise<void> {
    this.#check();
    this.#crews = crews;
    return crews.start();
  }

  async end(): Promise<void> {
    this.#ended = true;
    for (const agent of await Promise.allSettled(this.#agents)) {
      if (agent.status === 'fulfilled') await agent.value.close();
    }
    await this.#crews?.end();
    const [node] = await Promise.allSettled([this.#node]);
    if (node.status === 'fulfilled') await node.value?.stop();
    if (this.#dataDir !== null) rmSync(this.#dataDir, { recursive: true, force: true });
  }

  #check(): void {
    if (this.#ended) throw new Error('The demo is over.');
  }
}

async function play(scene: Scene, options: DemoOptions, output: Output): Promise<DemoReport> {
  const began = performance.now();
  const { corpus, tasks } = load(resolve(options.corpus));
  const { url, shards, linkKind: links } = await scene.startNode();
  const processes = Math.min(options.processes, options.workers);
  const report: DemoReport = {
    ok: false,
    difference: null,
    node: { url, shards, links },
    corpus: {
      folder: resolve(options.corpus),
      files: corpus.files.length,
      bytes: corpus.bytes,
      leftOut: corpus.leftOut,
      tasks: tasks.length,
    },
    workers: options.workers,
    processes,
    totals: { words: 0, different: 0, lines: 0 },
    top: [],
    shares: [],
    crash: null,
    retries: 0,
    setAside: [],
    statuses: { messages: 0, workers: 0 },
    seconds: { start: 0, work: 0, single: 0 },
  };
  const print = (lines: readonly string[]): void => {
    if (!options.json) for (const line of lines) output.line(line);
  };
  print(startLines(report, output));

  const monitor = new Monitor(await scene.agent(url, 'monitor'));
  await monitor.watch();
  // Somewhere in the middle.
  const fatalTask = Math.floor(tasks.length / 2);
  const crews = new Crews(url, options.workers, processes, options.stuck, fatalTask);
  const agent = await scene.agent(url, COORDINATOR);
  await scene.startCrews(crews);
  const workers = await findWorkers(agent, options.workers, APPEARING);

  const started = performance.now();
  let step = 0;
  const coordinator = new Coordinator(agent, tasks, {
    timeout: options.timeout,
    onDone: (done, all) => {
      const reached = Math.floor((done / all) * STEPS);
      if (reached === step) return;
      step = reached;
      print([progressLine(done, all, monitor.workers, monitor.working)]);
    },
  });
  const outcome = await coordinator.run(workers);
  const worked = performance.now();

  // Two for each task that was answered; the last may still be on their way.
  while (monitor.messages < 2 * tasks.length && performance.now() < worked + LAST_STATUS)
    await new Promise((wake) => setTimeout(wake, LOOK));

  const crash = await playCrash(agent, crews, tasks, fatalTask);

  const checked = performance.now();
  const single = emptyCount();
  for (const { text } of corpus.files) addCount(single, countWords(text));
  const { count } = outcome;
  report.difference = differenceOf(count, single) ?? differenceOf(crash.count, single);
  report.crash = crash.report;
  report.ok = report.difference === null;
  report.totals = { words: count.total, different: count.words.size, lines: count.lines };
  report.top = topWords(count, TOP);
  report.shares = outcome.shares;
  report.retries = outcome.retries;
  report.setAside = outcome.setAside;
  report.statuses = { messages: monitor.messages, workers: monitor.workers };
  report.seconds = {
    start: (started - began) / 1000,
    work: (worked - started) / 1000,
    single: (performance.now() - checked) / 1000,
  };
  print(resultLines(report, output));
  return report;
}

/** The same tasks once more, by mailboxes, and with a death. */
async function playCrash(
  agent: Agent,
  crews: Crews,
  tasks: readonly Task[],
  fatalTask: number,
): Promise<{ report: CrashReport; count: Count }> {
  const began = performance.now();
  const collection = new Collection(tasks);
  agent.on('message', (message) => collection.take(message));
  await publishTasks(agent, tasks);
  const victim = await crews.atFatalTask;
  await crews.replace(victim);
  await collection.complete;
  const { heirs, redelivered, repeats, count } = collection;
  const report: CrashReport = {
    task: fatalTask,
    worker: victim.worker,
    process: victim.process.pid ?? 0,
    heir: heirs.get(fatalTask) ?? '',
    redelivered,
    repeats,
    seconds: (performance.now() - began) / 1000,
  };
  return { report, count };
}

/** `cause` rejects when the demo is not to go on: at a signal, or when its time is over. */
function interruption(): { cause: Promise<never>; over(): void } {
  let timer: NodeJS.Timeout | undefined;
  let onSignal = (): void => {};
  const cause = new Promise<never>((_, reject) => {
    onSignal = () =>
      reject(new CommandError(Exit.interrupted, 'INTERRUPTED', 'interrupted', 'Start it again.'));
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    timer = setTimeout(
      () =>
        reject(
          new CommandError(
            Exit.failed,
            'TIMEOUT',
            `not done after ${DEADLINE} ms`,
            'Look whether the machine is busy.',
          ),
        ),
      DEADLINE,
    );
  });
  // It may come when nobody awaits it any more.
  cause.catch(() => {});
  return {
    cause,
    over: () => {
      clearTimeout(timer);
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}

async function main(): Promise<number> {
  const output = new Output();
  const command = commandLine();
  try {
    command.parse();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return Exit.ok;
    const failure = failureOf(error);
    output.notice(failureLine(failure, process.argv.includes('--json')));
    return failure.exit;
  }
  const options = command.opts<DemoOptions>();
  const scene = new Scene();
  const { cause, over } = interruption();
  const playing = play(scene, options, output);
  try {
    const report = await Promise.race([playing, cause]);
    if (options.json) output.line(JSON.stringify(report));
    return report.ok ? Exit.ok : Exit.failed;
  } catch (error) {
    const failure = failureOf(error);
    output.notice(failureLine(failure, options.json ?? false));
    return failure.exit;
  } finally {
    // What is left of it fails when its agents are closed.
    playing.catch(() => {});
    await scene.end();
    over();
    output.flush();
  }
}

process.exitCode = await main();
