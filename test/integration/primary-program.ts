/** A primary in a process of its own, to be killed. Prints one line of JSON when it runs, and ends as its node does. */
import { fileURLToPath } from 'node:url';
import { makeConfig } from '../../lib/config/index.js';
import { createLogger } from '../../lib/telemetry/log.js';
import { startNode } from '../../shards/primary.js';

const config = makeConfig({ port: 0, logLevel: 'silent', shards: 2, drainTimeout: 10_000 });
const node = await startNode(config, createLogger(config), {
  signals: true,
  exec: fileURLToPath(new URL('./echo-worker.js', import.meta.url)),
});
console.log(JSON.stringify({ url: node.url, pids: node.processes().map(({ pid }) => pid) }));
process.exit(await node.closed);
