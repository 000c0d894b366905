/** A server that is a program of the system: found, started on a free port of loopback, ended. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../clock.js';
import { BusMissing, type BusServer } from './bus.js';

/** How long a server may take to listen (ms), and how often it is looked (ms). */
const START_LIMIT = 10_000;
const LOOK = 20;

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** What `program` prints of its version. Throws BusMissing when there is none. */
function versionOf(program: string, args: readonly string[], pattern: RegExp): string {
  let text: string;
  try {
    text = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    // Some print their help, version included, and exit with an error.
    text = String((error as { stdout?: string }).stdout ?? '');
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new BusMissing(program);
  }
  return pattern.exec(text)?.[1] ?? 'unknown';
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function untilListening(child: ChildProcess, program: string, port: number): Promise<void> {
  for (let waited = 0; waited < START_LIMIT; waited += LOOK) {
    if (child.exitCode !== null)
      throw new Error(`${program} ended with code ${child.exitCode} as it started`);
    if (await listens(port)) return;
    await sleep(LOOK);
  }
  throw new Error(`${program} does not listen on port ${port} after ${START_LIMIT} ms`);
}

export interface Program {
  name: string;
  /** How it tells its version. */
  version: { args: readonly string[]; pattern: RegExp };
  /** Its settings, as a file. */
  settings: string;
  /** `file`: where the settings are. */
  args(file: string): readonly string[];
  port: number;
  url: string;
}

/** Starts `program`, quietly, with a folder of its own that goes with it. */
export async function startProgram(program: Program): Promise<BusServer> {
  const version = versionOf(program.name, program.version.args, program.version.pattern);
  const folder = mkdtempSync(join(tmpdir(), 'flowbus-peer-'));
  const file = join(folder, 'settings');
  writeFileSync(file, program.settings);
  const child = spawn(program.name, program.args(file), { cwd: folder, stdio: 'ignore' });
  const gone = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilListening(child, program.name, program.port);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: program.url, version, pids: () => [child.pid!], stop };
}
