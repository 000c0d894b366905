import type { Command } from 'commander';
import type { ClusterNode } from '../../lib/mesh.js';
import { EXIT_HELP, Exit } from './exit.js';
import { HttpClient } from './http-client.js';
import type { ClientOptions } from './options.js';
import type { Output } from './output.js';
import { columns, escapeControl } from './text.js';

const EXAMPLES = `
This node first: its name, its state and since when, the round trip to it, its agents, the bytes that came from it and went to it, and
where it can be joined. A node that is "joining" is an address that nobody has answered at yet.

Examples:
  flowbus cluster
  flowbus cluster --url ws://node-b:8081
  flowbus cluster --json | jq -r 'select(.state != "alive").node'
${EXIT_HELP}`;

const HEAD = ['NODE', 'STATE', 'SINCE (UTC)', 'RTT', 'AGENTS', 'IN', 'OUT', 'ADDRESSES'];

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Three digits are enough to see where traffic goes. */
function showBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

function row({ node, state, since, roundTrip, agents, bytesIn, bytesOut, addresses }: ClusterNode): string[] {
  return [
    node,
    state,
    new Date(since).toISOString().slice(0, 19).replace('T', ' '),
    roundTrip === null ? '-' : `${roundTrip.toFixed(roundTrip < 10 ? 2 : 0)} ms`,
    String(agents),
    showBytes(bytesIn),
    showBytes(bytesOut),
    addresses.join(' '),
  ].map(escapeControl);
}

async function cluster(options: ClientOptions, output: Output): Promise<Exit> {
  const { nodes } = await new HttpClient(options).ask<{ nodes: ClusterNode[] }>('GET', '/v1/cluster');
  if (options.json) for (const node of nodes) output.line(JSON.stringify(node));
  else {
    const [head, ...lines] = columns([HEAD, ...nodes.map(row)]);
    output.line(output.bold(head));
    for (const line of lines) output.line(line);
  }
  return Exit.ok;
}

export function addCluster(program: Command, output: Output, done: (exit: Exit) => void): void {
  program
    .command('cluster')
    .summary('list the nodes of the cluster')
    .description('List the nodes that a broker knows, as it sees them.')
    .addHelpText('after', EXAMPLES)
    .action(async (_options: unknown, command: Command) => {
      done(await cluster(command.optsWithGlobals<ClientOptions>(), output));
    });
}
