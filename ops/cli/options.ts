/** Options that several commands share, and how their values are read. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../../lib/config/units.js';
import { FlowbusError } from '../../lib/errors.js';
import { capabilityProblem } from '../../lib/topics/topic.js';
import { LANES, type Priority } from '../../lib/wire/frame.js';
import { ENCODINGS, type EncodingChoice } from './input.js';

export const DEFAULT_URL = 'ws://127.0.0.1:8081';

export interface ClientOptions {
  readonly url?: readonly string[];
  readonly token?: string;
  readonly agentId?: string;
  readonly json?: boolean;
}

function collectUrls(value: string, before: readonly string[] = []): string[] {
  const urls = value.split(',').map((url) => url.trim());
  return [...before, ...urls.filter((url) => url !== '')];
}

/** The options that stand before or after any command's name. */
export function addClientOptions(program: Command): void {
  program
    .addOption(
      new Option(
        '--url <url>',
        `broker to connect to; repeat it, or use commas, for several (default: ${DEFAULT_URL})`,
      )
        .env('FLOWBUS_URL')
        .argParser(collectUrls),
    )
    .addOption(new Option('--token <token>', 'token for brokers that ask for one').env('FLOWBUS_TOKEN'))
    .addOption(
      new Option('--agent-id <id>', 'connect as this agent (default: cli-<random>)').env('FLOWBUS_AGENT_ID'),
    )
    .option('--json', 'one JSON object per line, for scripts');
}

/** For commands that connect to nothing: an option that would be ignored is refused. */
export function refuseClientOptions(command: Command): void {
  const program = command.parent;
  for (const [name, flag] of [
    ['url', '--url'],
    ['token', '--token'],
    ['agentId', '--agent-id'],
  ]) {
    if (program?.getOptionValueSource(name) === 'cli') {
      throw new FlowbusError('BAD_OPTION', `${flag} has no meaning for flowbus ${command.name()}`);
    }
  }
}

export function parseCount(value: string): number {
  const count = /^\d{1,15}$/.test(value) ? Number(value) : 0;
  if (count < 1) throw new InvalidArgumentError('It must be a whole number of at least 1.');
  return count;
}

function parseBetween(value: string, least: number, most: number, allowed: string): number {
  const duration = parseDuration(value);
  if (duration === undefined || duration < least || duration > most) {
    throw new InvalidArgumentError(`It must be a duration ${allowed}.`);
  }
  return duration;
}

const DAY = 86_400_000;

/** Milliseconds, up to a day: the bound of waits and times to live everywhere. */
export function parseWait(value: string): number {
  return parseBetween(value, 1, DAY, 'from 1ms to 24h, such as 500ms or 5s');
}

/** Milliseconds that a mailbox holds a message back. */
export function parseDelay(value: string): number {
  return parseBetween(value, 1, 7 * DAY, 'from 1ms to 7d, such as 5s or 12h');
}

/** Milliseconds that a token lives: tokens count in seconds, and nobody takes one back before its end. */
export function parseLife(value: string): number {
  return parseBetween(value, 1000, 365 * DAY, 'from 1s to 365d, such as 12h or 30d');
}

/** One that has an address, and so can have a mailbox. */
export function parseCapability(value: string): string {
  const problem = capabilityProblem(value);
  if (problem !== null) throw new InvalidArgumentError(`${problem}.`);
  return value;
}

function parseHeader(value: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = value.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be name=value.');
  return { ...before, [value.slice(0, at)]: value.slice(at + 1) };
}

export interface MessageOptions {
  readonly encoding: EncodingChoice;
  readonly priority?: Priority;
  readonly ttl?: number;
  readonly key?: string;
  readonly header?: Readonly<Record<string, string>>;
}

export function encodingOption(): Option {
  return new Option(
    '--encoding <name>',
    'what the payload is; auto: JSON if an object or array, else text or bytes',
  )
    .choices(ENCODINGS)
    .default('auto');
}

/** Options of whatever is published. */
export function addMessageOptions(command: Command): Command {
  return command
    .addOption(encodingOption())
    .addOption(new Option('--priority <lane>', 'lane of the message (default: normal)').choices(LANES))
    .addOption(
      new Option('--ttl <duration>', 'not worth delivering after this long, 1ms to 24h').argParser(parseWait),
    )
    .option('--key <key>', 'ordering key')
    .addOption(new Option('--header <name=value>', 'user header; may be repeated').argParser(parseHeader));
}
