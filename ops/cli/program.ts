/** The command line as a whole: which commands there are, and how every one of them ends. */
import { Command, CommanderError } from 'commander';
import { nearest } from '../../lib/config/nearest.js';
import { addAgents } from './agents.js';
import { addBench } from './bench.js';
import { addCluster } from './cluster.js';
import { addDlq } from './dlq.js';
import { EXIT_HELP, Exit, failureLine, failureOf } from './exit.js';
import { addClientOptions, refuseClientOptions } from './options.js';
import type { Output } from './output.js';
import { addPub } from './pub.js';
import { addReply } from './reply.js';
import { addRequest } from './request.js';
import { addSub } from './sub.js';
import { addToken } from './token.js';
import { version } from './version.js';

const EXAMPLES = `
Examples:
  flowbus start
  flowbus sub 'demo.**'
  flowbus pub demo.hello '{"hi":1}'
  flowbus <command> --help
${EXIT_HELP}`;

const HELP: ReadonlySet<string> = new Set(['commander.helpDisplayed', 'commander.version', 'commander.help']);

const HELP_EXAMPLES = `
Examples:
  flowbus help
  flowbus help pub
${EXIT_HELP}`;

/** Commander's own prints everything, and why it does so not, when there is no such command. */
function addHelp(program: Command): void {
  program
    .command('help')
    .summary('print the help of a command')
    .description('Print the help of a command, or of flowbus.')
    .configureHelp({ showGlobalOptions: false })
    .argument('[command]', 'which one')
    .addHelpText('after', HELP_EXAMPLES)
    .action((name: string | undefined, _options: unknown, self: Command) => {
      refuseClientOptions(self);
      if (name === undefined) program.help();
      const named = program.commands.find((command) => command.name() === name);
      if (named !== undefined) named.help();
      const guess = nearest(
        name,
        program.commands.map((command) => command.name()),
      );
      const hint = guess === undefined ? '' : `\n(Did you mean ${guess}?)`;
      program.error(`error: unknown command '${name}'${hint}`, { code: 'commander.unknownCommand' });
    });
}

/** As everywhere, an empty variable is as good as none. */
function forgetEmptyVariables(program: Command): void {
  for (const option of program.options) {
    if (option.envVar !== undefined && process.env[option.envVar] === '') {
      const name = option.attributeName();
      if (program.getOptionValueSource(name) === 'env') program.setOptionValue(name, undefined);
    }
  }
}

/** All commands; of `start` only the name and summary when `words`, a command line, name another. */
export async function createProgram(
  output: Output,
  done: (exit: number) => void,
  words: readonly string[] = [],
): Promise<Command> {
  const program = new Command('flowbus')
    .description('A real-time message bus for coordinating agents.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    // What goes wrong is printed once, by runCli.
    .configureOutput({ outputError: () => {} })
    .exitOverride();
  addClientOptions(program);
  program.hook('preAction', () => forgetEmptyVariables(program));
  const start = program.command('start').summary('run a broker');
  addSub(program, output, done);
  addPub(program, output, done);
  addRequest(program, output, done);
  addReply(program, output, done);
  addAgents(program, output, done);
  addCluster(program, output, done);
  addDlq(program, output, done);
  addToken(program, output, done);
  addBench(program, done);
  const others = program.commands.filter((command) => command !== start);
  if (words.includes('start') || !others.some((command) => words.includes(command.name()))) {
    // Its options are the settings, and to load what reads those takes as long as all else that a command loads.
    const { describeStart } = await import('./start.js');
    describeStart(start, output, done);
  }
  addHelp(program);
  return program.addHelpText('after', EXAMPLES);
}

/** Runs one command line (without the names of node and the script) and returns its exit code. Never throws. */
export async function runCli(args: readonly string[], output: Output): Promise<number> {
  let exit: number = Exit.ok;
  try {
    const done = (code: number): void => {
      exit = code;
    };
    const program = await createProgram(output, done, args);
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && HELP.has(error.code)) {
      exit = error.exitCode === 0 ? Exit.ok : Exit.usage;
    } else {
      const failure = failureOf(error);
      output.notice(failureLine(failure, args.includes('--json')));
      exit = failure.exit;
    }
  }
  output.flush();
  return exit;
}
