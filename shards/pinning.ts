/** Keeping a shard on one core, so that it does not lose its caches by being moved (Linux, sched_setaffinity(2)). */
import { linuxCall } from './libc.js';

/** Bytes of a set of cores, one bit for each: 1,024 cores, as in glibc's cpu_set_t. */
const SET_BYTES = 128;
/** The calling thread. */
const SELF = 0;

/** The cores in `set`, ascending. */
export function coresOf(set: Uint8Array): number[] {
  const cores: number[] = [];
  for (let core = 0; core < set.length * 8; core++) {
    if ((set[core >> 3] & (1 << (core & 7))) !== 0) cores.push(core);
  }
  return cores;
}

/**
 * Keeps this process's event loop on one of the cores that it may use, by its slot; with more shards than cores they share.
 * Threads that are there already (the garbage collector's) stay free. Returns the core; null where it cannot be had.
 */
export function pinToCore(slot: number): number | null {
  const get = linuxCall('int sched_getaffinity(int pid, size_t size, void *set)');
  const set = linuxCall('int sched_setaffinity(int pid, size_t size, void *set)');
  if (get === null || set === null) return null;
  const bytes = new Uint8Array(SET_BYTES);
  if (get(SELF, SET_BYTES, bytes) !== 0) return null;
  const cores = coresOf(bytes);
  if (cores.length === 0) return null;
  const core = cores[slot % cores.length];
  bytes.fill(0);
  bytes[core >> 3] = 1 << (core & 7);
  return set(SELF, SET_BYTES, bytes) === 0 ? core : null;
}
