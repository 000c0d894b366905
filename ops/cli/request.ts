import { type Command, Option } from 'commander';
import { withAgent } from './client.js';
import { EXIT_HELP, Exit } from './exit.js';
import { encodeInput, readWhole } from './input.js';
import { addMessageOptions, type ClientOptions, type MessageOptions, parseWait } from './options.js';
import type { Output } from './output.js';
import { sendOptions } from './pub.js';
import { messageLine, showPayload } from './text.js';

interface RequestOptions extends ClientOptions, MessageOptions {
  readonly timeout: number;
}

const DEFAULT_TIMEOUT = 5000;

const EXAMPLES = `
Prints the payload of the reply; with --json the whole message.

Examples:
  flowbus request worker-7 '{"task":"status"}'
  flowbus request worker-7 --timeout 500ms
  flowbus request worker-7 - < question.json
${EXIT_HELP}`;

async function request(
  target: string,
  argument: string | undefined,
  options: RequestOptions,
  output: Output,
): Promise<Exit> {
  // Standard input only where it is asked for: a script's own input is not to vanish in a question without payload.
  const bytes = argument === '-' ? await readWhole(process.stdin) : Buffer.from(argument ?? '', 'utf8');
  const payload = encodeInput(bytes, options.encoding);
  return withAgent(options, output, {
    reconnect: false,
    interrupted: () => Exit.interrupted,
    run: async (agent) => {
      const reply = await agent.request(target, payload, {
        ...sendOptions(options),
        timeout: options.timeout,
      });
      output.line(options.json ? messageLine(reply) : showPayload(reply));
      return Exit.ok;
    },
  });
}

export function addRequest(program: Command, output: Output, done: (exit: Exit) => void): void {
  const command = program
    .command('request')
    .summary('ask an agent and print its reply')
    .description('Send a request to an agent and wait for its reply.')
    .argument('<agent>', 'agentId of the one to ask')
    .argument('[payload]', 'what to ask; empty when absent, standard input when "-"')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait for the reply')
        .argParser(parseWait)
        .default(DEFAULT_TIMEOUT, '5s'),
    );
  addMessageOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (target: string, payload: string | undefined, _options: unknown, self: Command) => {
      done(await request(target, payload, self.optsWithGlobals<RequestOptions>(), output));
    });
}
