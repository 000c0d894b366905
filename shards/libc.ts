/** The few calls of the kernel that Node has no way to. */
import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';

type LibcFunction = ReturnType<Koffi.LibraryHandle['func']>;

/**
 * A function of libc by its C signature; null where this is not Linux, or native code cannot be loaded. Synchronous: whatever a
 * worker does next may depend on it.
 */
export function linuxCall(signature: string): LibcFunction | null {
  if (process.platform !== 'linux') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    return koffi.load(null).func(signature);
  } catch {
    return null;
  }
}
