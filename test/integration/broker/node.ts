/** Real nodes on free ports, and agents that end with the test. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { type Agent, type ConnectOptions, connect } from '../../../lib/client/index.js';
import { type BrokerConfig, makeConfig } from '../../../lib/config/index.js';
import { Placement } from '../../../shards/placement.js';
import { type RunningNode, type StartOptions, startNode } from '../../../shards/primary.js';

const agents: Agent[] = [];

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** A node of two shards, unless `config` says otherwise. Whoever starts it stops it. */
export function startBroker(
  config: Partial<BrokerConfig> = {},
  options: StartOptions = {},
): Promise<RunningNode> {
  return startNode(makeConfig({ port: 0, shards: 2, logLevel: 'silent', ...config }), quiet, options);
}

/** An agent that `closeAgents` ends. */
export async function join(url: string | string[], options: ConnectOptions | string = {}): Promise<Agent> {
  const agent = await connect(url, typeof options === 'string' ? { agentId: options } : options);
  agents.push(agent);
  return agent;
}

export async function closeAgents(): Promise<void> {
  await Promise.all(agents.splice(0).map((agent) => agent.close()));
}

/** An agentId that begins with `name` and is placed on `slot` of a node with `shards` shards. */
export function nameOn(slot: number, name: string, shards = 2): string {
  const placement = new Placement(shards, { isLive: () => true, connections: () => 0 });
  for (let number = 0; ; number++) {
    if (placement.place(`${name}-${number}`) === slot) return `${name}-${number}`;
  }
}

/** Polls until the condition holds; fails with `what`, as it is then, after `limit` milliseconds. */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  limit = 10_000,
): Promise<void> {
  const end = performance.now() + limit;
  while (!(await condition())) {
    if (performance.now() > end)
      assert.fail(`${typeof what === 'string' ? what : what()}: not within ${limit} ms`);
    await pause(5);
  }
}

export interface HttpAnswer {
  status: number;
  body: string;
}

/** Whoever listens there. */
export type Reachable = Pick<RunningNode, 'address'>;

/** GET on a connection of its own. */
export function fetchPage(node: Reachable, path: string): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const { host, port } = node.address;
    get({ host, port, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      response.once('error', reject);
    }).once('error', reject);
  });
}

/** The sum over all workers of the samples of one metric whose labels include `labels`. */
export async function metric(node: Reachable, name: string, ...labels: string[]): Promise<number> {
  const { body } = await fetchPage(node, '/metrics');
  let sum = 0;
  for (const line of body.split('\n')) {
    if (!line.startsWith(`${name}{`) || !labels.every((label) => line.includes(label))) continue;
    sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

export interface Leftovers {
  pids: number[];
  segments: string[];
}

/** What a running node must have taken away once it has stopped. */
export function leftoversOf(node: RunningNode): Leftovers {
  const pids = node.processes().flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  const segments = pids.flatMap((pid) => {
    const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
    return maps.match(/\/dev\/shm\/flowbus-[0-9a-f]+/g) ?? [];
  });
  return { pids, segments: [...new Set(segments)] };
}

export function assertGone({ pids, segments }: Leftovers): void {
  assert.deepEqual(pids.filter(isAlive), []);
  assert.deepEqual(segments.filter(existsSync), []);
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

export function pidOf(node: RunningNode, slot: number): number {
  const pid = node.processes().find((shard) => shard.slot === slot)?.pid;
  return pid ?? assert.fail(`shard ${slot} has no process`);
}

export function isLive(node: RunningNode, slot: number): boolean {
  return node.processes().some((shard) => shard.slot === slot && shard.live);
}
