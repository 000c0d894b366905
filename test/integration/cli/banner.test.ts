import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endAll, MAIN, Run } from './run.js';

describe('what flowbus start says', function () {
  this.timeout(30_000);
  const runs: Run[] = [];
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-banner-'));
    mkdirSync(join(dir, 'bin'));
    const program = `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`;
    writeFileSync(join(dir, 'bin', 'flowbus'), program, { mode: 0o755 });
    writeFileSync(join(dir, 'the secret'), 's'.repeat(40));
  });

  afterEach(() => endAll(runs.splice(0)));
  after(() => rmSync(dir, { recursive: true }));

  function run(args: readonly string[], cwd?: string, program?: string, env: NodeJS.ProcessEnv = {}): Run {
    const started = new Run(args, env, cwd, program);
    runs.push(started);
    return started;
  }

  /** As another terminal would: in another directory, and with nothing but the line. */
  function type(line: string, env: NodeJS.ProcessEnv = {}): Run {
    const PATH = `${join(dir, 'bin')}:${process.env.PATH}`;
    return run(['-c', line], tmpdir(), '/bin/sh', { PATH, ...env });
  }

  async function works(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> {
    const broker = run(['start', '--port=0', '--shards=1', '--log-level=warn', ...args], dir, undefined, env);
    await broker.until('banner', () => broker.out.includes('flowbus agents'));
    const [sub, pub, agents] = broker.lines.slice(-3);
    const listener = type(`${sub} --count 1`, env);
    await listener.until('subscription', () => listener.err.includes('subscribed'));
    const speaker = type(pub, env);
    assert.equal(await speaker.exit(), 0, speaker.err);
    assert.equal(await listener.exit(), 0, listener.err);
    assert.match(listener.out, /^demo\.hello {2}\S+ {2}\{"hi":1\}\n$/);
    const visitor = type(agents, env);
    assert.equal(await visitor.exit(), 0, visitor.err);
  }

  it('logs that it listens when the shards are ready, and with how many', async () => {
    const broker = run(['start', '--port=0', '--shards=3', '--json'], dir);
    await broker.until('log line', () => broker.err.includes('listening on'));
    const messages = broker.err
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).msg as string);
    const ready = messages.filter((message) => /^shard \d is ready$/.test(message));
    assert.equal(ready.length, 3);
    assert.match(messages.at(-1) ?? '', /^listening on ws:\/\/127\.0\.0\.1:\d+ with 3 of 3 shards$/);
  });

  it('tells what to try, and that works', () => works([]));
  it('tells so with a file for the secret', () => works(['--auth-secret-file', 'the secret']));
  it('tells so with the secret in the environment', () => works([], { FLOWBUS_AUTH_SECRET: 'e'.repeat(40) }));
});
