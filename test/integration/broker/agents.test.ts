import assert from 'node:assert/strict';
import type { Agent, AgentRecord, Disconnect, Message } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import { closeAgents, fetchPage, join, metric, nameOn, pidOf, startBroker, until } from './node.js';
import { closeSockets, JsonAgent, RawAgent } from './raw-agent.js';

interface Page {
  records: { agentId: string; state: string }[];
  cursor: string | null;
}

async function page(node: RunningNode, query: string): Promise<Page> {
  const { status, body } = await fetchPage(node, `/v1/agents?${query}`);
  assert.equal(status, 200, body);
  return JSON.parse(body) as Page;
}

async function record(asker: Agent, agentId: string): Promise<AgentRecord | undefined> {
  return (await asker.agents({ id: agentId }))[0];
}

describe('agents', () => {
  let node: RunningNode;
  before(async () => {
    node = await startBroker({ node: 'alpha', heartbeatInterval: 400, resumeWindow: 200 });
  });
  after(() => node.stop());
  afterEach(async () => {
    await closeSockets();
    await closeAgents();
  });

  describe('the directory', () => {
    it('shows on every shard what an agent registered with', async () => {
      const before = Date.now() * 1000;
      const agentId = nameOn(1, 'registered');
      await join(node.url, {
        agentId,
        agentType: 'painter',
        capabilities: ['draw', 'größer'],
        metadata: { model: 'x', depth: { n: [1, 2] } },
      });
      for (const slot of [0, 1]) {
        const asker = await join(node.url, nameOn(slot, 'asker'));
        const found = await asker.agents({ id: agentId });
        assert.equal(found.length, 1);
        const { since, ...rest } = found[0];
        assert.deepEqual(rest, {
          agentId,
          agentType: 'painter',
          capabilities: ['draw', 'größer'],
          node: 'alpha',
          shard: 1,
          state: 'online',
          metadata: { model: 'x', depth: { n: [1, 2] } },
        });
        assert.ok(since >= before - 1000 && since <= (Date.now() + 1) * 1000);
      }
    });

    it('subscribes an agent to what it registered with before it says welcome', async () => {
      const taker = await RawAgent.join(`${node.url}?agentId=${nameOn(0, 'taker')}`, {
        agentId: nameOn(0, 'taker'),
        subscriptions: ['born.*', 'born.with.**'],
      });
      const publisher = await join(node.url, nameOn(1, 'publisher'));
      publisher.publish('born.x', '1');
      publisher.publish('born.with.it', '2');
      await until('both', () => taker.messages.length === 2);
      assert.deepEqual(
        taker.messages.map(({ topic }) => topic),
        ['born.x', 'born.with.it'],
      );
    });

    it('publishes in the lane that an agent registered with, unless a message says another', async () => {
      const lanes: string[] = [];
      const taker = await join(node.url, nameOn(0, 'taker'));
      await taker.subscribe('lanes.*', (message) => lanes.push(message.priority));
      const low = await join(node.url, { agentId: nameOn(1, 'low'), priority: 'low' });
      low.publish('lanes.x', '');
      await until('the first', () => lanes.length === 1);
      low.publish('lanes.x', '', { priority: 'critical' });
      await until('the second', () => lanes.length === 2);
      const json = await JsonAgent.join(node.url, { agentId: 'json-low', priority: 'background' });
      json.send({ op: 'publish', topic: 'lanes.x', data: 1 });
      await until('the third', () => lanes.length === 3);
      assert.deepEqual(lanes, ['low', 'critical', 'background']);
    });

    it('can be asked by id, type, capability and liveness, by SDK, HTTP and JSON alike', async () => {
      const kinds: [string, string, string[]][] = [
        ['q-1', 'worker', ['ocr', 'sum']],
        ['q-2', 'worker', ['ocr']],
        ['q-3', 'planner', ['plan', 'ocr']],
        ['q-4', 'worker', []],
      ];
      for (const [agentId, agentType, capabilities] of kinds)
        await join(node.url, { agentId, agentType, capabilities, metadata: { room: [agentId] } });
      const leaver = await join(node.url, { agentId: 'q-5', agentType: 'worker', capabilities: ['ocr'] });
      await leaver.close();
      const asker = await join(node.url, nameOn(0, 'asker'));
      await until('the end of q-5', async () => (await record(asker, 'q-5'))?.state === 'offline');
      const json = await JsonAgent.join(node.url, { agentId: nameOn(1, 'json-asker') });
      const cases: [Record<string, string | boolean>, string[]][] = [
        [{ id: 'q-2' }, ['q-2']],
        [{ id: 'q-9' }, []],
        [{ type: 'worker' }, ['q-1', 'q-2', 'q-4', 'q-5']],
        [{ type: 'worker', online: true }, ['q-1', 'q-2', 'q-4']],
        [{ type: 'worker', online: false }, ['q-5']],
        [{ capability: 'ocr' }, ['q-1', 'q-2', 'q-3', 'q-5']],
        [{ capability: 'ocr', online: true, type: 'worker' }, ['q-1', 'q-2']],
        [{ capability: 'oc' }, []],
      ];
      for (const [index, [filter, expected]] of cases.entries()) {
        const what = JSON.stringify(filter);
        const bySdk = await asker.agents(filter);
        assert.deepEqual(
          bySdk.map(({ agentId }) => agentId),
          expected,
          what,
        );
        const query = new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, `${value}`]));
        const byHttp = await page(node, query.toString());
        assert.deepEqual(
          byHttp.records.map(({ agentId }) => agentId),
          expected,
          what,
        );
        const answer = await json.ask({ op: 'agents', ...filter }, index + 1, 'agents');
        assert.deepEqual(
          (answer.records as { agentId: string }[]).map(({ agentId }) => agentId),
          expected,
          what,
        );
        // All three show the same record.
        if (expected.length > 0) {
          assert.deepEqual(byHttp.records[0], (answer.records as object[])[0]);
          assert.deepEqual(byHttp.records[0], bySdk[0]);
        }
      }
    });

    it('leads through 1,200 agents in pages, each agent once', async function () {
      this.timeout(60_000);
      const total = 1200;
      const names = Array.from({ length: total }, (_, number) => `crowd-${number}`);
      for (let i = 0; i < total; i += 100) {
        await Promise.all(
          names.slice(i, i + 100).map((agentId) =>
            JsonAgent.join(`${node.url}?agentId=${agentId}`, {
              agentId,
              agentType: 'crowd',
              // Nobody's answer to a ping is to be late, however busy this machine is.
              heartbeatInterval: 60_000,
            }),
          ),
        );
      }
      names.sort();
      const asker = await join(node.url, nameOn(1, 'asker'));
      await until('all', async () => (await asker.agents({ type: 'crowd', online: true })).length === total);
      const bySdk = await asker.agents({ type: 'crowd' });
      assert.deepEqual(
        bySdk.map(({ agentId }) => agentId),
        names,
      );
      assert.equal((await asker.agents({ type: 'crowd', limit: 700 })).length, 700);
      const byHttp: string[] = [];
      let cursor: string | null = '';
      let pages = 0;
      while (cursor !== null) {
        const next: Page = await page(node, `type=crowd&limit=130${cursor && `&cursor=${cursor}`}`);
        assert.ok(next.records.length <= 130);
        byHttp.push(...next.records.map(({ agentId }) => agentId));
        cursor = next.cursor;
        pages++;
      }
      assert.deepEqual(byHttp, names);
      assert.ok(pages >= 10);
      for (const name of ['flowbus_agents', 'flowbus_connections'])
        await until(name, async () => (await metric(node, name)) === total + 1);
    });
  });

  describe('one agentId twice', () => {
    async function joinNoting(url: string, agentId: string): Promise<[Agent, Disconnect[]]> {
      const agent = await join(url, agentId);
      const ends: Disconnect[] = [];
      agent.on('disconnect', (end) => ends.push(end));
      return [agent, ends];
    }

    it('keeps the newer, and tells the older, which does not come back', async () => {
      const agentId = nameOn(0, 'twin');
      const [older, ends] = await joinNoting(node.url, agentId);
      const [newer, none] = await joinNoting(node.url, agentId);
      await until('the goaway', () => ends.length > 0);
      assert.equal(ends[0].code, 'AGENT_REPLACED');
      assert.equal(ends[0].message, `Agent ${agentId} connected again, to shard 0 of alpha.`);
      assert.equal(ends[0].reconnecting, false);
      assert.throws(() => older.publish('x', ''), { code: 'AGENT_REPLACED' });
      const got: string[] = [];
      newer.on('message', (message) => {
        got.push(message.text());
      });
      const sender = await join(node.url, nameOn(1, 'sender'));
      sender.send(agentId, 'to the newer');
      await until('the message', () => got.length === 1);
      assert.equal((await sender.agents({ id: agentId }))[0].state, 'online');
      assert.deepEqual(none, []);
      assert.equal(ends.length, 1);
    });

    it('does so across shards, to and fro, and everybody knows where the agent is', async () => {
      const agentId = nameOn(0, 'mover');
      const elsewhere = [nameOn(0, 'elsewhere'), nameOn(1, 'elsewhere')];
      const senders = [await join(node.url, nameOn(0, 'sender')), await join(node.url, nameOn(1, 'sender'))];
      const all: RawAgent[] = [];
      for (let round = 0; round < 6; round++) {
        const slot = (round + 1) % 2;
        // The URL decides the shard, and bears another id.
        const newer = await RawAgent.join(`${node.url}?agentId=${elsewhere[slot]}`, { agentId });
        assert.equal(newer.welcome?.shard, slot);
        const replaced = all.at(-1);
        if (replaced !== undefined) {
          await until('the end', () => replaced.closed !== null);
          assert.equal(replaced.goaway?.code, 'AGENT_REPLACED');
          assert.equal(replaced.goaway?.reconnect, false);
        }
        for (const sender of senders) {
          await until('the move', async () => (await record(sender, agentId))?.shard === slot);
          sender.send(agentId, `round ${round}`);
        }
        await until('both', () => newer.messages.length === 2);
        assert.equal(newer.closed, null);
        all.push(newer);
      }
    });

    it('replaces a JSON agent too, also without an id in the URL', async () => {
      const older = await JsonAgent.join(node.url, { agentId: 'jay' });
      const newer = await JsonAgent.join(node.url, { agentId: 'jay' });
      const goaway = await older.next('goaway');
      assert.equal(goaway.code, 'AGENT_REPLACED');
      assert.match(`${goaway.message}`, /^Agent jay connected again, to shard [01] of alpha\.$/);
      assert.equal(goaway.reconnect, false);
      await until('the end', () => older.closed !== null);
      assert.equal(older.closed, 1008);
      assert.equal((await newer.ask({ op: 'ping' }, 9, 'pong')).ref, 9);
    });

    it('leaves one of many that come at the same time', async () => {
      const agentId = 'rush';
      const all = await Promise.all(
        Array.from({ length: 20 }, (_, number) =>
          RawAgent.join(`${node.url}?agentId=rush-${number}`, { agentId }).catch(() => null),
        ),
      );
      const stand = () => all.filter((agent) => agent !== null && agent.closed === null);
      await until('one to be left', () => stand().length === 1);
      const sender = await join(node.url, nameOn(1, 'sender'));
      const [winner] = stand();
      await until('agreement', async () => {
        const found = await record(sender, agentId);
        return found?.state === 'online' && found.shard === winner?.welcome?.shard;
      });
      sender.send(agentId, 'the winner');
      await until('the message', () => winner?.messages.length === 1);
    });
  });

  describe('presence', () => {
    it('is published once per coming and going, to both shards, with the record', async () => {
      const seen: Message[][] = [[], []];
      for (const slot of [0, 1]) {
        const watcher = await join(node.url, nameOn(slot, 'watcher'));
        await watcher.subscribe('system.agent.*.*', (message) => {
          if (message.topic.includes('guest')) seen[slot].push(message);
        });
      }
      for (const slot of [0, 1]) {
        const agentId = nameOn(slot, 'guest');
        const guest = await join(node.url, { agentId, agentType: 'visitor', capabilities: ['stay'] });
        await until('online', () => seen.every((messages) => messages.length === slot * 2 + 1));
        await guest.close();
        await until('offline', () => seen.every((messages) => messages.length === slot * 2 + 2));
      }
      for (const messages of seen) {
        assert.deepEqual(
          messages.map(({ topic }) => topic),
          [0, 1].flatMap((slot) =>
            ['online', 'offline'].map((state) => `system.agent.${nameOn(slot, 'guest')}.${state}`),
          ),
        );
        for (const message of messages) {
          const shown = message.json<AgentRecord>();
          assert.equal(message.from, 'flowbus');
          assert.equal(message.topic, `system.agent.${shown.agentId}.${shown.state}`);
          assert.equal(shown.agentType, 'visitor');
          assert.deepEqual(shown.capabilities, ['stay']);
          assert.ok(!('session' in shown));
        }
      }
    });

    it('says offline when the time to resume is over, not when the connection breaks', async () => {
      const watcher = await join(node.url, nameOn(1, 'watcher'));
      const seen: string[] = [];
      await watcher.subscribe('system.agent.broken.*', (message) => seen.push(message.topic));
      const agent = await RawAgent.join(node.url, { agentId: 'broken' });
      await until('online', () => seen.length === 1);
      agent.socket.terminate();
      await until('suspect', async () => (await record(watcher, 'broken'))?.state === 'suspect');
      assert.equal(seen.length, 1);
      await until('offline', () => seen.length === 2);
      assert.deepEqual(seen, ['system.agent.broken.online', 'system.agent.broken.offline']);
      assert.equal((await record(watcher, 'broken'))?.state, 'offline');
    });

    it('cannot be forged', async () => {
      const liar = await join(node.url, 'liar');
      const watcher = await join(node.url, 'watcher');
      const seen: string[] = [];
      await watcher.subscribe('system.agent.boss.*', (message) => seen.push(message.text()));
      await watcher.subscribe('end', () => seen.push('end'));
      const errors: string[] = [];
      liar.on('error', (error) => errors.push(error.code));
      for (let i = 0; i < 5; i++) liar.publish('system.agent.boss.offline', 'x');
      await until('the refusals', () => errors.length === 5);
      assert.deepEqual(new Set(errors), new Set(['FORBIDDEN_TOPIC']));
      const json = await JsonAgent.join(node.url, { agentId: 'json-liar' });
      json.send({ op: 'publish', topic: 'system.agent.boss.offline', data: 'x', ref: 1 });
      assert.equal((await json.next('error', 1)).code, 'FORBIDDEN_TOPIC');
      liar.publish('end', '');
      await until('the end', () => seen.length > 0);
      assert.deepEqual(seen, ['end']);
    });
  });

  describe('heartbeats', () => {
    it('makes an agent that falls silent suspect, then takes it for dead', async () => {
      const silent = await RawAgent.join(node.url, { agentId: 'silent' }, { answersPings: false });
      assert.equal(silent.welcome?.heartbeatInterval, 400);
      const asker = await join(node.url, 'asker');
      const states: string[] = [];
      await until('the end', async () => {
        const { state } = (await record(asker, 'silent')) ?? { state: 'none' };
        if (states.at(-1) !== state) states.push(state);
        return silent.closed !== null && state === 'offline';
      });
      assert.deepEqual(states, ['online', 'suspect', 'offline']);
      assert.equal(silent.goaway?.code, 'HEARTBEAT_TIMEOUT');
      assert.equal(silent.goaway?.reconnect, true);
    });

    it('keeps those that say nothing but answer, whatever their interval', async () => {
      const patient = await RawAgent.join(node.url, { agentId: 'patient' });
      const json = await JsonAgent.join(node.url, { agentId: 'json-patient' });
      const hasty = await JsonAgent.join(node.url, { agentId: 'hasty', heartbeatInterval: 100 });
      const sdk = await join(node.url, { agentId: 'sdk', heartbeatInterval: 100 });
      // Lives for more than three intervals of the longest.
      const silent = await JsonAgent.join(node.url, { agentId: 'silent' }, { answersPings: false });
      await until('the end of the silent one', () => silent.closed !== null);
      assert.equal((await silent.next('goaway')).code, 'HEARTBEAT_TIMEOUT');
      assert.equal(patient.closed, null);
      assert.equal(json.closed, null);
      assert.equal(hasty.closed, null, JSON.stringify(hasty.all('goaway')));
      for (const agentId of ['patient', 'json-patient', 'hasty', 'sdk']) {
        await until(`${agentId} online`, async () => (await record(sdk, agentId))?.state === 'online');
      }
    });

    it('gives each the time that it asked for in its hello', async () => {
      const asker = await join(node.url, 'asker');
      const silence = { answersPings: false };
      const patient = await RawAgent.join(
        node.url,
        { agentId: 'patient', heartbeatInterval: 60_000 },
        silence,
      );
      assert.equal(patient.welcome?.heartbeatInterval, 60_000);
      const hasty = await RawAgent.join(node.url, { agentId: 'hasty' }, silence);
      await until('the end of the hasty one', () => hasty.closed !== null);
      // It has been silent for longer.
      assert.equal((await record(asker, 'patient'))?.state, 'online');
      assert.equal(patient.closed, null);
    });

    it('takes nobody for dead because the shard itself stood still', async () => {
      const bystanderId = nameOn(1, 'bystander');
      const silentId = nameOn(0, 'silent');
      const bystander = await JsonAgent.join(`${node.url}?agentId=${bystanderId}`, { agentId: bystanderId });
      const silent = await JsonAgent.join(
        `${node.url}?agentId=${silentId}`,
        { agentId: silentId },
        { answersPings: false },
      );
      const pid = pidOf(node, 1);
      process.kill(pid, 'SIGSTOP');
      try {
        // Which takes long enough to be taken for dead on the other shard as well.
        await until('the end of the silent one', () => silent.closed !== null);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await bystander.ask({ op: 'ping' }, 1, 'pong');
      assert.equal(bystander.closed, null);
    });
  });
});
