import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '../../lib/client/index.js';
import { nameOn, until } from './broker/node.js';
import { endAll, MAIN, type Ready, Run } from './cli/run.js';

/** dist/test/integration → the checkout. */
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

describe('flowbus, the command', function () {
  this.timeout(30_000);
  const started: Run[] = [];
  let dir: string;
  let broker: Run;
  let ready: Ready;

  function flowbus(args: readonly string[], env: NodeJS.ProcessEnv = {}): Run {
    const run = new Run(args, { FLOWBUS_URL: ready?.url, ...env }, dir);
    started.push(run);
    return run;
  }

  async function startBroker(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<[Run, Ready]> {
    const run = new Run(['start', '--json', '--log-level', 'warn', ...args], env, dir);
    started.push(run);
    await run.until('ready line', () => run.out.includes('\n'));
    return [run, JSON.parse(run.lines[0]) as Ready];
  }

  async function subscriber(...args: string[]): Promise<Run> {
    const run = flowbus(['sub', ...args]);
    await run.until('subscription', () => run.err.includes('subscribed'));
    return run;
  }

  async function succeeds(args: readonly string[], input?: string | Uint8Array): Promise<Run> {
    const run = flowbus(args);
    run.child.stdin?.end(input);
    assert.equal(await run.exit(), 0, run.err);
    return run;
  }

  async function fails(
    args: readonly string[],
    exit: number,
    expected: RegExp,
    env?: NodeJS.ProcessEnv,
  ): Promise<void> {
    const run = flowbus(args, env);
    run.child.stdin?.end();
    assert.equal(await run.exit(), exit, run.err);
    assert.equal(run.out, '');
    const lines = run.err
      .trimEnd()
      .split('\n')
      .filter((line) => !/^flowbus: subscribed/.test(line));
    assert.equal(lines.length, 1, run.err);
    assert.match(lines[0], /^flowbus: .+ \([A-Z_]+\): .+$/);
    assert.match(lines[0], expected);
  }

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-cli-'));
    [broker, ready] = await startBroker(['--port', '0', '--shards', '2', '--node', 'node-a']);
  });

  after(async () => {
    await endAll(started);
    rmSync(dir, { recursive: true });
  });

  describe('start', () => {
    it('says on one JSON line where it is', () => {
      assert.equal(ready.event, 'ready');
      assert.equal(ready.url, `ws://127.0.0.1:${ready.port}`);
      assert.ok(ready.port > 0);
      assert.equal(ready.node, 'node-a');
      assert.deepEqual([ready.shards, ready.live], [2, 2]);
      assert.ok(['shared-memory', 'unix-socket'].includes(ready.links));
      assert.equal(ready.pid, broker.child.pid);
    });

    it('tells a person what to do next, and ends with 0 at SIGTERM', async () => {
      const run = flowbus(['start', '--port=0', '--shards=1', '--links', 'unix-socket'], {
        FLOWBUS_URL: undefined,
      });
      await run.until('banner', () => run.out.includes('flowbus agents'));
      assert.match(
        run.out,
        /^flowbus \S+ listens on ws:\/\/127\.0\.0\.1:\d+\n {2}node {4}node-\w{6}\n {2}shards {2}1\n/,
      );
      assert.match(run.out, /links {3}unix-socket/);
      assert.match(run.out, /flowbus sub 'demo\.\*\*' --url ws:/);
      assert.match(run.out, /flowbus pub demo\.hello '\{"hi":1\}'/);
      run.child.kill('SIGTERM');
      assert.equal(await run.exit(), 0, run.err);
    });

    it('takes settings from flags, variables and a file, in this order', async () => {
      const file = join(dir, 'flowbus.yaml');
      writeFileSync(file, 'shards: 2\nnode: from-file\nport: 1\nlinks: unix-socket\n');
      const [run, line] = await startBroker(['--config', file, '--port', '0'], {
        FLOWBUS_NODE: 'from-env',
        FLOWBUS_PORT: '2',
        FLOWBUS_SHARDS: '1',
      });
      assert.equal(line.node, 'from-env');
      assert.equal(line.shards, 1);
      assert.equal(line.links, 'unix-socket');
      run.child.kill('SIGINT');
      assert.equal(await run.exit(), 0, run.err);
    });

    it('refuses a port in use with one line', async () => {
      await fails(['start', '--port', String(ready.port)], 1, /port \d+ .*\(PORT_IN_USE\)/);
    });

    it('refuses a data directory that cannot be written with one line', async () => {
      const file = join(dir, 'a-file');
      writeFileSync(file, '');
      await fails(['start', '--port=0', '--data-dir', join(file, 'data')], 1, /\(DATA_DIR_UNWRITABLE\)/);
    });

    it('creates the data directory', async () => {
      const [run] = await startBroker(['--port=0', '--shards=1', '--data-dir', 'data/node'], {});
      assert.ok(existsSync(join(dir, 'data', 'node')));
      run.child.kill('SIGTERM');
      assert.equal(await run.exit(), 0, run.err);
    });

    it('refuses bad configuration with one line, from each source', async () => {
      const file = join(dir, 'bad.yaml');
      writeFileSync(file, 'shards: -1\n');
      await Promise.all([
        fails(
          ['start', '--shards', '0'],
          2,
          /--shards "0": must be a whole number from 1 to 60 \(BAD_CONFIG\)/,
        ),
        fails(['start'], 2, /FLOWBUS_SHARDS "x": must be/, { FLOWBUS_SHARDS: 'x' }),
        fails(['start', '--config', file], 2, /bad\.yaml: shards -1: must be/),
        fails(['start', '--host', '0.0.0.0'], 2, /\(UNSAFE_LISTEN\)/),
      ]);
    });
  });

  describe('pub and sub', () => {
    it('print what is published, in order, and end after the count', async () => {
      const run = await subscriber('demo.**', '--count', '4');
      await succeeds(['pub', 'demo.hello', '{"hi":1}', '--agent-id', 'planner-1']);
      await succeeds(['pub', 'demo.lines', '--agent-id', 'planner-2'], 'one\ntwo\nthree\n');
      assert.equal(await run.exit(), 0);
      assert.deepEqual(run.lines, [
        'demo.hello  planner-1  {"hi":1}',
        'demo.lines  planner-2  one',
        'demo.lines  planner-2  two',
        'demo.lines  planner-2  three',
      ]);
      assert.equal(run.err, 'flowbus: subscribed to demo.**\n');
    });

    it('speak JSON', async () => {
      const run = await subscriber('demo.json.*', '--count', '3', '--json');
      assert.equal(JSON.parse(run.err).event, 'subscribed');
      const pub = await succeeds([
        ...['pub', 'demo.json.a', '{"n": 12345678901234567890}', '--json', '--priority', 'high'],
        ...['--header', 'a=b', '--header', 'c=d=e', '--key', 'k', '--ttl', '5s', '--agent-id', 'planner-1'],
      ]);
      assert.deepEqual(JSON.parse(pub.out), {
        event: 'published',
        topic: 'demo.json.a',
        messages: 1,
        refused: 0,
      });
      await succeeds(['pub', 'demo.json.b', 'text']);
      await succeeds(['pub', 'demo.json.c', '--whole'], Uint8Array.of(255, 10, 0));
      assert.equal(await run.exit(), 0);
      assert.match(run.lines[0], /"data":\{"n": 12345678901234567890\}/);
      const [a, b, c] = run.lines.map((line) => JSON.parse(line));
      assert.equal(a.from, 'planner-1');
      assert.equal(a.priority, 'high');
      assert.equal(a.key, 'k');
      assert.deepEqual(a.headers, { a: 'b', c: 'd=e' });
      assert.equal(b.data, 'text');
      assert.deepEqual([c.data, c.encoding], ['/woA', 'base64']);
    });

    it('lose nothing of a long input', async () => {
      const count = 20_000;
      const run = await subscriber('demo.many', '--count', String(count));
      const numbers = Array.from({ length: count }, (_, i) => `${i}`);
      await succeeds(['pub', 'demo.many', '-', '--agent-id', 'p'], numbers.join('\n'));
      assert.equal(await run.exit(), 0, run.err);
      assert.deepEqual(
        run.lines,
        numbers.map((number) => `demo.many  p  ${number}`),
      );
    });

    it('put hostile text on one harmless line', async () => {
      const run = await subscriber('demo.hostile', '--count', '1');
      await succeeds(['pub', 'demo.hostile', '--whole', '--agent-id', 'p'], 'a\n\x1b[2Jb');
      assert.equal(await run.exit(), 0);
      assert.equal(run.out, 'demo.hostile  p  a\\n\\u001b[2Jb\n');
    });

    it('take several URLs, and the first that answers', async () => {
      const run = flowbus(['agents', '--url', 'ws://127.0.0.1:1', '--url', `${ready.url},ws://127.0.0.1:2`]);
      assert.equal(await run.exit(), 0, run.err);
    });

    it('end in good order when the reader goes away', async () => {
      const run = await subscriber('demo.pipe');
      run.child.stdout?.destroy();
      const agent = await connect(ready.url);
      const timer = setInterval(() => agent.publish('demo.pipe', 'x'.repeat(1000)), 5);
      try {
        assert.equal(await run.exit(), 0, run.err);
      } finally {
        clearInterval(timer);
        await agent.close();
      }
      assert.equal(run.err, 'flowbus: subscribed to demo.pipe\n');
    });

    it('end in good order at SIGINT', async () => {
      const [free, counting, waiting] = await Promise.all([
        subscriber('demo.**'),
        subscriber('demo.**', '--count', '1'),
        subscriber('nothing', '--count', '1'),
      ]);
      const reading = flowbus(['pub', 'demo.interrupt']);
      reading.child.stdin?.write('before\n');
      await counting.exit();
      await free.until('message', () => free.out.includes('before'));
      for (const run of [free, reading, waiting]) run.child.kill('SIGINT');
      assert.equal(await free.exit(), 0);
      assert.equal(await reading.exit(), 130);
      assert.equal(await waiting.exit(), 130);
      assert.equal(free.err, 'flowbus: subscribed to demo.**\n');
    });

    it('end in good order at a signal that comes twice, as from GNU timeout', async () => {
      const run = await subscriber('demo.**');
      run.child.kill('SIGTERM');
      run.child.kill('SIGTERM');
      assert.equal(await run.exit(), 0, run.err);
      const tool = '/usr/bin/timeout';
      if (!existsSync(tool)) return;
      const args = ['--preserve-status', '60', process.execPath, MAIN, 'sub', 'demo.**', '--url', ready.url];
      const timed = new Run(args, {}, dir, tool);
      started.push(timed);
      await timed.until('subscription', () => timed.err.includes('subscribed'));
      // What is sent to it, it sends on as when the time is over: to its child and to the group.
      timed.child.kill('SIGTERM');
      assert.equal(await timed.exit(), 0, timed.err);
    });

    it('end after the time-out', async () => {
      const [run] = await Promise.all([
        succeeds(['sub', 'nothing', '--timeout', '100ms']),
        fails(['sub', 'nothing', '--count', '2', '--timeout', '100ms'], 4, /0 of 2 messages .*\(TIMEOUT\)/),
      ]);
      assert.equal(run.out, '');
    });

    it('report what is refused', async () => {
      await Promise.all([
        fails(['pub', 'a b', 'x'], 2, /\(BAD_TOPIC\)/),
        fails(['sub', 'a.*b'], 2, /\(BAD_PATTERN\)/),
        fails(['pub', 'system.agent.x.online', 'x'], 2, /\(FORBIDDEN_TOPIC\)/),
        fails(['pub', 'demo.large', 'x'.repeat(65_536)], 1, /\(PAYLOAD_TOO_LARGE\)/),
        fails(['pub', 'demo.json', '{', '--encoding', 'json'], 2, /the payload is not JSON \(BAD_OPTION\)/),
        fails(['pub', 'demo.id', 'x', '--agent-id', 'a.b'], 2, /\(BAD_OPTION\)/),
      ]);
    });
  });

  describe('request', () => {
    it('prints the reply', async () => {
      const agent = await connect(ready.url, { agentId: 'worker-7' });
      agent.on('message', (message) => {
        if (message.text() === 'silence') return undefined;
        return { asked: message.text(), by: message.from };
      });
      try {
        const [plain, piped] = await Promise.all([
          succeeds(['request', 'worker-7', 'status', '--agent-id', 'me']),
          succeeds(['request', 'worker-7', '-', '--json', '--agent-id', 'you'], 'from stdin'),
          fails(['request', 'worker-7', 'silence', '--timeout', '200ms'], 4, /\(TIMEOUT\)/),
        ]);
        assert.equal(plain.out, '{"asked":"status","by":"me"}\n');
        assert.deepEqual(JSON.parse(piped.out).data, { asked: 'from stdin', by: 'you' });
        assert.equal(JSON.parse(piped.out).from, 'worker-7');
      } finally {
        await agent.close();
      }
    });

    it('says at once that nobody is there', async () => {
      await fails(['request', 'nobody', 'hi', '--timeout', '10s'], 1, /\(UNKNOWN_AGENT\)/);
    });
  });

  describe('agents', () => {
    it('lists who is online, and filters', async () => {
      const agent = await connect(ready.url, {
        agentId: 'ocr-1',
        agentType: 'reader',
        capabilities: ['ocr', 'pdf'],
      });
      try {
        const [table, found, none] = await Promise.all([
          succeeds(['agents']),
          succeeds(['agents', '--capability', 'ocr', '--type', 'reader', '--json']),
          succeeds(['agents', '--capability', 'fly']),
        ]);
        const [head, ...rows] = table.lines;
        assert.match(head, /^AGENT +TYPE +STATE +NODE +SHARD +SINCE \(UTC\) +CAPABILITIES$/);
        assert.ok(
          rows.some((row) => /^ocr-1 +reader +online +node-a +[01] +\d{4}-.* +ocr,pdf$/.test(row)),
          table.out,
        );
        assert.deepEqual(
          found.lines.map((line) => JSON.parse(line).agentId),
          ['ocr-1'],
        );
        assert.equal(none.out, '');
        assert.match(none.err, /no such agents/);
      } finally {
        await agent.close();
      }
    });

    it('lists by liveness, and knows who is gone when asked for it', async () => {
      const type = ['--type', 'comer'];
      const idsOf = async (...args: string[]): Promise<string[]> => {
        const run = await succeeds(['agents', '--json', ...type, ...args]);
        return run.lines.map((line) => JSON.parse(line).agentId).sort();
      };
      const stay = [nameOn(0, 'stayer'), nameOn(1, 'stayer')].sort();
      const stayers = await Promise.all(
        stay.map((agentId) => connect(ready.url, { agentId, agentType: 'comer' })),
      );
      try {
        await (await connect(ready.url, { agentId: 'leaver', agentType: 'comer' })).close();
        // Each shard hears of it in its own time, and the command may ask either.
        for (const stayer of stayers) {
          await until(
            'the end',
            async () => (await stayer.agents({ id: 'leaver', online: false })).length === 1,
          );
        }
        const online = flowbus(['agents', '--id', 'leaver', '--online']);
        const asked = [[], ['--offline'], ['--all'], ['--id', 'leaver']];
        assert.deepEqual(await Promise.all(asked.map((args) => idsOf(...args))), [
          stay,
          ['leaver'],
          ['leaver', ...stay],
          ['leaver'],
        ]);
        assert.equal(await online.exit(), 1, online.err);
        assert.equal(online.out, '');
      } finally {
        await Promise.all(stayers.map((stayer) => stayer.close()));
      }
    });

    it('exits with 1 when the one that is asked for is not there', async () => {
      const text = flowbus(['agents', '--id', 'nobody']);
      const json = flowbus(['agents', '--id', 'nobody', '--json']);
      assert.deepEqual([await text.exit(), await json.exit()], [1, 1]);
      assert.deepEqual([text.out, text.err], ['', 'flowbus: no such agents\n']);
      assert.deepEqual([json.out, json.err], ['', '']);
    });

    it('takes empty variables for none', async () => {
      const env = { FLOWBUS_AGENT_ID: '', FLOWBUS_TOKEN: '', FLOWBUS_SHARDS: '' };
      const run = flowbus(['agents'], env);
      assert.equal(await run.exit(), 0, run.err);
    });

    it('cannot ask where no broker is', async () => {
      await fails(['agents', '--url', 'ws://127.0.0.1:1'], 3, /\(CONNECT_FAILED\)/);
    });
  });

  describe('token', () => {
    it('lets the agent in for which it was made, and nobody else', async () => {
      const secret = join(dir, 'secret');
      writeFileSync(secret, `${'s'.repeat(40)}\n`);
      const args = ['--port=0', '--shards=1', '--log-level=trace', '--auth-secret-file', secret];
      const [run, line] = await startBroker(args);
      const made = await succeeds(['token', 'me', '--auth-secret-file', secret]);
      const token = made.out.trim();
      assert.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
      const env = { FLOWBUS_URL: line.url, FLOWBUS_TOKEN: token };
      const good = flowbus(['agents', '--agent-id', 'me'], env);
      assert.equal(await good.exit(), 0, good.err);
      const [json] = await Promise.all([
        succeeds(['token', 'me', '--auth-secret-file', secret, '--expires', '1h', '--json']),
        fails(['agents', '--agent-id', 'other'], 3, /another agent.*\(UNAUTHORIZED\)/, env),
        fails(['agents', '--agent-id', 'me'], 3, /\(UNAUTHORIZED\)/, { FLOWBUS_URL: line.url }),
      ]);
      assert.ok(Math.abs(Date.parse(JSON.parse(json.out).expires) - Date.now() - 3_600_000) < 60_000);
      const door = `http://127.0.0.1:${line.port}/v1/subscribe?pattern=a`;
      for (const [shown, status] of [
        [token, 200],
        [`${token}x`, 401],
      ] as const) {
        const response = await fetch(`${door}&access_token=${shown}`);
        assert.equal(response.status, status);
        await response.body?.cancel();
      }
      run.child.kill('SIGTERM');
      assert.equal(await run.exit(), 0, run.err);
      assert.match(run.err, /shard 0 is ready/);
      assert.ok(!run.err.includes(token) && !run.out.includes(token));
      assert.ok(!run.err.includes('sssss') && !run.out.includes('sssss'));
    });
  });

  describe('in general', () => {
    it('prints its version and help', async () => {
      const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
      // That each command has a help is shown without a process for each, in unit/ops/program.test.ts.
      const [shown, ...helps] = await Promise.all(
        [['--version'], ['--help'], ['help', 'pub'], ['start', '--help']].map((args) => succeeds(args)),
      );
      assert.equal(shown.out, `${version}\n`);
      for (const { out } of helps) {
        assert.match(out, /Examples:/);
        assert.match(out, /Exit codes:/);
      }
      assert.match(helps[0].out, /^ {2}start \[options\] +run a broker$/m);
      assert.match(helps[2].out, /--max-payload <size>/);
    });

    it('is what npx runs in the checkout', async () => {
      // Offline and with a cache of its own, so that nothing of that name comes from elsewhere, or stays behind.
      const env = { npm_config_offline: 'true', npm_config_cache: join(dir, 'npm') };
      const run = new Run(['flowbus', 'help', 'pub'], env, ROOT, 'npx');
      started.push(run);
      assert.equal(await run.ended, 0, run.err);
      assert.match(run.out, /^Usage: flowbus pub /);
    });

    it('goes to port 8081 of this machine when nothing else is said', async () => {
      const run = flowbus(['agents'], { FLOWBUS_URL: undefined });
      const exit = await run.exit();
      // A broker may run there.
      if (exit !== 0) assert.match(run.err, /ws:\/\/127\.0\.0\.1:8081\/ .*\(CONNECT_FAILED\)/);
    });

    it('does not follow a server that is no broker', async () => {
      const server: Server = createServer((socket) => socket.end('HTTP/1.1 404 Not Found\r\n\r\n'));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const address = server.address();
        assert.ok(typeof address === 'object' && address !== null);
        await fails(['sub', 'a', '--url', `ws://127.0.0.1:${address.port}`], 3, /\(CONNECT_FAILED\)/);
      } finally {
        server.close();
      }
    });
  });
});
