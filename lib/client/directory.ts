/** Who is there: queries to the cluster's directory, and the choice of one agent that has a capability. */
import { FlowbusError } from '../errors.js';
import type { Query, AgentRecord as WireRecord } from '../wire/control.js';
import { MAX_AGENT_ID, MAX_CAPABILITY } from '../wire/control.js';
import { utf8Size } from '../wire/text.js';
import type { Calls } from './calls.js';
import { badOption, checkInteger, checkNames } from './options.js';

/** What is known about an agent. `since`: microseconds since the Unix epoch. */
export interface AgentRecord extends Omit<WireRecord, 'metadata'> {
  /** As its agent gave it to `connect()`. */
  metadata: unknown;
}

/** Only agents that meet all of what is given. */
export interface AgentFilter {
  id?: string | undefined;
  type?: string | undefined;
  capability?: string | undefined;
  online?: boolean | undefined;
  /** Records at most, 1 to 1,000,000. Default 10,000. */
  limit?: number | undefined;
}

/** One of the agents that have this capability and are online. */
export interface CapabilityTarget {
  capability: string;
}

const DEFAULT_LIMIT = 10_000;

/** Pages that one look-up follows, at most: a page may be empty, and a broker that never ends must not hold us. */
const MAX_PAGES = 100_000;

/** How long an answer of the directory serves `sendTo` (ms). Older, it serves once more while it is renewed. */
const FRESH_FOR = 1000;

/** Older than this (ms) it does not serve at all. */
const USABLE_FOR = 10_000;

/** Capabilities remembered, at most; agents remembered for each. */
const MAX_CHOICES = 1024;
const MAX_AGENTS = 1000;

/** The agents that have one capability, taken in turn. */
class Choice {
  agents: string[];
  next: number;
  asked: number;
  /** The query on its way. */
  query: Promise<void> | null;

  constructor() {
    this.agents = [];
    this.next = 0;
    this.asked = Number.NEGATIVE_INFINITY;
    this.query = null;
  }
}

export class Directory {
  private readonly calls: Calls;
  private readonly choices: Map<string, Choice>;

  constructor(calls: Calls) {
    this.calls = calls;
    this.choices = new Map();
  }

  /** Throws BAD_OPTION, DISCONNECTED, TIMEOUT. */
  async agents(filter: AgentFilter = {}): Promise<AgentRecord[]> {
    if (typeof filter !== 'object' || filter === null) throw badOption('filter', filter, 'an object');
    checkNames('', filter, ['id', 'type', 'capability', 'online', 'limit']);
    const limit =
      filter.limit === undefined ? DEFAULT_LIMIT : checkInteger('limit', filter.limit, 1, 1_000_000);
    const query: Query = {
      kind: 'agents',
      id: textOrNull('id', filter.id, MAX_AGENT_ID),
      type: textOrNull('type', filter.type, MAX_AGENT_ID),
      capability: textOrNull('capability', filter.capability, MAX_CAPABILITY),
      online: filter.online ?? null,
      cursor: null,
    };
    if (query.online !== null && typeof query.online !== 'boolean') {
      throw badOption('online', query.online, 'true or false');
    }
    const found: AgentRecord[] = [];
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const result = await this.calls.open('query', query);
      if (result === null) break;
      for (const record of result.records) {
        if (found.length === limit) return found;
        found.push({ ...record, metadata: parsed(record.metadata) });
      }
      query.cursor = result.cursor;
      if (query.cursor === null) break;
    }
    return found;
  }

  /**
   * The next agent, in turn, that has the capability and is online, if the directory was asked lately; null: ask
   * `choose`. Throws UNKNOWN_AGENT, BAD_OPTION.
   */
  pick(capability: string): string | null {
    const choice = this.choice(capability);
    if (!isUsable(choice)) return null;
    if (!isFresh(choice) && choice.query === null) {
      // The old answer serves meanwhile; when this fails, the next one to ask will see it.
      this.ask(capability, choice).catch(() => undefined);
    }
    return take(capability, choice);
  }

  /** Like `pick`, after asking the directory if need be. Rejects also with DISCONNECTED, TIMEOUT. */
  async choose(capability: string): Promise<string> {
    const choice = this.choice(capability);
    if (!isUsable(choice)) await (choice.query ?? this.ask(capability, choice));
    return take(capability, choice);
  }

  /** That agent turned out to be gone. */
  forget(capability: string, agentId: string): void {
    const choice = this.choices.get(capability);
    if (choice !== undefined) choice.agents = choice.agents.filter((agent) => agent !== agentId);
  }

  private choice(capability: string): Choice {
    let choice = this.choices.get(capability);
    if (choice === undefined) {
      textOrNull('capability', capability, MAX_CAPABILITY);
      if (this.choices.size >= MAX_CHOICES) this.choices.clear();
      choice = new Choice();
      this.choices.set(capability, choice);
    }
    return choice;
  }

  private ask(capability: string, choice: Choice): Promise<void> {
    choice.query = this.agents({ capability, online: true, limit: MAX_AGENTS })
      .then((records) => {
        choice.agents = records.filter(({ state }) => state === 'online').map(({ agentId }) => agentId);
        choice.asked = performance.now();
      })
      .finally(() => {
        choice.query = null;
      });
    return choice.query;
  }
}

function isFresh(choice: Choice): boolean {
  return performance.now() - choice.asked <= FRESH_FOR;
}

/** That there is nobody is believed no longer than it is fresh. */
function isUsable(choice: Choice): boolean {
  if (choice.agents.length === 0) return isFresh(choice);
  return performance.now() - choice.asked <= USABLE_FOR;
}

function take(capability: string, choice: Choice): string {
  if (choice.agents.length === 0) {
    throw new FlowbusError('UNKNOWN_AGENT', `No agent with the capability ${capability} is online.`);
  }
  choice.next = (choice.next + 1) % choice.agents.length;
  return choice.agents[choice.next];
}

function textOrNull(name: string, value: unknown, greatest: number): string | null {
  if (value === undefined || value === null) return null;
  const size = typeof value === 'string' ? utf8Size(value) : -1;
  if (size < 1 || size > greatest) throw badOption(name, value, `a text of 1 to ${greatest} bytes`);
  return value as string;
}

function parsed(metadata: string): unknown {
  try {
    return JSON.parse(metadata);
  } catch {
    // A broker checks that it is JSON; if one did not, the text is what there is.
    return metadata;
  }
}
