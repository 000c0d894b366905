/** The processes of one run: a broker, and whoever is connected to it. */
import { cpuOf, type Memory, memoryOf } from './accounting.js';
import { now, sleep } from './clock.js';
import { Role, type RoleName } from './role.js';
import type { BrokerOperations } from './roles/broker.js';
import type { Operations } from './roles/serve.js';

/** How long after the last message that came the rest is given up (ms). */
const GIVE_UP = 3000;

/** How often it is looked whether all have come (ms). */
const LOOK = 20;

export class Stage {
  readonly url: string;
  readonly shards: number;
  readonly links: string;
  readonly #broker: Role<BrokerOperations>;
  readonly #roles: { end(): Promise<void> }[];
  /** Those of the start: a shard that is restarted spoils the run. */
  readonly #pids: number[];

  private constructor(
    broker: Role<BrokerOperations>,
    pids: number[],
    node: { url: string; shards: number; links: string },
  ) {
    this.url = node.url;
    this.shards = node.shards;
    this.links = node.links;
    this.#broker = broker;
    this.#pids = pids;
    this.#roles = [];
  }

  static async open(shards: number | null): Promise<Stage> {
    const broker = await Role.start<BrokerOperations>('broker');
    try {
      const node = await broker.ask('start', { shards });
      return new Stage(broker, await broker.ask('processes', null), node);
    } catch (error) {
      await broker.end();
      throw error;
    }
  }

  async role<O extends Operations>(name: RoleName): Promise<Role<O>> {
    const role = await Role.start<O>(name);
    this.#roles.push(role);
    return role;
  }

  /** The broker's processor time so far (ms), and when (ms of the machine's clock). */
  cpu(): { cpu: number | null; at: number } {
    return { cpu: cpuOf(this.#pids), at: now() };
  }

  memory(): Memory | null {
    return memoryOf(this.#pids);
  }

  /** Throws when the broker is not the one that was started. */
  async check(): Promise<void> {
    const pids = await this.#broker.ask('processes', null);
    if (pids.join() !== this.#pids.join()) throw new Error('A shard of the broker died in this run.');
  }

  /** Frames in a WebSocket message, on average, of all that the broker was sent so far; null when it was sent none. */
  async batch(): Promise<number | null> {
    const response = await fetch(`${this.url.replace(/^ws/, 'http')}/metrics`);
    const text = await response.text();
    // One line for each worker.
    const value = (name: string) =>
      [...text.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'gm'))].reduce(
        (sum, [, number]) => sum + Number(number),
        0,
      );
    const batches = value('flowbus_batches_in_total');
    return batches === 0 ? null : value('flowbus_publishes_total') / batches;
  }

  /** Everybody leaves, the broker last. */
  async close(): Promise<void> {
    await Promise.all(this.#roles.map((role) => role.end()));
    await this.#broker.end();
  }
}

/** Opens a stage for `run`, and closes it whatever comes. */
export async function onStage<T>(shards: number | null, run: (stage: Stage) => Promise<T>): Promise<T> {
  const stage = await Stage.open(shards);
  try {
    const result = await run(stage);
    await stage.check();
    return result;
  } finally {
    await stage.close();
  }
}

/** What each receiver has had, once all have had `published` messages, or nothing more comes. */
export async function arrivals(published: number, counts: () => Promise<number[]>): Promise<number[]> {
  let before = -1;
  let since = now();
  for (;;) {
    const received = await counts();
    if (received.every((count) => count >= published)) return received;
    const total = received.reduce((sum, count) => sum + count, 0);
    if (total !== before) {
      before = total;
      since = now();
    } else if (now() - since > GIVE_UP) return received;
    await sleep(LOOK);
  }
}
