/**
 * Who owns a segment: a process id alone does not say, ids are used again. Together with the process's start
 * (clock ticks since boot, field 22 of /proc/<pid>/stat) it does.
 */
import { readFileSync } from 'node:fs';

export interface Owner {
  pid: number;
  /** Clock ticks since boot. */
  start: number;
}

/** Fields of /proc/<pid>/stat behind the command's closing bracket: state is field 3, start is field 22. */
const START_FIELD = 22 - 3;

/** When the process started, in clock ticks since boot; null: there is none of that id. */
export function processStart(pid: number): number | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The command is in brackets and may itself hold spaces and brackets.
  const start = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_FIELD]);
  return Number.isFinite(start) ? start : null;
}

export function isAlive(owner: Owner): boolean {
  return processStart(owner.pid) === owner.start;
}
