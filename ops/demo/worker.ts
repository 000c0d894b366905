/** A process with workers: each an agent that counts the words of what it is sent, and says what it is doing. */
import { type Agent, connect, type Message } from '../../lib/client/index.js';
import { CAPABILITY, COORDINATOR, TASK_HEADER } from './coordinator.js';
import { countWords, toPayload } from './count.js';
import { type Answer, GROUP, TASKS } from './crash.js';
import { type Status, statusTopic } from './monitor.js';

/** What the process is started with, as JSON in its first argument. */
export interface Crew {
  url: string;
  workers: string[];
  /** Those of them that take tasks and never answer. */
  stuck: string[];
  /** Who gets this task first stops in the midst of it, and says so: the process is to be killed. */
  fatalTask: number;
}

/** What the process says over its IPC channel, once when its workers are connected: `null` is good news. */
export interface CrewReport {
  failure: string | null;
}

/** What it says later: that a worker is in the midst of the fatal task. */
export interface FatalReport {
  atFatalTask: string;
}

const agents: Agent[] = [];

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function employ({ url, fatalTask }: Crew, agentId: string, stuck: boolean): Promise<void> {
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
  if (stuck) return;
  const workOnStored = async (message: Message): Promise<void> => {
    const task = Number(message.headers[TASK_HEADER]);
    const { redelivered } = message;
    if (task === fatalTask && redelivered === 0) {
      process.send?.({ atFatalTask: agentId } satisfies FatalReport);
      await new Promise(() => {});
    }
    const count = toPayload(countWords(message.text()));
    const answer: Answer = { task, worker: agentId, redelivered, count };
    // Only when the coordinator's mailbox has the answer is the task acked.
    await agent.send(COORDINATOR, answer, { assured: true });
  };
  await agent.subscribe(TASKS, workOnStored, { group: GROUP, prefetch: 1 });
}

async function main(crew: Crew): Promise<void> {
  await Promise.all(crew.workers.map((agentId) => employ(crew, agentId, crew.stuck.includes(agentId))));
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
