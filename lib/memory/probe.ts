/**
 * Does shared memory work on this machine? Asked once at start: two processes map one file, each does a
 * compare-and-swap on the other's word. The child goes first, so that a library or a kernel that crashes
 * takes the child and not this process.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PROBE_BYTES, PROBE_CHILD, PROBE_PARENT, PROBE_START } from './probe-words.js';
import { SHARED_MEMORY_DIR } from './segment.js';

export interface ProbeOptions {
  /** Default: /dev/shm. */
  dir?: string;
  /** Milliseconds for the child to start, map and swap. Default: 5000 (a cold start on a busy core takes 1 s). */
  timeLimit?: number;
  /** The program that the child runs. Default: probe-child. */
  program?: string;
}

/** True: segments can be used. False, never a rejection: links use Unix sockets. */
export async function probeSharedMemory(options: ProbeOptions = {}): Promise<boolean> {
  const { dir = SHARED_MEMORY_DIR, timeLimit = 5000 } = options;
  const program = options.program ?? fileURLToPath(new URL('./probe-child.js', import.meta.url));
  const path = join(dir, `flowbus-probe-${process.pid}-${Date.now().toString(36)}`);
  try {
    const first = new Int32Array(PROBE_BYTES >> 2);
    first[0] = PROBE_START;
    writeFileSync(path, new Uint8Array(first.buffer), { flag: 'wx', mode: 0o600 });
    if (!(await childSwaps(program, path, timeLimit))) return false;
    const { mapFile } = await import('./mmap.js');
    const words = new Int32Array(mapFile(path, PROBE_BYTES));
    if (Atomics.compareExchange(words, 0, PROBE_CHILD, PROBE_PARENT) !== PROBE_CHILD) return false;
    return readFileSync(path).readInt32LE(0) === PROBE_PARENT;
  } catch {
    return false;
  } finally {
    rmSync(path, { force: true });
  }
}

function childSwaps(program: string, path: string, timeLimit: number): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, path], {
      stdio: 'ignore',
      timeout: timeLimit,
      killSignal: 'SIGKILL',
    });
    child.on('error', () => resolve(false));
    child.on('exit', (code) => resolve(code === 0));
  });
}
