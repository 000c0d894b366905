import { type Command, Option } from 'commander';
import type { Message } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import { note, noteError, withAgent } from './client.js';
import { EXIT_HELP, Exit } from './exit.js';
import { type ClientOptions, parseCount, parseWait } from './options.js';
import type { Output } from './output.js';
import { escapeControl, messageLine, showPayload } from './text.js';

interface SubOptions extends ClientOptions {
  readonly count?: number;
  readonly timeout?: number;
}

const EXAMPLES = `
Prints a line for each message: topic, sender, payload; with --json an object. "subscribed" on standard error says
that every message published from now on will come.

Examples:
  flowbus sub 'demo.**'
  flowbus sub 'agent.*.status' --count 10 --timeout 30s
  flowbus sub 'system.agent.**' --json | jq .data
${EXIT_HELP}`;

async function sub(pattern: string, options: SubOptions, output: Output): Promise<Exit> {
  const { count, timeout, json = false } = options;
  return withAgent(options, output, {
    reconnect: true,
    interrupted: () => (count === undefined ? Exit.ok : Exit.interrupted),
    run: async (agent) => {
      agent.on('error', (error) => noteError(output, json, error));
      let seen = 0;
      let finish = (): void => {};
      const complete = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const print = (message: Message): void => {
        if (seen === count) return;
        seen++;
        if (json) output.line(messageLine(message));
        else {
          // Only a lone surrogate or a newer broker could put a control character into the first two.
          const topic = output.cyan(escapeControl(message.topic));
          output.line(`${topic}  ${output.dim(escapeControl(message.from))}  ${showPayload(message)}`);
        }
        if (seen === count) finish();
      };
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((_, reject) => {
        if (timeout === undefined) return;
        const wanted = count === undefined ? '' : ` of ${count}`;
        timer = setTimeout(() => {
          if (count === undefined) finish();
          else reject(new FlowbusError('TIMEOUT', `${seen}${wanted} messages came on ${pattern} in time`));
        }, timeout);
      });
      try {
        await Promise.race([agent.subscribe(pattern, print), late]);
        note(output, json, 'subscribed', { pattern, agentId: agent.agentId }, `subscribed to ${pattern}`);
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
    .summary('print the messages on a pattern of topics')
    .description('Subscribe to a pattern (*: one level, **: any number of levels) and print what comes.')
    .argument('<pattern>', 'topic or pattern, in quotes because of the shell')
    .addOption(new Option('-n, --count <number>', 'end after this many messages').argParser(parseCount))
    .addOption(
      new Option(
        '--timeout <duration>',
        'end after this long; with --count and too few messages as exit code 4',
      ).argParser(parseWait),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (pattern: string, _options: unknown, command: Command) => {
      done(await sub(pattern, command.optsWithGlobals<SubOptions>(), output));
    });
}
