/**
 * Telemetry without shared memory: each worker counts in memory of its own and writes it, every quarter of a
 * second, to its region of one plain file, where the others read it. The regions lie end to end, as in shared
 * memory. A killed worker loses what it counted since its last write, no more: the next incarnation goes on from
 * the file.
 *
 * A read can meet a write half-way and see some cells older than others. The kernel copies whole pages, in which
 * the cells are aligned, so no single number is torn.
 */
import { closeSync, ftruncateSync, openSync, readSync, write, writeSync } from 'node:fs';
import {
  attachBlock,
  type BlockRegion,
  TELEMETRY_BYTES,
  type TelemetryBlock,
  type TelemetryReader,
} from './block.js';

const WRITE_INTERVAL = 250;
const OWNER_ONLY = 0o600;

/** Makes the file, or empties it, with a region for each of `slots` workers. Throws what the file system throws. */
export function createCounterFile(path: string, slots: number): void {
  const file = openSync(path, 'w', OWNER_ONLY);
  try {
    ftruncateSync(file, slots * TELEMETRY_BYTES);
  } finally {
    closeSync(file);
  }
}

export interface CounterFileOptions {
  /** Between two writes (milliseconds); default 250. */
  interval?: number;
  /** The file could not be written: once for each row of failures. Counting goes on; default: ignored. */
  onError?: (error: Error) => void;
}

/** A worker's side of the file: the block that it counts in, and the timer that writes it out. */
export class CounterFile {
  readonly block: TelemetryBlock;
  private readonly bytes: Uint8Array;
  private readonly file: number;
  private readonly position: number;
  private readonly onError: (error: Error) => void;
  private readonly timer: NodeJS.Timeout;
  private writing = false;
  private failing = false;
  private closed = false;

  /**
   * @param path a file from `createCounterFile`
   * @param slot of this worker, from 0
   */
  constructor(path: string, slot: number, { interval = WRITE_INTERVAL, onError }: CounterFileOptions = {}) {
    this.file = openSync(path, 'r+');
    this.position = slot * TELEMETRY_BYTES;
    this.bytes = new Uint8Array(TELEMETRY_BYTES);
    this.onError = onError ?? ((): void => {});
    readSync(this.file, this.bytes, 0, TELEMETRY_BYTES, this.position);
    this.block = attachBlock(this.bytes.buffer);
    this.writeOut();
    this.timer = setInterval(() => this.writeOut(), interval);
    this.timer.unref();
  }

  /** Writes the last state and closes the file. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.timer);
    try {
      writeSync(this.file, this.bytes, 0, TELEMETRY_BYTES, this.position);
    } catch (error) {
      this.fail(error as Error);
    }
    // A write under way owns the descriptor until it is done.
    if (!this.writing) closeSync(this.file);
  }

  private writeOut(): void {
    if (this.writing) return;
    this.writing = true;
    write(this.file, this.bytes, 0, TELEMETRY_BYTES, this.position, (error) => {
      this.writing = false;
      if (error !== null) this.fail(error);
      else this.failing = false;
      if (this.closed) closeSync(this.file);
    });
  }

  private fail(error: Error): void {
    if (this.failing) return;
    this.failing = true;
    this.onError(error);
  }
}

/** Reads all regions of the file anew at each call of `blocks()`. */
export class CounterFileReader implements TelemetryReader {
  private readonly path: string;
  private readonly workers: readonly string[];

  /** @param workers the names of the workers by slot */
  constructor(path: string, workers: readonly string[]) {
    this.path = path;
    this.workers = workers;
  }

  /** Throws what the file system throws. */
  blocks(): readonly BlockRegion[] {
    const bytes = new Uint8Array(this.workers.length * TELEMETRY_BYTES);
    const file = openSync(this.path, 'r');
    try {
      // A file that ends early leaves zeros, which read as blocks that nobody has laid out.
      readSync(file, bytes, 0, bytes.length, 0);
    } finally {
      closeSync(file);
    }
    return this.workers.map((worker, slot) => ({
      worker,
      buffer: bytes.buffer,
      offset: slot * TELEMETRY_BYTES,
    }));
  }
}
