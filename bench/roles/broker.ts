/** The broker: a node with its shards, as `flowbus start` runs it. */
import { makeConfig } from '../../lib/config/index.js';
import { createLogger } from '../../lib/telemetry/log.js';
import { type RunningNode, startNode } from '../../shards/primary.js';
import { serve } from './serve.js';

/** Enough when all have left; when it is interrupted, nobody is to wait for long (ms). */
const DRAIN_TIMEOUT = 2000;

let node: RunningNode | null = null;

function running(): RunningNode {
  if (node === null) throw new Error('it was not started');
  return node;
}

const operations = {
  async start({ shards }: { shards: number | null }) {
    const config = makeConfig({
      port: 0,
      logLevel: 'warn',
      drainTimeout: DRAIN_TIMEOUT,
      ...(shards === null ? {} : { shards }),
    });
    node = await startNode(config, createLogger(config), { dedicated: true });
    return { url: node.url, shards: node.shards, links: node.linkKind };
  },

  /** The primary and its shards, in this order. */
  processes(): number[] {
    const pids = running()
      .processes()
      .map(({ pid }) => pid);
    return [process.pid, ...pids.filter((pid) => pid !== undefined)];
  },
};

export type BrokerOperations = typeof operations;

serve(operations, async () => {
  await node?.stop();
});
