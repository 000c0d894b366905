/** What a hello says, how many patterns fit into one, and what is said behind its welcome. */
import type { FlowbusError } from '../errors.js';
import type { Hello, Resume } from '../wire/control.js';
import { utf8Size } from '../wire/text.js';
import type { Calls } from './calls.js';
import { checkToken, type Settings } from './options.js';

/** Patterns in one control frame, at most; the protocol allows 1024. */
const MAX_PATTERNS = 1000;

/**
 * Bytes of patterns in one control frame, at most: with the longest token, metadata and capabilities beside them,
 * and all of it escaped for JSON, the hello stays below the 64 KiB that every broker takes.
 */
const MAX_PATTERN_BYTES = 16 * 1024;

/** The patterns in order, in groups that fit into one control frame each. */
export function groupPatterns(patterns: readonly string[]): string[][] {
  const groups: string[][] = [];
  let group: string[] = [];
  let bytes = 0;
  for (const pattern of patterns) {
    const size = utf8Size(pattern);
    if (group.length === MAX_PATTERNS || bytes + size > MAX_PATTERN_BYTES) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    group.push(pattern);
    bytes += size;
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

/** Throws what the user's token function throws, or BAD_OPTION for what it returns. */
export async function makeHello(
  settings: Settings,
  subscriptions: string[],
  resume: Resume | null,
): Promise<Hello> {
  return {
    agentId: settings.agentId,
    agentType: settings.agentType,
    capabilities: settings.capabilities,
    subscriptions,
    priority: settings.lane,
    heartbeatInterval: settings.heartbeatInterval,
    metadata: settings.metadata,
    token: settings.token === null ? null : checkToken(await settings.token()),
    resume,
  };
}

/**
 * Behind a welcome: says again what was asked for and, in a new session, the patterns that the hello had no room for. `greeted`: those that
 * it had; null: the session goes on, with all of them. The next hello says again what fails with its connection.
 */
export function restorePatterns(
  calls: Calls,
  patterns: readonly string[],
  greeted: Set<string> | null,
  report: (error: FlowbusError) => void,
): void {
  calls.reconnected(greeted);
  if (greeted === null) return;
  const rest = patterns.filter((pattern) => !greeted.has(pattern));
  for (const group of groupPatterns(rest)) calls.open('subscribe', { patterns: group }).catch(report);
}
