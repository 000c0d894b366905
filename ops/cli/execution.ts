/** Commands that work out the answers to requests, each in a process group of its own that ends with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { CommandError, Exit } from './exit.js';
import { MAX_INPUT } from './input.js';

/** So much of what a failing command says of itself goes into its error (bytes). */
const MAX_REASON = 512;

function failed(what: string): CommandError {
  return new CommandError(Exit.failed, 'HANDLER_FAILED', what, 'Mend the command; the requester was told.');
}

/** The shell, and whatever it has started. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}

export class Executions {
  readonly #command: string;
  readonly #timeout: number;
  /** As many as the agent has requests in hand. */
  readonly #running: Set<ChildProcess>;

  constructor(command: string, timeout: number) {
    this.#command = command;
    this.#timeout = timeout;
    this.#running = new Set();
  }

  /**
   * What the command prints when it reads `input`. Rejects with a CommandError when it exits with another code than
   * 0, takes longer than the time-out, or prints more than a message can hold.
   */
  run(input: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const child = spawn(this.#command, { shell: true, detached: true, stdio: 'pipe' });
      this.#running.add(child);
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        this.#running.delete(child);
        settle();
      };
      const stop = (what: string): void => {
        killGroup(child);
        // What has left the group may hold on to them.
        child.stdout.destroy();
        child.stderr.destroy();
        end(() => reject(failed(what)));
      };
      const timer = setTimeout(
        () => stop(`the command was not done after ${this.#timeout} ms`),
        this.#timeout,
      );
      const chunks: Buffer[] = [];
      let size = 0;
      child.stdout.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_INPUT) stop(`the command prints more than ${MAX_INPUT} bytes`);
        else chunks.push(chunk);
      });
      let reason = Buffer.alloc(0);
      child.stderr.on('data', (chunk: Buffer) => {
        if (reason.length < MAX_REASON) reason = Buffer.concat([reason, chunk]).subarray(0, MAX_REASON);
      });
      // A command may end without having read its input.
      child.stdin.on('error', () => {});
      child.stdin.end(input);
      child.once('error', (error) => stop(`the command does not start: ${error.message}`));
      child.once('close', (code, signal) =>
        end(() => {
          if (code === 0) {
            resolve(Buffer.concat(chunks));
            return;
          }
          const said = reason.toString('utf8').trim().replace(/\s+/g, ' ');
          const how = code === null ? `by ${signal}` : `with exit code ${code}`;
          reject(failed(`the command ended ${how}${said === '' ? '' : `: ${said}`}`));
        }),
      );
    });
  }

  /** Ends those that run. */
  kill(): void {
    for (const child of this.#running) killGroup(child);
  }
}
