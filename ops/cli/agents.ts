import { type Command, Option } from 'commander';
import type { AgentFilter, AgentRecord } from '../../lib/client/index.js';
import { FlowbusError } from '../../lib/errors.js';
import { withAgent } from './client.js';
import { EXIT_HELP, Exit } from './exit.js';
import { type ClientOptions, parseCount } from './options.js';
import type { Output } from './output.js';
import { columns, escapeControl } from './text.js';

interface AgentsOptions extends ClientOptions {
  readonly id?: string;
  readonly type?: string;
  readonly capability?: string;
  readonly online?: boolean;
  readonly offline?: boolean;
  readonly all?: boolean;
  readonly limit?: number;
}

const EXAMPLES = `
Exit code 1 when --id names an agent that is not there (or not as the other options want it): a script can ask.

Examples:
  flowbus agents
  flowbus agents --id worker-7 --online
  flowbus agents --capability ocr
  flowbus agents --all --json | jq -r .agentId
${EXIT_HELP}`;

function filterOf(options: AgentsOptions): AgentFilter {
  const { id, type, capability, limit } = options;
  if (Number(options.online ?? 0) + Number(options.offline ?? 0) + Number(options.all ?? 0) > 1) {
    throw new FlowbusError('BAD_OPTION', '--online, --offline and --all exclude each other');
  }
  // The directory remembers who is gone for a while: rarely what is asked, unless it is asked about one agent.
  const everyone = options.all || (id !== undefined && !options.online && !options.offline);
  return {
    ...(id !== undefined && { id }),
    ...(type !== undefined && { type }),
    ...(capability !== undefined && { capability }),
    ...(limit !== undefined && { limit }),
    ...(!everyone && { online: !options.offline }),
  };
}

function row(record: AgentRecord): string[] {
  return [
    record.agentId,
    record.agentType,
    record.state,
    record.node,
    String(record.shard),
    // Microseconds are more than a person wants to read.
    new Date(record.since / 1000).toISOString().slice(0, 19).replace('T', ' '),
    record.capabilities.join(','),
  ].map(escapeControl);
}

async function agents(options: AgentsOptions, output: Output): Promise<Exit> {
  const filter = filterOf(options);
  return withAgent(options, output, {
    reconnect: false,
    interrupted: () => Exit.interrupted,
    run: async (agent) => {
      const found = await agent.agents(filter);
      // The one that asks is there only to ask, unless it was given a name.
      const records = found.filter(
        (record) => options.agentId !== undefined || record.agentId !== agent.agentId,
      );
      if (options.json) for (const record of records) output.line(JSON.stringify(record));
      else if (records.length === 0) output.notice('flowbus: no such agents');
      else {
        const [head, ...lines] = columns([
          ['AGENT', 'TYPE', 'STATE', 'NODE', 'SHARD', 'SINCE (UTC)', 'CAPABILITIES'],
          ...records.map(row),
        ]);
        output.line(output.bold(head));
        for (const line of lines) output.line(line);
      }
      return options.id !== undefined && records.length === 0 ? Exit.failed : Exit.ok;
    },
  });
}

export function addAgents(program: Command, output: Output, done: (exit: Exit) => void): void {
  program
    .command('agents')
    .summary('list the agents that are online')
    .description('List agents with type, state, place and capabilities.')
    .option('--id <id>', 'only this agent')
    .option('--type <type>', 'only agents of this type')
    .option('--capability <name>', 'only agents that can do this')
    .option('--online', 'only those that are online (default, except with --id)')
    .option('--offline', 'only those that are suspect or gone')
    .option('--all', 'online or not')
    .addOption(new Option('--limit <number>', 'at most this many (default: 10000)').argParser(parseCount))
    .addHelpText('after', EXAMPLES)
    .action(async (_options: unknown, command: Command) => {
      done(await agents(command.optsWithGlobals<AgentsOptions>(), output));
    });
}
