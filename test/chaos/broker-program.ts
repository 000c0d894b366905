/** A node in a process of its own, with a journal and on a port that stays, to be killed and started again. */
import { makeConfig } from '../../lib/config/index.js';
import { startNode } from '../../shards/primary.js';

const [dataDir, port] = process.argv.slice(2);
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const config = makeConfig({
  port: Number(port),
  shards: 2,
  logLevel: 'silent',
  dataDir,
  lease: 2000,
  retryBase: 1,
});
const node = await startNode(config, quiet, { signals: true, timing: { backoffMin: 20, backoffMax: 20 } });
const pids = () => node.processes().map(({ pid }) => pid);
process.send?.({ port: node.address.port, pids: pids() });
// Whoever kills a shard asks which one.
process.on('message', () => process.send?.({ port: node.address.port, pids: pids() }));
process.on('disconnect', () => void node.stop());
process.exit(await node.closed);
