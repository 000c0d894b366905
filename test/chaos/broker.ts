/** A broker in a process of its own: its shards, or all of it, are killed, and it comes back where it was. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { BrokerConfig } from '../../lib/config/index.js';
import { isAlive, type Reachable, until } from '../integration/broker/node.js';

const PROGRAM = fileURLToPath(new URL('./broker-program.js', import.meta.url));

interface Report {
  port: number;
  pids: (number | undefined)[];
}

/** Among those that no system gives to whoever asks for any: while the broker is dead nobody shall get it. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

export class Broker implements Reachable {
  readonly address: { host: string; port: number };
  readonly url: string;
  readonly #settings: Partial<BrokerConfig>;
  #process: ChildProcess | null;

  private constructor(port: number, settings: Partial<BrokerConfig>) {
    this.address = { host: '127.0.0.1', port };
    this.url = `ws://127.0.0.1:${port}`;
    this.#settings = { ...settings, port };
    this.#process = null;
  }

  /** Two shards, unless `settings` says otherwise. Whoever starts it stops it. */
  static async start(settings: Partial<BrokerConfig>): Promise<Broker> {
    const broker = new Broker(await freePort(), settings);
    await broker.begin();
    return broker;
  }

  /** Starts it again after `kill`, on the same journals and port. */
  async begin(): Promise<void> {
    const child = fork(PROGRAM, [JSON.stringify(this.#settings)]);
    this.#process = child;
    const ended = once(child, 'exit').then(([code]) => assert.fail(`the broker ended with ${code}`));
    // It ends one day, and then nobody listens.
    ended.catch(() => {});
    await Promise.race([once(child, 'message'), ended]);
  }

  /** Of the shards by slot; undefined where there is none right now. */
  async pids(): Promise<(number | undefined)[]> {
    const child = this.#process as ChildProcess;
    child.send('pids');
    const [report] = (await once(child, 'message')) as [Report];
    return report.pids;
  }

  /** Kills the process of one shard; resolves when there is another in its place. */
  async killShard(slot: number): Promise<void> {
    const all = await this.pids();
    const pid = all[slot];
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await until('another shard', async () => {
      const now = await this.pids();
      return now.length === all.length && now.every((other) => other !== undefined && other !== pid);
    });
  }

  /** Kills the primary, and with it the whole broker; resolves when nothing of it is left. */
  async kill(): Promise<void> {
    const child = this.#process as ChildProcess;
    const pids = await this.pids();
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    await until('the shards to be gone', () => pids.every((pid) => pid === undefined || !isAlive(pid)));
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.disconnect();
    await exit;
  }
}
