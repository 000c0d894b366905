/**
 * Links over the rings of a segment. A worker reads in turns of the event loop: the urgent rings of all peers,
 * then the bulk ones, a bounded batch of each. When a few turns found nothing it goes to sleep until its doorbell
 * rings.
 */
import { type LinkOut, type LinkReader, MAX_RECORD, type RecordKind } from '../../lib/links.js';
import { ringOffset } from '../../lib/memory/layout.js';
import type { AttachedSegment } from '../../lib/memory/segment.js';
import { RingReader, type RingSink, RingWriter } from '../../lib/queues/ring.js';
import { ASLEEP, AWAKE, Doorbell, Ringer } from './doorbell.js';
import { checkRecord, type GaugedLinks, type OnPoison } from './gauged-links.js';
import { socketPath } from './socket-path.js';

/** Read of one ring in one turn (bytes): about a millisecond of small messages. */
const BATCH_LIMIT = 256 * 1024;
/**
 * Turns without a record before sleep, and the time they may take (ms). To sleep and be woken costs both sides
 * together about 20 µs, an empty turn 5: more of them only take a core from whoever is to answer.
 */
const IDLE_TURNS = 3;
const IDLE_TIME = 0.1;
/** A record that this many readers died over is poison; after two more, burying it is what kills them. */
const POISON_CRASHES = 2;
const GIVEN_UP_CRASHES = 4;

class RingOut implements LinkOut {
  readonly #urgent: RingWriter;
  readonly #bulk: RingWriter;
  readonly #ringer: Ringer;

  constructor(urgent: RingWriter, bulk: RingWriter, ringer: Ringer) {
    this.#urgent = urgent;
    this.#bulk = bulk;
    this.#ringer = ringer;
  }

  write(
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    checkRecord(start, end, MAX_RECORD);
    const ring = urgent ? this.#urgent : this.#bulk;
    if (ring.write(kind, stamp, src, start, end)) return true;
    // The peer can only make room once it sees what fills the ring.
    ring.publish();
    this.#ringer.ring();
    return false;
  }

  flush(): void {
    const urgent = this.#urgent.publish();
    const bulk = this.#bulk.publish();
    if (urgent || bulk) this.#ringer.ring();
  }

  get roomReady(): boolean {
    return this.#urgent.roomReady || this.#bulk.roomReady;
  }

  roomMade(): boolean {
    const urgent = this.#urgent.roomMade();
    return this.#bulk.roomMade() || urgent;
  }

  occupancy(urgent: boolean): number {
    const ring = urgent ? this.#urgent : this.#bulk;
    return Math.min(Math.max(ring.used() / ring.capacity, 0), 1);
  }
}

/** The reading end of one path: puts the path's names to each record. */
class RingPath implements RingSink {
  readonly from: number;
  readonly urgent: boolean;
  readonly ring: RingReader;
  readonly #reader: LinkReader;
  readonly #ringer: Ringer;

  constructor(from: number, urgent: boolean, ring: RingReader, reader: LinkReader, ringer: Ringer) {
    this.from = from;
    this.urgent = urgent;
    this.ring = ring;
    this.#reader = reader;
    this.#ringer = ringer;
  }

  onRecord(kind: number, stamp: number, src: Uint8Array, start: number, end: number): void {
    this.#reader.onRecord(this.from, this.urgent, kind as RecordKind, stamp, src, start, end);
  }

  onRoom(): void {
    this.#ringer.ring();
  }

  takePoison(onPoison: OnPoison | undefined): void {
    if (this.ring.crashes < POISON_CRASHES) return;
    const bury = this.ring.crashes < GIVEN_UP_CRASHES ? onPoison : undefined;
    const onRecord: RingSink['onRecord'] = (kind, stamp, src, start, end) =>
      bury?.(this.from, this.urgent, kind as RecordKind, stamp, src, start, end);
    this.ring.read({ onRecord, onRoom: () => this.onRoom() }, 1);
  }
}

export interface RingLinksOptions {
  slot: number;
  segment: AttachedSegment;
  socketsDir: string;
  onPoison?: OnPoison;
}

export class RingLinks implements GaugedLinks {
  readonly kind = 'shared-memory';
  readonly #slot: number;
  readonly #segment: AttachedSegment;
  readonly #path: string;
  readonly #onPoison: OnPoison | undefined;
  readonly #doorbell: Doorbell;
  /** By slot; null at this worker's own. */
  readonly #outs: (RingOut | null)[];
  readonly #ringers: (Ringer | null)[];
  /** The urgent paths of all peers, then their bulk ones. Empty until `start()`. */
  #paths: RingPath[];
  #reader: LinkReader | null;
  readonly #onTurn: () => void;
  #immediate: NodeJS.Immediate | null;
  #asleep: boolean;
  #idleTurns: number;
  #idleSince: number;
  #closed: boolean;

