import type { Socket } from 'node:net';

/** An accepted connection that no shard has yet. Its handle does not read: what comes stays in the kernel. */
export interface Arrival {
  readonly socket: Socket;
  /** What was read of it. */
  readonly head: Buffer;
  readonly agentId: string | null;
}

/** Node's own handle below a socket or server: there is no public way to stop reading at once, and this may go. */
export interface StreamHandle {
  readStop?: () => number;
  readStart?: () => number;
  /** −1 where there is none. */
  readonly fd?: number;
}

/** Null once the socket is destroyed. */
export function handleOf(socket: object): StreamHandle | null {
  return (socket as { _handle?: StreamHandle | null })._handle ?? null;
}
