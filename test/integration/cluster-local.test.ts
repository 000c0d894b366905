import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterNode } from '../../lib/mesh.js';
import { isAlive, until } from './broker/node.js';
import { Run } from './cli/run.js';

const PROGRAM = fileURLToPath(new URL('../../ops/cluster-local.js', import.meta.url));

describe('npm run cluster', function () {
  this.timeout(60_000);
  let dir: string;
  const runs: Run[] = [];

  function clusterLocal(...args: string[]): Run {
    const run = new Run([PROGRAM, ...args], {}, dir, process.execPath);
    runs.push(run);
    return run;
  }

  before(() => {
    dir = mkdtempSync(joinPath(tmpdir(), 'flowbus-local-'));
  });
  after(async () => {
    for (const run of runs) if (run.child.exitCode === null) run.child.kill('SIGTERM');
    await Promise.all(runs.map((run) => run.exit()));
    rmSync(dir, { recursive: true });
  });

  it('starts nodes that are one cluster, and ends them with itself', async () => {
    const run = clusterLocal('2', '--port', '0', '--data-dir', 'data', '--json');
    await run.until('ready line', () => run.out.includes('\n'));
    const { nodes } = JSON.parse(run.lines[0]) as { nodes: { node: string; url: string; pid: number }[] };
    assert.deepEqual(
      nodes.map(({ node }) => node),
      ['node-1', 'node-2'],
    );
    await until('two nodes', async () => {
      const response = await fetch(`${nodes[1].url.replace('ws', 'http')}/v1/cluster`);
      const seen = ((await response.json()) as { nodes: ClusterNode[] }).nodes;
      return seen.filter(({ state }) => state === 'alive').length === 2;
    });
    run.child.kill('SIGINT');
    assert.equal(await run.exit(), 0, run.err);
    assert.deepEqual(nodes.map(({ pid }) => pid).filter(isAlive), []);
  });

  it('says what is wrong, and leaves nothing running', async () => {
    for (const args of [
      ['1'],
      ['21'],
      ['x'],
      ['2', '--port', '65535'],
      ['2', '--shards', '0'],
      ['--nodes', '2'],
      ['2', '3'],
    ]) {
      const run = clusterLocal(...args);
      assert.equal(await run.exit(), 2, args.join(' '));
      assert.match(run.err, /^error: /);
    }
    const blocked = clusterLocal('2', '--port', '0', '--data-dir', '/proc/nowhere');
    assert.equal(await blocked.exit(), 1);
    assert.match(blocked.err, /DATA_DIR_UNWRITABLE/);
    assert.match(blocked.err, /\ncluster-local: node-1 ended with exit code 1; its log is above\n$/);
  });
});
