/** What a wish to consume must be, whichever door it came by. */
import { FlowbusError } from '../../lib/errors.js';
import { agentAddress, agentIdProblem } from '../../lib/topics/topic.js';
import type { Consume } from '../../lib/wire/control.js';
import type { ConsumeSpec } from '../intake.js';
import { subscribeProblem } from './hello.js';

/** Throws BAD_CONTROL, BAD_PATTERN, FORBIDDEN_TOPIC. */
export function specOf(agentId: string, wish: Consume): ConsumeSpec {
  const { mailbox: kind, group, pattern, prefetch, lease, maxAge, maxMessages, balance } = wish;
  const limits = { prefetch, lease, maxAge, maxMessages, balance };
  if (kind === 'agent') {
    if (group !== null || pattern !== null)
      throw new FlowbusError('BAD_CONTROL', "An agent's own mailbox has neither a group nor a pattern.");
    return { kind, name: agentId, pattern: agentAddress(agentId), ...limits };
  }
  if (group === null || pattern === null)
    throw new FlowbusError('BAD_CONTROL', 'A group has a name and a pattern.');
  const problem = agentIdProblem(group);
  if (problem !== null) throw new FlowbusError('BAD_CONTROL', `group ${JSON.stringify(group)}: ${problem}`);
  const wrong = subscribeProblem(pattern);
  if (wrong !== null) throw wrong;
  return { kind, name: group, pattern, ...limits };
}
