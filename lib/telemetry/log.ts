/**
 * The log: one line per event on standard error, so that standard output stays with what a command prints.
 * JSON for machines, or a line for people, written synchronously: a process that dies has said why.
 */
import pino, { type DestinationStream, type Logger } from 'pino';
import type { BrokerConfig } from '../config/index.js';

export type { Logger };

const STDERR = 2;

const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info ',
  40: 'warn ',
  50: 'error',
  60: 'fatal',
};
const COLOURS: Readonly<Record<number, string>> = { 40: '\x1b[33m', 50: '\x1b[31m', 60: '\x1b[31;1m' };
const DIM = '\x1b[2m';
const RESET = '\x1b[0m';

/** A field value longer than this (characters) is cut: the line is for a person on a terminal. */
const MAX_VALUE = 400;
const PLAIN = /^[\w.:/@+-]+$/;
const CONTROL = /[\p{Cc}\u2028\u2029]/gu;

/** What arrives from agents must not be able to move the cursor of whoever reads the log. */
function escapeControl(text: string): string {
  return text.replace(CONTROL, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function formatValue(value: unknown): string {
  const json =
    typeof value === 'string' && PLAIN.test(value) ? value : (JSON.stringify(value) ?? 'undefined');
  const cut = json.length > MAX_VALUE ? `${json.slice(0, MAX_VALUE)}...` : json;
  return escapeControl(cut);
}

/** An error is its message and the place that threw it. */
function formatError(error: { message?: unknown; stack?: unknown }): string {
  const place = typeof error.stack === 'string' ? /^ {4}at (.*)$/m.exec(error.stack) : null;
  return formatValue(error.message) + (place === null ? '' : ` at=${formatValue(place[1])}`);
}

/** Undefined when pino did not write it. */
function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    const record: unknown = JSON.parse(line);
    return typeof record === 'object' && record !== null && 'time' in record && Number.isInteger(record.time)
      ? (record as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** One of pino's JSON lines as `18:20:01.123 warn  the message key=value …`, with its line break. */
export function formatLine(line: string, colour: boolean): string {
  const record = parseRecord(line);
  if (record === undefined) return `${escapeControl(line.trimEnd())}\n`;
  const { level, time, msg, ...fields } = record;
  const number = Number(level);
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const rest: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    const shown =
      name === 'err' && typeof value === 'object' && value !== null ? formatError(value) : formatValue(value);
    rest.push(`${escapeControl(name)}=${shown}`);
  }
  const name = LEVELS[number] ?? String(number);
  const message = typeof msg === 'string' ? escapeControl(msg) : '';
  const tail = rest.length === 0 ? '' : ` ${colour ? DIM : ''}${rest.join(' ')}${colour ? RESET : ''}`;
  const painted = colour && COLOURS[number] !== undefined ? `${COLOURS[number]}${name}${RESET}` : name;
  return `${clock} ${painted} ${message}${tail}\n`;
}

class LineStream implements DestinationStream {
  readonly #colour: boolean;

  constructor(colour: boolean) {
    this.#colour = colour;
  }

  write(line: string): void {
    process.stderr.write(formatLine(line, this.#colour));
  }
}

function destinationOf(format: BrokerConfig['logFormat']): DestinationStream {
  const terminal = process.stderr.isTTY === true;
  if (format === 'json' || (format === 'auto' && !terminal))
    return pino.destination({ dest: STDERR, sync: true });
  return new LineStream(terminal && !process.env.NO_COLOR && process.env.TERM !== 'dumb');
}

/**
 * The logger of a process. `fields` stand on each of its lines (a shard: its slot).
 * `destination` is for tests; without it standard error, in the configured format.
 */
export function createLogger(
  config: Pick<BrokerConfig, 'logLevel' | 'logFormat' | 'node'>,
  fields: Readonly<Record<string, unknown>> = {},
  destination: DestinationStream = destinationOf(config.logFormat),
): Logger {
  return pino(
    {
      level: config.logLevel,
      base: { node: config.node, ...fields },
      // Whoever logs a whole configuration or hello by mistake does not publish its secrets.
      redact: ['token', '*.token', 'authSecret', '*.authSecret', '*.*.authSecret'],
    },
    destination,
  );
}
