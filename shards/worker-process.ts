/** One process of one worker, as the primary sees it, from its fork to its end. */

import type { SendHandle } from 'node:child_process';
import cluster, { type Worker } from 'node:cluster';
import { type Arrival, handleOf } from './arrival.js';
import {
  BOOT_VARIABLE,
  type BootData,
  isWorkerMessage,
  type PrimaryMessage,
  type WorkerMessage,
} from './worker-protocol.js';

/** What a process runs. */
export interface WorkerProgram {
  readonly exec: string;
  /** Options of Node, beside this process's own. */
  readonly nodeOptions: readonly string[];
}

export interface WorkerListener {
  onReady(worker: WorkerProcess): void;
  /** It is not ready, but gets on. */
  onRecovering(worker: WorkerProcess): void;
  /** Once for each process, whatever ended it. `returned`: connections that did not get to it. */
  onEnd(worker: WorkerProcess, reason: string, returned: Arrival[]): void;
  /** These connections could not be sent to it. */
  onReturned(arrivals: Arrival[]): void;
}

export interface WorkerError {
  code: string;
  message: string;
}

/**
 * Handles given to the channel at a time. It sends one, awaits its acknowledgement and queues the rest ahead of
 * every later message; so only the next one is kept ready there, and pings overtake the others.
 */
const HANDLES_IN_CHANNEL = 2;
/** Connections that wait for one worker; as each is in the kernel's care, they cost little but a descriptor. */
const MAX_QUEUE = 1024;
/** A worker that has closed its channel is about to exit; this long (ms) it may take. */
const EXIT_GRACE = 2000;

export class WorkerProcess {
  readonly slot: number;
  readonly incarnation: number;
  readonly forkedAt: number;
  /** 0 until it is ready (ms of the monotonic clock, as forkedAt). */
  readyAt: number;
  /** Takes connections. */
  live: boolean;
  /** Messages that its journal held when it was ready. */
  recovered: number;
  /** Where other nodes join this one, when this is the mesh worker and ready. */
  addresses: readonly string[];
  /** Has said that its drain is complete. */
  drained: boolean;
  /** Why it ended, if it said so. */
  error: WorkerError | null;
  /** Pings since its last pong. */
  unanswered: number;
  readonly #worker: Worker;
  readonly #listener: WorkerListener;
  readonly #inChannel: Set<Arrival>;
  #queue: Arrival[];
  #serial: number;
  #adopted: number;
  #open: number;
  #ended: boolean;
  #killReason: string;
  #exitTimer: NodeJS.Timeout | undefined;

  /** Forks it. Throws when the system refuses at once. */
  constructor({ exec, nodeOptions }: WorkerProgram, boot: BootData, listener: WorkerListener) {
    this.slot = boot.slot;
    this.incarnation = boot.incarnation;
    this.forkedAt = performance.now();
    this.readyAt = 0;
    this.live = false;
    this.recovered = 0;
    this.addresses = [];
    this.drained = false;
    this.error = null;
    this.unanswered = 0;
    this.#listener = listener;
    this.#inChannel = new Set();
    this.#queue = [];
    this.#serial = 0;
    this.#adopted = 0;
    this.#open = 0;
    this.#ended = false;
    this.#killReason = '';
    const execArgv = [...process.execArgv, ...nodeOptions];
    // The settings are the process's own, so another node in it may have changed them.
    cluster.setupPrimary({ exec, args: [], execArgv, serialization: 'advanced' });
    this.#worker = cluster.fork({ [BOOT_VARIABLE]: JSON.stringify(boot) });
    this.#worker.on('message', (message: unknown) => {
      if (isWorkerMessage(message)) this.#onMessage(message);
    });
    this.#worker.on('error', (error) => {
      // Without a process there will be no exit; with one this is about its channel, which has its own event.
      if (this.pid === undefined) this.#end(error.message);
    });
    this.#worker.on('disconnect', () => {
      this.live = false;
      this.#exitTimer = setTimeout(() => this.kill('closed its channel'), EXIT_GRACE);
    });
    this.#worker.on('exit', (code, signal) => this.#end(signal ?? `code ${code}`));
  }

  get pid(): number | undefined {
    return this.#worker.process.pid;
  }

  /** Open connections, those on their way included. */
  get connections(): number {
    return this.#open + (this.#serial - this.#adopted) + this.#queue.length;
  }

  /** Queues a connection for it. False when it takes none, or too many wait. */
  deliver(arrival: Arrival): boolean {
    if (!this.live || this.#queue.length >= MAX_QUEUE) return false;
    this.#queue.push(arrival);
    this.#pump();
    return true;
  }

  /** All that still wait in the primary. */
  takeQueue(): Arrival[] {
    const queue = this.#queue;
    this.#queue = [];
    return queue;
  }

  send(message: PrimaryMessage): void {
    // A channel that breaks makes the process exit, which has its own event.
    if (!this.#ended) this.#worker.send(message, () => {});
  }

  kill(reason: string): void {
    if (this.#ended) return;
    this.#killReason ||= reason;
    this.live = false;
    this.#worker.process.kill('SIGKILL');
  }

  #pump(): void {
    while (this.#inChannel.size < HANDLES_IN_CHANNEL) {
      const arrival = this.#queue.shift();
      if (arrival === undefined) return;
      const handle = handleOf(arrival.socket);
      if (handle === null) continue;
      this.#inChannel.add(arrival);
      const message: PrimaryMessage = { type: 'connection', serial: ++this.#serial, head: arrival.head };
      this.#worker.send(message, handle as SendHandle, undefined, (error) => this.#onSent(arrival, error));
    }
  }

  #onSent(arrival: Arrival, error: Error | null): void {
    if (!this.#inChannel.delete(arrival)) return;
    if (error === null) {
      // The worker's copy of the descriptor is on its way: this one only has to be closed.
      arrival.socket.destroy();
      this.#pump();
      return;
    }
    // The channel broke, for the handle was good: what this process does not get any more goes elsewhere.
    this.kill('its channel broke');
    this.#listener.onReturned([arrival, ...this.takeQueue()]);
  }

  #onMessage(message: WorkerMessage): void {
    if (this.#ended) return;
    switch (message.type) {
      case 'ready':
        if (this.readyAt > 0 || this.#killReason !== '') break;
        this.readyAt = performance.now();
        this.live = true;
        this.recovered = message.recovered;
        this.addresses = message.addresses;
        this.#listener.onReady(this);
        break;
      case 'recovering':
        if (this.readyAt === 0) this.#listener.onRecovering(this);
        break;
      case 'failed':
        this.error = { code: message.code, message: message.message };
        this.live = false;
        break;
      case 'pong':
        this.unanswered = 0;
        break;
      case 'load':
        this.#open = message.connections;
        this.#adopted = message.adopted;
        break;
      case 'drained':
        this.drained = true;
        break;
    }
  }

  #end(how: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.live = false;
    clearTimeout(this.#exitTimer);
    const returned: Arrival[] = [];
    for (const arrival of this.#inChannel) returned.push(arrival);
    this.#inChannel.clear();
    returned.push(...this.takeQueue());
    this.#listener.onEnd(this, this.#killReason === '' ? how : this.#killReason, returned);
  }
}
