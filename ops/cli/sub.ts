import { type Command, Option } from 'commander';
import type { Agent, Message, SubscribeOptions } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import { isReserved, patternProblem } from '../../lib/topics/topic.js';
import { note, noteDirect, noteError, refuse, withAgent } from './client.js';
import { CommandError, EXIT_HELP, Exit } from './exit.js';
import { type ClientOptions, parseCapability, parseCount, parseWait } from './options.js';
import type { Output } from './output.js';
import { escapeControl, messageLine, showPayload } from './text.js';

interface SubOptions extends ClientOptions {
  readonly direct?: boolean;
  readonly mailbox?: boolean;
  readonly group?: string;
  readonly capability?: string;
  readonly count?: number;
  readonly timeout?: number;
  readonly replay?: number;
  readonly since?: number;
}

const EXAMPLES = `
Prints a line for each message: topic, sender, payload; with --json an object. "subscribed" on standard error says
that every message published from now on will come. Requests are refused: "flowbus reply" answers them.

Examples:
  flowbus sub 'demo.**'
  flowbus sub 'agent.*.status' 'logs.**' --count 10 --timeout 30s
  flowbus sub --direct --agent-id me
  flowbus sub --mailbox --agent-id worker-7       also what came while it was away, with pub _agent.worker-7 --assured
  flowbus sub 'page.*' --group ocr                shares what comes, and what came while nobody was there
  flowbus sub --capability ocr                    shares what is sent to those that can, with pub --capability ocr
  flowbus sub 'system.agent.**' --json | jq .data
  flowbus sub 'orders.*' --replay 10              the last ten first, where the broker keeps a history
  flowbus sub 'orders.*' --since 5min
${EXIT_HELP}`;

/** `more`: there is something to print without any. Before anything is connected, and with the pattern quoted: one may be empty, or have been the shell's to expand. */
function checkPatterns(patterns: readonly string[], more: boolean): void {
  if (patterns.length === 0 && !more) {
    throw new CommandError(Exit.usage, 'BAD_OPTION', "missing required argument 'pattern'", 'see --help');
  }
  for (const pattern of patterns) {
    const problem = patternProblem(pattern);
    if (problem !== null) {
      throw new FlowbusError('BAD_PATTERN', `pattern ${JSON.stringify(pattern)}: ${problem}`);
    }
    if (isReserved(pattern)) {
      throw new FlowbusError(
        'FORBIDDEN_TOPIC',
        `pattern ${JSON.stringify(pattern)}: topics that begin with "_" are reserved; ` +
          '--direct prints what is sent to this agent',
      );
    }
  }
}

/** Throws BAD_OPTION when the options contradict each other. */
function replayOf({ replay, since, group }: SubOptions): SubscribeOptions['replay'] {
  if (replay !== undefined && since !== undefined)
    throw new FlowbusError('BAD_OPTION', '--replay and --since exclude each other');
  if ((replay ?? since) !== undefined && group !== undefined)
    throw new FlowbusError(
      'BAD_OPTION',
      '--group keeps its messages by itself: it goes without --replay and --since',
    );
  return since === undefined ? replay : { since };
}

/** A message as a line of output. */
export function printMessage(output: Output, json: boolean, message: Message): void {
  if (json) output.line(messageLine(message));
  else {
    // Only a lone surrogate or a newer broker could put a control character into the first two.
    const topic = output.cyan(escapeControl(message.topic));
    output.line(`${topic}  ${output.dim(escapeControl(message.from))}  ${showPayload(message)}`);
  }
}

/** Passes messages to the agent itself on. Nobody is left waiting for an answer. */
function hearDirect(agent: Agent, take: (message: Message) => void): void {
  agent.on('message', (message) => {
    if (message.replyTo !== null) refuse(message, 'flowbus sub answers no requests, flowbus reply does');
    take(message);
  });
}

