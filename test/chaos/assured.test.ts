import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Agent } from '../../lib/client/index.js';
import { closeAgents, join, nameOn, until } from '../integration/broker/node.js';
import { History } from './history.js';

const PROGRAM = fileURLToPath(new URL('./broker-program.js', import.meta.url));
/** How long the kills go on; more for a soak. */
const SECONDS = Number(process.env.FLOWBUS_CHAOS_SECONDS ?? 4);
const RECONNECT = { minDelay: 10, maxDelay: 100 };

interface Report {
  port: number;
  pids: number[];
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

describe('assured delivery', function () {
  this.timeout(SECONDS * 1000 + 60_000);
  let dataDir: string;
  let port: number;
  let broker: ChildProcess | null;

  beforeEach(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-assured-'));
    port = await freePort();
    broker = null;
  });
  afterEach(async () => {
    await closeAgents();
    const child = broker;
    if (child !== null && child.exitCode === null) {
      const exit = once(child, 'exit');
      child.disconnect();
      await exit;
    }
    rmSync(dataDir, { recursive: true });
  });

  async function start(): Promise<Report> {
    const child = fork(PROGRAM, [dataDir, String(port)]);
    broker = child;
    const [report] = (await once(child, 'message')) as [Report];
    return report;
  }

  async function shardPids(): Promise<number[]> {
    broker?.send('pids');
    const [report] = (await once(broker as ChildProcess, 'message')) as [Report];
    return report.pids;
  }

  /** Publishes one after the other, each until it is acked, under the same id. */
  async function publish(agent: Agent, to: string, history: History, going: () => boolean): Promise<void> {
    for (let n = 1; going(); n++) {
      const id = `${agent.agentId}:${n}`;
      for (;;) {
        try {
          const options = { assured: true as const, messageId: id, timeout: 2000 };
          if (to.includes('.')) await agent.publish(to, id, options);
          else await agent.send(to, id, options);
          break;
        } catch {
          await pause(10);
        }
      }
      history.acked.add(id);
    }
  }

  async function run(kill: () => Promise<void>): Promise<void> {
    await start();
    const url = `ws://127.0.0.1:${port}`;
    const quiet = (agent: Agent): Agent => agent.on('error', () => {}).on('disconnect', () => {});
    const own = new History();
    const shared = new History();
    const receiver = quiet(
      await join(url, { agentId: nameOn(1, 'receiver'), mailbox: true, reconnect: RECONNECT }),
    );
    receiver.on('message', (message) => own.receive(message, true));
    for (let i = 0; i < 3; i++) {
      const member = quiet(await join(url, { agentId: nameOn(i % 2, `member-${i}`), reconnect: RECONNECT }));
      await member.subscribe(
        'job.*',
        (message) => {
          shared.receive(message, false);
          if (message.redelivered === 0 && message.text().endsWith('7'))
            throw new Error('at the first attempt');
        },
        { group: 'crew', prefetch: 16 },
      );
    }
    let going = true;
    const publishing: Promise<void>[] = [];
    for (const slot of [0, 1]) {
      const publisher = quiet(
        await join(url, { agentId: nameOn(slot, `to-one-${slot}`), reconnect: RECONNECT }),
      );
      publishing.push(publish(publisher, receiver.agentId, own, () => going));
      const other = quiet(await join(url, { agentId: nameOn(slot, `to-all-${slot}`), reconnect: RECONNECT }));
      publishing.push(publish(other, 'job.x', shared, () => going));
    }
    const end = performance.now() + SECONDS * 1000;
    while (performance.now() < end) {
      const before = [own.acked.size, shared.acked.size];
      await until(
        'work to be done',
        () => own.acked.size > before[0] + 25 && shared.acked.size > before[1] + 25,
        30_000,
      );
      await kill();
    }
    going = false;
    await Promise.all(publishing);
    await until(
      () =>
        `all of ${own.acked.size} and ${shared.acked.size}: ${own.missing.length} and ${shared.missing.length} missing`,
      () => own.missing.length === 0 && shared.missing.length === 0,
      30_000,
    );
    own.check();
    shared.check();
  }

  it('loses nothing when shards are killed', async () => {
    let victim = 0;
    await run(async () => {
      const pids = await shardPids();
      const pid = pids[victim++ % 2];
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await until('another one', async () => {
        const now = await shardPids();
        return now.length === 2 && now.every((other) => other !== undefined && other !== pid);
      });
    });
  });

  it('loses nothing when the primary is killed, and with it the whole broker', async () => {
    await run(async () => {
      const child = broker as ChildProcess;
      const pids = await shardPids();
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
      await until('the shards to be gone', () =>
        pids.every((pid) => {
          try {
            return !process.kill(pid, 0);
          } catch {
            return true;
          }
        }),
      );
      await start();
    });
  });
});
