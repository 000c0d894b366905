/** What reaches an agent of the command line itself: `sub --direct` and `reply`. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import type { Agent } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, isAlive, join, startBroker, until } from '../broker/node.js';
import { endAll, Run } from './run.js';

describe('flowbus, as the one who is addressed', function () {
  this.timeout(30_000);
  const runs: Run[] = [];
  let dir: string;
  let node: RunningNode;
  let planner: Agent;

  before(async () => {
    dir = mkdtempSync(path(tmpdir(), 'flowbus-direct-'));
    node = await startBroker();
    planner = await join(node.url, 'planner-1');
  });

  afterEach(() => endAll(runs.splice(0)));
  after(async () => {
    await closeAgents();
    await node.stop();
    rmSync(dir, { recursive: true });
  });

  async function flowbus(event: string, ...args: string[]): Promise<Run> {
    const run = new Run(args, { FLOWBUS_URL: node.url }, dir);
    runs.push(run);
    await run.until(event, () => run.err.includes(event));
    return run;
  }

  async function refused(agentId: string, expected: RegExp, payload = 'hi'): Promise<void> {
    await assert.rejects(planner.request(agentId, payload, { timeout: 10_000 }), {
      code: 'HANDLER_FAILED',
      message: expected,
    });
  }

  describe('sub', () => {
    it('says once that something came to itself, and refuses requests at once', async () => {
      const run = await flowbus('subscribed', 'sub', 'demo.*', '--agent-id', 'ear-1', '--count', '1');
      planner.send('ear-1', 'one');
      await refused('ear-1', /flowbus sub answers no requests/);
      planner.publish('demo.end', 'x');
      assert.equal(await run.exit(), 0, run.err);
      assert.equal(
        run.err,
        'flowbus: subscribed to demo.*\n' +
          'flowbus: planner-1 sent a message to ear-1 itself; --direct prints such messages\n',
      );
      assert.equal(run.out, 'demo.end  planner-1  x\n');
    });

    it('prints what came to itself with --direct, with and without patterns', async () => {
      const both = await flowbus('subscribed', 'sub', '--direct', 'demo.*', '--agent-id', 'ear-2', '-n', '3');
      const own = await flowbus('subscribed', 'sub', '--direct', '--agent-id', 'ear-3', '-n', '1', '--json');
      planner.send('ear-2', 'one');
      await refused('ear-2', /flowbus sub answers no requests/, 'two');
      planner.publish('demo.three', 'three');
      planner.send('ear-3', { n: 1 });
      assert.equal(await both.exit(), 0, both.err);
      assert.deepEqual(both.lines, [
        '_agent.ear-2  planner-1  one',
        '_agent.ear-2  planner-1  two',
        'demo.three  planner-1  three',
      ]);
      assert.equal(both.err, 'flowbus: subscribed to demo.*, its own address (ear-2)\n');
      assert.equal(await own.exit(), 0, own.err);
      assert.deepEqual(JSON.parse(own.err), {
        event: 'subscribed',
        patterns: [],
        direct: true,
        agentId: 'ear-3',
      });
      assert.deepEqual(JSON.parse(own.out).data, { n: 1 });
    });

    it('prints a message once, however many of the patterns match', async () => {
      const run = await flowbus('subscribed', 'sub', 'demo.**', 'demo.*', 'logs.app', '--count', '3');
      for (const topic of ['demo.a', 'logs.app', 'demo.a']) planner.publish(topic, 'x');
      assert.equal(await run.exit(), 0, run.err);
      assert.deepEqual(
        run.lines.map((line) => line.split('  ')[0]),
        ['demo.a', 'logs.app', 'demo.a'],
      );
    });
  });

  describe('reply', () => {
    it('answers every request with the payload', async () => {
      const run = await flowbus('answering', 'reply', '{"pong":true}', '--agent-id', 'echo', '--count', '2');
      assert.deepEqual((await planner.request('echo', 'one')).json(), { pong: true });
      assert.equal((await planner.request('echo', 'two')).encoding, 'json');
      assert.equal(await run.exit(), 0, run.err);
      assert.equal(run.err, 'flowbus: answering as echo\n');
      assert.deepEqual(run.lines, ['_agent.echo  planner-1  one', '_agent.echo  planner-1  two']);
    });

    it('notes what is no request, speaks JSON, and ends with 0 at SIGTERM', async () => {
      const run = await flowbus('answering', 'reply', '--agent-id', 'echo', '--json');
      planner.send('echo', 'no request');
      planner.send('echo', 'no request either');
      assert.equal((await planner.request('echo', 'hi')).text(), '');
      await run.until('line', () => run.out.includes('\n'));
      run.child.kill('SIGTERM');
      assert.equal(await run.exit(), 0, run.err);
      assert.equal(JSON.parse(run.out).data, 'hi');
      assert.deepEqual(
        run.err
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)),
        [
          { event: 'answering', agentId: 'echo' },
          { event: 'direct', from: 'planner-1', agentId: 'echo' },
        ],
      );
    });

    it('answers with what a command prints for the request', async () => {
      const run = await flowbus(
        'answering',
        'reply',
        '--exec',
        'tr a-z A-Z',
        '--agent-id',
        'upper',
        '-n',
        '3',
      );
      const replies = await Promise.all(
        ['one', 'two\n', '{"a":1}'].map((text) => planner.request('upper', text)),
      );
      assert.deepEqual(
        replies.map((reply) => [reply.text(), reply.encoding]),
        [
          ['ONE', 'text'],
          ['TWO', 'text'],
          ['{"A":1}', 'json'],
        ],
      );
      assert.equal(await run.exit(), 0, run.err);
      const raw = await flowbus('answering', 'reply', '--exec', 'cat', '--encoding', 'bytes', '-n', '1');
      const [, agentId] = /answering as (\S+)/.exec(raw.err) ?? [];
      assert.equal((await planner.request(agentId, 'a\n')).text(), 'a\n');
      assert.equal(await raw.exit(), 0, raw.err);
    });

    it('tells the requester how the command failed, and exits with 1', async () => {
      const command = 'read -r how; case "$how" in fail) echo "no such page" >&2; exit 3;; *) yes;; esac';
      const run = await flowbus('answering', 'reply', '--exec', command, '--agent-id', 'w-1', '-n', '2');
      await refused('w-1', /^w-1: the command ended with exit code 3: no such page$/, 'fail\n');
      await refused('w-1', /^w-1: the command prints more than 65536 bytes$/, 'flood\n');
      assert.equal(await run.exit(), 1, run.err);
      const [, first, second] = run.err.split('\n');
      assert.equal(
        first,
        'flowbus: the command ended with exit code 3: no such page (HANDLER_FAILED): ' +
          'Mend the command; the requester was told.',
      );
      assert.match(second, /prints more than 65536 bytes \(HANDLER_FAILED\)/);
    });

    it('ends a command that takes too long, and what it has started', async () => {
      const command = 'echo $$ > pid; (sleep 60; echo late) | cat';
      const run = await flowbus(
        ...(['answering', 'reply', '--exec', command, '--agent-id', 'w-2'] as const),
        ...['--timeout', '300ms', '--count', '1'],
      );
      await refused('w-2', /the command was not done after 300 ms/);
      assert.equal(await run.exit(), 1, run.err);
      const pid = Number(readFileSync(path(dir, 'pid'), 'utf8'));
      await until('the end of the command', () => !isAlive(pid));
    });

    it('runs no more commands at a time than it may', async () => {
      const command = 'echo + >> log; sleep 0.1; echo - >> log';
      const run = await flowbus(
        ...(['answering', 'reply', '--exec', command, '--agent-id', 'w-3'] as const),
        ...['--concurrency', '2', '--count', '6'],
      );
      await Promise.all(Array.from({ length: 6 }, () => planner.request('w-3', 'x', { timeout: 10_000 })));
      assert.equal(await run.exit(), 0, run.err);
      let running = 0;
      for (const sign of readFileSync(path(dir, 'log'), 'utf8').trim().split('\n')) {
        running += sign === '+' ? 1 : -1;
        assert.ok(running <= 2);
      }
    });

    it('leaves no command behind', async () => {
      const command = 'echo $$ > here; sleep 60';
      const run = await flowbus('answering', 'reply', '--exec', command, '--agent-id', 'w-4');
      planner.request('w-4', 'x').catch(() => {});
      const pid = (): number => (existsSync(path(dir, 'here')) ? Number(readFileSync(path(dir, 'here'))) : 0);
      await until('the command', () => pid() > 0);
      run.child.kill('SIGINT');
      assert.equal(await run.exit(), 0, run.err);
      await until('the end of the command', () => !isAlive(pid()));
    });

    it('refuses what makes no sense', async () => {
      const run = new Run(['reply', 'pong', '--exec', 'cat'], { FLOWBUS_URL: node.url });
      assert.equal(await run.exit(), 2);
      assert.match(run.err, /a payload and --exec exclude each other \(BAD_OPTION\)/);
    });
  });
});
