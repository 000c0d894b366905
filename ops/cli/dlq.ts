import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../../lib/config/units.js';
import {
  LETTER_KINDS,
  type LetterCount,
  type LetterDetail,
  type LetterPage,
  type LetterSummary,
} from '../../lib/dead-letter.js';
import { FlowbusError } from '../../lib/errors.js';
import { CommandError, EXIT_HELP, Exit } from './exit.js';
import { HttpClient } from './http-client.js';
import { type ClientOptions, parseCount } from './options.js';
import type { Output } from './output.js';
import { columns, escapeControl } from './text.js';

interface FilterOptions extends ClientOptions {
  readonly mailbox?: string;
  readonly kind?: string;
  readonly topic?: string;
  readonly since?: number;
}

interface ListOptions extends FilterOptions {
  readonly limit?: number;
}

interface ChangeOptions extends FilterOptions {
  readonly all?: boolean;
}

const PATH = '/v1/dead-letters';
const PAGE = 500;
const DEFAULT_LIMIT = 100;

const EXAMPLES = `
Examples:
  flowbus dlq ls --mailbox agent:worker-7
  flowbus dlq show 0-1764072000123
  flowbus dlq replay --kind network-timeout
  flowbus dlq purge --all
${EXIT_HELP}`;

const LIST_EXAMPLES = `
Newest first: id, when it died, what kind, mailbox, topic, from whom, attempts that failed, and why the last was refused.

Examples:
  flowbus dlq ls
  flowbus dlq ls --mailbox agent:worker-7 --kind poison-message
  flowbus dlq ls --topic 'orders.**' --since 1h --json | jq -r .id
${EXIT_HELP}`;

const SHOW_EXAMPLES = `
Examples:
  flowbus dlq show 0-1764072000123
  flowbus dlq show 0-1764072000123 --json | jq .data
${EXIT_HELP}`;

const REPLAY_EXAMPLES = `
Puts messages back into their mailboxes, or, where a mailbox is no more, into all that take the topic. Their attempts begin anew; what
had become of them before stays with them.

Examples:
  flowbus dlq replay 0-1764072000123
  flowbus dlq replay --mailbox 'group:ocr:page.*' --since 1h
  flowbus dlq replay --all
${EXIT_HELP}`;

const PURGE_EXAMPLES = `
What is purged is gone for good.

Examples:
  flowbus dlq purge 0-1764072000123
  flowbus dlq purge --kind message-corruption
  flowbus dlq purge --all
${EXIT_HELP}`;

/** Milliseconds since the Unix epoch, of a duration that ends now or a date. */
function parseSince(value: string): number {
  const ago = parseDuration(value);
  if (ago !== undefined) return Math.max(0, Date.now() - ago);
  const date = Date.parse(value);
  if (Number.isNaN(date) || date < 0) {
    throw new InvalidArgumentError('It must be a duration such as 1h, or a date such as 2026-01-31T12:00Z.');
  }
  return date;
}

function filterQuery({ mailbox, kind, topic, since }: FilterOptions): URLSearchParams {
  const query = new URLSearchParams();
  if (mailbox !== undefined) query.set('mailbox', mailbox);
  if (kind !== undefined) query.set('kind', kind);
  if (topic !== undefined) query.set('topic', topic);
  if (since !== undefined) query.set('since', String(since));
  return query;
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
}

function row(letter: LetterSummary): string[] {
  const { id, diedAt, kind, mailbox, topic, from, failures, reason } = letter;
  return [id, timeOf(diedAt), kind, mailbox, topic, from, String(failures), reason].map(escapeControl);
}

function noteMissing(output: Output, json: boolean, missing: ReadonlySet<number>): void {
  if (missing.size === 0) return;
  const shards = [...missing];
  const text = `shard ${shards.join(', ')} did not answer: its dead letters are not in this`;
  output.notice(json ? JSON.stringify({ event: 'missing', shards }) : `flowbus: ${text}`);
}

async function list(options: ListOptions, output: Output): Promise<Exit> {
  const client = new HttpClient(options);
  const { limit = DEFAULT_LIMIT, json = false } = options;
  const letters: LetterSummary[] = [];
  const missing = new Set<number>();
  let cursor: string | null = null;
  do {
    const query = filterQuery(options);
    query.set('limit', String(Math.min(PAGE, limit - letters.length)));
    if (cursor !== null) query.set('cursor', cursor);
    const page: LetterPage = await client.ask('GET', PATH, query);
    letters.push(...page.letters);
    for (const slot of page.missing) missing.add(slot);
    cursor = page.cursor;
  } while (cursor !== null && letters.length < limit);
  if (json) for (const letter of letters) output.line(JSON.stringify(letter));
  else if (letters.length === 0) output.notice('flowbus: no such dead letters');
  else {
    const head = ['ID', 'DIED (UTC)', 'KIND', 'MAILBOX', 'TOPIC', 'FROM', 'ATTEMPTS', 'REASON'];
    const [first, ...lines] = columns([head, ...letters.map(row)]);
    output.line(output.bold(first));
    for (const line of lines) output.line(line);
    if (cursor !== null) output.notice(`flowbus: there are more: --limit ${limit * 10}, or a filter`);
  }
  noteMissing(output, json, missing);
  return Exit.ok;
}

function attemptLines(lives: LetterDetail['lives']): string[] {
  return lives.flatMap(({ storedAt, diedAt, cause, failures, attempts }) => [
    `stored ${timeOf(storedAt)}, died ${timeOf(diedAt)} (${cause}, ${failures} failed)`,
    ...attempts.map(
      ({ at, consumer, outcome, reason }) =>
        `  ${timeOf(at)}  ${outcome.padEnd(5)}  ${consumer}${reason === '' ? '' : `  ${reason}`}`,
    ),
  ]);
}

