/** A process with workers: each an agent that counts the words of what it is sent, and says what it is doing. */
import { type Agent, connect, type Message } from '../../lib/client/index.js';
import { CAPABILITY } from './coordinator.js';
import { countWords, toPayload } from './count.js';
import { type Status, statusTopic } from './monitor.js';

/** What the process is started with, as JSON in its first argument. */
export interface Crew {
  url: string;
  workers: string[];
  /** Those of them that take tasks and never answer. */
  stuck: string[];
}

/** What the process says over its IPC channel, once: `null` is good news. */
export interface CrewReport {
  failure: string | null;
}

const agents: Agent[] = [];

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function employ(url: string, agentId: string, stuck: boolean): Promise<void> {
  const agent = await connect(url, {
    agentId,
    agentType: 'worker',
    capabilities: [CAPABILITY],
    metadata: { process: process.pid },
  });
  agents.push(agent);
  const topic = statusTopic(agentId);
  let done = 0;
  const tell = (state: Status['state']): void => {
    agent.publish(topic, { state, done } satisfies Status);
  };
  const work = async (message: Message): Promise<object> => {
    tell('working');
    // Messages of a turn travel together: without a turn in between, both states would arrive at once.
    await turn();
    const count = countWords(message.text());
    done++;
    tell('idle');
    return toPayload(count);
  };
  agent.on('message', stuck ? () => tell('working') : work);
}

async function main({ url, workers, stuck }: Crew): Promise<void> {
  await Promise.all(workers.map((agentId) => employ(url, agentId, stuck.includes(agentId))));
}

function report(failure: string | null): void {
  if (process.connected) process.send?.({ failure } satisfies CrewReport);
}

async function leave(): Promise<void> {
  await Promise.all(agents.map((agent) => agent.close()));
  process.exit();
}

// Whoever started this process is gone, or wants it to end; a terminal's Ctrl-C goes to all, and the demo decides.
process.once('disconnect', () => void leave());
process.once('SIGTERM', () => void leave());
process.on('SIGINT', () => {});

main(JSON.parse(process.argv[2]) as Crew).then(
  () => report(null),
  (error: unknown) => report(error instanceof Error ? error.message : String(error)),
);
