/** The agent that looks on: it knows the workers by what they say of themselves, and nobody tells it of them. */
import type { Agent } from '../../lib/client/index.js';

export type WorkerState = 'working' | 'idle';

/** What a worker publishes. */
export interface Status {
  state: WorkerState;
  /** Tasks that it has answered so far. */
  done: number;
}

const PATTERN = 'agent.*.status';

export function statusTopic(agentId: string): string {
  return `agent.${agentId}.status`;
}

export class Monitor {
  readonly #agent: Agent;
  /** One for each worker. */
  readonly #states: Map<string, WorkerState>;
  #messages: number;

  constructor(agent: Agent) {
    this.#agent = agent;
    this.#states = new Map();
    this.#messages = 0;
  }

  async watch(): Promise<void> {
    await this.#agent.subscribe(PATTERN, (message) => {
      this.#messages++;
      this.#states.set(message.from, message.json<Status>().state);
    });
  }

  /** Status messages so far. */
  get messages(): number {
    return this.#messages;
  }

  /** Workers that have been heard of. */
  get workers(): number {
    return this.#states.size;
  }

  /** Workers that are at a task, as far as is known. */
  get working(): number {
    let working = 0;
    for (const state of this.#states.values()) if (state === 'working') working++;
    return working;
  }
}
