import assert from 'node:assert/strict';
import { CommanderError } from 'commander';
import { CONFIG_KEYS, loadConfig, makeConfig } from '../../../lib/config/index.js';
import { ERRORS, FlowbusError } from '../../../lib/errors.js';
import { failureLine, failureOf } from '../../../ops/cli/exit.js';
import { Output } from '../../../ops/cli/output.js';
import { createProgram, runCli } from '../../../ops/cli/program.js';
import { banner, sourcesOf } from '../../../ops/cli/start.js';
import type { RunningNode } from '../../../shards/primary.js';

class Recorder {
  text = '';
  readonly isTTY: boolean;

  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.text += text;
  }
}

async function run(...args: string[]): Promise<{ exit: number; out: string; err: string }> {
  const out = new Recorder();
  const err = new Recorder();
  const exit = await runCli(args, new Output(out, err, {}));
  return { exit, out: out.text, err: err.text };
}

const COMMANDS = [
  'start',
  'sub',
  'pub',
  'request',
  'reply',
  'agents',
  'cluster',
  'dlq',
  'token',
  'bench',
  'help',
];

describe('cli program', () => {
  it('answers wrong usage with one line and exit code 2', async () => {
    const wrong: [string[], RegExp][] = [
      [['sub'], /^flowbus: missing required argument 'pattern' \(BAD_OPTION\): see --help$/],
      [['request', 'a', 'b', 'c'], /too many arguments/],
      [['sub', ''], /^flowbus: pattern "": the pattern is empty \(BAD_PATTERN\): /],
      [['sub', 'a..b', 'c'], /pattern "a\.\.b": the pattern has an empty level .*\(BAD_PATTERN\)/],
      [['sub', 'a', '_agent.x'], /pattern "_agent\.x": .* reserved; --direct .*\(FORBIDDEN_TOPIC\)/],
      [['sub', '--mailbox'], /--mailbox .* --agent-id, which is not given \(BAD_OPTION\)/],
      [['sub', 'a', '--count', '0'], /'0' is invalid\. It must be a whole number of at least 1/],
      [['sub', 'a', '--timeout', '5m'], /It must be a duration/],
      [
        ['sub', 'a', '--cuont', '1'],
        /unknown option '--cuont' \(BAD_OPTION\): did you mean --count\? see --help$/,
      ],
      [['bus'], /unknown command 'bus' \(BAD_OPTION\): did you mean sub\?|unknown command 'bus'/],
      [['help', 'nope'], /^flowbus: unknown command 'nope' \(BAD_OPTION\): see --help$/],
      [['help', 'pubb'], /unknown command 'pubb' \(BAD_OPTION\): did you mean pub\? see --help$/],
      [['pub', 'a', 'b', '--priority', 'urgent'], /Allowed choices are critical, high/],
      [['pub', 'a', 'b', '--header', 'x'], /It must be name=value/],
      [['agents', '--online', '--offline'], /exclude each other/],
      [['pub', 'a', 'b', '--whole'], /are for standard input/],
      [['pub', 'a', '--lines', '--whole'], /exclude each other/],
      [['pub'], /^flowbus: missing required argument 'topic' \(BAD_OPTION\): see --help$/],
      [['pub', 'a', 'b', '--capability', 'c'], /takes the place of the topic/],
      [
        ['pub', 'a', '--capability', 'c d'],
        /'c d' is invalid\. the address of the capability has whitespace/,
      ],
      [['sub', '--capability', '*'], /the address of the capability has '\*'/],
      [['start', '--shard', '2'], /did you mean --shards\?/],
      [
        ['start', '--shards', 'many'],
        /^flowbus: --shards "many": must be a whole number from 1 to 60 \(BAD_CONFIG\): /,
      ],
      [['start', '--host', '0.0.0.0'], /\(UNSAFE_LISTEN\)/],
      [['start', '--config', '/nowhere.yaml'], /--config "\/nowhere\.yaml": must be a readable file/],
      [['start', '--url', 'ws://x'], /--url has no meaning for flowbus start/],
      [['token', 'a.b'], /agent "a\.b": /],
      [['token', 'me', '--token', 't'], /--token has no meaning for flowbus token/],
      [['token', 'me', '--expires', '999ms'], /It must be a duration from 1s to 365d, such as 12h or 30d/],
      [['token', 'me', '--expires', '366d'], /It must be a duration from 1s to 365d/],
      [['token', 'me'], /no secret to sign with.*\(BAD_CONFIG\)/],
    ];
    for (const [args, expected] of wrong) {
      const { exit, out, err } = await run(...args);
      assert.equal(exit, 2, args.join(' '));
      assert.equal(out, '');
      assert.match(err, /^flowbus: [^\n]* \([A-Z_]+\): [^\n]+\n$/, args.join(' '));
      assert.match(err.trimEnd(), expected, args.join(' '));
    }
  });

  it('makes tokens of up to a year', async () => {
    process.env.FLOWBUS_AUTH_SECRET = 's'.repeat(32);
    try {
      for (const [life, seconds] of [
        ['1s', 1],
        ['30d', 30 * 86_400],
        ['365d', 365 * 86_400],
      ] as const) {
        const { exit, out, err } = await run('token', 'me', '--expires', life, '--json');
        assert.equal(exit, 0, err);
        const { token } = JSON.parse(out) as { token: string };
        const { iat, exp } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
        assert.equal(exp - iat, seconds);
      }
    } finally {
      delete process.env.FLOWBUS_AUTH_SECRET;
    }
  });

  it('writes errors as JSON for scripts', async () => {
    const { exit, err } = await run('start', '--shards', '0', '--json');
    assert.equal(exit, 2);
    const problem = {
      code: 'BAD_CONFIG',
      message: '--shards "0": must be a whole number from 1 to 60',
      remedy: ERRORS.BAD_CONFIG.remedy,
    };
    assert.deepEqual(JSON.parse(err), { event: 'error', ...problem, problems: [problem] });
    const usage = await run('sub', '--json');
    assert.ok(!('problems' in JSON.parse(usage.err)));
  });

  it('reports all that is wrong with the configuration, a line for each', async () => {
    const args = ['start', '--shards', '0', '--host', '0.0.0.0', '--port', 'x'];
    const text = await run(...args);
    assert.equal(text.exit, 2);
    const lines = text.err.trimEnd().split('\n');
    assert.equal(lines.length, 3, text.err);
    for (const expected of [
      /^flowbus: --shards "0": .* \(BAD_CONFIG\): [^\n]+$/,
      /^flowbus: --port "x": .* \(BAD_CONFIG\): [^\n]+$/,
      /^flowbus: --host "0\.0\.0\.0": .* \(UNSAFE_LISTEN\): [^\n]+$/,
    ]) {
      assert.ok(
        lines.some((line) => expected.test(line)),
        text.err,
      );
    }
    const json = await run(...args, '--json');
    assert.equal(json.exit, 2);
    const { code, problems } = JSON.parse(json.err);
    assert.equal(code, 'BAD_CONFIG');
    assert.deepEqual(problems.map((problem: { code: string }) => problem.code).sort(), [
      'BAD_CONFIG',
      'BAD_CONFIG',
      'UNSAFE_LISTEN',
    ]);
  });

  it('has a flag for each setting, in the help too', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    const start = program.commands.find((command) => command.name() === 'start');
    const help = start?.helpInformation() ?? '';
    for (const key of CONFIG_KEYS) {
      assert.ok(help.includes(`${key.flag} `), key.flag);
      assert.ok(help.replace(/\s+/g, ' ').includes(`env: ${key.env})`), key.env);
    }
  });

  it('takes the values of flags under the names of the settings', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    const start = program.commands.find((command) => command.name() === 'start');
    assert.ok(start);
    start.parseOptions([
      '--max-payload',
      '32KiB',
      '--verify-checksums',
      '--port=0',
      '--allow-unauthenticated',
      'false',
      '--join',
      'a:1,b:2',
      '--join=c:3',
    ]);
    const config = loadConfig(sourcesOf(start.opts(), { FLOWBUS_SHARDS: '3' }));
    assert.equal(config.maxPayload, 32_768);
    assert.equal(config.verifyChecksums, true);
    assert.equal(config.allowUnauthenticated, false);
    assert.equal(config.port, 0);
    assert.equal(config.shards, 3);
    assert.deepEqual(config.join, ['a:1', 'b:2', 'c:3']);
  });

  it('has examples and exit codes in the help of every command', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    assert.deepEqual(
      program.commands.map((command) => command.name()),
      COMMANDS,
    );
    for (const command of program.commands) {
      let text = '';
      command.configureOutput({ writeOut: (part) => (text += part) });
      command.outputHelp();
      assert.match(text, /Examples:\n {2}(npx )?flowbus|\nExamples:/, command.name());
      assert.match(text, /Exit codes:/, command.name());
    }
  });

  it('shows no options in the examples that its commands do not take', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    let seen = 0;
    for (const command of [program, ...program.commands]) {
      let help = '';
      command.configureOutput({ writeOut: (part) => (help += part) });
      command.outputHelp();
      for (const [, example, name] of help.matchAll(
        /^ {2}(?:.*\| )?((?:npx )?flowbus (\S+).*?)(?: {2}.*)?$/gm,
      )) {
        const shown = program.commands.find((each) => each.name() === name);
        const options = [...(shown?.options ?? []), ...program.options];
        for (const [, flag, value] of example.matchAll(/(?<= )(--[a-z-]+)(?: '?(?!-)([^' ]+))?/g)) {
          // Commands with commands of their own, such as dlq, have their options there.
          const option = [...options, ...(shown?.commands ?? []).flatMap((each) => each.options)].find(
            ({ long }) => long === flag,
          );
          assert.ok(option !== undefined || flag === '--help', `${example}: ${flag}`);
          if (option?.required && option.parseArg !== undefined)
            assert.doesNotThrow(() => option.parseArg!(value, undefined), `${example}: ${flag}`);
          seen++;
        }
      }
    }
    assert.ok(seen > 20, `${seen}`);
  });

  it('collects URLs from repeated flags and commas', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    program.parseOptions(['--url', 'ws://a, ws://b', '--url', 'ws://c,']);
    assert.deepEqual(program.opts().url, ['ws://a', 'ws://b', 'ws://c']);
  });

  it('maps every kind of failure to an exit code and one line', () => {
    const exits: [unknown, number, RegExp][] = [
      [
        new FlowbusError('CONNECT_FAILED'),
        3,
        /^flowbus: No broker could be reached \(CONNECT_FAILED\): Check the URLs/,
      ],
      [
        new FlowbusError('UNAUTHORIZED', 'the token has expired'),
        3,
        /the token has expired \(UNAUTHORIZED\)/,
      ],
      [
        new FlowbusError('UNKNOWN_AGENT', `Nobody is there. ${ERRORS.UNKNOWN_AGENT.remedy} (topic _agent.x)`),
        1,
        /^flowbus: Nobody is there \(topic _agent\.x\) \(UNKNOWN_AGENT\): Look it up[^(]*$/,
      ],
      [new FlowbusError('TIMEOUT'), 4, /\(TIMEOUT\)/],
      [new FlowbusError('UNKNOWN_AGENT', 'no agent\nx.'), 1, /^flowbus: no agent x \(UNKNOWN_AGENT\)/],
      [new FlowbusError('BAD_PATTERN'), 2, /\(BAD_PATTERN\)/],
      [new FlowbusError('PORT_IN_USE', 'port 1'), 1, /port 1 \(PORT_IN_USE\): Stop that process/],
      [Object.assign(new Error('broken\n  pipe'), { code: 'EIO' }), 1, /^flowbus: broken pipe \(EIO\): /],
      ['thrown \x1b[2J', 1, /^flowbus: thrown \\u001b\[2J \(UNEXPECTED\): /],
      [
        new CommanderError(1, 'commander.x', "error: unknown option '--x'"),
        2,
        /^flowbus: unknown option '--x' \(BAD_OPTION\)/,
      ],
    ];
    for (const [error, exit, expected] of exits) {
      const failure = failureOf(error);
      assert.equal(failure.exit, exit);
      const line = failureLine(failure, false);
      assert.match(line, expected);
      assert.doesNotMatch(line, /\n/);
      assert.equal(JSON.parse(failureLine(failure, true)).code, failure.code);
    }
  });

  it('uses colour on a terminal only, and not with NO_COLOR', () => {
    const terminal = new Recorder(true);
    assert.notEqual(new Output(terminal, terminal, {}).bold('x'), 'x');
    assert.equal(new Output(terminal, terminal, { NO_COLOR: '1' }).bold('x'), 'x');
    assert.equal(new Output(terminal, terminal, { TERM: 'dumb' }).cyan('x'), 'x');
    assert.notEqual(new Output(terminal, terminal, { NO_COLOR: '' }).dim('x'), 'x');
    assert.equal(new Output(new Recorder(), terminal, {}).bold('x'), 'x');
  });

  it('writes the lines of a turn together and in order', async () => {
    const writes: string[] = [];
    const output = new Output(
      { write: (text) => writes.push(text) },
      { write: (text) => writes.push(text) },
      {},
    );
    output.line('a');
    output.line('b');
    output.notice('c');
    output.line('d');
    assert.deepEqual(writes, ['a\nb\n', 'c\n']);
    await new Promise(setImmediate);
    assert.deepEqual(writes, ['a\nb\n', 'c\n', 'd\n']);
    output.line('x'.repeat(100_000));
    assert.equal(writes.length, 4);
  });

  it('says after the start what to try next', () => {
    const node = {
      url: 'ws://127.0.0.1:8081',
      shards: 2,
      liveShards: 2,
      linkKind: 'shared-memory',
    } as RunningNode;
    const output = new Output(new Recorder(), new Recorder(), {});
    const lines = banner(node, makeConfig({ node: 'node-a' }), undefined, output, 'flowbus');
    assert.match(lines[0], /^flowbus \d+\.\d+\.\d+\S* listens on ws:\/\/127\.0\.0\.1:8081$/);
    assert.deepEqual(lines.slice(1), [
      '  node    node-a',
      '  shards  2',
      '  links   shared-memory',
      '  access  this machine only; others with --host 0.0.0.0 --auth-secret-file <path>',
      '',
      'Try in another terminal:',
      "  flowbus sub 'demo.**'",
      `  flowbus pub demo.hello '{"hi":1}'`,
      '  flowbus agents',
    ]);
    const partly = banner({ ...node, liveShards: 1 } as RunningNode, makeConfig(), undefined, output);
    assert.equal(partly[2], '  shards  1 of 2, see the log');
    const inCluster = (meshAddresses: string[]) =>
      banner(
        { ...node, meshAddresses } as unknown as RunningNode,
        makeConfig({ mdns: true }),
        undefined,
        output,
      );
    assert.deepEqual(inCluster(['127.0.0.1:9081', '[::1]:9081']).slice(4, 6), [
      '  mesh    --join 127.0.0.1:9081',
      '          --join [::1]:9081',
    ]);
    assert.equal(inCluster([])[4], '  mesh    not up yet, see the log');
    const open = makeConfig({ host: '0.0.0.0', allowUnauthenticated: true });
    assert.doesNotMatch(banner(node, open, undefined, output).join('\n'), /this machine only/);
    const secured = makeConfig({ authSecret: 'x'.repeat(32) });
    const there = { ...node, url: 'ws://127.0.0.1:9' } as RunningNode;
    const filed = banner(there, secured, "/etc/my bus's/secret", output, 'npx flowbus');
    assert.equal(
      filed.at(-1),
      "  FLOWBUS_TOKEN=$(npx flowbus token visitor-1 --auth-secret-file '/etc/my bus'\\''s/secret') " +
        'npx flowbus agents --url ws://127.0.0.1:9 --agent-id visitor-1',
    );
    const agents = filed.flatMap((line) => /--agent-id (\S+)/.exec(line)?.[1] ?? []);
    assert.equal(new Set(agents).size, 3, filed.join('\n'));
    const elsewhere = banner(node, secured, undefined, output, 'flowbus');
    assert.equal(elsewhere[5], 'Try in another terminal, with the secret in FLOWBUS_AUTH_SECRET:');
    assert.match(elsewhere[7], /^ {2}FLOWBUS_TOKEN=\$\(flowbus token speaker-1\) flowbus pub /);
  });

  it('takes the version from the package', async () => {
    const program = await createProgram(new Output(new Recorder(), new Recorder(), {}), () => {});
    assert.match(program.version() ?? '', /^\d+\.\d+\.\d+/);
  });
});
