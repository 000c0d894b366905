/** The end of a worker whose primary is gone, also when it is too busy to notice that its channel has closed. */
import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Has the kernel kill this process when its parent dies (Linux, prctl(2)). Where that cannot be had, a worker ends when
 * its event loop next turns.
 */
export function dieWithParent(): void {
  if (process.platform !== 'linux') return;
  try {
    // At once: whatever this worker does next may already be too much for it.
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    const prctl = koffi
      .load(null)
      .func('int prctl(int option, ulong arg2, ulong arg3, ulong arg4, ulong arg5)');
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  } catch {
    // No native code here, or another libc.
  }
}
