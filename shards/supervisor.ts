/**
 * Keeps one process per slot alive: starts, watches, restarts and drains them, and tells each about the others. Slots are those of the
 * shards, and behind them that of the mesh worker, on which nothing waits: neither the start nor a connection.
 */
import { FlowbusError, isErrorCode } from '../lib/errors.js';
import type { Arrival } from './arrival.js';
import { WorkerProcess, type WorkerProgram } from './worker-process.js';
import type { BootData } from './worker-protocol.js';

/** All in milliseconds of the primary's clock. */
export interface SupervisorTiming {
  /** Pause before the first restart; each further one takes twice as long, up to `backoffMax`. */
  backoffMin: number;
  backoffMax: number;
  /** A process that was ready for so long ends the series. */
  backoffReset: number;
  /** From fork, or the last `recovering`, to `ready`. */
  readyTimeout: number;
  pingInterval: number;
  /** Without a pong for so long a process counts as stuck. */
  stuckTimeout: number;
}

export const SUPERVISOR_TIMING: SupervisorTiming = {
  backoffMin: 50,
  backoffMax: 5000,
  backoffReset: 10_000,
  readyTimeout: 15_000,
  pingInterval: 1000,
  stuckTimeout: 10_000,
};

/** What a pino logger has. */
export interface NodeLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface SupervisorListener {
  /** One more shard takes connections. */
  onLive(): void;
  /** The mesh worker is ready, or has ended. */
  onMesh(): void;
  /** These have to go to another shard than the one they were placed on. */
  onReturned(arrivals: Arrival[]): void;
}

export interface SupervisorOptions {
  shards: number;
  /** The program of a shard. */
  exec: string;
  /** That of the mesh worker; null: there is none. */
  mesh: string | null;
  timing: SupervisorTiming;
  log: NodeLog;
  /** Boot data for the process that is to be forked next. */
  boot(slot: number, incarnation: number, epochs: number[]): BootData;
  listener: SupervisorListener;
}

/**
 * A shard allocates next to nothing per message, so a small young generation costs it no speed; the default of 16 MiB would
 * only keep garbage of connections that come and go in memory. The mesh worker, where libraries allocate, has that.
 */
const SHARD_OPTIONS = ['--max-semi-space-size=2'];
/** Of the time to drain, what the shards have when there is a mesh worker behind them, which carries their last messages. */
const SHARDS_PART = 0.8;

/** Crashes without a reason given, after which a start-up is not worth another attempt. */
const START_ATTEMPTS = 3;

