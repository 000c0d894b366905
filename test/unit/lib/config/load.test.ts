import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import {
  type BrokerConfig,
  CONFIG_KEYS,
  ConfigError,
  type ConfigSources,
  isInMesh,
  isLoopback,
  isNamed,
  keepNodeName,
  loadConfig,
  makeConfig,
  meshPortOf,
  nearest,
  secretFileOf,
} from '../../../../lib/config/index.js';
import { FlowbusError } from '../../../../lib/errors.js';

const SECRET = 'a secret of thirty-two bytes ....';

describe('configuration', () => {
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-config-'));
  });

  after(() => {
    rmSync(dir, { recursive: true });
  });

  function file(content: string, name = 'flowbus.yaml'): string {
    const path = join(dir, name);
    writeFileSync(path, content);
    return path;
  }

  /** The message of the error that these sources cause; it is one line. */
  function refused(sources: ConfigSources, code = 'BAD_CONFIG'): string {
    let message = '';
    assert.throws(
      () => loadConfig(sources),
      (error: unknown) => {
        assert.ok(error instanceof FlowbusError, String(error));
        assert.equal(error.code, code, error.message);
        message = error.message;
        return true;
      },
    );
    assert.doesNotMatch(message, /[\n\r]/);
    return message;
  }

  it('has a default for every setting', () => {
    const config = loadConfig({});
    assert.equal(config.host, '127.0.0.1');
    assert.equal(config.port, 8081);
    assert.equal(config.shards, Math.min(60, availableParallelism()));
    assert.match(config.node, /^node-[0-9a-z]{6}$/);
    assert.equal(config.maxPayload, 65_536);
    assert.equal(config.window, 1_048_576);
    assert.equal(config.backlog, 4_194_304);
    assert.equal(config.stallLimit, 5000);
    assert.equal(config.maxTopics, 131_072);
    assert.equal(config.dataDir, undefined);
    assert.equal(config.authSecret, undefined);
    assert.deepEqual(
      Object.keys(config),
      CONFIG_KEYS.map((key) => key.name),
    );
    assert.ok(Object.isFrozen(config));
  });

  it('gives each setting one flag and one variable', () => {
    for (const { flag, env, description, fallbackText } of CONFIG_KEYS) {
      assert.match(flag, /^--[a-z]+(-[a-z]+)*$/);
      assert.match(env, /^FLOWBUS_[A-Z]+(_[A-Z]+)*$/);
      assert.ok(description.length > 0 && fallbackText.length > 0);
    }
    assert.equal(new Set(CONFIG_KEYS.map((key) => key.flag)).size, CONFIG_KEYS.length);
    assert.equal(new Set(CONFIG_KEYS.map((key) => key.env)).size, CONFIG_KEYS.length);
  });

  it('accepts every default that it would compute', () => {
    for (const key of CONFIG_KEYS) {
      const value = key.fallback();
      if (value !== undefined) assert.deepEqual(key.kind.schema.parse(value), value, key.name);
    }
  });

  it('takes the flag before the variable before the file before the default', () => {
    const path = file('port: 1\nwindow: 128KiB\nstallLimit: 3s\n');
    const config = loadConfig({
      flags: { port: '3', node: undefined },
      env: { FLOWBUS_PORT: '2', FLOWBUS_WINDOW: '256KiB', PATH: '/bin' },
      file: path,
    });
    assert.equal(config.port, 3);
    assert.equal(config.window, 262_144);
    assert.equal(config.stallLimit, 3000);
    assert.equal(config.backlog, 4_194_304);
  });

  it('finds the file through FLOWBUS_CONFIG, and prefers --config', () => {
    const one = file('port: 1001', 'one.yaml');
    const two = file('port: 1002', 'two.yaml');
    assert.equal(loadConfig({ env: { FLOWBUS_CONFIG: one } }).port, 1001);
    assert.equal(loadConfig({ env: { FLOWBUS_CONFIG: one }, file: two }).port, 1002);
  });

  it('understands units in all three sources', () => {
    const path = file('maxPayload: 32KiB\nhelloTimeout: 1.5s\nverifyChecksums: true\nmaxTopics: "2048"\n');
    const config = loadConfig({
      flags: { backlog: '1MiB', upgradeTimeout: '200ms' },
      env: { FLOWBUS_DRAIN_TIMEOUT: '1min', FLOWBUS_ALLOW_UNAUTHENTICATED: '1' },
      file: path,
    });
    assert.equal(config.maxPayload, 32_768);
    assert.equal(config.helloTimeout, 1500);
    assert.equal(config.verifyChecksums, true);
    assert.equal(config.maxTopics, 2048);
    assert.equal(config.backlog, 1_048_576);
    assert.equal(config.upgradeTimeout, 200);
    assert.equal(config.drainTimeout, 60_000);
    assert.equal(config.allowUnauthenticated, true);
  });

  it('names the setting as the user spelled it, the value, and what is allowed', () => {
    assert.equal(
      refused({ flags: { shards: 'many' } }),
      '--shards "many": must be a whole number from 1 to 60',
    );
    assert.equal(
      refused({ env: { FLOWBUS_SHARDS: '61' } }),
      'FLOWBUS_SHARDS "61": must be a whole number from 1 to 60',
    );
    const path = file('shards: 0\n');
    assert.equal(refused({ file: path }), `${path}: shards 0: must be a whole number from 1 to 60`);
    assert.equal(
      refused({ flags: { logLevel: 'loud' } }),
      '--log-level "loud": must be one of trace, debug, info, warn, error, fatal, silent',
    );
    assert.match(
      refused({ env: { FLOWBUS_MAX_PAYLOAD: '64K' } }),
      /^FLOWBUS_MAX_PAYLOAD "64K": must be a size /,
    );
    assert.match(refused({ flags: { port: '' } }), /^--port "": must be a whole number/);
  });

  it('takes an empty variable for one that is not set', () => {
    const env = { FLOWBUS_PORT: '', FLOWBUS_CONFIG: '', FLOWBUS_COLOUR: '', FLOWBUS_AUTH_SECRET: '' };
    assert.equal(loadConfig({ env }).port, 8081);
    assert.equal(loadConfig({ env, file: file('port: 1\n') }).port, 1);
  });

  it('finds all that is wrong, in every source', () => {
    const path = file('shard: 2\nwindow: 1\n');
    const sources = {
      flags: { shards: '0', host: '0.0.0.0' },
      env: { FLOWBUS_COLOUR: 'red', FLOWBUS_LINKS: 'tcp', FLOWBUS_AUTH_SECRET_FILE: '/nowhere' },
      file: path,
    };
    assert.throws(
      () => loadConfig(sources),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.code, 'BAD_CONFIG');
        const messages = error.problems.map(({ message }) => message);
        assert.equal(error.message, messages.join('\n'));
        for (const line of messages) assert.doesNotMatch(line, /[\n\r]/);
        const begins = [
          'FLOWBUS_COLOUR: ',
          `${path}: "shard": `,
          '--shards "0": ',
          'FLOWBUS_LINKS "tcp": ',
          `${path}: window 1: `,
          'FLOWBUS_AUTH_SECRET_FILE "/nowhere": ',
        ];
        // And not that it is unsafe: there is to be a secret.
        assert.equal(messages.length, begins.length, error.message);
        begins.forEach((begin, i) => {
          assert.ok(messages[i].startsWith(begin), messages[i]);
        });
        return true;
      },
    );
  });

  it('does not call unsafe what it could not read', () => {
    for (const sources of [
      { flags: { host: '0.0.0.0', authSecret: 'short' } },
      { flags: { host: '0.0.0.0', allowUnauthenticated: 'perhaps' } },
      { flags: { host: '0.0.0.0' }, file: join(dir, 'nowhere.yaml') },
    ]) {
      assert.doesNotMatch(refused(sources), /without a token/);
    }
  });

  it('checks a value even where another source wins', () => {
    assert.match(refused({ flags: { port: '1' }, env: { FLOWBUS_PORT: 'x' } }), /^FLOWBUS_PORT "x"/);
  });

  it('refuses each value that is out of range', () => {
    const wrong: [keyof BrokerConfig, unknown][] = [
      ['host', ''],
      ['host', '[::1]'],
      ['host', 'a b'],
      ['host', '1.2.3'],
      ['host', 'http://x'],
      ['port', -1],
      ['port', 65_536],
      ['port', 1.5],
      ['port', '0x50'],
      ['shards', Number.NaN],
      ['node', 'a.b'],
      ['node', '_a'],
      ['node', '*'],
      ['node', 'a b'],
      ['node', ''],
      ['node', 'é'.repeat(33)],
      ['dataDir', ''],
      ['links', 'tcp'],
      ['maxPayload', 1023],
      ['maxPayload', '65KiB'],
      ['window', '1KiB'],
      ['backlog', '2GiB'],
      ['heartbeatInterval', 99],
      ['resumeWindow', '-1s'],
      ['maxConnections', 0],
      ['maxTopics', 1 << 21],
      ['verifyChecksums', 'maybe'],
      ['authSecret', 'short'],
      ['join', 'node-b'],
      ['join', 'node-b:0'],
      ['join', 'node-b:65536'],
      ['join', '::1:9081'],
      ['join', '10.0.0.7:9081,'],
      ['join', ['/ip4 /tcp']],
      ['meshPort', 65_536],
      ['meshAnnounce', 'http://node-b:9081'],
      ['meshAllow', 'node-b'],
      ['logFormat', 'xml'],
    ];
    for (const [name, value] of wrong) {
      const key = CONFIG_KEYS.find((candidate) => candidate.name === name);
      assert.ok(key);
      assert.ok(refused({ flags: { [name]: value } }).startsWith(`${key.flag} `), name);
    }
  });

  it('refuses what no setting can be, for each setting and from each source', () => {
    for (const { name, flag, env, kind } of CONFIG_KEYS) {
      const path = file(`${name}: {}\n`);
      for (const [sources, spelled] of [
        [{ flags: { [name]: '\0' } }, `${flag} `],
        [{ env: { [env]: '\0' } }, `${env} `],
        [{ file: path }, `${path}: ${name} `],
      ] as const) {
        const message = refused(sources);
        assert.ok(message.startsWith(spelled) && message.endsWith(`: must be ${kind.allowed}`), message);
      }
    }
  });

  it('accepts the ends of the ranges', () => {
    const config = makeConfig({
      port: 0,
      shards: 60,
      maxPayload: 16_384,
      resumeWindow: 0,
      host: 'localhost',
    });
    assert.equal(config.port, 0);
    assert.equal(config.shards, 60);
    assert.equal(makeConfig({ host: '::1' }).host, '::1');
    assert.equal(makeConfig({ node: 'é'.repeat(32) }).node.length, 32);
  });

  it('refuses unknown settings in the file, with a guess', () => {
    const path = file('shard: 2\n');
    assert.equal(refused({ file: path }), `${path}: "shard": no such setting; did you mean shards?`);
    assert.match(refused({ file: file('max-payload: 2\n') }), /did you mean maxPayload\?$/);
    assert.match(refused({ file: file('colour: red\n') }), /no such setting; see ops\/README\.md/);
    assert.match(refused({ file: file('__proto__: 1\n') }), /no such setting/);
    assert.match(refused({ file: file('constructor: 1\n') }), /no such setting/);
  });

  it('refuses unknown variables of its family, with a guess', () => {
    assert.equal(
      refused({ env: { FLOWBUS_SHARD: '2' } }),
      'FLOWBUS_SHARD: no such setting; did you mean FLOWBUS_SHARDS?',
    );
    assert.match(refused({ env: { FLOWBUS_COLOUR: 'red' } }), /unset it/);
    loadConfig({ env: { FLOWBUS_URL: 'ws://x', FLOWBUS_TOKEN: 't', FLOWBUS_AGENT_ID: 'a', FLOWBUSY: '1' } });
  });

  it('is not disturbed by what Kubernetes and Docker set for a service of that name', () => {
    const config = loadConfig({
      env: {
        FLOWBUS_PORT: 'tcp://10.0.0.1:8081',
        FLOWBUS_SERVICE_HOST: '10.0.0.1',
        FLOWBUS_SERVICE_PORT: '8081',
        FLOWBUS_SERVICE_PORT_WS: '8081',
        FLOWBUS_PORT_8081_TCP: 'tcp://10.0.0.1:8081',
        FLOWBUS_PORT_8081_TCP_ADDR: '10.0.0.1',
        FLOWBUS_MESH_SERVICE_HOST: '10.0.0.2',
        FLOWBUS_MESH_PORT: 'tcp://10.0.0.2:9',
      },
    });
    assert.equal(config.port, 8081);
  });

  it('says where a file is no YAML, and not what stands there', () => {
    const message = refused({ file: file(`port: 1\nauthSecret: "${SECRET}\n`) });
    assert.match(message, /flowbus\.yaml line \d+: must be YAML: /);
    assert.ok(!message.includes('thirty'), message);
    assert.match(refused({ file: file('port: 1\nport: 2\n') }), /must be YAML: Map keys must be unique/);
    assert.match(refused({ file: file('- 1\n') }), /must be a mapping from settings to values, not a list/);
    assert.match(refused({ file: file('text') }), /must be a mapping/);
    assert.match(refused({ file: file('shards: [1]\n') }), /shards a list: must be/);
    assert.match(refused({ file: file('shards:\n') }), /shards nothing: must be/);
    assert.match(refused({ file: file('node: 12\n') }), /node 12: must be .*, in quotes$/);
    assert.match(refused({ file: file('a: &a [1]\nb: *c\n') }), /must be YAML/);
    assert.equal(loadConfig({ file: file('# nothing\n') }).port, 8081);
  });

  it('says what is wrong with a file that it cannot read', () => {
    const path = join(dir, 'nowhere.yaml');
    assert.equal(
      refused({ file: path }),
      `--config "${path}": must be a readable file, but there is no such file`,
    );
    assert.match(refused({ env: { FLOWBUS_CONFIG: dir } }), /^FLOWBUS_CONFIG ".*": .*it is a directory$/);
    assert.match(refused({ file: file(' '.repeat(1024 * 1024 + 1), 'large') }), /it is larger than/);
  });

  it('reads the secret from a file', () => {
    const path = file(`${SECRET}\n`, 'secret');
    const config = loadConfig({ env: { FLOWBUS_AUTH_SECRET_FILE: path } });
    assert.equal(config.authSecret, SECRET);
    assert.deepEqual(makeConfig(config), config);
    const short = file('too short\n', 'short');
    assert.equal(
      refused({ flags: { authSecretFile: short } }),
      `--auth-secret-file "${short}" (9 bytes): must be a text of 32 to 1,024 bytes`,
    );
    assert.match(
      refused({ flags: { authSecretFile: path }, env: { FLOWBUS_AUTH_SECRET: SECRET } }),
      /^--auth-secret-file ".*": must not be given together with FLOWBUS_AUTH_SECRET$/,
    );
  });

  it('tells which file the secret is from', () => {
    const path = file('authSecretFile: a/secret\n');
    assert.equal(secretFileOf({ file: path }), resolve('a/secret'));
    const env = { FLOWBUS_AUTH_SECRET_FILE: '/b' };
    assert.equal(secretFileOf({ env, file: path }), '/b');
    assert.equal(secretFileOf({ flags: { authSecretFile: '/c' }, env, file: path }), '/c');
    assert.equal(secretFileOf({ flags: { authSecret: SECRET } }), undefined);
  });

  it('never prints a secret', () => {
    assert.equal(
      refused({ env: { FLOWBUS_AUTH_SECRET: 'hunter2' } }),
      'FLOWBUS_AUTH_SECRET (7 bytes): must be a text of 32 to 1,024 bytes',
    );
    assert.doesNotMatch(refused({ file: file('authSecret: 123456\n') }), /123456/);
  });

  it('does not listen beyond this machine without authentication', () => {
    const message = refused({ flags: { host: '0.0.0.0' } }, 'UNSAFE_LISTEN');
    assert.match(message, /^--host "0\.0\.0\.0": .*--auth-secret-file.*--allow-unauthenticated$/);
    assert.match(refused({ env: { FLOWBUS_HOST: 'example.org' } }, 'UNSAFE_LISTEN'), /^FLOWBUS_HOST /);
    refused({ flags: { host: '::' } }, 'UNSAFE_LISTEN');
    assert.equal(loadConfig({ flags: { host: '0.0.0.0', authSecret: SECRET } }).host, '0.0.0.0');
    assert.equal(loadConfig({ flags: { host: '0.0.0.0', allowUnauthenticated: true } }).host, '0.0.0.0');
  });

  it('is in a cluster with join, mdns or a mesh port, which is above that for agents', () => {
    assert.ok(!isInMesh(makeConfig({ meshAnnounce: ['node-a.example.com:9081'], meshSecret: SECRET })));
    const join = ['10.0.0.7:9081', '[::1]:9081', 'node-b.example.com:1', '/dns4/node-c/tcp/9081'];
    const joining = loadConfig({ env: { FLOWBUS_JOIN: join.join(', ') } });
    assert.deepEqual(joining.join, join);
    assert.deepEqual(loadConfig({ file: file(`join: ${JSON.stringify(join)}\n`) }).join, join.slice());
    for (const [settings, port] of [
      [{ join }, 9081],
      [{ mdns: true, port: 8091 }, 9091],
      [{ mdns: true, port: 0 }, 0],
      [{ mdns: true, port: 65_000 }, 0],
      [{ meshPort: 7000 }, 7000],
      [{ meshPort: 0 }, 0],
    ] as const) {
      const config = makeConfig(settings);
      assert.ok(isInMesh(config));
      assert.equal(meshPortOf(config), port);
    }
  });

  it('does not let nodes from beyond this machine in without a secret', () => {
    const message = refused({ flags: { meshHost: '0.0.0.0' } });
    assert.match(message, /^--mesh-host "0\.0\.0\.0": .* could join the cluster; set --mesh-secret-file/);
    assert.match(refused({ env: { FLOWBUS_MESH_HOST: 'node-a' } }), /^FLOWBUS_MESH_HOST "node-a": /);
    const path = file(`${SECRET}\n`, 'mesh-secret');
    const config = loadConfig({ flags: { meshHost: '::', meshSecretFile: path } });
    assert.deepEqual([config.meshSecret, config.meshSecretFile], [SECRET, undefined]);
    assert.equal(config.authSecret, undefined);
    assert.match(
      refused({ flags: { meshSecretFile: path, meshSecret: SECRET } }),
      /^--mesh-secret-file ".*": must not be given together with --mesh-secret$/,
    );
  });

  it('knows whether a node was named, and keeps the name that one had by chance', () => {
    assert.ok(isNamed({ env: { FLOWBUS_NODE: 'node-a' } }));
    assert.ok(!isNamed({ env: { FLOWBUS_NODE: '' } }));
    const dataDir = mkdtempSync(join(dir, 'data-'));
    assert.equal(keepNodeName(dataDir, 'node-b'), 'node-b');
    assert.equal(keepNodeName(dataDir, 'node-c'), 'node-b');
    writeFileSync(join(dataDir, 'node'), 'no name\n');
    assert.throws(() => keepNodeName(dataDir, 'node-d'), {
      code: 'BAD_CONFIG',
      message: /node: must be 1 to/,
    });
  });

  it('knows which addresses are this machine', () => {
    for (const host of [
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '0:0:0:0:0:0:0:1',
      '::ffff:127.0.0.1',
      'LocalHost',
    ]) {
      assert.ok(isLoopback(host), host);
    }
    for (const host of [
      '0.0.0.0',
      '::',
      '10.0.0.1',
      '128.0.0.1',
      '::ffff:10.0.0.1',
      'localhost.evil.org',
      '',
    ]) {
      assert.ok(!isLoopback(host), host);
    }
  });

  it('refuses unknown names in a program', () => {
    const settings = { shard: 1 } as Partial<BrokerConfig>;
    assert.throws(() => makeConfig(settings), {
      code: 'BAD_CONFIG',
      message: /^shard: .* did you mean shards\?$/,
    });
    assert.throws(() => makeConfig({ shards: 0 }), { message: /^shards 0: must be/ });
  });

  it('answers any text in any setting with a configuration or a FlowbusError of one line', () => {
    const names = CONFIG_KEYS.map((key) => key.name).filter((name) => name !== 'authSecretFile');
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.string({ unit: 'binary' }), (name, value) => {
        try {
          loadConfig({ flags: { [name]: value, allowUnauthenticated: true } });
        } catch (error) {
          assert.ok(error instanceof FlowbusError);
          assert.doesNotMatch(error.message, /[\n\r\u2028]/);
        }
      }),
    );
  });

  it('guesses only what is near', () => {
    const words = ['shards', 'port', 'host'];
    assert.equal(nearest('shrads', words), 'shards');
    assert.equal(nearest('SHARDS', words), 'shards');
    assert.equal(nearest('prt', words), 'port');
    assert.equal(nearest('colour', words), undefined);
    assert.equal(nearest('', words), undefined);
    assert.equal(nearest('x'.repeat(10_000), words), undefined);
  });
});
