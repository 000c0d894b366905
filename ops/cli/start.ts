import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import {
  type BrokerConfig,
  CONFIG_KEYS,
  type ConfigKey,
  type ConfigName,
  type ConfigSources,
  isInMesh,
  isLoopback,
  isNamed,
  keepNodeName,
  loadConfig,
  prepareDataDir,
  secretFileOf,
} from '../../lib/config/index.js';
import { createLogger } from '../../lib/telemetry/log.js';
import type { RunningNode } from '../../shards/primary.js';
import { EXIT_HELP } from './exit.js';
import { DEFAULT_URL, refuseClientOptions } from './options.js';
import type { Output } from './output.js';
import { version } from './version.js';

const MESH_WORKER = fileURLToPath(new URL('../mesh-worker.js', import.meta.url));

const EXAMPLES = `
Each setting is a flag, a variable, or a line of the file; a flag goes before a variable, a variable before the file.
Sizes are bytes or such as 64KiB, durations milliseconds or such as 5s. The log goes to standard error.
SIGTERM and SIGINT drain; a second one ends at once (the same signal within half a second counts as one).

Examples:
  flowbus start
  flowbus start --port 9000 --shards 2
  FLOWBUS_LOG_LEVEL=debug flowbus start --config flowbus.yaml
  flowbus start --host 0.0.0.0 --auth-secret-file secret
  flowbus start --mesh-port 9081
  flowbus start --port 8082 --join 127.0.0.1:9081
${EXIT_HELP}`;

interface StartOptions extends Readonly<Partial<Record<ConfigName, unknown>>> {
  readonly config?: string;
  readonly json?: boolean;
}

/** Of a list whose flag is given several times. */
function joined(value: string, before?: string): string {
  return before === undefined ? value : `${before},${value}`;
}

function flagOption(key: ConfigKey): Option {
  const { placeholder, repeats } = key.kind;
  const value = placeholder === 'true|false' ? `[${placeholder}]` : `<${placeholder}>`;
  // The choices stand in the placeholder when they are few.
  const allowed = placeholder.includes('|') ? '' : `; ${key.kind.allowed}`;
  const from = `(default: ${key.fallbackText}; env: ${key.env})`;
  const option = new Option(`${key.flag} ${value}`, `${key.description}${allowed} ${from}`);
  return repeats ? option.argParser(joined) : option;
}

/** Where the settings are. `options` may hold more than them. */
export function sourcesOf(options: StartOptions, env: NodeJS.ProcessEnv): ConfigSources {
  const flags: Partial<Record<ConfigName, unknown>> = {};
  for (const { name } of CONFIG_KEYS) flags[name] = options[name];
  return { flags, env, file: options.config };
}

/** How the user would type a command here: `npm start` does not put `flowbus` on the path. */
function commandName(): string {
  return process.env.npm_command === undefined ? 'flowbus' : 'npx flowbus';
}

