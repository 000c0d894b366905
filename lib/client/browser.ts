/** `import { connect } from 'flowbus'`, in browsers: over the platform's WebSocket, control frames in JSON. */
import { FlowbusError } from '../errors.js';
import { jsonControl } from '../wire/control.js';
import type { Agent } from './agent.js';
import { connectOver } from './connect.js';
import type { ConnectOptions } from './options.js';
import { openNative } from './transport-native.js';

export * from './types.js';

/**
 * Connects an agent to a broker, at the first of the URLs (1 to 64, `ws:` or `wss:`) that answers. When the
 * connection is lost it comes back by itself, at the next URL in turn. Rejects with BAD_OPTION naming the option,
 * CONNECT_FAILED naming the URLs and what happened at each, NO_WEBSOCKET where the platform has none, or the broker's
 * refusal, such as UNAUTHORIZED.
 */
export async function connect(url: string | readonly string[], options: ConnectOptions = {}): Promise<Agent> {
  // Node has one from version 22 on.
  if (typeof WebSocket === 'undefined') throw new FlowbusError('NO_WEBSOCKET');
  return connectOver(openNative, jsonControl, url, options);
}
