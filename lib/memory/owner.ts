/**
 * Who owns what lies on a file system that others use too. A process id alone does not say: ids are used again, and each
 * container counts its own. Together with the process's start and the namespace of its ids it does.
 */
import { readFileSync, statSync } from 'node:fs';

export interface Owner {
  pid: number;
  /** Clock ticks since boot (field 22 of /proc/<pid>/stat); 0 where there is no /proc. */
  start: number;
  /** Which processes its id counts among: the inode of /proc/self/ns/pid; 0 where there is none. */
  namespace: number;
}

/** Fields of /proc/<pid>/stat behind the command's closing bracket: state is field 3, start is field 22. */
const START_FIELD = 22 - 3;

function startOf(pid: number | 'self'): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return 0;
  }
  // The command is in brackets and may itself hold spaces and brackets.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_FIELD]) || 0;
}

function namespaceOfPids(): number {
  try {
    return statSync('/proc/self/ns/pid').ino;
  } catch {
    return 0;
  }
}

export function thisProcess(): Owner {
  return { pid: process.pid, start: startOf('self'), namespace: namespaceOfPids() };
}

/** Whether the owner has ended for certain. One that cannot be seen from here may live. */
export function isDead(owner: Owner): boolean {
  if (owner.namespace !== namespaceOfPids()) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
  }
  return startOf(owner.pid) !== owner.start;
}
