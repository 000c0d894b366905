/** What a hello must be, whichever door it came by. */
import { FlowbusError } from '../../lib/errors.js';
import { agentIdProblem, isReserved, patternProblem } from '../../lib/topics/topic.js';
import type { Hello } from '../../lib/wire/control.js';
import type { Session } from '../session.js';
import type { Opened } from '../sessions.js';
import type { DoorContext } from './context.js';

/** Why somebody may not subscribe to `pattern`, which is text of any kind; null when they may. */
export function subscribeProblem(pattern: string): FlowbusError | null {
  const problem = patternProblem(pattern);
  if (problem !== null) return new FlowbusError('BAD_PATTERN', `Pattern ${quoted(pattern)}: ${problem}`);
  if (isReserved(pattern))
    return new FlowbusError(
      'FORBIDDEN_TOPIC',
      `Pattern ${quoted(pattern)}: what begins with "_" is reserved.`,
    );
  return null;
}

/** Bytes of a presence message or a page of agents that are not the record's own texts: at most. */
const RECORD_MARGIN = 1024;

/** Throws BAD_HELLO, BAD_PATTERN or FORBIDDEN_TOPIC. */
function checkHello(hello: Hello, maxPayload: number): void {
  const problem = agentIdProblem(hello.agentId);
  if (problem !== null) throw new FlowbusError('BAD_HELLO', `agentId ${quoted(hello.agentId)}: ${problem}`);
  const wrongType = agentIdProblem(hello.agentType);
  if (wrongType !== null)
    throw new FlowbusError('BAD_HELLO', `agentType ${quoted(hello.agentType)}: ${wrongType}`);
  try {
    JSON.parse(hello.metadata);
  } catch {
    throw new FlowbusError('BAD_HELLO', `metadata ${quoted(hello.metadata)}: is not JSON text`);
  }
  // Others are told of it in one frame, as JSON, where a byte can take six.
  const { agentId, agentType, capabilities, metadata } = hello;
  const size = Buffer.byteLength(JSON.stringify({ agentId, agentType, capabilities, metadata }));
  if (size > maxPayload - RECORD_MARGIN)
    throw new FlowbusError(
      'BAD_HELLO',
      `capabilities and metadata have ${size} bytes as JSON; ${maxPayload - RECORD_MARGIN} are allowed.`,
    );
  for (const pattern of hello.subscriptions) {
    const wrong = subscribeProblem(pattern);
    if (wrong !== null) throw wrong;
  }
}

/**
 * Lets an agent in: checked, authorised, its session open, and known to all live shards. Rejects with what is wrong;
 * then nothing is left of it. `gone` tells whether its connection was lost meanwhile.
 */
export async function admit(context: DoorContext, hello: Hello, gone: () => boolean): Promise<Opened | null> {
  checkHello(hello, context.maxPayload);
  if (context.authorise !== null) await context.authorise(hello.token, hello.agentId);
  if (gone()) return null;
  const opened = context.sessions.open(hello);
  await context.interest.settled();
  if (opened.session.ended) return null;
  if (!gone()) return opened;
  opened.session.missed += Math.max(0, opened.missed);
  context.sessions.lost(opened.session, opened.resumed);
  return null;
}

/** Subscribes, and once every live shard knows, gives the session the last values of the topics. Throws LIMIT_REACHED. */
export function subscribe(
  context: DoorContext,
  session: Session,
  patterns: readonly string[],
): Promise<void> {
  const { sessions, interest, retained, exchange } = context;
  const { sink } = session;
  const fresh = patterns.filter((pattern) => !session.patterns.has(pattern));
  sessions.subscribe(session, patterns);
  return interest.settled().then(() => {
    if (session.sink !== sink || session.ended) return;
    exchange.tick();
    if (fresh.length > 0) retained.give(exchange, session, fresh);
  });
}

/** The beginning of a text that came from outside, safe to repeat in a message. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
