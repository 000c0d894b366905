/**
 * Well-behaved agents that must not notice what others do: one on each shard, each reading the numbered messages of all,
 * its own included, so that every path inside a shard and between shards is in use all the time.
 */
import assert from 'node:assert/strict';
import { type Agent, connect, type Message } from '../../lib/client/index.js';
import type { RunningNode } from '../../shards/primary.js';
import { nameOn, until } from './broker/node.js';

const TOPIC = 'bystander';
/** Their agentIds begin with it. */
const NAME = 'bystander';

interface Bystander {
  agent: Agent;
  sent: number;
  /** The last number that came, by publisher. */
  readonly last: number[];
}

/** What a message with this number says: changed bytes would show. */
function textOf(number: number): string {
  return `${number} ${'.'.repeat(number % 100)} ${number * 7}`;
}

export class Bystanders {
  /** What none of them should ever have seen. */
  readonly complaints: string[] = [];
  readonly #node: RunningNode;
  readonly #all: Bystander[] = [];
  readonly #processes: string;
  #timer: NodeJS.Timeout | undefined;

  private constructor(node: RunningNode) {
    this.#node = node;
    this.#processes = this.#story();
  }

  /** `interval`: between two messages of each (ms). */
  static async start(node: RunningNode, interval = 2): Promise<Bystanders> {
    const bystanders = new Bystanders(node);
    for (let slot = 0; slot < node.shards; slot++) await bystanders.#add(slot);
    bystanders.#timer = setInterval(() => bystanders.#publish(), interval);
    return bystanders;
  }

  /** The agent on shard `slot`, for whoever needs a witness there. */
  on(slot: number): Agent {
    return this.#all[slot].agent;
  }

  get sent(): number {
    return this.#all.reduce((sum, { sent }) => sum + sent, 0);
  }

  /**
   * Messages that are sent from now on arrive at all of them, nothing was lost, changed or late by seconds, and the
   * processes of the shards are those of the beginning.
   */
  async unharmed(): Promise<void> {
    const goals = this.#all.map(({ sent }) => sent + 1);
    await until('the bystanders go on', () =>
      this.#all.every(({ last }) => goals.every((goal, slot) => last[slot] >= goal)),
    );
    assert.deepEqual(this.complaints, []);
    assert.equal(this.#story(), this.#processes);
  }

  /** Ends them; all that was sent must have come. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const all = this.#all;
    try {
      await until('the last messages', () =>
        all.every(({ last }) => all.every(({ sent }, slot) => last[slot] === sent)),
      );
      assert.deepEqual(this.complaints, []);
    } finally {
      await Promise.all(all.map(({ agent }) => agent.close()));
    }
  }

  async #add(slot: number): Promise<void> {
    const agentId = nameOn(slot, NAME, this.#node.shards);
    const agent = await connect(this.#node.url, { agentId });
    const bystander: Bystander = { agent, sent: 0, last: new Array<number>(this.#node.shards).fill(0) };
    agent.on('error', ({ code, message }) => {
      // Anybody may publish on their topics; that the damage of others is found is as it should be.
      if (code === 'CHECKSUM_MISMATCH' && !message.includes(` from ${NAME}`)) return;
      this.#complain(`${agentId}: ${code} ${message}`);
    });
    agent.on('gap', ({ missed, reason }) => this.#complain(`${agentId}: missed ${missed}, ${reason}`));
    agent.on('disconnect', ({ code }) => this.#complain(`${agentId}: disconnected, ${code}`));
    await agent.subscribe(`${TOPIC}.*`, (message) => this.#check(bystander, message));
    this.#all.push(bystander);
  }

  #publish(): void {
    for (const [slot, bystander] of this.#all.entries()) {
      bystander.agent.publish(`${TOPIC}.${slot}`, textOf(++bystander.sent));
    }
  }

  #check({ agent, last }: Bystander, message: Message): void {
    const slot = Number(message.topic.slice(TOPIC.length + 1));
    const text = message.text();
    const expected = textOf(last[slot] + 1);
    last[slot]++;
    if (text !== expected) this.#complain(`${agent.agentId}: "${text}" instead of "${expected}"`);
  }

  #complain(what: string): void {
    // A flood of the same complaint says no more than its beginning.
    if (this.complaints.length < 20) this.complaints.push(what);
  }

  #story(): string {
    return this.#node
      .processes()
      .map(({ slot, incarnation, pid }) => `shard ${slot}: incarnation ${incarnation}, process ${pid}`)
      .join('; ');
  }
}
