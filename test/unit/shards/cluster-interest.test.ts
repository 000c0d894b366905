import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Cluster, type Node } from './cluster.js';

const NAMES = ['a', 'b', 'c'];
const PATTERNS = ['x', 'x.*', '**', 'y.z', 'long.'.repeat(15).concat('x')];
const PAIRS: readonly (readonly [string, string])[] = [
  ['a', 'b'],
  ['a', 'c'],
  ['b', 'c'],
];

const ops = fc.array(
  fc.record({
    op: fc.constantFrom(
      ...(['subscribe', 'subscribe', 'unsubscribe', 'step', 'step'] as const),
      ...(['cut', 'link', 'stick', 'loosen', 'kill', 'restart'] as const),
    ),
    node: fc.nat(2),
    slot: fc.nat(1),
    pattern: fc.nat(PATTERNS.length - 1),
    pair: fc.nat(2),
  }),
  { maxLength: 60 },
);

function wantedOn({ shards }: Node): string[] {
  const wanted = new Set(
    shards.flatMap(({ sessions }) => [...sessions.all()].flatMap(({ patterns }) => [...patterns])),
  );
  return [...wanted].sort();
}

describe('what nodes know of what the others want', () => {
  it('is the truth once all has arrived, whatever links and gateways were lost in between', async () => {
    await fc.assert(
      fc.asyncProperty(ops, async (todo) => {
        const cluster = new Cluster();
        for (const name of NAMES) await cluster.add(name);
        const agents = cluster.nodes.map((one) =>
          [0, 1].map((at) => one.agent(`${one.name}${at}`, at).session),
        );
        const link = ([one, other]: readonly [string, string]) => {
          cluster.cut(one, other);
          if (cluster.named(one).living && cluster.named(other).living) cluster.link(one, other);
        };
        PAIRS.forEach(link);
        for (const { op, ...which } of todo) {
          const one = cluster.nodes[which.node];
          const [from, to] = PAIRS[which.pair];
          const way = cluster.way(from, to);
          if (op === 'subscribe' || op === 'unsubscribe')
            one.shards[which.slot].interest[op](agents[which.node][which.slot], [PATTERNS[which.pattern]]);
          else if (op === 'step') await cluster.step();
          else if (op === 'kill' && one.living) one.killGateway();
          else if (op === 'restart' && !one.living) await one.restartGateway();
          else if (op === 'link') link([from, to]);
          else if (op === 'cut') cluster.cut(from, to);
          else if (way !== undefined) way.stuck = op === 'stick';
        }
        for (const way of cluster.links.values()) way.stuck = false;
        for (const one of cluster.nodes) if (!one.living) await one.restartGateway();
        await cluster.run();
        for (const one of cluster.nodes) {
          const others = cluster.nodes.filter(({ name }) => cluster.way(one.name, name) !== undefined);
          for (const other of others)
            assert.deepEqual(one.gateway.wantedBy(other.name).sort(), wantedOn(other));
          const all = [...new Set(others.flatMap(wantedOn))].sort();
          for (const { exchange } of one.shards)
            assert.deepEqual([...exchange.gateway!.interest].sort(), all);
        }
      }),
      { numRuns: 100, interruptAfterTimeLimit: 4000 },
    );
  });
});
