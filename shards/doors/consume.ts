/** What a wish to consume must be, whichever door it came by. */

import type { AgentRecord } from '../../lib/directory.js';
import { FlowbusError } from '../../lib/errors.js';
import {
  agentAddress,
  agentIdProblem,
  capabilityAddress,
  capabilityProblem,
} from '../../lib/topics/topic.js';
import type { Consume } from '../../lib/wire/control.js';
import type { ConsumeSpec } from '../intake.js';
import { subscribeProblem } from './hello.js';

/** Throws BAD_CONTROL, BAD_PATTERN, FORBIDDEN_TOPIC. */
export function specOf(agent: AgentRecord, wish: Consume): ConsumeSpec {
  const { mailbox: kind, group, pattern, capability, prefetch, lease, maxAge, maxMessages } = wish;
  const { maxAttempts, retryBase, retryCap, balance, breaker } = wish;
  const consumer = agent.agentId;
  const retries = { maxAttempts, retryBase, retryCap };
  const limits = { prefetch, lease, maxAge, maxMessages, ...retries, balance, breaker };
  if (kind === 'agent') {
    if (group !== null || pattern !== null || capability !== null)
      throw new FlowbusError('BAD_CONTROL', "An agent's own mailbox has no group, pattern or capability.");
    return { kind, name: consumer, pattern: agentAddress(consumer), consumer, ...limits };
  }
  if (kind === 'capability') {
    if (capability === null || group !== null || pattern !== null)
      throw new FlowbusError('BAD_CONTROL', 'The mailbox of a capability has neither a group nor a pattern.');
    const problem = capabilityProblem(capability);
    if (problem !== null)
      throw new FlowbusError('BAD_CONTROL', `capability ${JSON.stringify(capability)}: ${problem}`);
    if (!agent.capabilities.includes(capability))
      throw new FlowbusError(
        'FORBIDDEN_TOPIC',
        `Agent ${agent.agentId} has not said in its hello that it has the capability ${capability}.`,
      );
    return { kind, name: capability, pattern: capabilityAddress(capability), consumer, ...limits };
  }
  if (group === null || pattern === null || capability !== null)
    throw new FlowbusError('BAD_CONTROL', 'A group has a name and a pattern, and no capability.');
  const problem = agentIdProblem(group);
  if (problem !== null) throw new FlowbusError('BAD_CONTROL', `group ${JSON.stringify(group)}: ${problem}`);
  const wrong = subscribeProblem(pattern);
  if (wrong !== null) throw wrong;
  return { kind, name: group, pattern, consumer, ...limits };
}
