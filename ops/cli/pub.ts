import { type Command, Option } from 'commander';
import type { Agent, AssuredOptions, Retry, SendOptions } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import { capabilityAddress } from '../../lib/topics/topic.js';
import { note, noteError, withAgent } from './client.js';
import { CommandError, EXIT_HELP, Exit, failureOf } from './exit.js';
import { encodeInput, readLines, readWhole } from './input.js';
import {
  addMessageOptions,
  type ClientOptions,
  type MessageOptions,
  parseCapability,
  parseCount,
  parseDelay,
  parseWait,
} from './options.js';
import type { Output } from './output.js';

interface PubOptions extends ClientOptions, MessageOptions {
  readonly lines?: boolean;
  readonly whole?: boolean;
  readonly assured?: boolean;
  readonly capability?: string;
  readonly delay?: number;
  readonly maxAttempts?: number;
  readonly retryBase?: number;
  readonly retryCap?: number;
  readonly retain?: boolean;
}

const EXAMPLES = `
Ends when the broker has taken the message. Nothing is stored: those who are subscribed now will get it. With --assured it is
stored by every mailbox that matches, and NO_MAILBOX when there is none.

Examples:
  flowbus pub demo.hello '{"hi":1}'
  flowbus pub agent.worker-7.task.assign 'do it' --priority high --ttl 500ms
  flowbus pub page.new '{"page":4}' --assured          for a group, see sub --group
  flowbus pub _agent.worker-7 'do it' --assured        for the mailbox of an agent
  flowbus pub --capability ocr '{"page":4}' --assured  for one of the agents that can, see sub --capability
  flowbus pub page.check '{"page":4}' --assured --delay 5min  not before five minutes have passed
  flowbus pub robots.r1.state 'docked' --retain        who subscribes later gets it at once
  tail -f app.log | flowbus pub logs.app              one message for each line
  flowbus pub files.logo --whole < logo.png           one message in all
${EXIT_HELP}`;

export function sendOptions(options: MessageOptions): SendOptions {
  const { priority, ttl, key, header } = options;
  return {
    ...(priority !== undefined && { priority }),
    ...(ttl !== undefined && { ttl }),
    ...(key !== undefined && { key }),
    ...(header !== undefined && { headers: header }),
  };
}

function retryOptions({ assured, maxAttempts, retryBase: base, retryCap: cap }: PubOptions): {
  retry?: Retry;
} {
  if (maxAttempts === undefined && base === undefined && cap === undefined) return {};
  if (!assured)
    throw new FlowbusError('BAD_OPTION', '--max-attempts, --retry-base and --retry-cap go with --assured');
  return { retry: { maxAttempts, base, cap } };
}

async function* payloads(argument: string | undefined, whole: boolean): AsyncGenerator<Uint8Array> {
  if (argument !== undefined && argument !== '-') yield Buffer.from(argument, 'utf8');
  else if (whole) yield await readWhole(process.stdin);
  else yield* readLines(process.stdin);
}

/** Resolves when the broker has read all of it: refusals have been reported by then. */
async function settle(agent: Agent): Promise<void> {
  await agent.drain();
  // Any question will do, since the broker answers in the order in which it reads.
  await agent.agents({ id: agent.agentId, limit: 1 });
}

/** Where to, and what: with --capability there is no topic. */
function parsed(args: readonly string[], capability: string | undefined): [string, string | undefined] {
  if (capability === undefined) {
    if (args.length === 0)
      throw new CommandError(Exit.usage, 'BAD_OPTION', "missing required argument 'topic'", 'see --help');
    return [args[0], args[1]];
  }
  if (args.length > 1)
    throw new FlowbusError('BAD_OPTION', '--capability takes the place of the topic: give a payload alone');
  return [capabilityAddress(capability), args[0]];
}

async function pub(args: readonly string[], options: PubOptions, output: Output): Promise<Exit> {
  const { capability } = options;
  const [topic, argument] = parsed(args, capability);
  if (options.lines && options.whole) {
    throw new FlowbusError('BAD_OPTION', '--lines and --whole exclude each other');
  }
  const single = argument !== undefined && argument !== '-';
  if (single && (options.lines || options.whole)) {
    throw new FlowbusError(
      'BAD_OPTION',
      '--lines and --whole are for standard input, but there is a payload',
    );
  }
  const json = options.json === true;
  return withAgent(options, output, {
    // Standard input may go on for days.
    reconnect: !single,
    interrupted: () => Exit.interrupted,
    run: async (agent) => {
      if (!single && process.stdin.isTTY) {
        const each = options.whole ? 'all of it is one message' : 'each line is a message';
        note(output, json, 'reading', { topic }, `reading standard input: ${each}, Ctrl-D ends it`);
      }
      let refused = 0;
      let exit: Exit = Exit.ok;
      agent.on('error', (error) => {
        // The first says it: those behind it are mostly the same.
        if (refused === 0) exit = failureOf(error).exit;
        refused++;
        noteError(output, json, error);
      });
      const { delay } = options;
      const retained = options.retain === true ? { retain: true } : {};
      const send: AssuredOptions = {
        ...sendOptions(options),
        ...retryOptions(options),
        ...(delay !== undefined && { delay }),
        ...retained,
      };
      let published = 0;
      let stored = 0;
      try {
        for await (const bytes of payloads(argument, options.whole === true)) {
          const payload = encodeInput(bytes, options.encoding);
          published++;
          if (options.assured) {
            stored += (await agent.publish(topic, payload, { ...send, assured: true })).stored;
            continue;
          }
          const goesOn =
            capability === undefined
              ? agent.publish(topic, payload, { ...send, assured: false })
              : agent.sendTo({ capability }, payload, { ...send, assured: false });
          if (!goesOn) await agent.drained();
        }
      } finally {
        await settle(agent);
      }
      if (json) {
        const report = { event: 'published', topic, messages: published, refused };
        output.line(JSON.stringify(options.assured ? { ...report, stored } : report));
      }
      return exit;
    },
  });
}

export function addPub(program: Command, output: Output, done: (exit: Exit) => void): void {
  const command = program
    .command('pub')
    .summary('publish messages on a topic')
    .description('Publish a payload, or standard input, on a topic.')
    .argument('[topic]', 'where to; absent with --capability')
    .argument('[payload]', 'what; standard input when absent or "-"')
    .option('--lines', 'each line of standard input is a message (default)')
    .option('--whole', 'all of standard input is one message')
    .addOption(
      new Option('--capability <name>', 'to one of the agents that have it, instead of a topic').argParser(
        parseCapability,
      ),
    )
    .option('--retain', 'keep it as the last value of the topic, for those who subscribe later; "" clears it')
    .option('--assured', 'one after the other, each when it is stored by all mailboxes that match')
    .addOption(
      new Option('--delay <duration>', 'with --assured: not delivered before, 1ms to 7d').argParser(
        parseDelay,
      ),
    )
    .addOption(
      new Option(
        '--max-attempts <number>',
        'with --assured: attempts at it before it becomes a dead letter (default: as the mailbox has it)',
      ).argParser(parseCount),
    )
    .addOption(
      new Option(
        '--retry-base <duration>',
        'with --assured: wait after the first failure, doubled each time',
      ).argParser(parseWait),
    )
    .addOption(
      new Option('--retry-cap <duration>', 'with --assured: the longest such wait').argParser(parseWait),
    );
  addMessageOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (_topic: unknown, _payload: unknown, _options: unknown, self: Command) => {
      done(await pub(self.args, self.optsWithGlobals<PubOptions>(), output));
    });
}
