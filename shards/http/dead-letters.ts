/** `/v1/dead-letters`: what the requests ask, and the answers. */
import { LETTER_KINDS, type LetterChoice, type LetterFilter } from '../../lib/dead-letter.js';
import { FlowbusError } from '../../lib/errors.js';
import { patternProblem } from '../../lib/topics/topic.js';
import type { DeadLetterPort } from './port.js';
import { checkNames, limitOf, NO_PARAMETERS } from './query.js';

export const DEAD_LETTERS = '/v1/dead-letters';
const ONE = `${DEAD_LETTERS}/`;
const REPLAY = `${DEAD_LETTERS}/replay`;

const FILTERS = ['mailbox', 'kind', 'topic', 'since'] as const;
const LIST_PARAMETERS: ReadonlySet<string> = new Set([...FILTERS, 'cursor', 'limit']);
const CHOICE_PARAMETERS: ReadonlySet<string> = new Set([...FILTERS, 'id', 'all']);

/** The methods that a path takes; null when it is not one of these. */
export function deadLetterMethods(path: string): readonly string[] | null {
  if (path === DEAD_LETTERS) return ['GET', 'HEAD', 'DELETE'];
  if (path === REPLAY) return ['POST'];
  return path.startsWith(ONE) && path.length > ONE.length ? ['GET', 'HEAD', 'DELETE'] : null;
}

/** Answers a request with one of the methods of its path. Rejects with a FlowbusError. */
export async function answerDeadLetters(
  port: DeadLetterPort,
  path: string,
  method: string,
  query: URLSearchParams,
): Promise<object> {
  if (path === REPLAY) return port.replay(choiceOf(query));
  if (path === DEAD_LETTERS && method === 'DELETE') return port.purge(choiceOf(query));
  if (path === DEAD_LETTERS) {
    checkNames(query, LIST_PARAMETERS);
    return port.list(filterOf(query), query.get('cursor') || null, limitOf(query.get('limit') || null));
  }
  checkNames(query, NO_PARAMETERS);
  const id = path.slice(ONE.length);
  return method === 'DELETE' ? port.purge({ id }) : port.show(id);
}

/** By id, by filter, or all: a forgotten parameter must not mean everything. */
function choiceOf(query: URLSearchParams): LetterChoice {
  checkNames(query, CHOICE_PARAMETERS);
  const id = query.get('id');
  const all = query.get('all');
  const filtered = FILTERS.some((name) => query.get(name));
  if (all !== null && all !== 'true')
    throw new FlowbusError('BAD_OPTION', 'The parameter "all" must be true.');
  if (Number(Boolean(id)) + Number(all !== null) + Number(filtered) !== 1) {
    throw new FlowbusError(
      'BAD_OPTION',
      `Which ones? Give id, or all=true, or some of ${FILTERS.join(', ')}, and nothing beside it.`,
    );
  }
  return id ? { id } : { filter: filterOf(query) };
}

/** An empty value asks nothing. */
function filterOf(query: URLSearchParams): LetterFilter {
  const mailbox = query.get('mailbox') || null;
  const pattern = query.get('topic') || null;
  const problem = pattern === null ? null : patternProblem(pattern);
  if (problem !== null) throw new FlowbusError('BAD_PATTERN', `${problem}.`);
  const kind = query.get('kind') || null;
  const known = LETTER_KINDS.find((name) => name === kind) ?? null;
  if (kind !== known)
    throw new FlowbusError('BAD_OPTION', `The parameter "kind" must be one of ${LETTER_KINDS.join(', ')}.`);
  const since = query.get('since') || null;
  if (since !== null && !/^\d{1,15}$/.test(since))
    throw new FlowbusError('BAD_OPTION', 'The parameter "since" must be milliseconds since the Unix epoch.');
  return { mailbox, kind: known, pattern, since: since === null ? null : Number(since) };
}
