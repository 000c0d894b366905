/** A worker for the tests of links: sends numbered records, checks the ones it gets, answers pings. */
import { type LinkReader, type Links, RecordKind } from '../../lib/links.js';

/** What came in over one path. */
export interface PathStats {
  count: number;
  /** Of the last record. A writer that restarts takes another. */
  generation: number;
  /** Number of the last record. */
  last: number;
  /** Numbers left out: allowed only where a process died. */
  gaps: number;
  /** Out of order, repeated, of wrong content or stamp: never allowed. */
  errors: number;
}

interface Flood {
  to: number;
  urgent: boolean;
  generation: number;
  next: number;
  end: number;
}

const HEAD_BYTES = 8;
const PING = Buffer.from('ping');
const DEADLY = Buffer.from('die!');

function sizeOf(number: number): number {
  return HEAD_BYTES + ((number * 7) % 120);
}

export class LinkPeer implements LinkReader {
  readonly links: Links;
  /** Key: `${from} urgent` or `${from} bulk`. */
  readonly paths = new Map<string, PathStats>();
  batches = 0;
  pongs = 0;
  /** How often a write found no room. */
  refusals = 0;
  onDeadly: () => void = () => {};
  onPong: () => void = () => {};
  #floods: Flood[] = [];
  readonly #answered = new Set<number>();
  readonly #out = new Uint8Array(256);
  readonly #view = new DataView(this.#out.buffer);

  constructor(links: Links) {
    this.links = links;
  }

  get flooding(): boolean {
    return this.#floods.length > 0;
  }

  path(from: number, urgent: boolean): PathStats {
    const key = `${from} ${urgent ? 'urgent' : 'bulk'}`;
    let stats = this.paths.get(key);
    if (stats === undefined) {
      stats = { count: 0, generation: 0, last: -1, gaps: 0, errors: 0 };
      this.paths.set(key, stats);
    }
    return stats;
  }

  flood(to: number, urgent: boolean, generation: number, count: number): void {
    this.#floods.push({ to, urgent, generation, next: 0, end: count });
    this.#pump();
  }

  ping(to: number): void {
    this.links.to(to).write(true, RecordKind.control, 0, PING, 0, PING.length);
    this.links.to(to).flush();
  }

  deadly(to: number): void {
    this.links.to(to).write(false, RecordKind.control, 0, DEADLY, 0, DEADLY.length);
    this.links.to(to).flush();
  }

  onRecord(
    from: number,
    urgent: boolean,
    kind: RecordKind,
    stamp: number,
    src: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (kind === RecordKind.control) {
      if (src[start] === DEADLY[0]) {
        this.onDeadly();
      } else {
        this.links.to(from).write(true, RecordKind.reset, 0, src, start, end);
        this.#answered.add(from);
      }
      return;
    }
    if (kind === RecordKind.reset) {
      this.pongs++;
      this.onPong();
      return;
    }
    const view = new DataView(src.buffer, src.byteOffset + start, HEAD_BYTES);
    const generation = view.getUint32(0, true);
    const number = view.getUint32(4, true);
    const stats = this.path(from, urgent);
    const expected = generation === stats.generation ? stats.last + 1 : 0;
    if (generation < stats.generation || number < expected) stats.errors++;
    if (number > expected) stats.gaps++;
    if (stamp !== (number ^ 0xffffffff) >>> 0 || end - start !== sizeOf(number)) stats.errors++;
    for (let i = start + HEAD_BYTES; i < end; i++) {
      if (src[i] !== (number & 0xff)) {
        stats.errors++;
        break;
      }
    }
    stats.generation = generation;
    stats.last = number;
    stats.count++;
  }

  onBatchEnd(): void {
    this.batches++;
    this.#pump();
    for (const from of this.#answered) this.links.to(from).flush();
    this.#answered.clear();
  }

  #pump(): void {
    for (const flood of this.#floods) {
      const out = this.links.to(flood.to);
      while (flood.next < flood.end) {
        this.#view.setUint32(0, flood.generation, true);
        this.#view.setUint32(4, flood.next, true);
        const size = sizeOf(flood.next);
        this.#out.fill(flood.next & 0xff, HEAD_BYTES, size);
        if (!out.write(flood.urgent, RecordKind.frames, flood.next ^ 0xffffffff, this.#out, 0, size)) {
          this.refusals++;
          break;
        }
        flood.next++;
      }
      out.flush();
    }
    this.#floods = this.#floods.filter((flood) => flood.next < flood.end);
  }
}