/** A path as a shell takes it for one word. */
function quoted(path: string): string {
  return /^[\w./+@-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** One agent for each command: the same agentId twice, and the newer would end the older. */
const TRIALS = [
  { agentId: 'listener-1', words: "sub 'demo.**'" },
  { agentId: 'speaker-1', words: `pub demo.hello '{"hi":1}'` },
  { agentId: 'visitor-1', words: 'agents' },
];

/** Said while there is no authentication: whoever cannot connect from elsewhere learns here why, and what to do. */
const LOCAL_ONLY = '  access  this machine only; others with --host 0.0.0.0 --auth-secret-file <path>';

/** Where others join this node, as they would say it. */
function meshLines({ meshAddresses }: RunningNode, config: BrokerConfig): string[] {
  if (!isInMesh(config)) return [];
  if (meshAddresses.length === 0) return ['  mesh    not up yet, see the log'];
  const [first, ...others] = meshAddresses;
  return [`  mesh    --join ${first}`, ...others.map((address) => `          --join ${address}`)];
}

/** `secretFile`: where the secret is, when it is in a file. */
export function banner(
  node: RunningNode,
  config: BrokerConfig,
  secretFile: string | undefined,
  output: Output,
  command = commandName(),
): string[] {
  const url = node.url === DEFAULT_URL ? '' : ` --url ${node.url}`;
  const secured = config.authSecret !== undefined;
  const secret = secretFile === undefined ? '' : ` --auth-secret-file ${quoted(secretFile)}`;
  const known = secured && secretFile === undefined ? ', with the secret in FLOWBUS_AUTH_SECRET' : '';
  const shards =
    node.liveShards === node.shards ? node.shards : `${node.liveShards} of ${node.shards}, see the log`;
  const lines = [
    output.bold(`flowbus ${version()} listens on ${node.url}`),
    `  node    ${config.node}`,
    `  shards  ${shards}`,
    `  links   ${node.linkKind}`,
    ...(config.dataDir === undefined
      ? []
      : [`  journal ${node.recovered.toLocaleString('en-US')} messages recovered from ${config.dataDir}`]),
    ...meshLines(node, config),
    ...(secured || !isLoopback(config.host) ? [] : [LOCAL_ONLY]),
    '',
    `Try in another terminal${known}:`,
  ];
  for (const { agentId, words } of TRIALS) {
    const token = secured ? `FLOWBUS_TOKEN=$(${command} token ${agentId}${secret}) ` : '';
    lines.push(output.cyan(`  ${token}${command} ${words}${url}${secured ? ` --agent-id ${agentId}` : ''}`));
  }
  return lines;
}

/** With a data directory that is there, and the name that the node has in it. */
function settled(loaded: BrokerConfig, named: boolean): BrokerConfig {
  if (loaded.dataDir === undefined) return loaded;
  const dataDir = prepareDataDir(loaded.dataDir);
  return { ...loaded, dataDir, node: named ? loaded.node : keepNodeName(dataDir, loaded.node) };
}

async function start(options: StartOptions, output: Output): Promise<number> {
  const sources = sourcesOf(options, process.env);
  const loaded = loadConfig(sources);
  const { logFormat } = loaded;
  const config: BrokerConfig = {
    ...settled(loaded, isNamed(sources)),
    // Whoever reads the one stream as JSON reads the other so too, on a terminal as well.
    ...(options.json && logFormat === 'auto' && { logFormat: 'json' }),
  };
  // Loaded here, so that no other command pays for the broker, and none needs its native parts.
  const { startNode } = await import('../../shards/primary.js');
  const node = await startNode(config, createLogger(config), {
    signals: true,
    dedicated: true,
    ...(isInMesh(config) && { mesh: MESH_WORKER }),
  });
  // Only what is printed waits for it: agents can connect.
  await node.meshSettled;
  if (options.json) {
    const { host, port } = node.address;
    const { url, shards, liveShards: live, linkKind: links, recovered } = node;
    const ready = {
      event: 'ready',
      url,
      host,
      port,
      node: config.node,
      shards,
      live,
      links,
      recovered,
      ...(isInMesh(config) && { mesh: node.meshAddresses }),
      pid: process.pid,
    };
    output.line(JSON.stringify(ready));
  } else for (const line of banner(node, config, secretFileOf(sources), output)) output.line(line);
  output.flush();
  return node.closed;
}

export function describeStart(command: Command, output: Output, done: (exit: number) => void): void {
  command
    .description('Run a broker on this machine until SIGTERM or SIGINT.')
    .configureHelp({ showGlobalOptions: false })
    .addOption(new Option('--config <file>', 'YAML file with settings (env: FLOWBUS_CONFIG)'))
    .addOption(new Option('--json', 'one JSON line on standard output when ready, for scripts'));
  for (const key of CONFIG_KEYS) command.addOption(flagOption(key));
  command.addHelpText('after', EXAMPLES).action(async (_options: unknown, self: Command) => {
    refuseClientOptions(self);
    done(await start(self.optsWithGlobals<StartOptions>(), output));
  });
}
