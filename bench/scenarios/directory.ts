/** The directory's protocol among simulated nodes: how soon all agree, and what it costs when nothing happens and when much does. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Option } from 'commander';
import { integer, integers } from '../flags.js';
import { type CommonOptions, type FigureShape, type Run, repeat, type Scenario } from '../scenario.js';
import { type SimulatedNode, Simulation } from '../simulated-mesh.js';

/** Simulated seconds. */
const SECONDS = 20;
const LIMIT = 60_000;
/** What a node has of an agent, in Avro: about what a worker with two capabilities takes. */
const RECORD = 64;
/** Changes of each node in a second, while much happens. */
const CHURN = 10;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

interface DirectoryOptions extends CommonOptions {
  nodes: readonly number[];
  agents: number;
  delay: number;
  loss: number;
}

function register(node: SimulatedNode, agent: number, version: number, now: number): void {
  const record = Buffer.alloc(RECORD, version & 0xff);
  record.writeUInt32LE(agent);
  node.replica.write(`${node.name}-agent-${agent}`, record, now);
}

function agreement(simulation: Simulation): number | null {
  return simulation.until(() => simulation.agrees(), LIMIT);
}

/** Bytes that a node sends in a second, over so many. */
function traffic(simulation: Simulation, seconds: number, each: () => void): number {
  const before = simulation.nodes.reduce((sum, { bytesOut }) => sum + bytesOut, 0);
  for (let second = 0; second < seconds; second++) {
    each();
    simulation.run(1000);
  }
  const after = simulation.nodes.reduce((sum, { bytesOut }) => sum + bytesOut, 0);
  return (after - before) / simulation.nodes.length / seconds;
}

function simulate(count: number, options: DirectoryOptions, index: number): Run {
  collectGarbage();
  const heap = process.memoryUsage().heapUsed;
  const seconds = options.seconds ?? SECONDS;
  const agents = Math.max(1, Math.floor(options.agents / count));
  const simulation = new Simulation({
    nodes: count,
    weather: { minDelay: 1, maxDelay: options.delay, loss: options.loss / 100 },
    seed: index + 1,
  });
  const { nodes } = simulation;
  for (const node of nodes) {
    for (let agent = 0; agent < agents; agent++) register(node, agent, 0, 0);
    simulation.greet(node);
  }
  const join = agreement(simulation);
  const quiet = traffic(simulation, seconds, () => {});
  let version = 0;
  const busy = traffic(simulation, seconds, () => {
    version++;
    for (const node of nodes)
      for (let i = 0; i < CHURN; i++) register(node, (version * CHURN + i) % agents, version, simulation.now);
  });
  const settle = agreement(simulation);
  collectGarbage();
  const memory = (process.memoryUsage().heapUsed - heap) / count;
  const [victim] = nodes;
  simulation.kill(victim);
  const dead = simulation.until(
    () => nodes.every(({ up, observed }) => !up || observed.states.get(victim.name) === 'dead'),
    LIMIT,
  );
  simulation.restart(victim);
  for (let agent = 0; agent < agents; agent++) register(victim, agent, 0, simulation.now);
  const back = agreement(simulation);
  simulation.cut((node) => node.index % 2);
  simulation.run(15_000);
  simulation.heal();
  const heal = agreement(simulation);
  const times = { join, settle, dead, back, heal };
  const missed = Object.values(times).filter((time) => time === null).length;
  return {
    values: { ...times, quiet, busy, memoryOfNode: memory },
    account: { expected: 5, received: 5 - missed, lost: missed, repeated: 0 },
    notes: [],
  };
}

const FIGURES: readonly FigureShape[] = [
  { name: 'join', unit: 'ms', goal: { value: 5000, at: 'most' } },
  { name: 'settle', unit: 'ms', goal: { value: 5000, at: 'most' } },
  { name: 'dead', unit: 'ms' },
  { name: 'back', unit: 'ms', goal: { value: 5000, at: 'most' } },
  { name: 'heal', unit: 'ms', goal: { value: 5000, at: 'most' } },
  { name: 'quiet', unit: 'bytes' },
  { name: 'busy', unit: 'bytes' },
  { name: 'memoryOfNode', unit: 'bytes' },
];

export const directory: Scenario = {
  name: 'directory',
  summary:
    'simulated nodes with loss, delay, cuts and deaths: when they agree on who is there, and what that costs',
  usual: false,
  flags: [
    new Option('--nodes <list>', 'of the cluster, a case for each')
      .argParser(integers(2, 2000))
      .default([3, 10, 30, 100], '3,10,30,100'),
    new Option('--agents <n>', 'of all nodes together').argParser(integer(1, 10_000_000)).default(30_000),
    new Option('--delay <ms>', 'of a message, at most').argParser(integer(1, 1000)).default(5),
    new Option('--loss <percent>', 'of packets').argParser(integer(0, 50)).default(1),
  ],
  async run(options: DirectoryOptions, tell) {
    const results = [];
    for (const count of options.nodes) {
      const what = {
        scenario: 'directory',
        case: `${count} nodes`,
        conditions: {
          agents: options.agents,
          'delay ms': `1–${options.delay}`,
          'loss %': options.loss,
          'changes of each node per s': CHURN,
          'simulated s, quiet and busy': options.seconds ?? SECONDS,
        },
        figures: FIGURES,
      };
      results.push(await repeat(what, options.runs, tell, async (index) => simulate(count, options, index)));
    }
    return results;
  },
};
