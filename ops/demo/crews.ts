/** The processes of the workers, as the demo sees them. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Crew, CrewReport, FatalReport } from './worker.js';

const PROGRAM = fileURLToPath(new URL('./worker.js', import.meta.url));

/** How long a process may take to leave before it is killed (ms). */
const LEAVING = 3000;

/** Who is about to be killed. */
export interface Victim {
  worker: string;
  crew: Crew;
  process: ChildProcess;
}

export class Crews {
  /** One for each crew, and those that took the place of killed ones. */
  readonly #processes: ChildProcess[];
  readonly #crews: readonly Crew[];
  #onFatal: (victim: Victim) => void;
  /** Resolves with the worker that is in the midst of the fatal task; its process may be killed. */
  readonly atFatalTask: Promise<Victim>;

  constructor(url: string, workers: number, processes: number, stuck: number, fatalTask: number) {
    this.#onFatal = () => {};
    this.atFatalTask = new Promise((resolve) => {
      this.#onFatal = resolve;
    });
    this.#processes = [];
    const digits = String(workers).length;
    const names = Array.from({ length: workers }, (_, i) => `worker-${String(i + 1).padStart(digits, '0')}`);
    const stuckOnes = names.slice(0, stuck);
    this.#crews = Array.from({ length: processes }, (_, i) => ({
      url,
      workers: names.filter((_, number) => number % processes === i),
      stuck: stuckOnes,
      fatalTask,
    }));
  }

  /** Resolves when all workers are connected. Rejects when one cannot, or its process ends. */
  async start(): Promise<void> {
    await Promise.all(this.#crews.map((crew) => this.#start(crew)));
  }

  /** Kills the process of the worker as `kill -9` does, and starts another one with the same workers. */
  async replace({ crew, process }: Victim): Promise<void> {
    const gone = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGKILL');
    await gone;
    await this.#start(crew);
  }

  /** Resolves when all processes are gone. */
  async end(): Promise<void> {
    await Promise.all(this.#processes.map(end));
  }

  #start(crew: Crew): Promise<void> {
    const child = fork(PROGRAM, [JSON.stringify(crew)], { execArgv: [], stdio: ['ignore', 2, 2, 'ipc'] });
    this.#processes.push(child);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(new Error('A process of workers ended before they were connected.')));
      child.on('message', (message: CrewReport | FatalReport) => {
        if ('atFatalTask' in message) {
          this.#onFatal({ worker: message.atFatalTask, crew, process: child });
          return;
        }
        const { failure } = message;
        if (failure === null) resolve();
        else reject(new Error(`A worker cannot connect: ${failure}`));
      });
    });
  }
}

function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), LEAVING);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    if (child.connected) child.disconnect();
    else child.kill('SIGTERM');
  });
}
