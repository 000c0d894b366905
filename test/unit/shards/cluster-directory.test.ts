import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Session } from '../../../shards/session.js';
import { Cluster, type Reader } from './cluster.js';

const NAMES = ['a', 'b', 'c'];
const AGENTS = ['x', 'y'];
const PAIRS = [
  ['a', 'b'],
  ['a', 'c'],
  ['b', 'c'],
];

const ops = fc.array(
  fc.record({
    op: fc.constantFrom(
      'connect',
      'connect',
      'leave',
      'step',
      'step',
      'cut',
      'link',
      'kill',
      'restart',
      'states',
    ),
    agent: fc.nat(AGENTS.length - 1),
    node: fc.nat(2),
    slot: fc.nat(1),
    pair: fc.nat(2),
  }),
  { maxLength: 50 },
);

interface Connected {
  agentId: string;
  node: number;
  slot: number;
  session: Session;
  sink: Reader;
}

describe('the directory of a cluster', () => {
  it('is the truth on every shard once all has arrived, with one session of each agent at most, and presence says the same', async () => {
    await fc.assert(
      fc.asyncProperty(ops, async (todo) => {
        const cluster = new Cluster();
        for (const name of NAMES) await cluster.add(name);
        const watchers = cluster.nodes.flatMap((one) =>
          [0, 1].map((slot) => one.agent(`${one.name}${slot}`, slot, ['system.agent.*.*']).sink),
        );
        const link = ([one, other]: string[]) => {
          cluster.cut(one, other);
          if (cluster.named(one).living && cluster.named(other).living) cluster.link(one, other);
        };
        PAIRS.forEach(link);
        await cluster.run();
        const connected: Connected[] = [];
        for (const { op, agent, node, slot, pair } of todo) {
          const one = cluster.nodes[node];
          if (op === 'connect') {
            const agentId = AGENTS[agent];
            connected.push({ agentId, node, slot, ...one.agent(agentId, slot) });
          } else if (op === 'leave') {
            const last = connected.findLast(({ agentId }) => agentId === AGENTS[agent]);
            if (last !== undefined)
              cluster.nodes[last.node].shards[last.slot].sessions.end(last.session, null, '');
          } else if (op === 'step') await cluster.step();
          else if (op === 'kill' && one.living) one.killGateway();
          else if (op === 'restart' && !one.living) await one.restartGateway();
          else if (op === 'link') link(PAIRS[pair]);
          else if (op === 'cut') cluster.cut(PAIRS[pair][0], PAIRS[pair][1]);
          else if (op === 'states') {
            // Held for dead by the others, which is soon refuted.
            cluster.tellState(one.name, slot === 0 ? 'dead' : 'suspect');
            await cluster.step();
            if (one.living) cluster.tellState(one.name, 'alive');
          }
        }
        for (const one of cluster.nodes) if (!one.living) await one.restartGateway();
        PAIRS.forEach(link);
        await cluster.run();
        for (const { gateway } of cluster.nodes) gateway.check();
        await cluster.run();
        for (const agentId of AGENTS) {
          const living = connected.filter(({ session, ...of }) => of.agentId === agentId && !session.ended);
          assert.ok(living.length <= 1);
          const here = living.length === 0 ? 'nowhere' : `${NAMES[living[0].node]} ${living[0].slot}`;
          for (const { shards } of cluster.nodes) {
            for (const { sessions } of shards) {
              const record = sessions.directory.get(agentId);
              const isGone = record === null || record.state === 'offline';
              assert.equal(isGone ? 'nowhere' : `${record.node} ${record.shard}`, here);
            }
          }
          // Shards that take one agent at the same moment may cross with their words about it, where they are.
          const takers = connected.filter((of) => of.agentId === agentId);
          const crossed = new Set(takers.map(({ node, slot }) => `${node} ${slot}`)).size > 1;
          for (const [i, { got }] of watchers.entries()) {
            if (crossed && takers.some(({ node }) => node === i >> 1)) continue;
            const last = got.findLast(({ topic }) => topic.startsWith(`system.agent.${agentId}.`));
            assert.equal(last?.topic.endsWith('online') ?? false, here !== 'nowhere');
          }
        }
      }),
      { numRuns: 150, interruptAfterTimeLimit: 4000 },
    );
  });
});
