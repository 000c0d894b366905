/**
 * What a segment holds and where: arithmetic only. A segment is one file per node instance that all its
 * workers map.
 *
 *        0 ┌──────────────────────────────┐
 *          │ header                       │ one line: magic, version, sizes, owner
 *      128 ├──────────────────────────────┤
 *          │ worker 0: asleep flag        │ one line, written by its peers
 *          │ worker 1: …                  │
 *          ├──────────────────────────────┤
 *          │ metrics of worker 0          │ metricsBytes, rounded up to lines
 *          │ metrics of worker 1 …        │
 *          ├──────────────────────────────┤
 *          │ 0 → 1  urgent ring           │ 256 bytes of positions + urgentBytes
 *          │        bulk ring             │ 256 bytes of positions + bulkBytes
 *          │ 0 → 2  …                     │ every ordered pair; nobody has a ring to itself
 *          │ 1 → 0  …                     │
 *          ├──────────────────────────────┤
 *          │ history of worker 0          │ 128 bytes of positions + historyBytes, written by it, read by all
 *          │ history of worker 1 …        │
 *          ├──────────────────────────────┤
 *          │ retained by worker 0 …       │ likewise, retainedBytes
 *          └──────────────────────────────┘
 *
 * Header, 32-bit words but where it says f64:
 *
 *   offset   0 magic · 4 version · 8 workers · 12 metricsBytes · 16 urgentBytes · 20 bulkBytes
 *           24 owner's pid · 28 ready (written last) · 32 owner's start (f64, clock ticks) · 40 total bytes (f64)
 *           48 namespace of the owner's pid (f64) · 56 historyBytes · 60 retainedBytes
 */
import { FlowbusError } from '../errors.js';
import { historySize } from '../queues/history-ring.js';
import { ringSize } from '../queues/ring.js';

/** Two cache lines: processors fetch them in pairs, so that neighbours within a pair slow each other down too. */
export const LINE = 128;
export const HEADER_BYTES = LINE;
/** "FBUS" read as a little-endian 32-bit integer. */
export const SEGMENT_MAGIC = 0x53554246;
export const SEGMENT_VERSION = 2;

/** Slots are six bits of a sender number. */
export const MAX_WORKERS = 64;

const KIB = 1024;
const MIB = 1024 * KIB;
const MAX_BULK = 4 * MIB;
const MAX_URGENT = MIB;
/** A record may have 128 KiB and a header, so 256 KiB is the least power of two that holds one. */
const MIN_RING = 256 * KIB;
/** The largest segment (bytes): it is filled at start, so all of it is taken from the machine's memory. */
export const MAX_SEGMENT = 1024 * MIB;
/** The part of what is free that a segment may take: journals, sockets and heaps live off the rest. */
const SHARE = 1 / 2;

export interface SegmentSizes {
  /** Workers, 1 to 64; their slots are 0 to workers - 1. */
  workers: number;
  /** For the metrics of one worker. 0 is allowed. */
  metricsBytes: number;
  /** Capacity of an urgent ring, a power of two. */
  urgentBytes: number;
  /** Capacity of a bulk ring, a power of two. */
  bulkBytes: number;
  /** Capacity of the history of one worker, and of what it retains: powers of two, or 0 for none. */
  historyBytes: number;
  retainedBytes: number;
}

export interface SegmentNeeds {
  workers: number;
  metricsBytes: number;
  historyBytes: number;
  retainedBytes: number;
  /** What the machine has to give (bytes), see `freeSharedMemory`. */
  free: number;
}

function metricsStride(sizes: SegmentSizes): number {
  return Math.ceil(sizes.metricsBytes / LINE) * LINE;
}

function pairBytes(sizes: SegmentSizes): number {
  return ringSize(sizes.urgentBytes) + ringSize(sizes.bulkBytes);
}

function ringsOffset(sizes: SegmentSizes): number {
  return metricsOffset(sizes, sizes.workers);
}

function historiesOffset(sizes: SegmentSizes): number {
  return ringsOffset(sizes) + sizes.workers * (sizes.workers - 1) * pairBytes(sizes);
}

/** Bytes of the whole segment. */
export function segmentBytes(sizes: SegmentSizes): number {
  return retainedOffset(sizes, sizes.workers);
}

/** Where the history of worker `slot` begins; there is none where `historyBytes` is 0. */
export function historyOffset(sizes: SegmentSizes, slot: number): number {
  return historiesOffset(sizes) + slot * historySize(sizes.historyBytes);
}

/** Where that begins which worker `slot` retains. */
export function retainedOffset(sizes: SegmentSizes, slot: number): number {
  return historyOffset(sizes, sizes.workers) + slot * historySize(sizes.retainedBytes);
}

export function asleepOffset(slot: number): number {
  return HEADER_BYTES + slot * LINE;
}

export function metricsOffset(sizes: SegmentSizes, slot: number): number {
  return asleepOffset(sizes.workers) + slot * metricsStride(sizes);
}

/** Where the ring `from` → `to` begins. Throws RangeError when there is no such ring. */
export function ringOffset(sizes: SegmentSizes, from: number, to: number, urgent: boolean): number {
  const { workers } = sizes;
  if (!(from >= 0 && from < workers && to >= 0 && to < workers) || from === to) {
    throw new RangeError(`no ring from worker ${from} to worker ${to} of ${workers}`);
  }
  const pair = from * (workers - 1) + (to < from ? to : to - 1);
  return ringsOffset(sizes) + pair * pairBytes(sizes) + (urgent ? 0 : ringSize(sizes.urgentBytes));
}

/**
 * Chooses the ring sizes: as large as half of what is free, and 1 GiB, allow; bulk 4 MiB to 256 KiB, urgent a
 * quarter of that, at least 256 KiB. Throws SHARED_MEMORY_FULL, with the bytes needed and free, when even the
 * smallest do not fit.
 */
export function sizeSegment(needs: SegmentNeeds): SegmentSizes {
  const { workers, metricsBytes, historyBytes, retainedBytes, free } = needs;
  if (!Number.isInteger(workers) || workers < 1 || workers > MAX_WORKERS) {
    throw new RangeError(`workers must be 1 to ${MAX_WORKERS}, not ${workers}`);
  }
  const most = Math.min(Math.floor(free * SHARE), MAX_SEGMENT);
  let bulkBytes = MAX_BULK;
  for (;;) {
    const urgentBytes = Math.min(Math.max(bulkBytes / 4, MIN_RING), MAX_URGENT);
    const sizes = { workers, metricsBytes, urgentBytes, bulkBytes, historyBytes, retainedBytes };
    const total = segmentBytes(sizes);
    if (total <= most) return sizes;
    if (bulkBytes === MIN_RING) throw tooSmall(workers, total, free);
    bulkBytes /= 2;
  }
}

function tooSmall(workers: number, total: number, free: number): FlowbusError {
  const what = `The rings and histories of ${workers} workers take at least ${total} bytes of shared memory`;
  if (total > MAX_SEGMENT) {
    return new FlowbusError(
      'SHARED_MEMORY_FULL',
      `${what}, and a node may take ${MAX_SEGMENT} at most: run fewer shards, with less history, or links of kind unix-socket.`,
    );
  }
  return new FlowbusError(
    'SHARED_MEMORY_FULL',
    `${what}, and that may be half of what is free: ${Math.ceil(total / SHARE)} bytes are needed, ${free} are free. ` +
      'Provide more (containers: --shm-size), run fewer shards, with less history (historySize, retainedSize), or links of kind unix-socket.',
  );
}
