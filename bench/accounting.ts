/** What the operating system says of processes: processor time, memory, limits. Linux: elsewhere null. */
import { readFileSync } from 'node:fs';

/** /proc counts in USER_HZ, which the kernel keeps at 100 for every program, whatever its own tick is (ms). */
const TICK = 10;

/** In /proc/<pid>/stat, counted from behind the name (proc(5): fields 14 and 15, the name is field 2). */
const UTIME = 11;
const STIME = 12;

const PAGE = 4096;

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function sum<T>(items: readonly T[], value: (item: T) => number | null): number | null {
  let total = 0;
  for (const item of items) {
    const one = value(item);
    if (one === null) return null;
    total += one;
  }
  return total;
}

function cpuOfOne(pid: number): number | null {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The name may hold anything, blanks and brackets included.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[UTIME]) + Number(fields[STIME])) * TICK;
}

/** Processor time of all threads of these processes so far, user and system, in milliseconds (steps of 10). */
export function cpuOf(pids: readonly number[]): number | null {
  return sum(pids, cpuOfOne);
}

function pssOfOne(pid: number): number | null {
  const line = /^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`) ?? '');
  return line === null ? null : Number(line[1]) * 1024;
}

function rssOfOne(pid: number): number | null {
  const pages = read(`/proc/${pid}/statm`)?.split(' ')[1];
  return pages === undefined ? null : Number(pages) * PAGE;
}

export interface Memory {
  bytes: number;
  /** `Pss`: pages that several processes map are counted once in all. `RSS`: once for each process. */
  measure: 'Pss' | 'RSS';
}

/** Memory of these processes together, shared memory included. What the kernel holds for sockets is in neither. */
export function memoryOf(pids: readonly number[]): Memory | null {
  const pss = sum(pids, pssOfOne);
  if (pss !== null) return { bytes: pss, measure: 'Pss' };
  const rss = sum(pids, rssOfOne);
  return rss === null ? null : { bytes: rss, measure: 'RSS' };
}

/** How many files, sockets among them, a process started from here may have open. */
export function openFilesLimit(): number | null {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  if (soft === undefined) return null;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}