async function show(id: string, options: ClientOptions, output: Output): Promise<Exit> {
  const letter: LetterDetail = await new HttpClient(options).ask('GET', `${PATH}/${encodeURIComponent(id)}`);
  if (options.json) {
    output.line(JSON.stringify(letter));
    return Exit.ok;
  }
  const { headers, data, encoding, lives, ...known } = letter;
  const shown =
    encoding === 'base64' ? `base64:${data}` : typeof data === 'string' ? data : JSON.stringify(data);
  const fields: [string, string | null][] = [
    ['id', known.id],
    ['kind', known.kind],
    ['mailbox', known.mailbox],
    ['topic', known.topic],
    ['from', known.from],
    ['priority', known.priority],
    ['key', known.key],
    ['message id', known.messageId],
    ['headers', Object.keys(headers).length === 0 ? null : JSON.stringify(headers)],
    ['reason', known.reason || null],
    ['payload', shown],
  ];
  const rows = fields.flatMap(([name, value]) => (value === null ? [] : [[name, escapeControl(value)]]));
  for (const line of columns(rows)) output.line(line);
  for (const line of attemptLines([...lives, known])) output.line(escapeControl(line));
  return Exit.ok;
}

/** Until there are no more, or none of the rest can be. */
async function change(
  what: 'replay' | 'purge',
  id: string | undefined,
  options: ChangeOptions,
  output: Output,
): Promise<Exit> {
  const query = filterQuery(options);
  const filtered = query.size > 0;
  if (Number(id !== undefined) + Number(filtered) + Number(options.all ?? false) !== 1) {
    throw new CommandError(
      Exit.usage,
      'BAD_OPTION',
      'it is not said which dead letters, or in two ways',
      'give an id, or --all, or some of --mailbox, --kind, --topic, --since',
    );
  }
  if (id !== undefined) query.set('id', id);
  else if (!filtered) query.set('all', 'true');
  const client = new HttpClient(options);
  const missing = new Set<number>();
  let done = 0;
  let count: LetterCount;
  do {
    count =
      what === 'replay'
        ? await client.ask<LetterCount>('POST', `${PATH}/replay`, query)
        : await client.ask<LetterCount>('DELETE', PATH, query);
    done += count.done;
    for (const slot of count.missing) missing.add(slot);
  } while (count.more && count.done > 0);
  const json = options.json === true;
  const { refused } = count;
  const event = what === 'replay' ? 'replayed' : 'purged';
  if (json) output.line(JSON.stringify({ event, done, refused }));
  else output.line(`${done} ${done === 1 ? 'dead letter' : 'dead letters'} ${event}`);
  for (const { id: which, code } of refused) {
    const text = `${which} could not be replayed: ${code}`;
    if (!json) output.notice(`flowbus: ${text}`);
  }
  noteMissing(output, json, missing);
  return refused.length > 0 || missing.size > 0 ? Exit.failed : Exit.ok;
}

function addFilters(command: Command): Command {
  return command
    .option(
      '--mailbox <name>',
      'only of this mailbox, as ls shows it: agent:<agentId>, group:<group>:<pattern> or capability:<name>',
    )
    .addOption(new Option('--kind <kind>', 'only of this kind').choices(LETTER_KINDS))
    .option('--topic <pattern>', 'only those whose topic matches')
    .addOption(
      new Option('--since <time>', 'only those that died since: a duration such as 1h, or a date').argParser(
        parseSince,
      ),
    );
}

function refuseAgentId(command: Command): void {
  if (command.parent?.parent?.getOptionValueSource('agentId') === 'cli')
    throw new FlowbusError('BAD_OPTION', `--agent-id has no meaning for flowbus dlq ${command.name()}`);
}

export function addDlq(program: Command, output: Output, done: (exit: Exit) => void): void {
  const dlq = program
    .command('dlq')
    .summary('list, show, replay or purge dead letters')
    .description('Messages that were taken out of delivery: they failed too often, or their time was over.')
    .addHelpText('after', EXAMPLES);
  addFilters(dlq.command('ls').summary('list dead letters').description('List dead letters, newest first.'))
    .addOption(
      new Option('--limit <number>', `at most this many (default: ${DEFAULT_LIMIT})`).argParser(parseCount),
    )
    .addHelpText('after', LIST_EXAMPLES)
    .action(async (_options: unknown, command: Command) => {
      refuseAgentId(command);
      done(await list(command.optsWithGlobals<ListOptions>(), output));
    });
  dlq
    .command('show')
    .summary('show one with payload and history')
    .description('Show one dead letter with its payload, and what became of each attempt.')
    .argument('<id>', 'which, as ls shows it')
    .addHelpText('after', SHOW_EXAMPLES)
    .action(async (id: string, _options: unknown, command: Command) => {
      refuseAgentId(command);
      done(await show(id, command.optsWithGlobals<ClientOptions>(), output));
    });
  for (const [name, summary, examples] of [
    ['replay', 'put dead letters back into their mailboxes', REPLAY_EXAMPLES],
    ['purge', 'forget dead letters', PURGE_EXAMPLES],
  ] as const) {
    addFilters(
      dlq
        .command(name)
        .summary(summary)
        .description(`${summary[0].toUpperCase()}${summary.slice(1)}.`)
        .argument('[id]', 'which, as ls shows it')
        .option('--all', 'all of them'),
    )
      .addHelpText('after', examples)
      .action(async (id: string | undefined, _options: unknown, command: Command) => {
        refuseAgentId(command);
        done(await change(name, id, command.optsWithGlobals<ChangeOptions>(), output));
      });
  }
}
