import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CommandError, EXIT_HELP, Exit } from './exit.js';
import { refuseClientOptions } from './options.js';

const PROGRAM = fileURLToPath(new URL('../../bench/main.js', import.meta.url));

const EXAMPLES = `
The benchmarks are part of a checkout, not of the installed package. Whatever follows goes to them;
behind "--" also what would be taken here.

Examples:
  npx flowbus bench
  npx flowbus bench -- --help
${EXIT_HELP}`;

function run(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: 'inherit' });
    // The terminal sends SIGINT to both: the child decides, and this process tells how it ended.
    process.on('SIGINT', () => {});
    process.once('SIGTERM', () => child.kill('SIGTERM'));
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? Exit.interrupted));
  });
}

export function addBench(program: Command, done: (exit: number) => void): void {
  program
    .command('bench')
    .summary('run the benchmarks of a checkout')
    .description('Measure this machine: rates, latency, memory.')
    .configureHelp({ showGlobalOptions: false })
    .argument('[options...]', 'for the benchmarks')
    .allowUnknownOption()
    .option('--json', 'one JSON object per line, for scripts')
    .addHelpText('after', EXAMPLES)
    .action(async (args: string[], _options: unknown, command: Command) => {
      refuseClientOptions(command);
      if (!existsSync(PROGRAM)) {
        throw new CommandError(
          Exit.failed,
          'NOT_FOUND',
          `the benchmarks are not here (${PROGRAM})`,
          'Get a checkout of flowbus, run "npm ci && npm run build" in it, then "npx flowbus bench" there.',
        );
      }
      done(await run(command.optsWithGlobals().json ? [...args, '--json'] : args));
    });
}
