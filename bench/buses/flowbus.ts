/** flowbus: a node as `flowbus start` runs it, and the SDK with its defaults. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type Agent,
  connect,
  type Message,
  type Priority,
  type PublishOptions,
} from '../../lib/client/index.js';
import { makeConfig } from '../../lib/config/index.js';
import type { ClusterNode } from '../../lib/mesh.js';
import { createLogger } from '../../lib/telemetry/log.js';
import { type RunningNode, startNode } from '../../shards/primary.js';
import {
  type AssuredClient,
  type Bus,
  type BusClient,
  type BusServer,
  type Member,
  Notes,
  PREFETCH,
  type ServerOptions,
  STORE_TIMEOUT,
} from './bus.js';

/** Enough when all have left; when it is interrupted, nobody is to wait for long (ms). */
const DRAIN_TIMEOUT = 2000;

const MESH_WORKER = fileURLToPath(new URL('../../ops/mesh-worker.js', import.meta.url));

/** How long an answer may take (ms). */
const REQUEST_TIMEOUT = 10_000;

/** Made once: the options of a message are not to cost more than the message. */
const OF_PRIORITY: Readonly<Record<Priority, PublishOptions & { assured?: false }>> = {
  critical: { priority: 'critical' },
  high: { priority: 'high' },
  normal: { priority: 'normal' },
  low: { priority: 'low' },
  background: { priority: 'background' },
};

/** Everybody who consumes a topic is of one group. */
const GROUP = 'bench';
const ASSURED = { assured: true, timeout: STORE_TIMEOUT } as const;

/** More than any measurement stores: it is speed that is measured, not how it is to be full. */
const MUCH = 16 * 1024 * 1024 * 1024;
const MANY = 100_000_000;

class FlowbusAssured implements AssuredClient {
  readonly #agent: Agent;

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** A mailbox stays when its consumer leaves. */
  async keep(topic: string): Promise<void> {
    const subscription = await this.#agent.subscribe(topic, () => {}, { group: GROUP });
    await subscription.unsubscribe();
  }

  publish(topic: string, payload: Uint8Array): Promise<unknown> {
    return this.#agent.publish(topic, payload, ASSURED);
  }

  async consume(topic: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    const handler = (message: Message): void => {
      onMessage(message.payload);
      void message.ack();
    };
    await this.#agent.subscribe(topic, handler, { group: GROUP, prefetch: PREFETCH });
  }
}

class FlowbusClient implements BusClient {
  readonly shard: number;
  readonly answer: () => Promise<void>;
  readonly request: (name: string, payload: Uint8Array) => Promise<unknown>;
  readonly assured: AssuredClient;
  missed = 0;
  readonly #agent: Agent;
  readonly #notes = new Notes();

  constructor(agent: Agent, name: string, shard: number) {
    this.#agent = agent;
    this.shard = shard;
    this.assured = new FlowbusAssured(agent);
    agent.on('error', ({ code, message }) => this.#notes.add(`${name}: ${code} ${message}`));
    agent.on('gap', ({ missed, reason }) => {
      this.missed += missed ?? 0;
      this.#notes.add(`${name}: a gap of ${missed ?? 'unknown'} messages (${reason})`);
    });
    agent.on('disconnect', ({ code, message }) =>
      this.#notes.add(`${name}: lost its connection, ${code} ${message}`),
    );
    this.answer = async () => {
      agent.on('message', (message: Message) => message.payload);
    };
    this.request = (to, payload) => agent.request(to, payload, { timeout: REQUEST_TIMEOUT });
  }

  get notes(): readonly string[] {
    return this.#notes.lines;
  }

  publish(topic: string, payload: Uint8Array | string, priority?: Priority): boolean {
    if (priority === undefined) return this.#agent.publish(topic, payload);
    return this.#agent.publish(topic, payload, OF_PRIORITY[priority]);
  }

  drained(): Promise<void> {
    return this.#agent.drained();
  }

  async count(pattern: string, onMessage: () => void): Promise<void> {
    await (await this.#agent.subscribe(pattern, onMessage)).everywhere();
  }

  async receive(pattern: string, onMessage: (payload: Uint8Array) => void): Promise<void> {
    const subscription = await this.#agent.subscribe(pattern, (message) => onMessage(message.payload));
    await subscription.everywhere();
  }

  flush(): Promise<void> {
    return this.#agent.drain();
  }

  close(): Promise<void> {
    return this.#agent.close();
  }
}

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Resolves when others can join it. */
async function memberOf(node: RunningNode): Promise<Member> {
  await node.meshSettled;
  const [address] = node.meshAddresses;
  if (address === undefined) throw new Error('the mesh worker did not start');
  return {
    address,
    pid: () => node.meshProcess()?.pid ?? null,
    async linked() {
      const response = await fetch(`${node.url.replace(/^ws/, 'http')}/v1/cluster`);
      const { nodes } = (await response.json()) as { nodes: ClusterNode[] };
      // This node has no round trip.
      return nodes.some(({ state, roundTrip }) => state === 'alive' && roundTrip !== null);
    },
  };
}

export const flowbus: Bus = {
  async start({ shards, links, data, cluster }: ServerOptions): Promise<BusServer> {
    const config = makeConfig({
      port: 0,
      logLevel: 'warn',
      drainTimeout: DRAIN_TIMEOUT,
      links,
      ...(shards === null ? {} : { shards }),
      ...(data === null
        ? {}
        : { dataDir: data, journalSize: MUCH, mailboxSize: MUCH, mailboxMessages: MANY }),
      ...(cluster === null
        ? {}
        : { node: cluster.node, meshPort: 0, join: cluster.join, meshSecret: cluster.secret ?? undefined }),
    });
    const mesh = cluster === null ? undefined : MESH_WORKER;
    const node = await startNode(config, createLogger(config), { dedicated: true, mesh });
    const stop = async (): Promise<void> => {
      await node.stop();
    };
    const server = {
      url: node.url,
      version: version(),
      pids: () =>
        [process.pid, ...node.processes().map(({ pid }) => pid), node.meshProcess()?.pid].filter(
          (pid) => pid !== undefined,
        ),
      stop,
    };
    if (cluster === null) return server;
    try {
      return { ...server, member: await memberOf(node) };
    } catch (error) {
      await stop();
      throw error;
    }
  },

  async connect(url, name) {
    const agent = await connect(url, { agentId: name });
    const [record] = await agent.agents({ id: name });
    return new FlowbusClient(agent, name, record.shard);
  },
};
