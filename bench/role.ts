/** The harness's side of a role: starts the process, asks, and ends it. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Answer, type Operations, READY } from './roles/serve.js';

export type RoleName =
  | 'broker'
  | 'publisher'
  | 'subscriber'
  | 'swarm'
  | 'router'
  | 'holder'
  | 'http-publisher'
  | 'link-worker'
  | 'node'
  | 'visitors';

/** How long an answer may take unless the question says so (ms): the machine is busy while it measures. */
const PATIENCE = 30_000;

/** How long a role may take to end before it is killed (ms): a broker drains, and removes its files. */
const LEAVING = 15_000;

interface Question {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/** What an operation takes: null when it takes nothing. */
type ArgumentOf<F extends (argument: never) => unknown> = Parameters<F> extends [] ? null : Parameters<F>[0];

/** All that run. */
const running = new Set<Role<Operations>>();
/** Everything was ended: nothing is started any more. */
let over = false;

export class Role<O extends Operations> {
  readonly #name: RoleName;
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;
  readonly #gone: Promise<void>;
  /** Bounded by what the scenarios ask at a time. */
  readonly #questions: Map<number, Question>;
  #asked: number;
  #leaving: boolean;

  private constructor(name: RoleName, onCollection?: (text: string) => void) {
    this.#name = name;
    this.#questions = new Map();
    this.#asked = 0;
    this.#leaving = false;
    this.#child = fork(fileURLToPath(new URL(`./roles/${name}.js`, import.meta.url)), {
      // The processes that it forks inherit it.
      execArgv: onCollection === undefined ? [] : ['--trace-gc'],
      // What a role has to say goes to people, standard output is for results.
      stdio: ['ignore', onCollection === undefined ? 2 : 'pipe', 2, 'ipc'],
    });
    if (onCollection !== undefined) this.#child.stdout?.setEncoding('utf8').on('data', onCollection);
    this.#ready = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', () => reject(new Error(`The ${name} ended before it was ready.`)));
      this.#child.once('message', (message) => {
        if (message === READY) resolve();
        else reject(new Error(`The ${name} began with something else than being ready.`));
      });
    });
    this.#gone = new Promise((resolve) => {
      this.#child.once('error', () => resolve());
      this.#child.once('exit', (code, signal) => {
        this.#ended(code, signal);
        resolve();
      });
    });
    this.#child.on('message', (message) => {
      if (typeof message === 'object') this.#answered(message as Answer);
    });
  }

  /** `onCollection`: takes what V8 logs of the garbage collections of the role, and of the processes that it starts. */
  static async start<O extends Operations>(
    name: RoleName,
    onCollection?: (text: string) => void,
  ): Promise<Role<O>> {
    if (over) throw new Error(`The ${name} was not started: the bench is over.`);
    const role = new Role<O>(name, onCollection);
    running.add(role as unknown as Role<Operations>);
    await role.#ready;
    return role;
  }

  /** Rejects with what the operation threw, when the process ends, or after `patience` milliseconds. */
  ask<K extends keyof O & string>(
    operation: K,
    argument: ArgumentOf<O[K]>,
    patience = PATIENCE,
  ): Promise<Awaited<ReturnType<O[K]>>> {
    return new Promise((resolve, reject) => {
      const id = ++this.#asked;
      const timer = setTimeout(() => {
        this.#questions.delete(id);
        reject(new Error(`The ${this.#name} did not answer "${operation}" within ${patience} ms.`));
      }, patience);
      this.#questions.set(id, { resolve: resolve as (value: unknown) => void, reject, timer });
      this.#child.send({ id, operation, argument }, (error) => {
        if (error !== null) this.#answered({ id, error: error.message });
      });
    });
  }

  /** Resolves when the process is gone. */
  async end(): Promise<void> {
    this.#leaving = true;
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LEAVING);
    await this.#gone;
    clearTimeout(timer);
  }

  #answered({ id, value, error }: Answer): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    this.#questions.delete(id);
    clearTimeout(question.timer);
    if (error === undefined) question.resolve(value);
    else question.reject(new Error(`The ${this.#name} failed: ${error}`));
  }

  #ended(code: number | null, signal: string | null): void {
    running.delete(this as unknown as Role<Operations>);
    const how = signal === null ? `with code ${code}` : `by ${signal}`;
    const what = this.#leaving ? 'was ended' : `ended ${how} while it was needed`;
    for (const { reject, timer } of this.#questions.values()) {
      clearTimeout(timer);
      reject(new Error(`The ${this.#name} ${what}.`));
    }
    this.#questions.clear();
  }
}

/** Ends every role that runs, for good: what is being asked rejects. */
export async function endRoles(): Promise<void> {
  over = true;
  await Promise.all([...running].map((role) => role.end()));
}
