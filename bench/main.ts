#!/usr/bin/env node
/** `npm run bench`: runs scenarios, prints their table, keeps their JSON. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { describeMachine } from './machine.js';
import { isFailure, machineLines, makeReport, resultLines } from './report.js';
import { endRoles } from './role.js';
import { LEAST_PAYLOAD } from './roles/payload.js';
import { type BenchOptions, type Result, type Scenario, ScenarioRefused } from './scenario.js';
import { connections } from './scenarios/connections.js';
import { latency } from './scenarios/latency.js';
import { throughput } from './scenarios/throughput.js';

/** In the order in which all of them are run. */
const SCENARIOS: readonly Scenario[] = [throughput, latency, connections];

/** dist/bench/main.js → the checkout. */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

const Exit = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

const MAX_PAYLOAD = 60_000;

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

function seconds(least: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,6}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= 86_400) return value;
    throw new InvalidArgumentError(`It must be seconds, from ${least} to 86,400.`);
  };
}

function integers(text: string): number[] {
  return text.split(',').map(integer(1, 1000));
}

interface Options extends BenchOptions {
  json?: string | true;
}

const EXAMPLES = `
Scenarios:
${SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(13)} ${summary}`).join('\n')}

Examples:
  npm run bench
  npm run bench -- latency --rate 50000 --seconds 10
  npm run bench -- connections --agents 2000 --json=connections.json

Exit codes: 0 no message was lost · 1 messages were lost, or a scenario could not be run · 2 wrong arguments ·
130 interrupted. A goal that is missed is printed, and is no failure.`;

function commandLine(): Command {
  return new Command('bench')
    .description(
      'Measure this machine: rates, latency, memory. Broker and agents are processes of their own.',
    )
    .argument('[scenario]', `one of ${SCENARIOS.map(({ name }) => name).join(', ')}; default: all`)
    .addOption(
      new Option('--runs <n>', 'runs of each case, each with processes of its own')
        .argParser(integer(1, 1000))
        .default(5),
    )
    .addOption(
      new Option('--seconds <s>', 'measured time of one run (default: throughput 4, latency 3)').argParser(
        seconds(0.05),
      ),
    )
    .addOption(
      new Option('--warmup <s>', 'discarded before it (default: throughput 5, latency 1)').argParser(
        seconds(0),
      ),
    )
    .addOption(new Option('--shards <n>', 'of the broker (default: one per core)').argParser(integer(1, 60)))
    .addOption(
      new Option('--payload <bytes>', 'size of the messages')
        .argParser(integer(LEAST_PAYLOAD, MAX_PAYLOAD))
        .default(64),
    )
    .addOption(
      new Option('--subscribers <list>', 'throughput: one case for each')
        .argParser(integers)
        .default([1, 10], '1,10'),
    )
    .addOption(
      new Option('--burst <n>', 'throughput: messages published per turn of the event loop')
        .argParser(integer(1, 100_000))
        .default(256),
    )
    .addOption(
      new Option('--rate <n>', 'latency: messages per second')
        .argParser(integer(1, 10_000_000))
        .default(20_000),
    )
    .addOption(
      new Option('--agents <n>', 'connections: how many').argParser(integer(1, 1_000_000)).default(10_000),
    )
    .addOption(
      new Option('--swarms <n>', 'connections: processes that hold them')
        .argParser(integer(1, 64))
        .default(4),
    )
    .addOption(
      new Option(
        '--json [file]',
        'JSON to this file instead of bench/out/<date>.json; without a file to standard output, and no table',
      ),
    )
    .addHelpText('after', EXAMPLES)
    .exitOverride();
}

function chosen(command: Command): readonly Scenario[] {
  const [name] = command.args;
  if (name === undefined) return SCENARIOS;
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined) command.error(`error: there is no scenario "${name}"; see --help`);
  return [scenario];
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** `--json throughput` would take the scenario for a file. */
function checkJson(command: Command, { json }: Options): void {
  if (SCENARIOS.some(({ name }) => name === json)) {
    command.error(`error: "${json}" behind --json is a file: put the scenario first, or write --json=file`);
  }
}

async function bench(command: Command): Promise<number> {
  const given = command.opts<Options>();
  // Without a flag commander leaves them out.
  const { seconds = null, warmup = null, shards = null } = given as Partial<Options>;
  const options: Options = { ...given, seconds, warmup, shards };
  checkJson(command, options);
  const scenarios = chosen(command);
  const print = options.json === true ? () => {} : (line: string) => process.stdout.write(`${line}\n`);
  const machine = describeMachine(ROOT);
  for (const line of machineLines(machine)) print(line);
  const results: Result[] = [];
  const refused: string[] = [];
  for (const scenario of scenarios) {
    try {
      for (const result of await scenario.run(options, note)) {
        results.push(result);
        for (const line of ['', ...resultLines(result)]) print(line);
      }
    } catch (error) {
      if (!(error instanceof ScenarioRefused)) throw error;
      refused.push(error.message);
      note(`bench: ${error.message}`);
    }
  }
  const report = makeReport(machine, results, refused);
  if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    const file = options.json ?? join(ROOT, 'bench', 'out', `${machine.date.replaceAll(':', '-')}.json`);
    mkdirSync(dirname(resolve(file)), { recursive: true });
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    print(`\nJSON: ${file}`);
  }
  if (report.lost + report.repeated > 0)
    note(`bench: ${report.lost} messages were lost and ${report.repeated} repeated.`);
  return isFailure(report) ? Exit.failed : Exit.ok;
}

async function main(): Promise<number> {
  const command = commandLine();
  try {
    command.parse();
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.ok : Exit.usage;
    throw error;
  }
  let interrupted = false;
  const onSignal = (): void => {
    interrupted = true;
    // What is being asked rejects with it, and the scenario ends.
    void endRoles();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await bench(command);
  } catch (error) {
    if (interrupted) return Exit.interrupted;
    if (error instanceof CommanderError) return Exit.usage;
    note(`bench: ${error instanceof Error ? error.message : String(error)}`);
    return Exit.failed;
  } finally {
    await endRoles();
  }
}

process.exitCode = await main();
