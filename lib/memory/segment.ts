/**
 * Segments: created by the primary, attached to by every worker, removed by the primary. layout.ts says what is
 * inside. Creating and removing are plain file operations; only attaching loads native code.
 */
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { FlowbusError } from '../errors.js';
import { ringOccupancy } from '../queues/ring.js';
import {
  asleepOffset,
  HEADER_BYTES,
  metricsOffset,
  ringOffset,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
  type SegmentSizes,
  segmentBytes,
} from './layout.js';
import { isDead, type Owner, thisProcess } from './owner.js';

export const SHARED_MEMORY_DIR = '/dev/shm';
const PREFIX = 'flowbus-';
const INSTANCE = /^[A-Za-z0-9_-]{1,64}$/;
const FILL = new Uint8Array(1024 * 1024);
/** A file without a valid header may be one that is being created at this moment; after this time (ms) it is not. */
const CREATION_TIME = 10_000;

type Write = (fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;

export interface SegmentOptions {
  sizes: SegmentSizes;
  /** Names the node instance: 1 to 64 of A-Z a-z 0-9 _ and -. */
  instance: string;
  /** Default: /dev/shm. */
  dir?: string;
  /** Default: `fs.writeSync`. */
  write?: Write;
}

interface SegmentHeader {
  sizes: SegmentSizes;
  owner: Owner;
}

/**
 * What a segment may be taken from (bytes): the free part of the file system, or of the memory that this
 * process may use (a container's limit counts shared memory too, and kills who goes past it).
 */
export function freeSharedMemory(dir = SHARED_MEMORY_DIR): number {
  const { bavail, bsize } = statfsSync(dir);
  return Math.min(bavail * bsize, process.availableMemory());
}

/**
 * Creates the segment `flowbus-<instance>`, owned by this process, every byte of it zero and backed by memory.
 * Returns its path. Throws SHARED_MEMORY_FULL when the file system has no room (nothing is left behind then),
 * and an EEXIST of `fs` when the instance has a segment already.
 */
export function createSegment(options: SegmentOptions): string {
  const { sizes, instance, dir = SHARED_MEMORY_DIR, write = writeSync } = options;
  if (!INSTANCE.test(instance)) {
    throw new FlowbusError('BAD_CONFIG', `instance must match ${INSTANCE.source}, not "${instance}"`);
  }
  const path = join(dir, PREFIX + instance);
  const total = segmentBytes(sizes);
  const { bavail, bsize } = statfsSync(dir);
  const free = bavail * bsize;
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeAll(write, fd, headerBytes(sizes, false), 0);
    for (let at = HEADER_BYTES; at < total; at += FILL.length) {
      writeAll(write, fd, FILL.subarray(0, Math.min(FILL.length, total - at)), at);
    }
    writeAll(write, fd, headerBytes(sizes, true), 0);
  } catch (error) {
    rmSync(path, { force: true });
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
    throw new FlowbusError(
      'SHARED_MEMORY_FULL',
      `The segment takes ${total} bytes of ${dir}, where ${free} are free. Provide more (containers: --shm-size), ` +
        'run fewer shards, or links of kind unix-socket.',
      { cause: error },
    );
  } finally {
    closeSync(fd);
  }
  return path;
}

/** Removes the name. Who is attached stays so; the memory is given back when the last of them has ended. */
export function removeSegment(path: string): void {
  rmSync(path, { force: true });
}

/**
 * Removes the segments of instances whose owner is dead, and returns their paths. Those of other containers that share
 * the directory are theirs to remove.
 */
export function removeStaleSegments(dir = SHARED_MEMORY_DIR): string[] {
  const removed: string[] = [];
  for (const name of readdirSync(dir)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(dir, name);
    if (isStale(path)) {
      removeSegment(path);
      removed.push(path);
    }
  }
  return removed;
}

/** Maps a segment. Throws when the file is none, or of another version, or cut short. */
export async function attachSegment(path: string): Promise<AttachedSegment> {
  const fd = openSync(path, 'r');
  let header: SegmentHeader | null;
  try {
    header = readHeader(fd);
  } finally {
    closeSync(fd);
  }
  if (header === null) throw new Error(`${path} is no segment of this version of flowbus`);
  const { mapFile } = await import('./mmap.js');
  return new AttachedSegment(path, header.sizes, header.owner, mapFile(path, segmentBytes(header.sizes)));
}

