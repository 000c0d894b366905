/**
 * Files as memory: libc's `mmap`, called through koffi. Nothing imports this module but by `import()`, so that
 * only processes which attach to a segment load native code.
 *
 * A mapping is never undone: an ArrayBuffer over unmapped memory kills the process at the next access, and
 * whoever holds one cannot be asked.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
/** (void *) -1 */
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

const libc = koffi.load(null);
const mmap = libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)');

/** Maps the first `length` bytes of a file, readable and writable, shared. Throws when it cannot. */
export function mapFile(path: string, length: number): ArrayBuffer {
  const fd = openSync(path, 'r+');
  try {
    const pointer: bigint | null = mmap(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0);
    if (pointer === null || pointer === MAP_FAILED) {
      throw new Error(`mmap of ${length} bytes of ${path} failed (errno ${koffi.errno()})`);
    }
    return koffi.view(pointer, length);
  } finally {
    // The mapping outlives the descriptor.
    closeSync(fd);
  }
}