  constructor(options: RingLinksOptions) {
    const { slot, segment, socketsDir } = options;
    const { workers } = segment.sizes;
    this.#slot = slot;
    this.#segment = segment;
    this.#path = socketPath(socketsDir, slot);
    this.#onPoison = options.onPoison;
    this.#doorbell = new Doorbell(workers, () => this.#onRing());
    this.#outs = [];
    this.#ringers = [];
    for (let peer = 0; peer < workers; peer++) {
      if (peer === slot) {
        this.#ringers.push(null);
        this.#outs.push(null);
        continue;
      }
      const ringer = new Ringer(segment.words, segment.asleepIndex(peer), socketPath(socketsDir, peer));
      this.#ringers.push(ringer);
      this.#outs.push(new RingOut(this.#writer(peer, true), this.#writer(peer, false), ringer));
    }
    this.#paths = [];
    this.#reader = null;
    this.#onTurn = () => this.#turn();
    this.#immediate = null;
    this.#asleep = false;
    this.#idleTurns = 0;
    this.#idleSince = 0;
    this.#closed = false;
  }

  get corrupt(): number {
    let sum = 0;
    for (const path of this.#paths) sum += path.ring.corrupt;
    return sum;
  }

  to(slot: number): LinkOut {
    return this.#out(slot);
  }

  occupancy(slot: number, urgent: boolean): number {
    return this.#out(slot).occupancy(urgent);
  }

  async start(reader: LinkReader): Promise<void> {
    // Listening comes first: who finds nobody listening relies on all rings being read later than that.
    await this.#doorbell.listen(this.#path);
    if (this.#closed) return;
    this.#reader = reader;
    this.#paths = [...this.#readers(reader, true), ...this.#readers(reader, false)];
    this.#mark(AWAKE);
    for (const path of this.#paths) path.takePoison(this.#onPoison);
    for (const ringer of this.#ringers) ringer?.connect();
    this.#schedule();
  }

  drain(slot: number): void {
    if (this.#reader === null || this.#closed) return;
    for (const path of this.#paths) {
      if (path.from !== slot) continue;
      // A dead writer leaves a ringful at most; a live one must not hold this loop.
      let left = path.ring.capacity;
      while (left > 0) {
        const bytes = path.ring.read(path, left);
        if (bytes === 0) break;
        left -= bytes;
      }
    }
    this.#reader.onBatchEnd();
    // The dead one may have taken the mark away without a byte that came through.
    this.#onRing();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    for (const out of this.#outs) out?.flush();
    this.#closed = true;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#mark(AWAKE);
    await Promise.all([this.#doorbell.close(), ...this.#ringers.map((ringer) => ringer?.close())]);
  }

  #out(slot: number): RingOut {
    const out = this.#outs[slot];
    if (out) return out;
    throw new RangeError(`worker ${this.#slot} has no link to worker ${slot}`);
  }

  #writer(peer: number, urgent: boolean): RingWriter {
    const { buffer, sizes } = this.#segment;
    const capacity = urgent ? sizes.urgentBytes : sizes.bulkBytes;
    return new RingWriter(buffer, ringOffset(sizes, this.#slot, peer, urgent), capacity);
  }

  #readers(reader: LinkReader, urgent: boolean): RingPath[] {
    const { buffer, sizes } = this.#segment;
    const capacity = urgent ? sizes.urgentBytes : sizes.bulkBytes;
    return this.#ringers.flatMap((ringer, peer) => {
      if (ringer === null) return [];
      const ring = new RingReader(buffer, ringOffset(sizes, peer, this.#slot, urgent), capacity);
      return [new RingPath(peer, urgent, ring, reader, ringer)];
    });
  }

  #mark(state: number): void {
    Atomics.store(this.#segment.words, this.#segment.asleepIndex(this.#slot), state);
  }

  #schedule(): void {
    this.#asleep = false;
    this.#immediate = setImmediate(this.#onTurn);
  }

  #onRing(): void {
    // Awake: the byte is older than the last look at the rings, or a turn is on its way.
    if (!this.#asleep || this.#closed) return;
    this.#asleep = false;
    this.#idleTurns = 0;
    this.#mark(AWAKE);
    this.#turn();
  }

  #turn(): void {
    this.#immediate = null;
    let busy = true;
    try {
      busy = this.#readBatch();
    } finally {
      if (!this.#closed) this.#next(busy);
    }
  }

  #readBatch(): boolean {
    const paths = this.#paths;
    let busy = false;
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i];
      if (path.ring.read(path, BATCH_LIMIT) > 0) busy = true;
    }
    const outs = this.#outs;
    for (let i = 0; i < outs.length; i++) {
      if (outs[i]?.roomMade()) busy = true;
    }
    if (busy) this.#reader!.onBatchEnd();
    return busy;
  }

  #next(busy: boolean): void {
    if (busy) {
      this.#idleTurns = 0;
      this.#schedule();
      return;
    }
    const now = performance.now();
    if (this.#idleTurns++ === 0) this.#idleSince = now;
    if (this.#idleTurns < IDLE_TURNS && now - this.#idleSince < IDLE_TIME) {
      this.#schedule();
      return;
    }
    this.#mark(ASLEEP);
    // The mark first, then the look: a writer publishes first, then looks at the mark.
    if (this.#nothingToDo()) {
      this.#asleep = true;
    } else {
      this.#mark(AWAKE);
      this.#schedule();
    }
  }

  #nothingToDo(): boolean {
    for (const path of this.#paths) {
      if (!path.ring.empty) return false;
    }
    for (const out of this.#outs) {
      if (out?.roomReady) return false;
    }
    return true;
  }
}