async function sub(patterns: readonly string[], options: SubOptions, output: Output): Promise<Exit> {
  const { count, timeout, json = false, group, capability, mailbox = false } = options;
  const direct = mailbox || options.direct === true;
  const limits = count === undefined ? {} : { prefetch: 1 };
  const replay = replayOf(options);
  // Of an agent that nobody can be again it would be kept for nothing.
  if (mailbox && options.agentId === undefined)
    throw new FlowbusError('BAD_OPTION', '--mailbox is that of the agent of --agent-id, which is not given');
  checkPatterns(patterns, direct || capability !== undefined);
  return withAgent(options, output, {
    reconnect: true,
    ...(capability !== undefined && { capabilities: [capability] }),
    ...(mailbox && { mailbox: limits }),
    interrupted: () => (count === undefined ? Exit.ok : Exit.interrupted),
    run: async (agent) => {
      const where = [
        ...patterns,
        ...(direct ? [`its own address (${agent.agentId})`] : []),
        ...(capability === undefined ? [] : [`what is sent to capability ${capability}`]),
      ].join(', ');
      agent.on('error', (error) => noteError(output, json, error));
      let seen = 0;
      let last: Message | undefined;
      let finish = (): void => {};
      const complete = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const print = (message: Message): void => {
        // Each pattern that matches brings it here, one right after the other.
        if (message === last || seen === count) return;
        last = message;
        seen++;
        printMessage(output, json, message);
        if (seen === count) finish();
      };
      const share = (message: Message): void => {
        // It is another member's: what is handled is acked.
        if (seen === count) void message.nack('flowbus sub has all that it was to print');
        else print(message);
      };
      const subscribe = (pattern: string) =>
        group === undefined
          ? agent.subscribe(pattern, print, replay === undefined ? undefined : { replay })
          : agent.subscribe(pattern, share, { group, ...limits });
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((_, reject) => {
        if (timeout === undefined) return;
        timer = setTimeout(() => {
          if (count === undefined) finish();
          else reject(new FlowbusError('TIMEOUT', `${seen} of ${count} messages came on ${where} in time`));
        }, timeout);
      });
      try {
        const heard = direct || capability !== undefined;
        hearDirect(
          agent,
          mailbox ? share : heard ? print : noteDirect(output, json, agent, '--direct prints such messages'),
        );
        const subscribing = patterns.map(subscribe);
        if (capability !== undefined) subscribing.push(agent.subscribe({ capability }, share, limits));
        await Promise.race([Promise.all(subscribing), late]);
        const { agentId } = agent;
        note(output, json, 'subscribed', { patterns, direct, agentId }, `subscribed to ${where}`);
        await Promise.race([complete, late]);
      } finally {
        clearTimeout(timer);
      }
      return Exit.ok;
    },
  });
}

export function addSub(program: Command, output: Output, done: (exit: Exit) => void): void {
  program
    .command('sub')
    .summary('print the messages on patterns of topics')
    .description('Subscribe to patterns (*: one level, **: any number of levels) and print what comes.')
    .argument('[pattern...]', 'topics or patterns, in quotes because of the shell')
    .option('--direct', 'also what is sent to the address of this agent (--agent-id)')
    .addOption(
      new Option('--replay <number>', 'begin with so many of the last messages').argParser(parseCount),
    )
    .addOption(
      new Option('--since <duration>', 'begin with the messages of so long a time, up to 24h').argParser(
        parseWait,
      ),
    )
    .option('--mailbox', 'the same, and have it kept while this agent is away, and ack it')
    .option('--group <name>', 'share what comes with the other members of this group, and ack it')
    .addOption(
      new Option(
        '--capability <name>',
        'say that this agent has it, and share and ack what is sent to it',
      ).argParser(parseCapability),
    )
    .addOption(new Option('-n, --count <number>', 'end after this many messages').argParser(parseCount))
    .addOption(
      new Option(
        '--timeout <duration>',
        'end after this long; with --count and too few messages as exit code 4',
      ).argParser(parseWait),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (patterns: string[], _options: unknown, command: Command) => {
      done(await sub(patterns, command.optsWithGlobals<SubOptions>(), output));
    });
}
