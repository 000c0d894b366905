/** A commit of this repository, built in a folder of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Ended {
  /** Null: it was killed. */
  code: number | null;
  out: string;
  /** The last line that it wrote to standard error. */
  said: string;
}

export interface Within {
  cwd: string;
  signal?: AbortSignal;
  /** Its children are told to end with it: npm does not tell its own. */
  isGroup?: boolean;
}

/** Runs a program to its end. Aborted, it is told to end, and when it has, this rejects: nothing goes on behind it. */
export async function runToEnd(
  { cwd, signal, isGroup = false }: Within,
  program: string,
  ...args: string[]
): Promise<Ended> {
  signal?.throwIfAborted();
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], detached: isGroup });
  const end = (): void => {
    try {
      process.kill(isGroup ? -child.pid! : child.pid!, 'SIGTERM');
    } catch {
      // It has just ended, or was never begun.
    }
  };
  signal?.addEventListener('abort', end);
  const text = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text.out += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    text.err += part;
  });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    signal?.throwIfAborted();
    return { code, out: text.out, said: text.err.trim().split('\n').at(-1) ?? '' };
  } finally {
    signal?.removeEventListener('abort', end);
  }
}

const LOCK = 'npm-shrinkwrap.json';

/** The full name of a commit; null when there is none of this name. */
export async function commitOf(root: string, name: string): Promise<string | null> {
  const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
  const { code, out } = await runToEnd({ cwd: root }, 'git', ...args);
  return code === 0 ? out.trim() : null;
}

function sameLock(one: string, other: string): boolean {
  const [a, b] = [join(one, LOCK), join(other, LOCK)];
  return existsSync(a) && existsSync(b) && readFileSync(a).equals(readFileSync(b));
}

export class Worktree {
  readonly path: string;
  readonly #root: string;
  readonly #folder: string;

  private constructor(root: string, folder: string) {
    this.#root = root;
    this.#folder = folder;
    this.path = join(folder, 'base');
  }

  /** Checks out `commit` of the checkout `root`, installs, builds. Rejects, and leaves nothing, when `signal` is aborted. */
  static async build(
    root: string,
    commit: string,
    signal: AbortSignal,
    tell: (line: string) => void,
  ): Promise<Worktree> {
    const worktree = new Worktree(root, mkdtempSync(join(tmpdir(), 'flowbus-gate-')));
    try {
      tell(`gate: building ${commit.slice(0, 12)} in ${worktree.path}`);
      await worktree.#make(commit, signal);
      return worktree;
    } catch (error) {
      await worktree.remove();
      throw error;
    }
  }

  async #make(commit: string, signal: AbortSignal): Promise<void> {
    const run = async (cwd: string, program: string, ...args: string[]): Promise<void> => {
      const { code, said } = await runToEnd({ cwd, signal, isGroup: true }, program, ...args);
      if (code !== 0) throw new Error(`gate: "${program} ${args.join(' ')}" ended with ${code}: ${said}`);
    };
    // Hooks are for those who work here.
    const git = ['-c', 'core.hooksPath=/dev/null', 'worktree', 'add', '--detach', this.path, commit];
    await run(this.#root, 'git', ...git);
    const modules = join(this.#root, 'node_modules');
    if (existsSync(modules) && sameLock(this.#root, this.path))
      symlinkSync(modules, join(this.path, 'node_modules'));
    else await run(this.path, 'npm', 'ci', '--ignore-scripts');
    await run(this.path, 'npm', 'run', 'build', '--silent');
  }

  /** Files, and what git remembers of them. */
  async remove(): Promise<void> {
    // To its end, also when somebody at a terminal interrupts once more.
    const within = { cwd: this.#root, isGroup: true };
    const { code } = await runToEnd(within, 'git', 'worktree', 'remove', '--force', this.path);
    rmSync(this.#folder, { recursive: true, force: true });
    // It was not complete: git forgets it when its files are gone.
    if (code !== 0) await runToEnd(within, 'git', 'worktree', 'prune');
  }
}
