#!/usr/bin/env node
/** `npm run bench`: runs scenarios, prints their table, keeps their JSON and a chart of each. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { chartsOf } from './chart.js';
import { exitOf, verdictLines } from './comparison.js';
import { Exit } from './exit.js';
import { commonFlags, gateFlags } from './flags.js';
import { type GateOptions, runGate } from './gate.js';
import { describeMachine } from './machine.js';
import { isFailure, machineLines, makeReport, type Report, resultLines } from './report.js';
import { endRoles } from './role.js';
import { type CommonOptions, type Result, type Scenario, ScenarioRefused } from './scenario.js';
import { assured } from './scenarios/assured.js';
import { connections } from './scenarios/connections.js';
import { directory } from './scenarios/directory.js';
import { garbage } from './scenarios/garbage.js';
import { http } from './scenarios/http.js';
import { json } from './scenarios/json.js';
import { latency } from './scenarios/latency.js';
import { links } from './scenarios/links.js';
import { mesh } from './scenarios/mesh.js';
import { nodeLink } from './scenarios/node-link.js';
import { peers } from './scenarios/peers.js';
import { priority } from './scenarios/priority.js';
import { request } from './scenarios/request.js';
import { routing } from './scenarios/routing.js';
import { soak } from './scenarios/soak.js';
import { throughput } from './scenarios/throughput.js';
import { commitOf } from './worktree.js';

/** In the order in which they are run. */
const SCENARIOS: readonly Scenario[] = [
  throughput,
  latency,
  request,
  connections,
  routing,
  garbage,
  priority,
  http,
  json,
  links,
  nodeLink,
  mesh,
  soak,
  directory,
  peers,
  assured,
];

/** dist/bench/main.js → the checkout. */
const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

interface Options extends CommonOptions {
  json?: string | true;
}

const EXAMPLES = `
Examples:
  npm run bench
  npm run bench -- latency --rate 50000 --seconds 10
  npm run bench -- connections --agents 2000 --json=connections.json
  npm run bench -- gate --base main

Exit codes: 0 no message was lost · 1 messages were lost, or a scenario could not be run · 2 wrong arguments ·
3 the gate found a figure worse · 130 interrupted. A goal that is missed is printed, and is no failure.`;

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** `--json throughput` would take the scenario for a file. */
function checkJson(command: Command, { json }: Options): void {
  if (SCENARIOS.some(({ name }) => name === json)) {
    command.error(`error: "${json}" behind --json is a file: put the scenario first, or write --json=file`);
  }
}

/** Writes the JSON, and the charts beside it. Returns what to tell of them. */
function keep(report: Report, file: string): string[] {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  const charts = chartsOf(report).map(({ name, svg }) => {
    const chart = `${file.replace(/\.json$/, '')}-${name}.svg`;
    writeFileSync(chart, svg);
    return `chart: ${chart}`;
  });
  return [`JSON: ${file}`, ...charts];
}

async function bench(command: Command, scenarios: readonly Scenario[]): Promise<number> {
  // Without a flag commander leaves some out.
  const { seconds = null, warmup = null, shards = null, ...rest } = command.opts<Partial<Options>>();
  const given = { ...rest, seconds, warmup, shards } as Options;
  checkJson(command, given);
  const print = given.json === true ? () => {} : (line: string) => process.stdout.write(`${line}\n`);
  const machine = describeMachine(ROOT);
  for (const line of machineLines(machine)) print(line);
  const results: Result[] = [];
  const refused: string[] = [];
  for (const scenario of scenarios) {
    // What is run without being named has its defaults.
    const own = Object.fromEntries(scenario.flags.map((flag) => [flag.attributeName(), flag.defaultValue]));
    try {
      for (const result of await scenario.run({ ...own, ...given }, note)) {
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
  if (given.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    const file = given.json ?? join(ROOT, 'bench', 'out', `${machine.date.replaceAll(':', '-')}.json`);
    print('');
    for (const line of keep(report, resolve(file))) print(line);
  }
  if (report.lost + report.repeated > 0)
    note(`bench: ${report.lost} messages were lost and ${report.repeated} repeated.`);
  return isFailure(report) ? Exit.failed : Exit.ok;
}

async function gate(command: Command, signal: AbortSignal): Promise<number> {
  const { base, seconds = null, warmup = null, shards = null, ...rest } = command.opts();
  const commit = await commitOf(ROOT, base);
  if (commit === null) command.error(`error: there is no commit "${base}" here`);
  const options = { ...rest, seconds, warmup, shards } as GateOptions;
  const verdict = await runGate(ROOT, commit, options, signal, note);
  for (const line of verdictLines(verdict)) process.stdout.write(`${line}\n`);
  if (verdict.comparisons.length === 0) note('bench: nothing could be compared.');
  return exitOf(verdict);
}

/** `done` takes the exit code; `interrupted` is aborted when somebody wants it to end. */
function commandLine(done: (code: number) => void, interrupted: AbortSignal): Command {
  const json = () =>
    new Option(
      '--json [file]',
      'JSON to this file, charts beside it, instead of bench/out/<date>.json; without a file JSON to standard output, no table and no charts',
    );
  const program = new Command('bench')
    .description(
      'Measure this machine: rates, latency, memory. Broker and agents are processes of their own. ' +
        `Without a scenario: ${SCENARIOS.filter(({ usual }) => usual)
          .map(({ name }) => name)
          .join(', ')}.`,
    )
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .enablePositionalOptions()
    .argument('[scenario]', 'one of the commands below')
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      if (name !== undefined) command.error(`error: there is no scenario "${name}"; see --help`);
      done(
        await bench(
          command,
          SCENARIOS.filter(({ usual }) => usual),
        ),
      );
    });
  for (const flag of [...commonFlags(), json()]) program.addOption(flag);
  for (const scenario of SCENARIOS) {
    const command = program
      .command(scenario.name)
      .description(scenario.summary)
      .exitOverride()
      .action(async (_options: unknown, self: Command) => {
        done(await bench(self, [scenario]));
      });
    const own = new Set(scenario.flags.map(({ long }) => long));
    const common = commonFlags().filter(({ long }) => !own.has(long));
    for (const flag of [...scenario.flags, ...common, json()]) command.addOption(flag);
  }
  const gateCommand = program
    .command('gate')
    .description('compare the working tree with a commit, by runs of both in turn')
    .exitOverride()
    .action(async (_options: unknown, self: Command) => {
      done(await gate(self, interrupted));
    });
  for (const flag of gateFlags()) gateCommand.addOption(flag);
  return program;
}

async function main(): Promise<number> {
  const interruption = new AbortController();
  const onSignal = (): void => {
    interruption.abort();
    // What is being asked rejects with it, and the scenario ends.
    void endRoles();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    let code: number = Exit.ok;
    await commandLine((given) => {
      code = given;
    }, interruption.signal).parseAsync();
    return code;
  } catch (error) {
    if (interruption.signal.aborted) return Exit.interrupted;
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.ok : Exit.usage;
    note(`bench: ${error instanceof Error ? error.message : String(error)}`);
    return Exit.failed;
  } finally {
    await endRoles();
  }
}

process.exitCode = await main();
