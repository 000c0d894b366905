/** An agent in a process of its own, to be killed, stopped and continued. What it is comes as JSON in the first argument. */
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Message, type Priority } from '../../lib/client/index.js';
import { chainOf, clock, idOf, numberOf, type Receipt } from './history.js';

export type Role =
  | {
      kind: 'publisher';
      /** An agent’s mailbox, or a topic with a key. */
      to: { agent: string } | { topic: string; keys: string[] };
      lanes: Priority[];
      /** The last number that is known to be acked, by chain. */
      done: Record<string, number>;
    }
  | { kind: 'receiver' }
  | { kind: 'member'; group: string; pattern: string; prefetch: number };

export interface AgentSpec {
  url: string;
  agentId: string;
  roles: Role[];
}

/** What it tells whoever started it: an ack that it got as a publisher, or a message, before it acks it itself. */
export type AgentReport = { ready: true } | { acked: string } | { got: Receipt; shared: boolean };

const { url, agentId, roles } = JSON.parse(process.argv[2]) as AgentSpec;

/** Resolves when the parent has it in its pipe, where it stays also if this process is killed. */
function report(what: AgentReport): Promise<void> {
  return new Promise((resolve) => process.send?.(what, undefined, undefined, () => resolve()));
}

function received(message: Message, shared: boolean): Promise<void> {
  return report({
    got: { id: message.text(), redelivered: message.redelivered, at: clock(), by: process.pid },
    shared,
  });
}

process.on('disconnect', () => process.exit());
const agent = await connect(url, {
  agentId,
  mailbox: roles.some(({ kind }) => kind === 'receiver'),
  reconnect: { minDelay: 10, maxDelay: 100 },
});
agent.on('error', () => {}).on('disconnect', () => {});

/** Milliseconds between two messages of one chain: consumers, who take one of a key at a time, are to keep up. */
const PAUSE = 10;
const KEYED_PAUSE = 30;

/** One in ten, and never those of all chains at once, which would open every circuit breaker. */
function failsAtFirst(id: string): boolean {
  const chain = Buffer.from(chainOf(id)).reduce((sum, byte) => sum + byte, 0);
  return (numberOf(id) + chain) % 10 === 7;
}

/** One after the other, each until it is acked, under the same id. */
async function publish(
  to: { agent: string } | { topic: string },
  priority: Priority,
  key: string,
  from: number,
): Promise<void> {
  for (let n = from; ; n++) {
    const id = idOf(agentId, priority, key, n);
    const options = { assured: true as const, messageId: id, priority, timeout: 2000 };
    for (;;) {
      try {
        if ('agent' in to) await agent.send(to.agent, id, options);
        else await agent.publish(to.topic, id, { ...options, key });
        break;
      } catch {
        await pause(10);
      }
    }
    await report({ acked: id });
    await pause('agent' in to ? PAUSE : KEYED_PAUSE);
  }
}

for (const role of roles) {
  if (role.kind === 'receiver') agent.on('message', (message) => received(message, false));
  else if (role.kind === 'member') {
    const { pattern, group, prefetch } = role;
    await agent.subscribe(
      pattern,
      async (message) => {
        await received(message, true);
        if (message.redelivered === 0 && failsAtFirst(message.text()))
          throw new Error('at the first attempt');
      },
      { group, prefetch, breaker: { coolDown: 100 } },
    );
  } else {
    const { to, lanes, done } = role;
    for (const lane of lanes)
      for (const key of 'agent' in to ? ['own'] : to.keys)
        void publish(to, lane, key, (done[`${agentId}:${lane}:${key}`] ?? 0) + 1);
  }
}
await report({ ready: true });
