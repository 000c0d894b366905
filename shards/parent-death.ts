/** The end of a worker whose primary is gone, also when it is too busy to notice that its channel has closed. */
import { linuxCall } from './libc.js';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Has the kernel kill this process when its parent dies (Linux, prctl(2)). Where that cannot be had, a worker ends when
 * its event loop next turns.
 */
export function dieWithParent(): void {
  const prctl = linuxCall('int prctl(int option, ulong arg2, ulong arg3, ulong arg4, ulong arg5)');
  prctl?.(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}
