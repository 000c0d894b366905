/** `import { connect } from 'flowbus'`, in Node: over the `ws` package, control frames in Avro. */
import { avroControl } from '../wire/avro.js';
import type { Agent } from './agent.js';
import { connectOver } from './connect.js';
import type { ConnectOptions } from './options.js';
import { openWs } from './transport-ws.js';

export * from './types.js';

/**
 * Connects an agent to a broker, at the first of the URLs (1 to 64, `ws:` or `wss:`) that answers. When the
 * connection is lost it comes back by itself, at the next URL in turn. Rejects with BAD_OPTION naming the option,
 * CONNECT_FAILED naming the URLs and what happened at each, or the broker's refusal, such as UNAUTHORIZED.
 */
export function connect(url: string | readonly string[], options: ConnectOptions = {}): Promise<Agent> {
  return connectOver(openWs, avroControl, url, options);
}
