/** The harness's side of one server of a bus: its process, those that it has started, and where it is. */
import type { BusName, ServerOptions } from './buses/bus.js';
import { now, sleep } from './clock.js';
import { Role } from './role.js';
import type { BrokerOperations } from './roles/broker.js';

/** How long a broker may take to bring back what it has stored (ms). */
const START_LIMIT = 120_000;

/** How long two nodes may take until there is a link between them (ms), and how often it is looked (ms). */
const LINK_LIMIT = 30_000;
const LOOK = 20;

export class Broker {
  readonly url: string;
  readonly version: string;
  /** Where other nodes join it; null: it is in no cluster. */
  readonly address: string | null;
  /** How long it took to serve (ms). */
  readonly startedIn: number;
  /** Those of the start: a shard that is restarted spoils the run. */
  readonly pids: readonly number[];
  /** That one of them which speaks with other nodes, where it is one of its own. */
  readonly meshPid: number | null;
  readonly #role: Role<BrokerOperations>;

  private constructor(
    role: Role<BrokerOperations>,
    server: { url: string; version: string; address: string | null },
    startedIn: number,
    { pids, meshPid }: { pids: number[]; meshPid: number | null },
  ) {
    this.url = server.url;
    this.version = server.version;
    this.address = server.address;
    this.startedIn = startedIn;
    this.pids = pids;
    this.meshPid = meshPid;
    this.#role = role;
  }

  static async start(
    setting: ServerOptions & { bus: BusName },
    onCollection?: (text: string) => void,
  ): Promise<Broker> {
    const role = await Role.start<BrokerOperations>('broker', onCollection);
    try {
      const before = now();
      const server = await role.ask('start', setting, START_LIMIT);
      const startedIn = now() - before;
      return new Broker(role, server, startedIn, await role.ask('processes', null));
    } catch (error) {
      await role.end();
      throw error;
    }
  }

  /** Resolves when there is a link with another node. */
  async linked(): Promise<void> {
    const limit = now() + LINK_LIMIT;
    while (!(await this.#role.ask('linked', null))) {
      if (now() > limit) throw new Error(`There is no link between the nodes after ${LINK_LIMIT} ms.`);
      await sleep(LOOK);
    }
  }

  /** Throws when it is not the one that was started. */
  async check(): Promise<void> {
    const { pids } = await this.#role.ask('processes', null);
    if (pids.join() !== this.pids.join()) throw new Error('A process of the broker died in this run.');
  }

  end(): Promise<void> {
    return this.#role.end();
  }
}
