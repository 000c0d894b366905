/** Agents that hold many subscriptions, to which nothing is published. */
import { type Agent, connect } from '../../lib/client/index.js';
import { now } from '../clock.js';
import { patternOf } from './fleet.js';
import { serve } from './serve.js';

/** Subscriptions that wait for their answer at a time. */
const IN_FLIGHT = 1000;

const agents: Agent[] = [];
const notes: string[] = [];

function ignore(): void {}

async function hold(url: string, first: number, end: number): Promise<void> {
  const agent = await connect(url, { agentId: `holder-${first}` });
  agents.push(agent);
  agent.on('disconnect', ({ code }) => notes.push(`${agent.agentId}: lost its connection, ${code}`));
  for (let next = first; next < end; next += IN_FLIGHT) {
    const some = Array.from({ length: Math.min(IN_FLIGHT, end - next) }, (_, offset) =>
      agent.subscribe(patternOf(next + offset, (next + offset) % 2 === 0), ignore),
    );
    await Promise.all(some);
  }
}

const operations = {
  /** Half of the patterns have wildcards. Resolves with the milliseconds until all are in force. */
  async hold({ url, count, each }: { url: string; count: number; each: number }): Promise<number> {
    const began = now();
    for (let first = 0; first < count; first += each) await hold(url, first, Math.min(count, first + each));
    return now() - began;
  },

  notes(): string[] {
    return notes;
  },
};

export type HolderOperations = typeof operations;

serve(operations, async () => {
  await Promise.all(agents.map((agent) => agent.close()));
});