export class AttachedSegment {
  readonly path: string;
  readonly sizes: SegmentSizes;
  readonly owner: Owner;
  /** All of it. Valid for as long as the process lives. */
  readonly buffer: ArrayBuffer;
  /** All of it, for Atomics. */
  readonly words: Int32Array;

  constructor(path: string, sizes: SegmentSizes, owner: Owner, buffer: ArrayBuffer) {
    this.path = path;
    this.sizes = sizes;
    this.owner = owner;
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
  }

  /** Index into `words` of the flag by which worker `slot` says that it waits for its doorbell. */
  asleepIndex(slot: number): number {
    return asleepOffset(this.checked(slot)) >> 2;
  }

  /** The metrics of worker `slot`: `sizes.metricsBytes` bytes, at an offset that is a multiple of 128. */
  metrics(slot: number): { buffer: ArrayBuffer; offset: number; length: number } {
    const offset = metricsOffset(this.sizes, this.checked(slot));
    return { buffer: this.buffer, offset, length: this.sizes.metricsBytes };
  }

  /** Bytes that wait in the ring `from` → `to`. */
  ringBytes(from: number, to: number, urgent: boolean): number {
    return ringOccupancy(this.words, ringOffset(this.sizes, from, to, urgent));
  }

  private checked(slot: number): number {
    if (slot >= 0 && slot < this.sizes.workers) return slot;
    throw new RangeError(`no worker ${slot} of ${this.sizes.workers}`);
  }
}

function writeAll(write: Write, fd: number, bytes: Uint8Array, position: number): void {
  let done = 0;
  // A write that reaches the end of the room is cut short first; only the next one fails.
  while (done < bytes.length) done += write(fd, bytes, done, bytes.length - done, position + done);
}

function headerBytes(sizes: SegmentSizes, ready: boolean): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const owner = thisProcess();
  view.setInt32(0, SEGMENT_MAGIC, true);
  view.setInt32(4, SEGMENT_VERSION, true);
  view.setInt32(8, sizes.workers, true);
  view.setInt32(12, sizes.metricsBytes, true);
  view.setInt32(16, sizes.urgentBytes, true);
  view.setInt32(20, sizes.bulkBytes, true);
  view.setInt32(24, owner.pid, true);
  view.setInt32(28, ready ? 1 : 0, true);
  view.setFloat64(32, owner.start, true);
  view.setFloat64(40, segmentBytes(sizes), true);
  view.setFloat64(48, owner.namespace, true);
  view.setInt32(56, sizes.historyBytes, true);
  view.setInt32(60, sizes.retainedBytes, true);
  return bytes;
}

function headerView(fd: number): DataView | null {
  const bytes = new Uint8Array(HEADER_BYTES);
  if (readSync(fd, bytes, 0, HEADER_BYTES, 0) < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer);
  return view.getInt32(0, true) === SEGMENT_MAGIC ? view : null;
}

function ownerOf(view: DataView): Owner {
  return {
    pid: view.getInt32(24, true),
    start: view.getFloat64(32, true),
    namespace: view.getFloat64(48, true),
  };
}

function readHeader(fd: number): SegmentHeader | null {
  const view = headerView(fd);
  if (view === null || view.getInt32(4, true) !== SEGMENT_VERSION || view.getInt32(28, true) !== 1)
    return null;
  const sizes = {
    workers: view.getInt32(8, true),
    metricsBytes: view.getInt32(12, true),
    urgentBytes: view.getInt32(16, true),
    bulkBytes: view.getInt32(20, true),
    historyBytes: view.getInt32(56, true),
    retainedBytes: view.getInt32(60, true),
  };
  const total = segmentBytes(sizes);
  // A mapping longer than its file kills the process at the first access behind the end.
  if (total !== view.getFloat64(40, true) || fstatSync(fd).size < total) return null;
  return { sizes, owner: ownerOf(view) };
}

function isStale(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    // Gone meanwhile, or somebody else's.
    return false;
  }
  try {
    const view = headerView(fd);
    if (view !== null) return isDead(ownerOf(view));
    const stats = fstatSync(fd);
    return stats.isFile() && Date.now() - stats.mtimeMs > CREATION_TIME;
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}
