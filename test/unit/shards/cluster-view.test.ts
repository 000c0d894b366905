import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { MAX_RECORD } from '../../../lib/links.js';
import type { ClusterNode } from '../../../lib/mesh.js';
import { ClusterView, nodesTalk } from '../../../shards/cluster-view.js';
import type { Exchange } from '../../../shards/exchange.js';
import { decodeTalk, encodeTalk, type Talk } from '../../../shards/talk.js';

const MESH = 2;

function node(number: number): ClusterNode {
  const addresses = Array.from({ length: 20 }, (_, i) => `${'x'.repeat(200)}-${number}-${i}:9081`);
  const state = 'alive';
  return {
    node: `n${number}`,
    state,
    since: 1,
    incarnation: 2,
    addresses,
    roundTrip: 0.5,
    agents: 3,
    bytesIn: 4,
    bytesOut: 5,
  };
}

describe('the view of the cluster', () => {
  let told: Talk[];
  let listening: boolean;
  let view: ClusterView;

  beforeEach(() => {
    told = [];
    listening = true;
    const peer = {
      get listening() {
        return listening;
      },
      tell: (bytes: Uint8Array) => told.push(decodeTalk<Talk>(bytes, 0, bytes.length)),
    };
    const exchange = { peers: [null, null, peer], tick: () => {} };
    view = new ClusterView(exchange as unknown as Exchange, MESH);
  });
  afterEach(() => mock.timers.reset());

  function refOf(talk: Talk): number {
    assert.ok(talk.t === 'cluster');
    return talk.ref;
  }

  it('is what the mesh worker says, in pieces that fit into records, each question by itself', async () => {
    const asked = [view.nodes(), view.nodes()];
    const answers = [Array.from({ length: 100 }, (_, number) => node(number)), [node(7)]];
    for (const i of [1, 0]) {
      for (const talk of nodesTalk(refOf(told[i]), answers[i])) {
        const bytes = encodeTalk(talk);
        assert.ok(bytes.length <= MAX_RECORD);
        const { ref, nodes, last } = decodeTalk<Talk & { t: 'nodes' }>(bytes, 0, bytes.length);
        view.answered(ref, nodes, last);
      }
    }
    for (const [i, answer] of (await Promise.all(asked)).entries()) {
      const expected = answers[i].map((one) => ({ ...one, addresses: one.addresses.slice(0, 8) }));
      assert.deepEqual(answer, expected);
    }
    view.answered(refOf(told[0]), [], true);
  });

  it('is empty when the mesh worker knows nobody', async () => {
    const asked = view.nodes();
    for (const talk of nodesTalk(refOf(told[0]), []))
      if (talk.t === 'nodes') view.answered(talk.ref, talk.nodes, talk.last);
    assert.deepEqual(await asked, []);
  });

  it('says at once that there is no cluster, or that the mesh worker is down or goes down', async () => {
    const alone = new ClusterView({ peers: [null, null] } as unknown as Exchange, null);
    await assert.rejects(alone.nodes(), { code: 'MESH_OFF' });
    listening = false;
    await assert.rejects(view.nodes(), { code: 'MESH_DOWN' });
    listening = true;
    const asked = view.nodes();
    view.peerLost(1);
    view.answered(refOf(told[0]), [node(1)], true);
    assert.equal((await asked)[0].node, 'n1');
    const lost = view.nodes();
    view.peerLost(MESH);
    await assert.rejects(lost, { code: 'MESH_DOWN' });
  });

  it('does not wait for ever, nor for too many answers', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const asked = Promise.allSettled(Array.from({ length: 1024 }, () => view.nodes()));
    await assert.rejects(view.nodes(), { code: 'MESH_DOWN' });
    assert.equal(told.length, 1024);
    mock.timers.tick(3000);
    for (const { status } of await asked) assert.equal(status, 'rejected');
    const next = view.nodes();
    view.answered(refOf(told[1024]), [], true);
    assert.deepEqual(await next, []);
  });
});
