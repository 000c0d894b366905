/** What a mesh worker that knows no other node, is stopped, or is killed does to the node that it belongs to: nothing. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { RunningNode } from '../../../shards/primary.js';
import {
  assertGone,
  closeAgents,
  fetchPage,
  join,
  leftoversOf,
  metric,
  nameOn,
  startBroker,
  until,
} from './node.js';

const MESH = fileURLToPath(new URL('../quiet-mesh.js', import.meta.url));

describe('a broker with a mesh worker', function () {
  this.timeout(30_000);
  let node: RunningNode;

  before(async () => {
    node = await startBroker({}, { mesh: MESH, timing: { pingInterval: 100, stuckTimeout: 4000 } });
    await node.meshSettled;
  });
  afterEach(closeAgents);
  after(async () => {
    const leftovers = leftoversOf(node);
    await node.stop();
    assert.equal(await node.closed, 0);
    assertGone(leftovers);
  });

  const mesh = () => node.meshProcess()?.pid ?? assert.fail('no mesh worker');

  async function assertServes(round: string): Promise<void> {
    const one = await join(node.url, nameOn(0, `one-${round}`));
    const two = await join(node.url, nameOn(1, `two-${round}`));
    const got: string[] = [];
    await two.subscribe('round.*', (message) => {
      got.push(message.text());
    });
    one.publish('round.x', round);
    await until('the message', () => got.length === 1);
    two.on('message', (message) => message.text().toUpperCase());
    assert.equal((await one.request(two.agentId, 'ping')).text(), 'PING');
    assert.equal((await fetchPage(node, '/readyz')).status, 200);
  }

  it('has its metrics beside those of the shards', async () => {
    const memory = (worker: string) => metric(node, 'flowbus_resident_memory_bytes', `worker="${worker}"`);
    for (const worker of ['0', '1', 'mesh']) await until(worker, async () => (await memory(worker)) > 0);
    assert.equal(await memory('2'), 0);
  });

  it('serves while it is killed, and starts again', async () => {
    await assertServes('before');
    const first = mesh();
    process.kill(first, 'SIGKILL');
    await assertServes('killed');
    await until('the restart', () => node.meshProcess()?.live === true && mesh() !== first);
    await assertServes('restarted');
    assert.ok(node.processes().every(({ incarnation }) => incarnation === 1));
  });

  it('serves, and starts shards again, while it stands still; then it is taken for stuck', async () => {
    const stopped = mesh();
    process.kill(stopped, 'SIGSTOP');
    await assertServes('stopped');
    const shard = node.processes()[1].pid!;
    process.kill(shard, 'SIGKILL');
    await until('the shard', () => node.liveShards === 2 && node.processes()[1].pid !== shard);
    assert.equal(node.meshProcess()?.pid, stopped);
    await assertServes('without');
    await until('the next', () => node.meshProcess()?.live === true && mesh() !== stopped);
    await assertServes('after');
  });
});
