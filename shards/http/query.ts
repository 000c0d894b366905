/** The query strings of the HTTP door. A parameter that is unknown is refused: a typing error must not widen a query. */
import { FlowbusError } from '../../lib/errors.js';
import { patternProblem } from '../../lib/topics/topic.js';
import { MAX_LAST } from '../../lib/wire/past.js';
import type { AgentFilter, StreamStart } from './port.js';
import { ACCESS_TOKEN } from './token.js';

/** Patterns of one event stream. */
export const MAX_PATTERNS = 64;
/** Records of one page. */
export const MAX_RECORDS = 500;
const DEFAULT_RECORDS = 100;

/** So many messages ago; milliseconds. */
const START_PARAMETERS: ReadonlySet<string> = new Set(['replay', 'since']);
const AGENT_PARAMETERS: ReadonlySet<string> = new Set([
  'id',
  'type',
  'capability',
  'online',
  'cursor',
  'limit',
]);

export const NO_PARAMETERS: ReadonlySet<string> = new Set();

/** Throws FlowbusError BAD_OPTION unless every parameter is one of `names`, and stands once. */
export function checkNames(query: URLSearchParams, names: ReadonlySet<string>): void {
  for (const name of query.keys()) {
    if (!names.has(name)) throw new FlowbusError('BAD_OPTION', `The parameter "${name}" is unknown.`);
    if (query.getAll(name).length > 1) {
      throw new FlowbusError('BAD_OPTION', `The parameter "${name}" may stand once.`);
    }
  }
}

/** The patterns of an event stream, each once. Throws FlowbusError BAD_PATTERN, BAD_OPTION or LIMIT_REACHED. */
export function patternsOf(query: URLSearchParams): string[] {
  for (const name of query.keys()) {
    if (name === 'pattern' || name === ACCESS_TOKEN || START_PARAMETERS.has(name)) continue;
    throw new FlowbusError('BAD_OPTION', `The parameter "${name}" is unknown.`);
  }
  const patterns = [...new Set(query.getAll('pattern'))];
  if (patterns.length === 0) throw new FlowbusError('BAD_PATTERN', 'The parameter "pattern" is missing.');
  if (patterns.length > MAX_PATTERNS) {
    throw new FlowbusError('LIMIT_REACHED', `One stream can have ${MAX_PATTERNS} patterns at most.`);
  }
  for (const pattern of patterns) {
    const problem = patternProblem(pattern);
    if (problem !== null) throw new FlowbusError('BAD_PATTERN', `${problem}.`);
  }
  return patterns;
}

/**
 * Where an event stream begins in the past; null: it does not. `lastEventId`: what a client sends that comes back. Throws
 * FlowbusError BAD_OPTION.
 */
export function startOf(query: URLSearchParams, lastEventId: string | undefined): StreamStart | null {
  const [last, age] = [...START_PARAMETERS].map((name) => wholeNumber(query, name));
  if (last === null && age === null) return null;
  if (last !== null && age !== null)
    throw new FlowbusError('BAD_OPTION', 'A stream begins with replay or with since, not with both.');
  return { last, age, after: lastEventId || null };
}

function wholeNumber(query: URLSearchParams, name: string): number | null {
  const [text, ...more] = query.getAll(name);
  if (text === undefined) return null;
  const number = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  const most = name === 'replay' ? MAX_LAST : Number.MAX_SAFE_INTEGER;
  if (more.length > 0 || number < 0 || number > most)
    throw new FlowbusError(
      'BAD_OPTION',
      `The parameter "${name}" must stand once, as a whole number from 0 to ${most}.`,
    );
  return number;
}

export interface AgentPageQuery {
  readonly filter: AgentFilter;
  readonly cursor: string | null;
  readonly limit: number;
}

/** What `/v1/agents` is asked; an empty value asks nothing. Throws FlowbusError BAD_OPTION. */
export function agentQueryOf(query: URLSearchParams): AgentPageQuery {
  checkNames(query, AGENT_PARAMETERS);
  const text = (name: string): string | null => query.get(name) || null;
  return {
    filter: {
      id: text('id'),
      type: text('type'),
      capability: text('capability'),
      online: onlineOf(text('online')),
    },
    cursor: text('cursor'),
    limit: limitOf(text('limit')),
  };
}

function onlineOf(text: string | null): boolean | null {
  if (text === null) return null;
  if (text !== 'true' && text !== 'false') {
    throw new FlowbusError('BAD_OPTION', 'The parameter "online" must be true or false.');
  }
  return text === 'true';
}

/** How many records a page may have. Throws FlowbusError BAD_OPTION. */
export function limitOf(text: string | null): number {
  if (text === null) return DEFAULT_RECORDS;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_RECORDS) {
    throw new FlowbusError('BAD_OPTION', `The parameter "limit" must be 1 to ${MAX_RECORDS}.`);
  }
  return limit;
}
