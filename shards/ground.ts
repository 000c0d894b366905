/** What the workers stand on: the kind of links, the shared-memory segment, the directory of the sockets. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BrokerConfig } from '../lib/config/index.js';
import { FlowbusError } from '../lib/errors.js';
import { type SegmentNeeds, sizeSegment } from '../lib/memory/layout.js';
import { probeSharedMemory } from '../lib/memory/probe.js';
import {
  createSegment,
  freeSharedMemory,
  removeSegment,
  removeStaleSegments,
  SHARED_MEMORY_DIR,
} from '../lib/memory/segment.js';
import { TELEMETRY_BYTES } from '../lib/telemetry/block.js';
import { createCounterFile } from '../lib/telemetry/counter-file.js';
import { createSocketsDir, removeSocketsDir, removeStaleSocketsDirs } from './sockets-dir.js';
import type { NodeLog } from './supervisor.js';
import type { LinkKind } from './worker-protocol.js';

/** Shared memory as the primary uses it. */
export interface SharedMemory {
  /** Tries it out between two processes, until that has worked once. */
  probe(): Promise<boolean>;
  /** Removes the segments of instances that are dead, and returns their paths. */
  removeStale(): string[];
  /**
   * A zero-filled segment for links, telemetry and histories; its path.
   * @throws FlowbusError SHARED_MEMORY_FULL with the size that is needed
   */
  create(instance: string, needs: Omit<SegmentNeeds, 'metricsBytes' | 'free'>): string;
  remove(path: string): void;
}

/** A probe of this machine has worked. One that failed is repeated: the next may find more memory, or less load. */
let works = false;

const MACHINE: SharedMemory = {
  async probe() {
    works ||= await probeSharedMemory();
    return works;
  },
  // Only Linux has the directory, and only where it exists can there be segments.
  removeStale: () => (existsSync(SHARED_MEMORY_DIR) ? removeStaleSegments() : []),
  create(instance, needs) {
    const free = freeSharedMemory();
    return createSegment({ sizes: sizeSegment({ ...needs, metricsBytes: TELEMETRY_BYTES, free }), instance });
  },
  remove: removeSegment,
};

/** The part of `size` that each of `shards` gets for a ring. */
function share(size: number, shards: number): number {
  return Math.max(MIN_HISTORY, 2 ** Math.floor(Math.log2(size / shards)));
}

/** What a full batch still fits into several times (bytes). */
const MIN_HISTORY = 256 * 1024;

/** The mesh worker's rings are as large as a shard's, beside what was asked for. */
function needsOf({ shards, history, historySize, retainedSize }: BrokerConfig, workers: number) {
  return {
    workers,
    historyBytes: history.length === 0 ? 0 : share(historySize, shards),
    retainedBytes: share(retainedSize, shards),
  };
}

export interface Ground {
  readonly linkKind: LinkKind;
  readonly segmentPath: string | null;
  /** Telemetry without a segment. */
  readonly counterFile: string | null;
  readonly socketsDir: string;
  /** Removes all of it. Synchronous, for 'exit'; may be repeated. */
  remove(): void;
}

async function chooseLinks(
  config: BrokerConfig,
  log: NodeLog,
  sharedMemory: SharedMemory,
): Promise<LinkKind> {
  if (config.links === 'unix-socket') {
    log.info({ links: 'unix-socket' }, 'links are Unix sockets, as configured');
    return 'unix-socket';
  }
  if (await sharedMemory.probe()) {
    log.info({ links: 'shared-memory' }, 'links are shared memory: the probe between two processes worked');
    return 'shared-memory';
  }
  if (config.links === 'shared-memory') {
    throw new FlowbusError(
      'BAD_CONFIG',
      'links shared-memory: the probe between two processes failed on this machine; use auto or unix-socket (--links, FLOWBUS_LINKS)',
    );
  }
  log.warn(
    { links: 'unix-socket' },
    'links are Unix sockets: the probe of shared memory between two processes failed',
  );
  return 'unix-socket';
}

/**
 * Removes what dead instances left, then prepares this one's, for so many workers.
 * @throws FlowbusError BAD_CONFIG, SHARED_MEMORY_FULL; nothing is left behind then
 */
export async function prepareGround(
  config: BrokerConfig,
  workers: number,
  instance: string,
  log: NodeLog,
  sharedMemory: SharedMemory = MACHINE,
): Promise<Ground> {
  const stale = [...removeStaleSocketsDirs(), ...sharedMemory.removeStale()];
  if (stale.length > 0) log.info({ removed: stale }, 'removed what dead instances had left');
  const linkKind = await chooseLinks(config, log, sharedMemory);
  if (linkKind === 'unix-socket' && config.history.length > 0)
    log.warn({ history: config.history }, 'no history is kept: that takes links in shared memory');
  const segmentPath =
    linkKind === 'shared-memory' ? sharedMemory.create(instance, needsOf(config, workers)) : null;
  let socketsDir = '';
  const remove = () => {
    if (socketsDir !== '') removeSocketsDir(socketsDir);
    if (segmentPath !== null) sharedMemory.remove(segmentPath);
  };
  try {
    socketsDir = createSocketsDir();
    const counterFile = segmentPath === null ? join(socketsDir, 'counters') : null;
    if (counterFile !== null) createCounterFile(counterFile, workers);
    return { linkKind, segmentPath, counterFile, socketsDir, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
