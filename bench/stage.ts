/** The processes of one run: a broker, or the nodes of a cluster, and whoever is connected. */
import { cpuOf, type Memory, memoryOf } from './accounting.js';
import { Broker } from './broker.js';
import type { BusName, ClientName, ServerOptions, StartOptions } from './buses/bus.js';
import { now, sleep } from './clock.js';
import { Role, type RoleName } from './role.js';
import type { PublisherOperations } from './roles/publisher.js';
import type { Operations } from './roles/serve.js';
import type { SubscriberOperations } from './roles/subscriber.js';

/** How long after the last message that came the rest is given up (ms). */
const GIVE_UP = 3000;

/** How often it is looked whether all have come (ms). */
const LOOK = 20;

/** What stands on a stage: which bus, and how it is started. */
export interface Setting extends Omit<ServerOptions, 'cluster'> {
  bus: BusName;
  /** Two nodes, publishers on one and subscribers on the other, with what the nodes share; null: one broker. */
  cluster: { secret: string | null } | null;
}

/** `bus` with those of the options that it is started with. `data`: the directory for what it stores; null: it stores nothing. */
export function settingOf(
  bus: BusName,
  { shards, links }: StartOptions,
  data: string | null = null,
): Setting {
  return { bus, shards, links, data, cluster: null };
}

/** Processor time so far (ms) by the figures that it goes into, and when (ms of the machine's clock). */
export interface Usage {
  cpu: Readonly<Record<string, number | null>>;
  at: number;
}

/** What `rate` messages a second took of processor time between two readings, each (ns), by the names of the figures. */
export function costs(before: Usage, after: Usage, rate: number): Record<string, number | null> {
  const perMessage = 1e9 / ((after.at - before.at) * rate);
  return Object.fromEntries(
    Object.entries(before.cpu).map(([figure, from]) => {
      const to = after.cpu[figure];
      return [figure, from === null || to === null || rate === 0 ? null : (to - from) * perMessage];
    }),
  );
}

/** Each figure of processor time, with its processes. In a cluster those of each node too, and its mesh worker's alone. */
function partsOf(near: Broker, far: Broker): Record<string, readonly number[]> {
  if (near === far) return { cpuPerDelivery: near.pids };
  const mesh = (figure: string, { meshPid }: Broker) => (meshPid === null ? {} : { [figure]: [meshPid] });
  return {
    cpuPerDelivery: [...near.pids, ...far.pids],
    cpuNear: near.pids,
    ...mesh('cpuNearMesh', near),
    cpuFar: far.pids,
    ...mesh('cpuFarMesh', far),
  };
}

/** Two nodes with a link between them. */
async function startNodes({ bus, cluster, ...rest }: Setting, secret: string | null): Promise<Broker[]> {
  const nodes: Broker[] = [];
  try {
    for (const node of ['near', 'far']) {
      const join = nodes.map(({ address }) => address!);
      const broker = await Broker.start({ bus, ...rest, cluster: { node, join, secret } });
      nodes.push(broker);
      if (broker.address === null) throw new Error(`The bench does not know how ${bus} makes a cluster.`);
    }
    for (const node of nodes) await node.linked();
    return nodes;
  } catch (error) {
    await Promise.all(nodes.map((node) => node.end()));
    throw error;
  }
}

export class Stage {
  readonly bus: BusName;
  readonly version: string;
  /** How long the broker took to serve (ms). */
  readonly startedIn: number;
  /** In a cluster: the publishers' node. */
  readonly #near: Broker;
  /** In a cluster: the subscribers' node; else the same. */
  readonly #far: Broker;
  readonly #pids: readonly number[];
  readonly #parts: Readonly<Record<string, readonly number[]>>;
  readonly #roles: { end(): Promise<void> }[];

  private constructor(bus: BusName, near: Broker, far: Broker) {
    this.bus = bus;
    this.version = near.version;
    this.startedIn = near.startedIn;
    this.#near = near;
    this.#far = far;
    this.#parts = partsOf(near, far);
    this.#pids = this.#parts.cpuPerDelivery;
    this.#roles = [];
  }

  static async open(setting: Setting, onCollection?: (text: string) => void): Promise<Stage> {
    const { bus, cluster, ...rest } = setting;
    if (cluster === null) {
      const broker = await Broker.start({ bus, ...rest, cluster }, onCollection);
      return new Stage(bus, broker, broker);
    }
    const [near, far] = await startNodes(setting, cluster.secret);
    return new Stage(bus, near, far);
  }

  get url(): string {
    return this.#near.url;
  }

  async role<O extends Operations>(name: RoleName): Promise<Role<O>> {
    const role = await Role.start<O>(name);
    this.#roles.push(role);
    return role;
  }

  /** The processor time of all that belongs to the bus so far (ms), and when (ms of the machine's clock). */
  cpu(): { cpu: number | null; at: number } {
    return { cpu: cpuOf(this.#pids), at: now() };
  }

  /** The same, in parts. */
  usage(): Usage {
    const parts = Object.entries(this.#parts);
    return { cpu: Object.fromEntries(parts.map(([figure, pids]) => [figure, cpuOf(pids)])), at: now() };
  }

  memory(): Memory | null {
    return memoryOf(this.#pids);
  }

  /** Throws when the broker is not the one that was started. */
  async check(): Promise<void> {
    for (const broker of new Set([this.#near, this.#far])) await broker.check();
  }

  /** A publisher that is connected, and the shard that it is on. */
  async publisher(
    name: string,
    speaks: ClientName = this.bus,
  ): Promise<{ role: Role<PublisherOperations>; shard: number | null }> {
    const role = await this.role<PublisherOperations>('publisher');
    return { role, shard: await role.ask('connect', { speaks, url: this.#near.url, name }) };
  }

  async subscriber(
    name: string,
    speaks: ClientName = this.bus,
  ): Promise<{ role: Role<SubscriberOperations>; shard: number | null }> {
    const role = await this.role<SubscriberOperations>('subscriber');
    return { role, shard: await role.ask('connect', { speaks, url: this.#far.url, name }) };
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

  /** Processor time at these two times of the machine's clock. */
  async usages(from: number, to: number): Promise<[Usage, Usage]> {
    await sleep(from - now());
    const before = this.usage();
    await sleep(to - now());
    return [before, this.usage()];
  }

  /** flowbus's own counters of these names, over all workers; in a cluster those of the publishers' node. */
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
    await Promise.all([...new Set([this.#near, this.#far])].map((broker) => broker.end()));
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
