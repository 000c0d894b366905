/** The primary of a node: starts it, watches it, ends it. It serves no message. */
import { randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { prepareDataDir } from '../lib/config/data-dir.js';
import type { BrokerConfig } from '../lib/config/index.js';
import { ACCEPTOR_LIMITS, Acceptor, type AcceptorLimits } from './acceptor.js';
import type { Arrival } from './arrival.js';
import { type Ground, prepareGround, type SharedMemory } from './ground.js';
import { lockDataDir } from './journal/directory.js';
import { Placement } from './placement.js';
import { type NodeLog, SUPERVISOR_TIMING, Supervisor, type SupervisorTiming } from './supervisor.js';
import type { WorkerProcess } from './worker-process.js';
import type { BootData, LinkKind } from './worker-protocol.js';

export interface StartOptions {
  /**
   * This process is a primary and nothing else: its heap may stay small. With every burst of connections V8 would let the young
   * generation grow, by up to 48 MiB, and the old one fill with sockets that have gone to their shards, by some 25 MiB for 10,000,
   * that nobody needs again. Default: false.
   */
  dedicated?: boolean;
  /** Drain at SIGTERM and SIGINT, and end at once at the second (that is no echo of the first). Default: false. */
  signals?: boolean;
  /** The shards' program. Default: the shard worker beside this file. */
  exec?: string;
  /** The program of the mesh worker, which makes this node part of a cluster. Default: there is none. */
  mesh?: string;
  /**
   * Who accepts connections. Default: the primary, which places each by its agentId; where Node does not let it
   * stop a socket for the hand-over, `self`: cluster's round robin.
   */
  accept?: BootData['accept'];
  timing?: Partial<SupervisorTiming>;
  limits?: Partial<AcceptorLimits>;
  /** Default: this machine's. */
  sharedMemory?: SharedMemory;
}

export interface WorkerProcessInfo {
  slot: number;
  incarnation: number;
  pid: number | undefined;
  live: boolean;
  connections: number;
}

export interface RunningNode {
  /** Where it listens; the real port also when 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
  /** For clients on this machine. */
  readonly url: string;
  readonly shards: number;
  /** Messages that the journals of its shards held when they were ready. */
  readonly recovered: number;
  /** Of these, the ones that take connections right now. */
  readonly liveShards: number;
  readonly linkKind: LinkKind;
  /** Resolves when everything has ended, with the exit code: 0, or 1 when a shard had to be killed or crashed meanwhile. */
  readonly closed: Promise<number>;
  /** Ends it: agents get a goaway, shards drain for at most `drainTimeout`. Resolves as `closed` does. May be repeated. */
  stop(): Promise<void>;
  /** Ends it at once, without a drain. */
  kill(): Promise<void>;
  /** The processes of the shards right now. */
  processes(): WorkerProcessInfo[];
  /** That of the mesh worker right now; null when it is down, or there is none. */
  meshProcess(): WorkerProcessInfo | null;
  /** Where other nodes join this one; empty while the mesh worker is not ready. */
  readonly meshAddresses: readonly string[];
  /** Resolves when the mesh worker is ready for the first time, or has ended before; at once when there is none. The node does not wait for it. */
  readonly meshSettled: Promise<void>;
}

/**
 * GNU `timeout` and some service managers send one signal twice, to the process and to its group: the same signal within
 * so long of the first (ms) is not somebody who will not wait.
 */
const SIGNAL_ECHO = 500;

const DEFAULT_EXEC = fileURLToPath(new URL('./worker.js', import.meta.url));

function urlOf(host: string, port: number): string {
  if (host === '0.0.0.0') return `ws://127.0.0.1:${port}`;
  if (host === '::') return `ws://[::1]:${port}`;
  return `ws://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function infoOf({ slot, incarnation, pid, live, connections }: WorkerProcess): WorkerProcessInfo {
  return { slot, incarnation, pid, live, connections };
}

class Primary implements RunningNode {
  readonly shards: number;
  readonly closed: Promise<number>;
  readonly meshSettled: Promise<void>;
  readonly #config: BrokerConfig;
  readonly #log: NodeLog;
  readonly #options: StartOptions;
  readonly #instance: string;
  readonly #clockOffset: number;
  readonly #supervisor: Supervisor;
  readonly #acceptor: Acceptor;
  readonly #onExit: () => void;
  readonly #onSignal: (signal: NodeJS.Signals) => void;
  #accept: BootData['accept'];
  #address: { host: string; port: number };
  #ground: Ground | null;
  #unlock: () => void;
  #stopping: boolean;
  #killing: boolean;
  #resolveClosed: (code: number) => void;
  #resolveMesh: () => void;

  constructor(config: BrokerConfig, log: NodeLog, options: StartOptions) {
    this.shards = config.shards;
    this.#config = config;
    this.#log = log;
    this.#options = options;
    this.#instance = randomBytes(6).toString('hex');
    this.#clockOffset = Date.now() - Number(process.hrtime.bigint() / 1_000_000n);
    this.#accept = options.accept ?? 'primary';
    this.#address = { host: config.host, port: config.port };
    this.#ground = null;
    this.#unlock = () => {};
    this.#stopping = false;
    this.#killing = false;
    this.#resolveClosed = () => {};
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#resolveMesh = () => {};
    this.meshSettled = new Promise((resolve) => {
      if (options.mesh === undefined) resolve();
      else this.#resolveMesh = resolve;
    });
    this.#supervisor = new Supervisor({
      shards: config.shards,
      exec: options.exec ?? DEFAULT_EXEC,
      mesh: options.mesh ?? null,
      timing: { ...SUPERVISOR_TIMING, ...options.timing },
      log,
      boot: (slot, incarnation, epochs) => this.#boot(slot, incarnation, epochs),
      listener: {
        onLive: () => this.#acceptor.onLive(),
        onMesh: () => this.#resolveMesh(),
        onReturned: (arrivals: Arrival[]) => this.#acceptor.onReturned(arrivals),
      },
    });
    this.#acceptor = new Acceptor({
      upgradeTimeout: config.upgradeTimeout,
      maxConnections: config.maxConnections,
      limits: { ...ACCEPTOR_LIMITS, ...options.limits },
      placement: new Placement(config.shards, {
        isLive: (slot) => this.#supervisor.live(slot) !== null,
        connections: (slot) => this.#supervisor.live(slot)?.connections ?? 0,
      }),
      supervisor: this.#supervisor,
      log,
    });
    this.#onExit = () => {
      this.#ground?.remove();
      this.#unlock();
    };
    let first: { signal: NodeJS.Signals; at: number } | null = null;
    this.#onSignal = (signal) => {
      const now = performance.now();
      if (first !== null && signal === first.signal && now - first.at < SIGNAL_ECHO) return;
      first ??= { signal, at: now };
      if (this.#stopping) {
        log.warn({ signal }, `${signal} again: ending at once`);
        void this.kill();
      } else {
        log.info({ signal }, `${signal}: draining, for at most ${config.drainTimeout} ms`);
        void this.stop();
      }
    };
  }

  get address(): { host: string; port: number } {
    return this.#address;
  }

  get url(): string {
    return urlOf(this.#address.host, this.#address.port);
  }

  get linkKind(): LinkKind {
    return this.#ground?.linkKind ?? 'unix-socket';
  }

  get liveShards(): number {
    return this.#supervisor.processes().filter(({ live }) => live).length;
  }

  get recovered(): number {
    return this.#supervisor.processes().reduce((sum, { recovered }) => sum + recovered, 0);
  }

  get meshAddresses(): readonly string[] {
    return this.#supervisor.mesh?.addresses ?? [];
  }

  processes(): WorkerProcessInfo[] {
    return this.#supervisor.processes().map(infoOf);
  }

  meshProcess(): WorkerProcessInfo | null {
    const { mesh } = this.#supervisor;
    return mesh && infoOf(mesh);
  }

  get #workers(): number {
    return this.#options.mesh === undefined ? this.shards : this.shards + 1;
  }

  /** On failure nothing is left behind. */
  async start(): Promise<void> {
    process.on('exit', this.#onExit);
    if (this.#options.signals) {
      process.on('SIGTERM', this.#onSignal);
      process.on('SIGINT', this.#onSignal);
    }
    try {
      await this.#listen();
      const { dataDir } = this.#config;
      if (dataDir !== undefined) this.#unlock = lockDataDir(prepareDataDir(dataDir));
      this.#ground = await prepareGround(
        this.#config,
        this.#workers,
        this.#instance,
        this.#log,
        this.#options.sharedMemory,
      );
      await this.#supervisor.start();
    } catch (error) {
      await this.kill();
      throw error;
    }
    this.#acceptor.open();
    const { url, shards, linkKind: links, liveShards: live } = this;
    this.#log.info(
      { url, shards, live, links, accept: this.#accept },
      `listening on ${url} with ${live} of ${shards} shards${live < shards ? '; the others are started again' : ''}`,
    );
  }

  async stop(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      await this.#acceptor.close();
      const clean = await this.#supervisor.drain(this.#config.drainTimeout);
      this.#finish(clean ? 0 : 1);
    }
    await this.closed;
  }

  async kill(): Promise<void> {
    this.#stopping = true;
    if (!this.#killing) {
      this.#killing = true;
      await this.#acceptor.close();
      await this.#supervisor.kill('killed with the node');
      this.#finish(1);
    }
    await this.closed;
  }

  /** Accepting begins before the fork, so that a port in use is known first; connections wait for the shards. */
  async #listen(): Promise<void> {
    const { host, port } = this.#config;
    const bound = await this.#acceptor.listen(host, port);
    this.#address = { host: bound.host, port: bound.port };
    if (!bound.canHandOver) this.#accept = 'self';
    if (this.#accept === 'self') await this.#acceptor.close();
  }

  #boot(slot: number, incarnation: number, epochs: number[]): BootData {
    const ground = this.#ground as Ground;
    return {
      slot,
      workers: this.#workers,
      incarnation,
      node: this.#config.node,
      instance: this.#instance,
      linkKind: ground.linkKind,
      segmentPath: ground.segmentPath,
      counterFile: ground.counterFile,
      socketsDir: ground.socketsDir,
      epochs,
      clockOffset: this.#clockOffset,
      accept: this.#accept,
      listen: this.#address,
      config: this.#config,
    };
  }

  #finish(code: number): void {
    process.off('exit', this.#onExit);
    process.off('SIGTERM', this.#onSignal);
    process.off('SIGINT', this.#onSignal);
    this.#ground?.remove();
    this.#unlock();
    this.#resolveClosed(code);
  }
}

/**
 * Starts a node in this process and its shard workers: resolves when it listens and its shards are ready, or at least
 * one is and the others have failed: those go on being started.
 * @throws FlowbusError PORT_IN_USE, BAD_CONFIG (host or port that cannot be listened on, links that do not work
 * here), SHARED_MEMORY_FULL, or the code that a worker gave; Error when shards die at start without one
 */
export async function startNode(
  config: BrokerConfig,
  log: NodeLog,
  options: StartOptions = {},
): Promise<RunningNode> {
  if (options.dedicated) {
    setFlagsFromString('--semi-space-growth-factor=1');
    setFlagsFromString('--heap-growing-percent=10');
  }
  const primary = new Primary(config, log, options);
  await primary.start();
  return primary;
}
