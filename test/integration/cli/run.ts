/** The program `flowbus` in a process of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../../ops/cli/main.js', import.meta.url));
/** Below the time-outs of the tests, so that a test says what it waited for (ms). */
const DEADLINE = 25_000;

/** This environment without what would change how the command behaves. */
function cleanEnv(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!name.startsWith('FLOWBUS_') && name !== 'npm_command') env[name] = value;
  }
  return { ...env, ...extra };
}

/** One run of a program, `flowbus` unless said otherwise, with what it has written so far. */
export class Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  out = '';
  err = '';

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = tmpdir(), program?: string) {
    const command = program === undefined ? [process.execPath, MAIN] : [program];
    const [name, ...first] = command;
    this.child = spawn(name, [...first, ...args], { env: cleanEnv(env), cwd, stdio: 'pipe' });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.child.stdin?.on('error', () => {});
    this.ended = once(this.child, 'close').then(([code]) => code as number | null);
  }

  get lines(): string[] {
    return this.out.split('\n').slice(0, -1);
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const limit = Date.now() + DEADLINE;
    while (!condition()) {
      const over = this.child.exitCode !== null;
      assert.ok(!over && Date.now() < limit, `no ${what}; out: ${this.out} err: ${this.err}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async exit(): Promise<number | null> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), DEADLINE);
    const code = await this.ended;
    clearTimeout(timer);
    return code;
  }
}

/** What `start --json` says first. */
export interface Ready {
  event: string;
  url: string;
  host: string;
  port: number;
  node: string;
  shards: number;
  live: number;
  links: string;
  pid: number;
}

/** Ends what still runs of these. */
export async function endAll(runs: readonly Run[]): Promise<void> {
  for (const { child } of runs) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  }
  await Promise.all(runs.map((run) => run.exit()));
}
