/** A node in a process of its own, with a journal and on a port that stays, to be killed and started again. */
import { type BrokerConfig, makeConfig } from '../../lib/config/index.js';
import { startNode } from '../../shards/primary.js';

const settings = JSON.parse(process.argv[2]) as Partial<BrokerConfig>;
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
// Consumers are killed with the same message in hand for as long as it takes: that it is tried for ever is what lets nothing be missing.
const retries = { retryBase: 1, maxAttempts: 65_535, poisonAfter: 0 };
const config = makeConfig({ shards: 2, logLevel: 'silent', lease: 2000, ...retries, ...settings });
const node = await startNode(config, quiet, { signals: true, timing: { backoffMin: 20, backoffMax: 20 } });
const report = () =>
  process.send?.({ port: node.address.port, pids: node.processes().map(({ pid }) => pid) });
report();
// Whoever kills a shard asks which one.
process.on('message', report);
process.on('disconnect', () => void node.stop());
process.exit(await node.closed);
