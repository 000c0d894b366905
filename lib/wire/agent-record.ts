/** Agents as nodes tell each other of them: schemas/agent.avsc. Whose record it is, and of which agent, stands beside it. */
import { readFileSync } from 'node:fs';
import type { AgentRecord } from '../directory.js';
import { FlowbusError } from '../errors.js';
import { agentIdProblem } from '../topics/topic.js';
import { type AvroSchema, avroPayload } from './avro.js';
import {
  MAX_AGENT_ID,
  MAX_CAPABILITIES,
  MAX_CAPABILITY,
  MAX_METADATA,
  MAX_OPAQUE,
  MAX_SHARD,
} from './control.js';
import { Fields } from './fields.js';
import { MAX_SENDER } from './frame.js';

/** Seen from the compiled file, dist/lib/wire/. */
const SCHEMA = new URL('../../../lib/wire/schemas/agent.avsc', import.meta.url);
const payload = avroPayload(JSON.parse(readFileSync(SCHEMA, 'utf8')) as AvroSchema);

/** The agent is not offline: those that are have no record. */
export function encodeAgent(record: AgentRecord): Uint8Array {
  return payload.encode(record);
}

/** Throws BAD_CONTROL. */
export function decodeAgent(node: string, agentId: string, bytes: Uint8Array): AgentRecord {
  const problem = agentIdProblem(agentId);
  if (problem !== null) throw new FlowbusError('BAD_CONTROL', `A record of the directory: ${problem}.`);
  const f = new Fields(payload.decode(bytes), 'BAD_CONTROL', 'agent');
  return {
    agentId,
    agentType: f.text('agentType', 1, MAX_AGENT_ID),
    capabilities: f.texts('capabilities', MAX_CAPABILITIES, 1, MAX_CAPABILITY),
    node,
    shard: f.integer('shard', 0, MAX_SHARD),
    state: f.oneOf('state', ['online', 'suspect']),
    since: f.integer('since', 0, Number.MAX_SAFE_INTEGER),
    metadata: f.text('metadata', 0, MAX_METADATA),
    session: f.text('session', 1, MAX_OPAQUE),
    epoch: f.integer('epoch', 0, Number.MAX_SAFE_INTEGER),
    sender: f.integer('sender', 1, MAX_SENDER),
  };
}
