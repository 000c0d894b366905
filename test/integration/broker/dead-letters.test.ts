import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Agent, Message } from '../../../lib/client/index.js';
import type { LetterCount, LetterDetail, LetterPage, LetterSummary } from '../../../lib/dead-letter.js';
import { Output } from '../../../ops/cli/output.js';
import { runCli } from '../../../ops/cli/program.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, isLive, join, metric, nameOn, pidOf, startBroker, until } from './node.js';

describe('dead letters', function () {
  this.timeout(30_000);
  let dataDir: string;
  let node: RunningNode;
  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-dead-'));
    node = await startBroker({ dataDir, retryBase: 1, retryCap: 5, maxAttempts: 3, poisonAfter: 2 });
  });
  after(async () => {
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });
  afterEach(async () => {
    await closeAgents();
  });

  let serial = 0;
  function fresh(slot: number): string {
    return nameOn(slot, `dead-${++serial}`);
  }

  async function http<T>(method: string, path: string): Promise<T> {
    const { host, port } = node.address;
    const response = await fetch(`http://${host}:${port}/v1/dead-letters${path}`, { method });
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()) as T;
  }

  async function letters(query: string): Promise<readonly LetterSummary[]> {
    return (await http<LetterPage>('GET', `?${query}`)).letters;
  }

  /** Resolves with the one dead letter of the mailbox of an agent. */
  async function letterOf(agentId: string): Promise<LetterDetail> {
    let found: readonly LetterSummary[] = [];
    await until('a dead letter', async () => {
      found = await letters(`mailbox=agent:${agentId}`);
      return found.length > 0;
    });
    assert.equal(found.length, 1);
    return http('GET', `/${found[0].id}`);
  }

  /** Runs the command line in this process. */
  async function flowbus(...args: string[]): Promise<{ exit: number; out: string; err: string }> {
    const out: string[] = [];
    const err: string[] = [];
    const output = new Output({ write: (text) => out.push(text) }, { write: (text) => err.push(text) }, {});
    const exit = await runCli(['--url', node.url, ...args], output);
    return { exit, out: out.join(''), err: err.join('') };
  }

  /** An agent with a mailbox that does with each message what `handler` does. */
  async function worker(
    agentId: string,
    handler: (message: Message) => unknown,
    mailbox: object | true = true,
  ): Promise<Agent> {
    const agent = await join(node.url, { agentId, mailbox });
    agent.on('error', () => {});
    agent.on('message', handler);
    return agent;
  }

  for (const slot of [0, 1]) {
    it(`has a message that its handler fails at, with reason, attempts and payload: agent on shard ${slot}`, async () => {
      const agentId = fresh(slot);
      let tries = 0;
      const agent = await worker(agentId, () => {
        throw new Error(`no ${++tries}`);
      });
      const sender = await join(node.url, fresh(1 - slot));
      const sent = Date.now();
      await sender.send(agentId, { task: 7 }, { assured: true, headers: { h: '1' }, messageId: `m-${slot}` });
      const letter = await letterOf(agentId);
      const { kind, cause, failures, from, data, headers, messageId, reason, attempts, lives } = letter;
      assert.deepEqual([kind, cause, failures, from], ['unknown-error', 'attempts', 3, sender.agentId]);
      assert.deepEqual([data, headers, messageId, lives], [{ task: 7 }, { h: '1' }, `m-${slot}`, []]);
      assert.match(reason, /no 3/);
      assert.deepEqual(
        attempts.map(({ consumer, outcome }) => [consumer, outcome]),
        Array.from({ length: 3 }, () => [agent.agentId, 'nack']),
      );
      assert.ok(letter.storedAt >= sent - 1000 && letter.diedAt >= letter.storedAt);
      assert.equal(tries, 3);
      assert.ok((await metric(node, 'flowbus_mailbox_dead_total', 'kind="unknown-error"')) >= 1);
      await until('the gauge', async () => (await metric(node, 'flowbus_dead_letters')) >= 1);
    });
  }

  it('tells a lease that ended from a time that was over', async () => {
    const [silent, absent] = [fresh(0), fresh(1)];
    await worker(silent, () => new Promise(() => {}), { lease: 100, maxAttempts: 1 });
    await (await join(node.url, { agentId: absent, mailbox: true })).close();
    const sender = await join(node.url, fresh(1));
    await sender.send(silent, 'x', { assured: true });
    await sender.send(absent, 'x', { assured: true, ttl: 1 });
    const late = await letterOf(silent);
    assert.deepEqual([late.kind, late.attempts[0].outcome], ['network-timeout', 'timeout']);
    const expired = await letterOf(absent);
    assert.deepEqual([expired.kind, expired.cause, expired.attempts], ['agent-unavailable', 'expired', []]);
  });

  it('says when the circuit breakers of all consumers kept a message from them until its time was over', async () => {
    const agentId = fresh(0);
    let open = false;
    const agent = await worker(
      agentId,
      () => {
        throw new Error('no paper');
      },
      { breaker: { failures: 1, coolDown: 60_000 } },
    );
    agent.on('breaker', ({ state }) => {
      open = state === 'open';
    });
    const sender = await join(node.url, fresh(1));
    await sender.send(agentId, 'first', { assured: true });
    await until('the breaker', () => open);
    await sender.send(agentId, 'kept from it', { assured: true, ttl: 1 });
    const { kind, cause, attempts, data } = await letterOf(agentId);
    assert.deepEqual([kind, cause, attempts, data], ['circuit-breaker', 'expired', [], 'kept from it']);
    assert.ok((await metric(node, 'flowbus_mailbox_dead_total', 'kind="circuit-breaker"')) >= 1);
  });

  it('takes for poison what kills one consumer after the other', async () => {
    const pattern = 'deadly.*';
    let held = 0;
    const options = { group: 'victims' };
    const first = await join(node.url, fresh(1));
    await (await first.subscribe(pattern, () => {}, options)).unsubscribe();
    const sender = await join(node.url, fresh(0));
    await sender.publish('deadly.x', 'boom', { assured: true, retry: { maxAttempts: 100 } });
    for (const slot of [0, 1]) {
      const agent = await join(node.url, { agentId: fresh(slot), reconnect: false });
      agent.on('error', () => {}).on('disconnect', () => {});
      const before = held;
      await agent.subscribe(pattern, () => new Promise(() => void held++), options);
      await until('the message', () => held > before);
      // Another connection of that name cuts this one off.
      await join(node.url, { agentId: agent.agentId });
    }
    let found: readonly LetterSummary[] = [];
    await until('a dead letter', async () => {
      found = await letters('topic=deadly.*');
      return found.length > 0;
    });
    assert.deepEqual([found[0].kind, found[0].cause], ['poison-message', 'consumers']);
    assert.equal(found[0].mailbox, 'group:victims:deadly.*');
    const { attempts } = await http<LetterDetail>('GET', `/${found[0].id}`);
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ['left', 'left'],
    );
  });

  it('keeps them when their shard is killed, and a replayed one remembers its life', async () => {
    const agentId = fresh(0);
    let broken = true;
    const got: Message[] = [];
    await worker(agentId, (message) => {
      got.push(message);
      if (broken) throw new Error('not yet');
    });
    const sender = await join(node.url, fresh(1));
    await sender.send(agentId, 'again', { assured: true });
    const { id } = await letterOf(agentId);
    const slot = Number(id.split('-')[0]);
    const pid = pidOf(node, slot);
    process.kill(pid, 'SIGKILL');
    await until('a new shard', () => isLive(node, slot) && pidOf(node, slot) !== pid);
    await until('the letter', async () => (await letters(`mailbox=agent:${agentId}`)).length === 1);
    assert.equal((await letterOf(agentId)).data, 'again');

    const replay = await http<LetterCount>('POST', `/replay?id=${id}`);
    assert.equal(replay.done, 1);
    const second = await letterOf(agentId);
    assert.notEqual(second.id, id);
    assert.deepEqual(
      second.lives.map(({ failures, cause }) => [failures, cause]),
      [[3, 'attempts']],
    );
    broken = false;
    got.length = 0;
    const again = await http<LetterCount>('POST', `/replay?mailbox=agent:${agentId}`);
    assert.equal(again.done, 1);
    await until('the message', () => got.length === 1);
    assert.equal(got[0].text(), 'again');
    assert.ok(got[0].redelivered > 0);
    assert.deepEqual(await letters(`mailbox=agent:${agentId}`), []);
  });

  it('shows, replays and purges them on the command line', async () => {
    const agentId = fresh(1);
    await worker(agentId, () => {
      throw new Error('never');
    });
    const sender = await join(node.url, fresh(0));
    await sender.send(agentId, 'cli\x1b', { assured: true });
    const { id } = await letterOf(agentId);

    const filters = ['--mailbox', `agent:${agentId}`, '--kind', 'unknown-error', '--since', '1h'];
    const table = await flowbus('dlq', 'ls', ...filters);
    assert.equal(table.exit, 0, table.err);
    const [head, line, end] = table.out.split('\n');
    assert.match(head, /^ID +DIED \(UTC\) +KIND +MAILBOX +TOPIC +FROM +ATTEMPTS +REASON$/);
    assert.ok(line.startsWith(`${id}  `) && line.includes('never'), table.out);
    assert.equal(end, '');

    const shown = await flowbus('dlq', 'show', id);
    assert.equal(shown.exit, 0, shown.err);
    assert.match(shown.out, /^payload +cli\\u001b$/m);
    assert.equal(shown.out.split(`nack   ${agentId}`).length, 4);

    const replay = await flowbus('dlq', 'replay', id, '--json');
    assert.equal(replay.exit, 0, replay.err);
    assert.deepEqual(JSON.parse(replay.out), { event: 'replayed', done: 1, refused: [] });
    await until('its second death', async () => (await letters(`mailbox=agent:${agentId}`)).length === 1);

    const purge = await flowbus('dlq', 'purge', '--mailbox', `agent:${agentId}`);
    assert.deepEqual(purge, { exit: 0, out: '1 dead letter purged\n', err: '' });
    const none = await flowbus('dlq', 'ls', '--mailbox', `agent:${agentId}`, '--json');
    assert.deepEqual(none, { exit: 0, out: '', err: '' });

    const wrong: [string[], number, RegExp][] = [
      [['dlq', 'show', id], 1, /NOT_FOUND/],
      [['dlq', 'purge'], 2, /give an id, or --all/],
      [['dlq', 'replay', id, '--all'], 2, /BAD_OPTION/],
      [['dlq', 'ls', '--kind', 'sudden'], 2, /Allowed choices/],
      [['dlq', 'ls', '--since', 'x'], 2, /duration/],
      [['dlq', 'ls', '--agent-id', 'x'], 2, /--agent-id has no meaning/],
      [['dlq', 'ls', '--url', 'nonsense'], 2, /BAD_OPTION/],
    ];
    for (const [args, exit, message] of wrong) {
      const run = await flowbus(...args);
      assert.equal(run.exit, exit, `${args}: ${run.err}`);
      assert.match(run.err, message);
    }
    const texts: string[] = [];
    const sink = { write: (text: string) => void texts.push(text) };
    const nobody = ['dlq', 'ls', '--url', 'ws://127.0.0.1:1'];
    assert.equal(await runCli(nobody, new Output(sink, sink, {})), 3);
    assert.match(texts.join(''), /CONNECT_FAILED/);
  });

  it('takes how often a message is tried from the command line', async () => {
    const agentId = fresh(0);
    let tries = 0;
    await worker(agentId, () => {
      tries++;
      throw new Error('never');
    });
    const pub = await flowbus('pub', `_agent.${agentId}`, 'x', '--assured', '--max-attempts', '1');
    assert.equal(pub.exit, 0, pub.err);
    assert.equal((await letterOf(agentId)).failures, 1);
    assert.equal(tries, 1);
    const live = await flowbus('pub', 'a.b', 'x', '--max-attempts', '1');
    assert.equal(live.exit, 2);
    assert.match(live.err, /--assured/);
  });
});
