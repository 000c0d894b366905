/** A node in a process of its own, for signals. Prints one line of JSON when it runs, and ends as its node does. */
import { makeConfig } from '../../../lib/config/index.js';
import { createLogger } from '../../../lib/telemetry/log.js';
import { startNode } from '../../../shards/primary.js';

// Time to flush on a busy machine; how the time is kept has a test of its own.
const config = makeConfig({ port: 0, logLevel: 'silent', shards: 2, drainTimeout: 60_000 });
const node = await startNode(config, createLogger(config), { signals: true });
console.log(JSON.stringify({ url: node.url, pids: node.processes().map(({ pid }) => pid) }));
process.exit(await node.closed);
