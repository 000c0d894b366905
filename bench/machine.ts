/** Where and of what a figure was taken: without this it says nothing. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, platform, release, totalmem } from 'node:os';

export interface Machine {
  cpu: string;
  /** As many as the process may use. */
  cores: number;
  memoryBytes: number;
  system: string;
  node: string;
  /** ISO 8601. */
  date: string;
  /** Null outside a git checkout. */
  commit: string | null;
  /** Files differ from that commit. */
  changed: boolean;
}

function git(root: string, ...args: string[]): string | null {
  try {
    // No optional locks: measuring must not get in the way of somebody's commit.
    return execFileSync('git', ['--no-optional-locks', ...args], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null;
  }
}

/** `root`: the checkout. */
export function describeMachine(root: string): Machine {
  const commit = git(root, 'rev-parse', '--short', 'HEAD');
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${process.arch}`,
    node: process.version,
    date: new Date().toISOString(),
    commit,
    changed: commit !== null && git(root, 'status', '--porcelain') !== '',
  };
}
