/** The agents of one machine in a process of its own: each says a number to all ten times a second, and asks the others when told. */
import { type Agent, connect } from '../../lib/client/index.js';
import type { ClusterNode } from '../../lib/mesh.js';

export interface CrewSpec {
  url: string;
  names: string[];
}

/** What the crew sees now. */
export interface CrewView {
  /** Nodes with their states, as their broker knows them; empty while it is gone. */
  nodes: string[];
  /** By agent of the crew, who is online. */
  online: string[][];
  /** By agent of the crew, whom it has heard since the last `mark`. */
  heard: string[][];
  /** Numbers that did not follow their predecessors, since the last `mark`. */
  wrong: string[];
}

/** What it is told: begin anew with what was heard; say what you see; ask each of these for an answer. */
export type CrewOrder = { order: 'mark' } | { order: 'view' } | { order: 'ask'; names: string[] };
/** Of `ask`: what failed. */
export type CrewAnswer = { ready: true } | { marked: true } | { view: CrewView } | { failed: string[] };

const INTERVAL = 100;
/** With a fifth of a second each way, and what is lost to be sent again. */
const TIMEOUT = 10_000;

const { url, names } = JSON.parse(process.argv[2]) as CrewSpec;

class Crewman {
  readonly agent: Agent;
  /** By agent, the last number that it said. */
  readonly last = new Map<string, number>();
  wrong: string[] = [];
  #said = 0;

  constructor(agent: Agent) {
    this.agent = agent;
    agent.on('error', () => {}).on('disconnect', () => {});
    agent.on('message', (message) => `${message.text()} to you, too`);
  }

  async begin(): Promise<void> {
    await this.agent.subscribe('beat.*', (message) => this.#hear(message.from ?? '', message.json()));
    setInterval(() => this.agent.publish(`beat.${this.agent.agentId}`, ++this.#said), INTERVAL);
  }

  mark(): void {
    this.last.clear();
    this.wrong = [];
  }

  #hear(from: string, number: number): void {
    const before = this.last.get(from);
    if (before !== undefined && number !== before + 1)
      this.wrong.push(`${this.agent.agentId} heard ${number} from ${from} after ${before}`);
    this.last.set(from, number);
  }

  async online(): Promise<string[]> {
    const records = await this.agent.agents({ online: true }).catch(() => []);
    return records.map(({ agentId }) => agentId).sort();
  }

  async ask(name: string): Promise<string | null> {
    try {
      const reply = await this.agent.request(name, 'hello', { timeout: TIMEOUT });
      return reply.text() === 'hello to you, too' ? null : `${name} answered ${reply.text()}`;
    } catch (error) {
      return `${this.agent.agentId} asked ${name}: ${error}`;
    }
  }
}

async function nodes(): Promise<string[]> {
  try {
    const response = await fetch(`${url.replace('ws', 'http')}/v1/cluster`);
    const { nodes } = (await response.json()) as { nodes: ClusterNode[] };
    return nodes.map(({ node, state }) => `${node} ${state}`).sort();
  } catch {
    return [];
  }
}

const crew = await Promise.all(
  names.map(
    async (agentId) =>
      new Crewman(await connect(url, { agentId, reconnect: { minDelay: 10, maxDelay: 100 } })),
  ),
);
await Promise.all(crew.map((crewman) => crewman.begin()));

async function answer(order: CrewOrder): Promise<CrewAnswer> {
  if (order.order === 'mark') {
    for (const crewman of crew) crewman.mark();
    return { marked: true };
  }
  if (order.order === 'ask') {
    const asked = crew.flatMap((crewman) => order.names.map((name) => crewman.ask(name)));
    return { failed: (await Promise.all(asked)).filter((failure) => failure !== null) };
  }
  const online = await Promise.all(crew.map((crewman) => crewman.online()));
  const heard = crew.map(({ last }) => [...last.keys()].sort());
  return { view: { nodes: await nodes(), online, heard, wrong: crew.flatMap(({ wrong }) => wrong) } };
}

process.on('disconnect', () => process.exit());
process.on('message', async (order: CrewOrder) => {
  const said = await answer(order);
  if (process.connected) process.send?.(said);
});
process.send?.({ ready: true } satisfies CrewAnswer);
