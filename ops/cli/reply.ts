import { type Command, Option } from 'commander';
import type { Message } from '../../lib/client/index.js';
import type { EncodedPayload } from '../../lib/client/payload.js';
import { FlowbusError } from '../../lib/errors.js';
import { note, noteDirect, noteError, refuse, withAgent } from './client.js';
import { Executions } from './execution.js';
import { EXIT_HELP, Exit } from './exit.js';
import { type EncodingChoice, encodeInput, readWhole } from './input.js';
import { type ClientOptions, encodingOption, parseCount, parseWait } from './options.js';
import type { Output } from './output.js';
import { printMessage } from './sub.js';

interface ReplyOptions extends ClientOptions {
  readonly encoding: EncodingChoice;
  readonly count?: number;
  readonly exec?: string;
  readonly concurrency: number;
  readonly timeout: number;
}

/** What `request` waits by default. */
const DEFAULT_TIMEOUT = 5000;
const DEFAULT_CONCURRENCY = 4;

const EXAMPLES = `
Prints a line for each request: topic, sender, payload; with --json an object. "answering" on standard error says that
requests arrive from now on. The command of --exec gets a request on its standard input; what it prints, without the
line break at its end (unless --encoding is bytes), is the reply. When it fails, or takes too long, the requester gets
an error that says so.

Examples:
  flowbus reply pong --agent-id echo
  flowbus reply --exec 'tr a-z A-Z' --agent-id upper
  flowbus reply --exec ./answer.py --agent-id worker-7 --concurrency 8 --timeout 30s
${EXIT_HELP}`;

type Answer = (message: Message) => Promise<EncodedPayload>;

function withoutLineBreak(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  return bytes.subarray(0, end);
}

async function constant(argument: string | undefined, encoding: EncodingChoice): Promise<Answer> {
  const bytes = argument === '-' ? await readWhole(process.stdin) : Buffer.from(argument ?? '', 'utf8');
  const payload = encodeInput(bytes, encoding);
  return () => Promise.resolve(payload);
}

function executed(executions: Executions, encoding: EncodingChoice): Answer {
  return async (message) => {
    const printed = await executions.run(message.payload);
    return encodeInput(encoding === 'bytes' ? printed : withoutLineBreak(printed), encoding);
  };
}

async function serve(answer: Answer, options: ReplyOptions, output: Output): Promise<Exit> {
  const { count, concurrency, json = false } = options;
  return withAgent(options, output, {
    reconnect: true,
    // What comes meanwhile waits in the SDK, which stops reading when that becomes too much.
    maxInFlight: concurrency,
    interrupted: () => (count === undefined ? Exit.ok : Exit.interrupted),
    run: async (agent) => {
      let taken = 0;
      let done = 0;
      let failed = 0;
      let finish = (): void => {};
      const complete = new Promise<void>((resolve) => {
        finish = resolve;
      });
      agent.on('error', (error) => {
        failed++;
        noteError(output, json, error.code === 'HANDLER_FAILED' ? (error.cause ?? error) : error);
      });
      const unasked = noteDirect(output, json, agent, 'that is no request: "flowbus sub --direct" prints it');
      agent.on('message', async (message) => {
        if (message.replyTo === null) {
          unasked(message);
          return undefined;
        }
        if (taken === count) {
          refuse(message, `${agent.agentId} has answered as many requests as it should`);
          return undefined;
        }
        taken++;
        printMessage(output, json, message);
        try {
          return await answer(message);
        } finally {
          done++;
          if (done === count) finish();
        }
      });
      const { agentId } = agent;
      note(output, json, 'answering', { agentId }, `answering as ${agentId}`);
      await complete;
      await agent.drain();
      return failed === 0 ? Exit.ok : Exit.failed;
    },
  });
}

async function reply(argument: string | undefined, options: ReplyOptions, output: Output): Promise<Exit> {
  const { exec, encoding, timeout } = options;
  if (exec === undefined) return serve(await constant(argument, encoding), options, output);
  if (argument !== undefined) {
    throw new FlowbusError('BAD_OPTION', 'a payload and --exec exclude each other');
  }
  const executions = new Executions(exec, timeout);
  try {
    return await serve(executed(executions, encoding), options, output);
  } finally {
    executions.kill();
  }
}

export function addReply(program: Command, output: Output, done: (exit: Exit) => void): void {
  program
    .command('reply')
    .summary('answer the requests to an agent')
    .description(
      'Be an agent (--agent-id) that answers every request, with a payload or what a command prints.',
    )
    .argument('[payload]', 'the answer; empty when absent, standard input when "-"')
    .option('--exec <command>', 'answer with what this command of the shell prints')
    .addOption(
      new Option('--concurrency <number>', 'commands that may run at a time')
        .argParser(parseCount)
        .default(DEFAULT_CONCURRENCY),
    )
    .addOption(
      new Option('--timeout <duration>', 'how long a command may take')
        .argParser(parseWait)
        .default(DEFAULT_TIMEOUT, '5s'),
    )
    .addOption(new Option('-n, --count <number>', 'end after this many requests').argParser(parseCount))
    .addOption(encodingOption())
    .addHelpText('after', EXAMPLES)
    .action(async (payload: string | undefined, _options: unknown, command: Command) => {
      done(await reply(payload, command.optsWithGlobals<ReplyOptions>(), output));
    });
}
