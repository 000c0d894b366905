/** The processes of one run: a broker, and whoever is connected to it. */
import { cpuOf, type Memory, memoryOf } from './accounting.js';
import type { BusName, ClientName, ServerOptions, StartOptions } from './buses/bus.js';
import { now, sleep } from './clock.js';
import { Role, type RoleName } from './role.js';
import type { BrokerOperations } from './roles/broker.js';
import type { PublisherOperations } from './roles/publisher.js';
import type { Operations } from './roles/serve.js';
import type { SubscriberOperations } from './roles/subscriber.js';

/** How long after the last message that came the rest is given up (ms). */
const GIVE_UP = 3000;

/** How long a broker may take to bring back what it has stored (ms). */
const START_LIMIT = 120_000;

/** How often it is looked whether all have come (ms). */
const LOOK = 20;

/** What stands on a stage: which bus, and how it is started. */
export interface Setting extends ServerOptions {
  bus: BusName;
}

/** `bus` with those of the options that it is started with. `data`: the directory for what it stores; null: it stores nothing. */
export function settingOf(
  bus: BusName,
  { shards, links }: StartOptions,
  data: string | null = null,
): Setting {
  return { bus, shards, links, data };
}

export class Stage {
  readonly bus: BusName;
  readonly url: string;
  readonly version: string;
  /** How long the broker took to serve (ms). */
  readonly startedIn: number;
  readonly #broker: Role<BrokerOperations>;
  readonly #roles: { end(): Promise<void> }[];
  /** Those of the start: a shard that is restarted spoils the run. */
  readonly #pids: number[];

  private constructor(
    bus: BusName,
    broker: Role<BrokerOperations>,
    pids: number[],
    server: { url: string; version: string },
    startedIn: number,
  ) {
    this.bus = bus;
    this.url = server.url;
    this.version = server.version;
    this.startedIn = startedIn;
    this.#broker = broker;
    this.#pids = pids;
    this.#roles = [];
  }

  static async open(setting: Setting, onCollection?: (text: string) => void): Promise<Stage> {
    const broker = await Role.start<BrokerOperations>('broker', onCollection);
    try {
      const before = now();
      const server = await broker.ask('start', setting, START_LIMIT);
      const startedIn = now() - before;
      return new Stage(setting.bus, broker, await broker.ask('processes', null), server, startedIn);
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

  /** A publisher that is connected, and the shard that it is on. */
  async publisher(
    name: string,
    speaks: ClientName = this.bus,
  ): Promise<{ role: Role<PublisherOperations>; shard: number | null }> {
    const role = await this.role<PublisherOperations>('publisher');
    return { role, shard: await role.ask('connect', { speaks, url: this.url, name }) };
  }

  async subscriber(
    name: string,
    speaks: ClientName = this.bus,
  ): Promise<{ role: Role<SubscriberOperations>; shard: number | null }> {
    const role = await this.role<SubscriberOperations>('subscriber');
    return { role, shard: await role.ask('connect', { speaks, url: this.url, name }) };
  }

  /** Seconds of the broker's processor time for each second between these two times of the machine's clock. */
  async cpuShare(from: number, to: number): Promise<number | null> {
    await sleep(from - now());
    const before = this.cpu();
    await sleep(to - now());
    const after = this.cpu();
    if (before.cpu === null || after.cpu === null) return null;
    return (after.cpu - before.cpu) / (after.at - before.at);
  }

  /** flowbus's own counters of these names, over all workers. */
  async counters(...names: string[]): Promise<number[]> {
    const response = await fetch(`${this.url.replace(/^ws/, 'http')}/metrics`);
    const text = await response.text();
    // One line for each worker.
    return names.map((name) =>
      [...text.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'gm'))].reduce(
        (sum, [, number]) => sum + Number(number),
        0,
      ),
    );
  }

  /** Frames in a WebSocket message, on average, of all that flowbus was sent so far; null when it was sent none. */
  async batch(): Promise<number | null> {
    if (this.bus !== 'flowbus') return null;
    const [batches, frames] = await this.counters('flowbus_batches_in_total', 'flowbus_publishes_total');
    return batches === 0 ? null : frames / batches;
  }

  /** Everybody leaves, the broker last. */
  async close(): Promise<void> {
    await Promise.all(this.#roles.map((role) => role.end()));
    await this.#broker.end();
  }
}

/** Opens a stage for `run`, and closes it whatever comes. `onCollection`: takes V8's log of the broker's garbage collections. */
export async function onStage<T>(
  setting: Setting,
  run: (stage: Stage) => Promise<T>,
  onCollection?: (text: string) => void,
): Promise<T> {
  const stage = await Stage.open(setting, onCollection);
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
