import { type Command, Option } from 'commander';
import { FlowbusError } from '../../lib/errors.js';
import { agentIdProblem } from '../../lib/topics/topic.js';
import { EXIT_HELP, Exit } from './exit.js';
import { parseLife, refuseClientOptions } from './options.js';
import type { Output } from './output.js';

interface TokenCommandOptions {
  readonly expires: number;
  readonly authSecretFile?: string;
  readonly config?: string;
  readonly json?: boolean;
}

const DEFAULT_LIFE = 24 * 3_600_000;

const EXAMPLES = `
The secret is the broker's: from --auth-secret-file, FLOWBUS_AUTH_SECRET, FLOWBUS_AUTH_SECRET_FILE or the file of
--config. It must have at least 32 bytes. The token goes to standard output, alone on its line.

Examples:
  openssl rand -hex 32 > secret
  flowbus start --auth-secret-file secret
  flowbus token worker-7 --auth-secret-file secret --expires 30d
  FLOWBUS_TOKEN=$(flowbus token me --auth-secret-file secret) flowbus sub 'demo.**' --agent-id me
${EXIT_HELP}`;

async function token(agentId: string, options: TokenCommandOptions, output: Output): Promise<Exit> {
  const problem = agentIdProblem(agentId);
  if (problem !== null) throw new FlowbusError('BAD_OPTION', `agent ${JSON.stringify(agentId)}: ${problem}`);
  // Loaded here, so that no other command pays for them.
  const [{ loadConfig }, { issueToken }] = await Promise.all([
    import('../../lib/config/index.js'),
    import('../../lib/security/token.js'),
  ]);
  const { authSecret } = loadConfig({
    // Where the broker listens does not matter for making a token.
    flags: { authSecretFile: options.authSecretFile, host: '127.0.0.1' },
    env: process.env,
    file: options.config,
  });
  if (authSecret === undefined) {
    throw new FlowbusError(
      'BAD_CONFIG',
      'there is no secret to sign with; give --auth-secret-file, or set FLOWBUS_AUTH_SECRET',
    );
  }
  const text = await issueToken(authSecret, agentId, { expiresIn: options.expires });
  const expires = new Date(Date.now() + options.expires).toISOString();
  output.line(options.json ? JSON.stringify({ agentId, token: text, expires }) : text);
  return Exit.ok;
}

export function addToken(program: Command, output: Output, done: (exit: Exit) => void): void {
  program
    .command('token')
    .summary('make a token for an agent')
    .description("Make a token, signed with the broker's secret, with which one agent may connect.")
    .configureHelp({ showGlobalOptions: false })
    .argument('<agent>', 'agentId that may use it')
    .option('--auth-secret-file <path>', 'file that holds the secret')
    .option('--config <file>', "the broker's YAML file")
    .addOption(
      new Option('--expires <duration>', 'how long it is valid, 1s to 365d')
        .argParser(parseLife)
        .default(DEFAULT_LIFE, '24h'),
    )
    .option('--json', 'one JSON object, for scripts')
    .addHelpText('after', EXAMPLES)
    .action(async (agentId: string, _options: unknown, command: Command) => {
      refuseClientOptions(command);
      done(await token(agentId, command.optsWithGlobals<TokenCommandOptions>(), output));
    });
}
