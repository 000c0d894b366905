/**
 * Links over Unix stream sockets, for machines where shared memory does not work: two connections for each
 * ordered pair of workers, urgent and bulk, made by the writer. The kernel decides in which order connections
 * are read, so urgent comes ahead of bulk only as far as each has its own.
 */
import type { Socket } from 'node:net';
import type { LinkOut, LinkReader, RecordKind } from '../../lib/links.js';
import type { GaugedLinks } from './gauged-links.js';
import { Listener } from './listener.js';
import type { Greeting } from './record-stream.js';
import { awaitGreeting, SocketPath } from './socket-in.js';
import { SocketOut } from './socket-out.js';
import { socketPath } from './socket-path.js';

/** Unsent bytes of one path; the capacity of the largest rings. */
const BULK_BOUND = 4 * 1024 * 1024;
const URGENT_BOUND = 1024 * 1024;

class SocketLink implements LinkOut {
  readonly urgent: SocketOut;
  readonly bulk: SocketOut;

  constructor(path: string, slot: number, onRoom: () => void) {
    this.urgent = new SocketOut({ path, slot, urgent: true, bound: URGENT_BOUND, onRoom });
    this.bulk = new SocketOut({ path, slot, urgent: false, bound: BULK_BOUND, onRoom });
  }

  write(
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    return (urgent ? this.urgent : this.bulk).write(kind, stamp, src, start, end);
  }

  flush(): void {
    this.urgent.flush();
    this.bulk.flush();
  }
}

export interface SocketLinksOptions {
  slot: number;
  workers: number;
  socketsDir: string;
}

export class SocketLinks implements GaugedLinks {
  readonly kind = 'unix-socket';
  readonly #slot: number;
  readonly #path: string;
  readonly #listener: Listener;
  /** By slot; null at this worker's own. */
  readonly #links: (SocketLink | null)[];
  /** Of worker `slot`: the urgent path at 2 × slot, the bulk one behind it. Empty until `start()`. */
  #paths: (SocketPath | null)[];
  #reader: LinkReader | null;
  readonly #onBatchEnd: () => void;
  readonly #onBatch: () => void;
  readonly #onCorrupt: () => void;
  #batchEnd: NodeJS.Immediate | null;
  #corrupt: number;
  #closed: boolean;

  constructor(options: SocketLinksOptions) {
    const { slot, workers, socketsDir } = options;
    this.#slot = slot;
    this.#path = socketPath(socketsDir, slot);
    this.#paths = [];
    this.#reader = null;
    this.#batchEnd = null;
    this.#corrupt = 0;
    this.#closed = false;
    this.#onBatchEnd = () => {
      this.#batchEnd = null;
      if (!this.#closed) this.#reader?.onBatchEnd();
    };
    // Everything that one look at the sockets brings is one batch: immediates come behind it in the same turn.
    this.#onBatch = () => {
      if (this.#batchEnd === null && !this.#closed) this.#batchEnd = setImmediate(this.#onBatchEnd);
    };
    this.#onCorrupt = () => {
      this.#corrupt++;
    };
    this.#links = Array.from({ length: workers }, (_, peer) =>
      peer === slot ? null : new SocketLink(socketPath(socketsDir, peer), slot, this.#onBatch),
    );
    // Urgent and bulk, and each once more while a killed peer's last bytes are read and its successor is there.
    this.#listener = new Listener(workers * 4, (socket) =>
      awaitGreeting(
        socket,
        (peer, greeting, rest) => this.#onGreeting(peer, greeting, rest),
        this.#onCorrupt,
      ),
    );
  }

  get corrupt(): number {
    return this.#corrupt;
  }

  to(slot: number): LinkOut {
    return this.#link(slot);
  }

  occupancy(slot: number, urgent: boolean): number {
    const link = this.#link(slot);
    const out = urgent ? link.urgent : link.bulk;
    return out.unsent / out.bound;
  }

  async start(reader: LinkReader): Promise<void> {
    this.#reader = reader;
    this.#paths = this.#links.flatMap((link, peer) => {
      if (link === null) return [null, null];
      return [
        new SocketPath(peer, true, reader, this.#onBatch, this.#onCorrupt),
        new SocketPath(peer, false, reader, this.#onBatch, this.#onCorrupt),
      ];
    });
    await this.#listener.listen(this.#path);
  }

  /** Nothing to do: its connections are read to their ends in any case, before those of its successor. */
  drain(_slot: number): void {}

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#batchEnd !== null) clearImmediate(this.#batchEnd);
    await Promise.all([
      this.#listener.close(),
      ...this.#links.flatMap((link) => (link === null ? [] : [link.urgent.close(), link.bulk.close()])),
    ]);
  }

  #link(slot: number): SocketLink {
    const link = this.#links[slot];
    if (link) return link;
    throw new RangeError(`worker ${this.#slot} has no link to worker ${slot}`);
  }

  #onGreeting(socket: Socket, greeting: Greeting, rest: Uint8Array): boolean {
    const path = this.#paths[2 * greeting.slot + (greeting.urgent ? 0 : 1)];
    if (!path) return false;
    path.adopt(socket, rest);
    return true;
  }
}
