/** How a command ends: its exit code, and the one line that says why. */
import { CommanderError } from 'commander';
import { ConfigError } from '../../lib/config/problems.js';
import { ERRORS, type ErrorCode, FlowbusError } from '../../lib/errors.js';
import { escapeControl } from './text.js';

export const Exit = {
  ok: 0,
  /** The operation failed. */
  failed: 1,
  /** Wrong arguments, options or configuration. */
  usage: 2,
  /** No broker could be reached, or it did not let this agent in. */
  unreachable: 3,
  timeout: 4,
  /** SIGINT or SIGTERM came before it was done; what shells use for it. */
  interrupted: 130,
} as const;
export type Exit = (typeof Exit)[keyof typeof Exit];

export const EXIT_HELP = `
Exit codes:
  0    it worked
  1    it failed
  2    wrong arguments, options or configuration
  3    no broker could be reached, or it refused the token
  4    no answer in time
  130  interrupted before it was done`;

const USAGE: ReadonlySet<ErrorCode> = new Set([
  'BAD_OPTION',
  'BAD_CONFIG',
  'UNSAFE_LISTEN',
  'BAD_TOPIC',
  'BAD_PATTERN',
  'FORBIDDEN_TOPIC',
]);

/** What a thrown value means to the user. */
export interface Failure {
  readonly exit: Exit;
  readonly code: string;
  readonly what: string;
  readonly remedy: string;
  /** When it is several things: each of them. */
  readonly parts?: readonly Failure[];
}

function exitOf(code: ErrorCode): Exit {
  if (USAGE.has(code)) return Exit.usage;
  if (code === 'CONNECT_FAILED' || code === 'UNAUTHORIZED') return Exit.unreachable;
  return code === 'TIMEOUT' ? Exit.timeout : Exit.failed;
}

function line(text: string): string {
  return escapeControl(text.trim().replace(/\s*[\r\n]+\s*| {2,}/g, ' '));
}

/** "error: unknown option '--shard'\n(Did you mean --shards?)" */
function usageFailure(error: CommanderError): Failure {
  const [first, hint] = error.message.replace(/^error: /, '').split('\n(');
  const guess = hint === undefined ? '' : `${hint.replace(/\)$/, '').replace(/^Did/, 'did')} `;
  return { exit: Exit.usage, code: 'BAD_OPTION', what: line(first), remedy: `${line(`${guess}see --help`)}` };
}

/** A failure that has no place in the bus's own table of errors. */
export class CommandError extends Error {
  readonly failure: Failure;

  constructor(exit: Exit, code: string, what: string, remedy: string) {
    super(what);
    this.failure = { exit, code, what, remedy };
  }
}

export function failureOf(error: unknown): Failure {
  if (error instanceof CommandError) return error.failure;
  if (error instanceof CommanderError) return usageFailure(error);
  if (error instanceof ConfigError) {
    const parts = error.problems.map(failureOf);
    return { ...parts[0], what: parts.map(({ what }) => what).join('; '), parts };
  }
  if (error instanceof FlowbusError) {
    const { summary, remedy } = ERRORS[error.code];
    // Many messages end with the remedy already, which is the line's third part.
    const what = line(error.message.replace(remedy, '')) || summary;
    return { exit: exitOf(error.code), code: error.code, what: what.replace(/\.(?=$| \()/, ''), remedy };
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNEXPECTED';
  const what = line(error instanceof Error ? error.message : String(error));
  return { exit: Exit.failed, code, what, remedy: 'Please report this with the command that you ran.' };
}

/** `flowbus: <what> (<CODE>): <what to do>`, a line for each part, or one JSON object with all of it. */
export function failureLine(failure: Failure, json: boolean): string {
  const { code, what, remedy, parts } = failure;
  if (json) {
    const problems = parts?.map((part) => ({ code: part.code, message: part.what, remedy: part.remedy }));
    return JSON.stringify({ event: 'error', code, message: what, remedy, problems });
  }
  if (parts !== undefined) return parts.map((part) => failureLine(part, false)).join('\n');
  return `flowbus: ${what} (${code}): ${remedy}`;
}
