/** Agents in processes of their own, and what they report. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { AgentReport, AgentSpec } from './agent-program.js';

const PROGRAM = fileURLToPath(new URL('./agent-program.js', import.meta.url));

export class AgentProcess {
  readonly #spec: () => AgentSpec;
  readonly #onReport: (report: AgentReport) => void;
  #process: ChildProcess | null;

  /** `spec` is asked at each start: what the agent goes on with may have changed. */
  constructor(spec: () => AgentSpec, onReport: (report: AgentReport) => void) {
    this.#spec = spec;
    this.#onReport = onReport;
    this.#process = null;
  }

  /** Resolves when it is connected, consumes, and publishes. */
  async start(): Promise<void> {
    const child = fork(PROGRAM, [JSON.stringify(this.#spec())], { execArgv: [] });
    this.#process = child;
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`an agent ended with ${code} before it was ready`)));
      child.on('message', (report: AgentReport) => {
        if ('ready' in report) resolve();
        else this.#onReport(report);
      });
    });
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Resolves when it is gone, and all that it has said has been read. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = Promise.all([once(child, 'exit'), once(child, 'disconnect')]);
    child.kill('SIGKILL');
    await gone;
  }
}
