/** Where a worker listens for its peers. The two kinds of links never run at once, so they share the names. */
import { join } from 'node:path';
import { FlowbusError } from '../../lib/errors.js';

/** `sun_path` has 108 bytes and ends with a zero. */
const MAX_SOCKET_PATH = 107;

/** Throws BAD_CONFIG when the directory's name is too long for a socket. */
export function socketPath(socketsDir: string, slot: number): string {
  const path = join(socketsDir, `${slot}.sock`);
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH) return path;
  throw new FlowbusError(
    'BAD_CONFIG',
    `The socket ${path} has a path of ${bytes} bytes, and ${MAX_SOCKET_PATH} are possible: choose a shorter directory.`,
  );
}
