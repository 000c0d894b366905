/** How a WebSocket ends when the bus ends it. */
import type { WebSocket } from 'ws';
import type { ErrorCode } from '../../lib/errors.js';

/** Close codes (RFC 6455, 7.4.1). */
const POLICY_VIOLATION = 1008;
export const TOO_BIG_MESSAGE = 1009;
/** Those that an agent leaves with on purpose; after any other it may come back and resume. */
export const LEAVING: ReadonlySet<number> = new Set([1000, 1001]);
/** A client that does not answer the close is not waited for: `ws` allows 30 s, which a flood of them would add up to. */
const CLOSE_TIMEOUT = 2000;

/** Ends a connection with an error code as the reason. */
export function closeWith(ws: WebSocket, code: ErrorCode): void {
  ws.close(code === 'OVERSIZED' ? TOO_BIG_MESSAGE : POLICY_VIOLATION, code);
  const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT);
  timer.unref();
  ws.once('close', () => clearTimeout(timer));
}
