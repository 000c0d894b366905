/** Keeps one process per slot alive: starts, watches, restarts and drains them, and tells each about the others. */
import { FlowbusError, isErrorCode } from '../lib/errors.js';
import type { Arrival } from './arrival.js';
import { ShardProcess } from './shard-process.js';
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
  /** These have to go to another shard than the one they were placed on. */
  onReturned(arrivals: Arrival[]): void;
}

export interface SupervisorOptions {
  slots: number;
  /** The worker's program. */
  exec: string;
  timing: SupervisorTiming;
  log: NodeLog;
  /** Boot data for the process that is to be forked next. */
  boot(slot: number, incarnation: number, epochs: number[]): BootData;
  listener: SupervisorListener;
}

/** Crashes without a reason given, after which a start-up is not worth another attempt. */
const START_ATTEMPTS = 3;

interface Slot {
  process: ShardProcess | null;
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
  readonly #slots: Slot[];
  #pings: NodeJS.Timeout | undefined;
  #stopping: boolean;
  #startError: Error | null;
  #settleStart: ((error: Error | null) => void) | null;
  #onAllEnded: (() => void) | null;
  /** A process that was ready ended during the drain without having drained. */
  #lost: boolean;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#slots = [];
    this.#stopping = false;
    this.#startError = null;
    this.#settleStart = null;
    this.#onAllEnded = null;
    this.#lost = false;
    for (let slot = 0; slot < options.slots; slot++) {
      this.#slots.push({
        process: null,
        incarnation: 0,
        failures: 0,
        restart: undefined,
        readyTimer: undefined,
        late: false,
        start: 'pending',
      });
    }
  }

  /**
   * Forks a process per slot. Resolves when each is ready or has failed and at least one is ready; those that
   * failed go on being restarted. Rejects with what a worker said, or how it ended, when none became ready.
   */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleStart = (error) => {
        this.#settleStart = null;
        if (error === null) resolve();
        else reject(error);
      };
      this.#pings = setInterval(() => this.#ping(), this.#options.timing.pingInterval);
      for (let slot = 0; slot < this.#slots.length; slot++) this.#fork(slot);
    });
  }

  /** The process of a slot while it takes connections. */
  live(slot: number): ShardProcess | null {
    const process = this.#slots[slot].process;
    return process?.live ? process : null;
  }

  processes(): ShardProcess[] {
    return this.#slots.flatMap(({ process }) => (process === null ? [] : [process]));
  }

  /** Of all shards, those on their way included. */
  connections(): number {
    let sum = 0;
    for (const { process } of this.#slots) if (process !== null) sum += process.connections;
    return sum;
  }

  /** Has every process drain and exit, and kills those that take longer. True when none had to be killed or crashed. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#stop();
    for (const process of this.processes()) {
      if (process.readyAt === 0) process.kill('was not ready yet');
      else process.send({ type: 'drain', timeoutMs });
    }
    const timer = setTimeout(() => this.#killAll('did not drain in time'), timeoutMs);
    await this.#allEnded();
    clearTimeout(timer);
    return !this.#lost;
  }

  /** Kills every process, and resolves when all have ended. */
  async kill(reason: string): Promise<void> {
    this.#stop();
    this.#killAll(reason);
    await this.#allEnded();
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

  #killAll(reason: string): void {
    for (const process of this.processes()) process.kill(reason);
  }

  #allEnded(): Promise<void> {
    return new Promise((resolve) => {
      const previous = this.#onAllEnded;
      this.#onAllEnded = () => {
        previous?.();
        resolve();
      };
      this.#checkAllEnded();
    });
  }

  #checkAllEnded(): void {
    if (this.#slots.some(({ process }) => process !== null)) return;
    this.#onAllEnded?.();
    this.#onAllEnded = null;
  }

  #fork(index: number): void {
    const { exec, boot } = this.#options;
    const slot = this.#slots[index];
    slot.incarnation++;
    const epochs = this.#slots.map(({ incarnation }) => incarnation);
    let process: ShardProcess;
    try {
      process = new ShardProcess(exec, boot(index, slot.incarnation, epochs), {
        onReady: (shard) => this.#onReady(shard),
        onRecovering: (shard) => this.#awaitReady(shard),
        onEnd: (shard, reason, returned) => this.#onEnd(shard, reason, returned),
        onReturned: (arrivals) => this.#options.listener.onReturned(arrivals),
      });
    } catch (error) {
      // No memory, no free process: as good as one that died at once.
      this.#retry(index, error instanceof Error ? error.message : String(error), null);
      return;
    }
    slot.process = process;
    slot.late = false;
    this.#awaitReady(process);
  }

  /** Begins anew the time that it has to become ready, or to say again that it gets on. */
  #awaitReady(shard: ShardProcess): void {
    const { readyTimeout } = this.#options.timing;
    const slot = this.#slots[shard.slot];
    clearTimeout(slot.readyTimer);
    slot.readyTimer = setTimeout(() => {
      slot.late = true;
      shard.kill(`was not ready within ${readyTimeout} ms`);
    }, readyTimeout);
  }

  #onReady(shard: ShardProcess): void {
    const slot = this.#slots[shard.slot];
    clearTimeout(slot.readyTimer);
    this.#options.log.debug(
      { shard: shard.slot, incarnation: shard.incarnation, pid: shard.pid },
      `shard ${shard.slot} is ready after ${Math.round(shard.readyAt - shard.forkedAt)} ms`,
    );
    for (const other of this.processes()) {
      if (other === shard || other.readyAt === 0) continue;
      other.send({ type: 'peer-up', slot: shard.slot, incarnation: shard.incarnation });
      shard.send({ type: 'peer-up', slot: other.slot, incarnation: other.incarnation });
    }
    slot.start = 'ready';
    this.#options.listener.onLive();
    this.#checkStart();
  }

  #onEnd(shard: ShardProcess, reason: string, returned: Arrival[]): void {
    const slot = this.#slots[shard.slot];
    clearTimeout(slot.readyTimer);
    slot.process = null;
    for (const other of this.processes()) {
      other.send({ type: 'peer-down', slot: shard.slot, incarnation: shard.incarnation });
    }
    this.#options.listener.onReturned(returned);
    if (this.#stopping) {
      if (shard.readyAt > 0 && !shard.drained) {
        this.#lost = true;
        this.#options.log.warn(
          { shard: shard.slot },
          `shard ${shard.slot} ended before it drained: ${reason}`,
        );
      }
      this.#checkAllEnded();
      return;
    }
    const lived = shard.readyAt === 0 ? 0 : performance.now() - shard.readyAt;
    if (lived >= this.#options.timing.backoffReset) slot.failures = 0;
    this.#retry(shard.slot, reason, shard);
  }

  #retry(index: number, reason: string, shard: ShardProcess | null): void {
    const { backoffMin, backoffMax } = this.#options.timing;
    const slot = this.#slots[index];
    const pause = Math.min(backoffMax, backoffMin * 2 ** Math.min(slot.failures, 30));
    slot.failures++;
    const why = shard?.error?.message ?? reason;
    this.#options.log.error(
      { shard: index, incarnation: slot.incarnation, pid: shard?.pid, failures: slot.failures, reason: why },
      `shard ${index} ended (${why}); it starts again in ${pause} ms`,
    );
    slot.restart = setTimeout(() => this.#fork(index), pause);
    if (this.#settleStart !== null && slot.start !== 'failed') this.#judgeStart(slot, index, reason, shard);
  }

  /** A reason given, or a start that took too long, will not be another one the next time; a crash may be. */
  #judgeStart(slot: Slot, index: number, reason: string, shard: ShardProcess | null): void {
    const given = shard?.error ?? null;
    slot.start = given !== null || slot.late || slot.failures >= START_ATTEMPTS ? 'failed' : 'pending';
    if (slot.start === 'failed') {
      this.#startError ??=
        given !== null && isErrorCode(given.code)
          ? new FlowbusError(given.code, given.message)
          : new Error(`shard ${index} does not start: ${given?.message ?? reason}`);
    }
    this.#checkStart();
  }

  #checkStart(): void {
    if (this.#slots.some(({ start }) => start === 'pending')) return;
    const ready = this.#slots.some(({ start }) => start === 'ready');
    this.#settleStart?.(ready ? null : this.#startError);
  }

  /**
   * Counts pings, not time: when the primary itself was suspended, the whole pause is one ping, and nobody is
   * killed for it.
   */
  #ping(): void {
    const { pingInterval, stuckTimeout } = this.#options.timing;
    for (const process of this.processes()) {
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