interface Slot {
  readonly index: number;
  /** As the log names it. */
  readonly name: string;
  readonly fields: object;
  readonly program: WorkerProgram;
  process: WorkerProcess | null;
  incarnation: number;
  /** Ends in a row without a life of `backoffReset`. */
  failures: number;
  restart: NodeJS.Timeout | undefined;
  readyTimer: NodeJS.Timeout | undefined;
  /** The last process was not ready in time. */
  late: boolean;
  /** What the start-up thinks of it. */
  start: 'pending' | 'ready' | 'failed';
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  /** Those of the shards, then that of the mesh worker. */
  readonly #slots: Slot[];
  readonly #shards: readonly Slot[];
  readonly #mesh: Slot | null;
  #pings: NodeJS.Timeout | undefined;
  #stopping: boolean;
  #startError: Error | null;
  #settleStart: ((error: Error | null) => void) | null;
  /** Who waits for the processes of some slots to end. */
  readonly #awaited: Set<{ slots: readonly Slot[]; resolve: () => void }>;
  /** A process that was ready ended during the drain without having drained. */
  #lost: boolean;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#stopping = false;
    this.#startError = null;
    this.#settleStart = null;
    this.#awaited = new Set();
    this.#lost = false;
    const shard = { exec: options.exec, nodeOptions: SHARD_OPTIONS };
    this.#shards = Array.from({ length: options.shards }, (_, index) =>
      slotOf(index, `shard ${index}`, { shard: index }, shard),
    );
    const mesh = options.mesh === null ? null : { exec: options.mesh, nodeOptions: [] };
    this.#mesh = mesh && slotOf(options.shards, 'the mesh worker', { worker: 'mesh' }, mesh);
    this.#slots = this.#mesh === null ? [...this.#shards] : [...this.#shards, this.#mesh];
  }

  /**
   * Forks a process per slot. Resolves when each shard is ready or has failed and at least one is ready; those that
   * failed go on being restarted. Rejects with what a shard said, or how it ended, when none became ready.
   */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleStart = (error) => {
        this.#settleStart = null;
        if (error === null) resolve();
        else reject(error);
      };
      this.#pings = setInterval(() => this.#ping(), this.#options.timing.pingInterval);
      for (const slot of this.#slots) this.#fork(slot);
    });
  }

  /** The process of a shard while it takes connections. */
  live(slot: number): WorkerProcess | null {
    const process = this.#shards[slot].process;
    return process?.live ? process : null;
  }

  /** Those of the shards. */
  processes(): WorkerProcess[] {
    return processesOf(this.#shards);
  }

  /** That of the mesh worker. */
  get mesh(): WorkerProcess | null {
    return this.#mesh?.process ?? null;
  }

  /** Of all shards, those on their way included. */
  connections(): number {
    let sum = 0;
    for (const { process } of this.#shards) if (process !== null) sum += process.connections;
    return sum;
  }

  /**
   * Has every process drain and exit, the mesh worker after the shards, and kills those that take longer. True when none
   * had to be killed or crashed.
   */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#stop();
    const end = performance.now() + timeoutMs;
    if (this.#mesh === null) await this.#drainAll(this.#shards, timeoutMs);
    else {
      await this.#drainAll(this.#shards, Math.floor(timeoutMs * SHARDS_PART));
      await this.#drainAll([this.#mesh], Math.max(0, Math.floor(end - performance.now())));
    }
    return !this.#lost;
  }

  /** Kills every process, and resolves when all have ended. */
  async kill(reason: string): Promise<void> {
    this.#stop();
    for (const process of processesOf(this.#slots)) process.kill(reason);
    await this.#ended(this.#slots);
  }

  async #drainAll(slots: readonly Slot[], timeoutMs: number): Promise<void> {
    for (const process of processesOf(slots)) {
      if (process.readyAt === 0) process.kill('was not ready yet');
      else process.send({ type: 'drain', timeoutMs });
    }
    const timer = setTimeout(() => {
      for (const process of processesOf(slots)) process.kill('did not drain in time');
    }, timeoutMs);
    await this.#ended(slots);
    clearTimeout(timer);
  }

  #stop(): void {
    this.#stopping = true;
    clearInterval(this.#pings);
    for (const slot of this.#slots) {
      clearTimeout(slot.restart);
      clearTimeout(slot.readyTimer);
    }
    this.#settleStart?.(new FlowbusError('SHUTTING_DOWN', 'stopped before the shards were ready'));
  }

  /** Resolves when none of these has a process. */
  #ended(slots: readonly Slot[]): Promise<void> {
    return new Promise((resolve) => {
      const waiting = { slots, resolve };
      this.#awaited.add(waiting);
      this.#checkEnded();
    });
  }

  #checkEnded(): void {
    for (const waiting of this.#awaited) {
      if (waiting.slots.some(({ process }) => process !== null)) continue;
      this.#awaited.delete(waiting);
      waiting.resolve();
    }
  }

  #fork(slot: Slot): void {
    slot.incarnation++;
    const epochs = this.#slots.map(({ incarnation }) => incarnation);
    let process: WorkerProcess;
    try {
      const boot = this.#options.boot(slot.index, slot.incarnation, epochs);
      process = new WorkerProcess(slot.program, boot, {
        onReady: (worker) => this.#onReady(slot, worker),
        onRecovering: () => this.#awaitReady(slot),
        onEnd: (worker, reason, returned) => this.#onEnd(slot, worker, reason, returned),
        onReturned: (arrivals) => this.#options.listener.onReturned(arrivals),
      });
    } catch (error) {
      // No memory, no free process: as good as one that died at once.
      this.#retry(slot, error instanceof Error ? error.message : String(error), null);
      if (slot === this.#mesh) this.#options.listener.onMesh();
      return;
    }
    slot.process = process;
    slot.late = false;
    this.#awaitReady(slot);
  }

  /** Begins anew the time that it has to become ready, or to say again that it gets on. */
  #awaitReady(slot: Slot): void {
    const { readyTimeout } = this.#options.timing;
    clearTimeout(slot.readyTimer);
    slot.readyTimer = setTimeout(() => {
      slot.late = true;
      slot.process?.kill(`was not ready within ${readyTimeout} ms`);
    }, readyTimeout);
  }

  #onReady(slot: Slot, worker: WorkerProcess): void {
    clearTimeout(slot.readyTimer);
    this.#options.log.debug(
      { ...slot.fields, incarnation: worker.incarnation, pid: worker.pid },
      `${slot.name} is ready after ${Math.round(worker.readyAt - worker.forkedAt)} ms`,
    );
    for (const other of processesOf(this.#slots)) {
      if (other === worker || other.readyAt === 0) continue;
      other.send({ type: 'peer-up', slot: worker.slot, incarnation: worker.incarnation });
      worker.send({ type: 'peer-up', slot: other.slot, incarnation: other.incarnation });
    }
    slot.start = 'ready';
    if (slot === this.#mesh) this.#options.listener.onMesh();
    else this.#options.listener.onLive();
    this.#checkStart();
  }

  #onEnd(slot: Slot, worker: WorkerProcess, reason: string, returned: Arrival[]): void {
    clearTimeout(slot.readyTimer);
    slot.process = null;
    for (const other of processesOf(this.#slots)) {
      other.send({ type: 'peer-down', slot: worker.slot, incarnation: worker.incarnation });
    }
    this.#options.listener.onReturned(returned);
    if (slot === this.#mesh) this.#options.listener.onMesh();
    if (this.#stopping) {
      if (worker.readyAt > 0 && !worker.drained) {
        this.#lost = true;
        this.#options.log.warn(slot.fields, `${slot.name} ended before it drained: ${reason}`);
      }
      this.#checkEnded();
      return;
    }
    const lived = worker.readyAt === 0 ? 0 : performance.now() - worker.readyAt;
    if (lived >= this.#options.timing.backoffReset) slot.failures = 0;
    this.#retry(slot, reason, worker);
  }

  #retry(slot: Slot, reason: string, worker: WorkerProcess | null): void {
    const { backoffMin, backoffMax } = this.#options.timing;
    const pause = Math.min(backoffMax, backoffMin * 2 ** Math.min(slot.failures, 30));
    slot.failures++;
    const { incarnation, failures } = slot;
    const why = worker?.error?.message ?? reason;
    this.#options.log.error(
      { ...slot.fields, incarnation, pid: worker?.pid, failures, reason: why },
      `${slot.name} ended (${why}); it starts again in ${pause} ms`,
    );
    slot.restart = setTimeout(() => this.#fork(slot), pause);
    if (this.#settleStart !== null && slot.start !== 'failed') this.#judgeStart(slot, reason, worker);
  }

  /** A reason given, or a start that took too long, will not be another one the next time; a crash may be. */
  #judgeStart(slot: Slot, reason: string, worker: WorkerProcess | null): void {
    if (slot === this.#mesh) return;
    const given = worker?.error ?? null;
    slot.start = given !== null || slot.late || slot.failures >= START_ATTEMPTS ? 'failed' : 'pending';
    if (slot.start === 'failed') {
      this.#startError ??=
        given !== null && isErrorCode(given.code)
          ? new FlowbusError(given.code, given.message)
          : new Error(`${slot.name} does not start: ${given?.message ?? reason}`);
    }
    this.#checkStart();
  }

  #checkStart(): void {
    if (this.#shards.some(({ start }) => start === 'pending')) return;
    const ready = this.#shards.some(({ start }) => start === 'ready');
    this.#settleStart?.(ready ? null : this.#startError);
  }

  /**
   * Counts pings, not time: when the primary itself was suspended, the whole pause is one ping, and nobody is
   * killed for it.
   */
  #ping(): void {
    const { pingInterval, stuckTimeout } = this.#options.timing;
    for (const process of processesOf(this.#slots)) {
      if (process.readyAt === 0) continue;
      if (process.unanswered * pingInterval >= stuckTimeout) {
        process.kill(`was stuck: no answer for ${stuckTimeout} ms`);
        continue;
      }
      process.unanswered++;
      process.send({ type: 'ping' });
    }
  }
}

function slotOf(index: number, name: string, fields: object, program: WorkerProgram): Slot {
  return {
    index,
    name,
    fields,
    program,
    process: null,
    incarnation: 0,
    failures: 0,
    restart: undefined,
    readyTimer: undefined,
    late: false,
    start: 'pending',
  };
}

function processesOf(slots: readonly Slot[]): WorkerProcess[] {
  return slots.flatMap(({ process }) => (process === null ? [] : [process]));
}
