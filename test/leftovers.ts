/**
 * The end of a run: it leaves no process and no file behind, and ends although a test has left something open.
 * Processes and what is open are failures that say what it was; a run that hangs says nothing.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** In the environment of every process that a test starts, and of those that these start. */
const MARK = 'TEST_RUN_PID';
/** Milliseconds for what is ending by itself. */
const GRACE = 10_000;

interface Process {
  pid: number;
  command: string;
}

/** Empty where there is no /proc. */
function started(): Process[] {
  const found: Process[] = [];
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const pid = Number(name);
    try {
      if (
        pid === process.pid ||
        !readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${MARK}=${process.pid}\0`)
      )
        continue;
      found.push({ pid, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') });
    } catch {
      // It has ended, or is another user's.
    }
  }
  return found;
}

/** The last word on the exit code, which mocha sets from its failures as the process exits. */
function fail(): void {
  process.on('exit', () => {
    process.exitCode = 1;
  });
}

/** For all of the run; what killed processes cannot remove goes with it. Short, for a socket's path has 107 bytes at most. */
let directory = '';

export function mochaGlobalSetup(): void {
  process.env[MARK] = String(process.pid);
  directory = mkdtempSync(join(tmpdir(), 'fb-'));
  process.env.TMPDIR = directory;
}

// In a process of mocha's that runs files beside others: what it finds among temporary files is its own.
if (process.env[MARK] !== undefined) {
  process.env.TMPDIR = join(tmpdir(), String(process.pid));
  mkdirSync(process.env.TMPDIR);
}

export async function mochaGlobalTeardown(): Promise<void> {
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  if (process.platform !== 'linux') return;
  const end = Date.now() + GRACE;
  let left = started();
  while (left.length > 0 && Date.now() < end) {
    await pause(50);
    left = started();
  }
  for (const { pid, command } of left) {
    console.error(`left running: ${pid} ${command}`);
    process.kill(pid, 'SIGKILL');
  }
  // Fires only if something else keeps this process.
  setTimeout(() => {
    console.error(`left open: ${process.getActiveResourcesInfo().join(', ')}`);
    fail();
    process.exit();
  }, GRACE).unref();
  // Behind mocha's own listener, which is added when this function is done.
  if (left.length > 0) setImmediate(fail);
}
