/** The past from the command line: `sub --replay`, `sub --since`, `pub --retain`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, join, startBroker } from '../broker/node.js';
import { endAll, Run } from './run.js';

describe('flowbus, with a history', function () {
  this.timeout(30_000);
  const runs: Run[] = [];
  let dir: string;
  let node: RunningNode;

  before(async () => {
    dir = mkdtempSync(path(tmpdir(), 'flowbus-cli-history-'));
    node = await startBroker({ shards: 1, history: ['orders.**'] });
  });
  afterEach(async () => {
    await endAll(runs.splice(0));
    await closeAgents();
  });
  after(async () => {
    await node.stop();
    rmSync(dir, { recursive: true });
  });

  async function flowbus(...args: string[]): Promise<Run> {
    const run = new Run(args, { FLOWBUS_URL: node.url }, dir);
    runs.push(run);
    await run.exit();
    return run;
  }

  it('prints what was published before, marked, and the last value of a topic', async () => {
    const agent = await join(node.url);
    for (const text of ['one', 'two', 'three']) agent.publish('orders.new', text);
    await agent.drain();
    const [past] = await Promise.all([
      flowbus('sub', 'orders.*', '--replay', '2', '--count', '2', '--json'),
      flowbus('pub', 'robots.r1', 'docked', '--retain'),
    ]);
    const got = past.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      got.map(({ data, replayed }) => [data, replayed]),
      [
        ['two', true],
        ['three', true],
      ],
    );
    const [since, value, none] = await Promise.all([
      flowbus('sub', 'orders.*', '--since', '1h', '--count', '3'),
      flowbus('sub', 'robots.*', '--count', '1'),
      flowbus('sub', 'logs.*', '--replay', '2'),
    ]);
    assert.equal(since.lines.length, 3);
    assert.match(value.out, /docked\n$/);
    assert.match(none.err, /HISTORY_UNAVAILABLE/);
  });
});
