/** The agent that finds workers, gives them tasks, and puts their answers together. */
import type { Agent } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import type { Task } from './corpus.js';
import { addCount, type Count, type CountPayload, emptyCount, fromPayload } from './count.js';

/** What a worker says it can do. */
export const CAPABILITY = 'count-words';

/** Its agentId, to which the answers to stored tasks go. */
export const COORDINATOR = 'coordinator';

/** Headers of a task, for whoever looks on. */
export const TASK_HEADER = 'task';
export const FILE_HEADER = 'file';

/** Workers that a task is given to before the coordinator gives up. */
const MAX_ATTEMPTS = 4;

/** How often the directory is asked while workers are missing (ms). */
const ASK_AGAIN = 50;

export interface Share {
  worker: string;
  tasks: number;
  words: number;
}

export interface Outcome {
  count: Count;
  /** In the order of their names. */
  shares: Share[];
  /** Times that a task was given to another worker. */
  retries: number;
  /** Workers that did not answer in time, and got nothing more. */
  setAside: string[];
}

export interface CoordinatorOptions {
  /** How long a worker may take for a task (ms). */
  timeout: number;
  /** Called with each answer that came. */
  onDone(done: number, all: number): void;
}

/** What the coordinator needs of an agent. */
export interface Requester {
  request(
    worker: string,
    payload: string,
    options: { timeout: number; headers: Record<string, string> },
  ): Promise<{ json<T>(): T }>;
}

interface Job {
  readonly task: Task;
  attempts: number;
}

/** Workers that have the capability and are online, once there are `least` of them. Throws when `patience` (ms) is over. */
export async function findWorkers(agent: Agent, least: number, patience: number): Promise<string[]> {
  const end = performance.now() + patience;
  for (;;) {
    const found = await agent.agents({ capability: CAPABILITY, online: true });
    if (found.length >= least) return found.map(({ agentId }) => agentId).sort();
    if (performance.now() > end)
      throw new Error(`Of ${least} workers ${found.length} were there after ${patience} ms.`);
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
  }
}

export class Coordinator {
  readonly #agent: Requester;
  readonly #options: CoordinatorOptions;
  readonly #waiting: Job[];
  /** Workers that have nothing to do while others still work: a task of theirs may come back. */
  #idle: ((job: Job | null) => void)[];
  readonly #all: number;
  #done: number;
  #retries: number;
  #failure: Error | null;
  readonly #count: Count;
  readonly #shares: Map<string, Share>;
  readonly #setAside: string[];

  constructor(agent: Requester, tasks: readonly Task[], options: CoordinatorOptions) {
    this.#agent = agent;
    this.#options = options;
    this.#waiting = tasks.map((task) => ({ task, attempts: 0 })).reverse();
    this.#idle = [];
    this.#all = tasks.length;
    this.#done = 0;
    this.#retries = 0;
    this.#failure = null;
    this.#count = emptyCount();
    this.#shares = new Map();
    this.#setAside = [];
  }

  /** Resolves when all tasks are answered. Rejects when one of them finds no worker that does it. */
  async run(workers: readonly string[]): Promise<Outcome> {
    for (const worker of workers) this.#shares.set(worker, { worker, tasks: 0, words: 0 });
    await Promise.all(workers.map((worker) => this.#employ(worker)));
    if (this.#failure !== null) throw this.#failure;
    if (this.#done < this.#all)
      throw new Error(`${this.#all - this.#done} tasks are left, and no worker answers any more.`);
    return {
      count: this.#count,
      shares: [...this.#shares.values()],
      retries: this.#retries,
      setAside: this.#setAside,
    };
  }

  /** One worker, one task at a time, until there are no more or it does not answer. */
  async #employ(worker: string): Promise<void> {
    for (;;) {
      const job = await this.#next();
      if (job === null) return;
      try {
        await this.#give(worker, job);
      } catch (error) {
        this.#back(job, worker, error);
        if (isAbsent(error)) {
          this.#setAside.push(worker);
          return;
        }
      }
    }
  }

  async #give(worker: string, { task }: Job): Promise<void> {
    const reply = await this.#agent.request(worker, task.text, {
      timeout: this.#options.timeout,
      headers: { [TASK_HEADER]: String(task.number), [FILE_HEADER]: encodeURI(task.path) },
    });
    const part = fromPayload(reply.json<CountPayload>());
    addCount(this.#count, part);
    const share = this.#shares.get(worker);
    if (share !== undefined) {
      share.tasks++;
      share.words += part.total;
    }
    this.#done++;
    this.#options.onDone(this.#done, this.#all);
    if (this.#done === this.#all) this.#dismiss();
  }

  /** Null: nothing is left to do. */
  #next(): Promise<Job | null> {
    if (this.#failure !== null || this.#done === this.#all) return Promise.resolve(null);
    const job = this.#waiting.pop();
    if (job !== undefined) return Promise.resolve(job);
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  /** A task that was not done: somebody else's turn. */
  #back(job: Job, worker: string, error: unknown): void {
    job.attempts++;
    if (job.attempts === MAX_ATTEMPTS) {
      const why = error instanceof Error ? error.message : String(error);
      this.#failure = new Error(
        `Task ${job.task.number} (${job.task.path}) failed ${MAX_ATTEMPTS} times, at last at ${worker}: ${why}`,
      );
      this.#dismiss();
      return;
    }
    this.#retries++;
    const idle = this.#idle.shift();
    // Behind all others, so that the worker that failed at it is not the one to take it again.
    if (idle === undefined) this.#waiting.unshift(job);
    else idle(job);
  }

  #dismiss(): void {
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve(null);
  }
}

/** Whether the worker is to be had no more, as opposed to having failed at one task. */
function isAbsent(error: unknown): boolean {
  return error instanceof FlowbusError && (error.code === 'TIMEOUT' || error.code === 'UNKNOWN_AGENT');
}
