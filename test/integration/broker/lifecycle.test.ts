import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get, Agent as HttpAgent, type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Agent, Disconnect, Gap, Message, Reconnect } from '../../../lib/client/index.js';
import type { RunningNode } from '../../../shards/primary.js';
import {
  assertGone,
  closeAgents,
  fetchPage,
  type HttpAnswer,
  isAlive,
  join,
  leftoversOf,
  metric,
  nameOn,
  startBroker,
  until,
} from './node.js';
import { TcpProxy } from './proxy.js';
import { closeSockets, JsonAgent, RawAgent } from './raw-agent.js';

const PROGRAM = fileURLToPath(new URL('./node-program.js', import.meta.url));
const KIB = 1024;

interface Noted {
  agent: Agent;
  disconnects: Disconnect[];
  reconnects: Reconnect[];
  gaps: Gap[];
  numbers: number[];
}

/** An agent that subscribes to `pattern`, where numbers are published, and notes all that happens to it. */
async function joinNoting(url: string | string[], agentId: string, pattern: string): Promise<Noted> {
  const agent = await join(url, { agentId, reconnect: { minDelay: 10, maxDelay: 50 } });
  const noted: Noted = { agent, disconnects: [], reconnects: [], gaps: [], numbers: [] };
  agent.on('disconnect', (disconnect) => noted.disconnects.push(disconnect));
  agent.on('reconnect', (reconnect) => noted.reconnects.push(reconnect));
  agent.on('gap', (gap) => noted.gaps.push(gap));
  await agent.subscribe(pattern, (message) => noted.numbers.push(message.json<number>()));
  return noted;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

const nodes: RunningNode[] = [];

async function start(...options: Parameters<typeof startBroker>): Promise<RunningNode> {
  const node = await startBroker(...options);
  nodes.push(node);
  return node;
}

async function stop(node: RunningNode): Promise<void> {
  const leftovers = leftoversOf(node);
  await node.stop();
  assertGone(leftovers);
}

describe('the life of a node', () => {
  /** With nothing configured, for all tests that want no more. */
  let usual: RunningNode;
  before(async () => {
    usual = await startBroker();
  });
  after(() => stop(usual));
  afterEach(async () => {
    await closeSockets();
    await closeAgents();
    for (const node of nodes.splice(0)) await stop(node);
  });

  describe('a connection that breaks', () => {
    let node: RunningNode;
    let proxy: TcpProxy;
    afterEach(() => proxy.close());
    const prepare = async (config?: Parameters<typeof startBroker>[0]) => {
      node = config === undefined ? usual : await start(config);
      proxy = await TcpProxy.open(node.address.port);
    };

    it('is resumed: what was published meanwhile arrives, in order and without a gap', async () => {
      await prepare();
      const resumes = await metric(node, 'flowbus_resumes_total');
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const subscriber = await joinNoting(proxy.url, nameOn(1, 'subscriber'), 'resume.*');
      for (let round = 0; round < 3; round++) {
        const base = round * 1000;
        for (const number of range(base, base + 100)) publisher.publish('resume.x', number);
        await until('the first', () => subscriber.numbers.length === base + 100);
        proxy.cut();
        await until('the cut', () => subscriber.disconnects.length === round + 1);
        assert.equal(subscriber.disconnects[round].reconnecting, true);
        // Also on a topic that is new, and from an agent that is.
        const stranger = await join(node.url, nameOn(0, `stranger-${round}`));
        for (const number of range(base + 100, base + 900)) publisher.publish('resume.x', number);
        await until('these', async () => {
          const [{ state }] = await publisher.agents({ id: subscriber.agent.agentId });
          return state === 'suspect' && publisher.counts.waitingBytes === 0;
        });
        for (const number of range(base + 900, base + 1000)) stranger.publish(`resume.new-${round}`, number);
        proxy.release();
        await until('all', () => subscriber.numbers.length === base + 1000);
        assert.equal(subscriber.reconnects.length, round + 1);
        assert.equal(subscriber.reconnects[round].resumed, true);
      }
      assert.deepEqual(subscriber.numbers, range(0, 3000));
      assert.deepEqual(subscriber.gaps, []);
      assert.equal(subscriber.agent.counts.badFrames, 0);
      assert.equal((await metric(node, 'flowbus_resumes_total')) - resumes, 3);
    });

    it('says how many messages went down with it', async () => {
      await prepare();
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const subscriber = await joinNoting(proxy.url, nameOn(1, 'subscriber'), 'resume.*');
      const delivered = () => metric(node, 'flowbus_deliveries_total');
      for (const number of range(0, 100)) publisher.publish('resume.x', number);
      await until('the first', () => subscriber.numbers.length === 100);
      proxy.swallow();
      const before = await delivered();
      for (const number of range(100, 137)) publisher.publish('resume.x', number);
      await until('the broker to have sent them', async () => (await delivered()) - before === 37);
      proxy.cut();
      // On both ends: what the broker still wrote into the old connection would be missed too.
      await until('the cut', async () => {
        const [{ state }] = await publisher.agents({ id: subscriber.agent.agentId });
        return subscriber.disconnects.length === 1 && state === 'suspect';
      });
      for (const number of range(137, 200)) publisher.publish('resume.x', number);
      proxy.release();
      await until('the rest', () => subscriber.numbers.at(-1) === 199);
      assert.deepEqual(subscriber.numbers, [...range(0, 100), ...range(137, 200)]);
      assert.deepEqual(subscriber.gaps, [{ missed: 37, reason: 'resume' }]);
    });

    it('keeps no more than the backlog for it, and says how many more there were', async () => {
      await prepare({ backlog: 128 * KIB });
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const other = await joinNoting(node.url, nameOn(0, 'other'), 'resume.*');
      const subscriber = await joinNoting(proxy.url, nameOn(1, 'subscriber'), 'resume.*');
      proxy.cut();
      await until('the cut', async () => {
        const [{ state }] = await publisher.agents({ id: subscriber.agent.agentId });
        return subscriber.disconnects.length === 1 && state === 'suspect';
      });
      const total = 10_000;
      for (const number of range(0, total)) {
        if (!publisher.publish('resume.x', number)) await publisher.drained();
      }
      await until('the other to have all', () => other.numbers.length === total);
      await until('the other shard to have all', async () => {
        return (await metric(node, 'flowbus_link_frames_total', 'direction="in"', 'worker="1"')) === total;
      });
      proxy.release();
      const missed = () => subscriber.gaps.reduce((sum, gap) => sum + (gap.missed ?? Number.NaN), 0);
      await until('the rest', () => subscriber.numbers.length + missed() >= total);
      assert.equal(subscriber.numbers.length + missed(), total);
      assert.ok(missed() > 0);
      assert.equal(await metric(node, 'flowbus_dropped_total', 'root="resume"', 'reason="shed"'), missed());
      publisher.publish('resume.x', total);
      await until('one more', () => subscriber.numbers.at(-1) === total);
    });

    it('is a session lost after the resume window: subscriptions are back, with a gap of unknown size', async () => {
      await prepare({ resumeWindow: 100 });
      const publisher = await join(node.url, nameOn(0, 'publisher'));
      const subscriber = await joinNoting(proxy.url, nameOn(1, 'subscriber'), 'resume.*');
      proxy.cut();
      await until('the end of the session', async () => {
        const [{ state }] = await publisher.agents({ id: subscriber.agent.agentId });
        return state === 'offline';
      });
      proxy.release();
      await until('the reconnect', () => subscriber.reconnects.length === 1);
      assert.equal(subscriber.reconnects[0].resumed, false);
      publisher.publish('resume.x', 1);
      await until('the message', () => subscriber.numbers.length === 1);
      assert.deepEqual(subscriber.gaps, [{ missed: undefined, reason: 'session-lost' }]);
    });

    it('loses nothing that its agent publishes meanwhile, nor what subscribes meanwhile', async () => {
      await prepare();
      const subscriber = await joinNoting(node.url, nameOn(0, 'subscriber'), 'out.*');
      const publisher = await joinNoting(proxy.url, nameOn(1, 'publisher'), 'in.*');
      for (let round = 0; round < 3; round++) {
        const base = round * 500;
        for (const number of range(base, base + 100)) publisher.agent.publish('out.x', number);
        await until('the first', () => subscriber.numbers.length === base + 100);
        proxy.cut();
        await until('the cut', () => publisher.disconnects.length === round + 1);
        const late: number[] = [];
        const subscribing = publisher.agent.subscribe(`late.${round}`, (message) =>
          late.push(message.json()),
        );
        for (const number of range(base + 100, base + 500)) publisher.agent.publish('out.x', number);
        proxy.release();
        await until('all', () => subscriber.numbers.length === base + 500);
        await subscribing;
        subscriber.agent.publish(`late.${round}`, round);
        await until('the late one', () => late.length === 1);
      }
      assert.deepEqual(subscriber.numbers, range(0, 1500));
      assert.deepEqual(subscriber.gaps, []);
    });
  });

  describe('several nodes', () => {
    it('are tried in turn at the first connection', async () => {
      const closed = createServer().listen(0, '127.0.0.1');
      await once(closed, 'listening');
      const { port } = closed.address() as { port: number };
      closed.close();
      const agent = await join([`ws://127.0.0.1:${port}`, usual.url], 'seeker');
      assert.equal(agent.connected, true);
    });

    it('take over the agents of one that shuts down, or is gone without a word', async () => {
      const [first, second, third] = [...(await Promise.all([start(), start()])), usual];
      const { agent, reconnects, disconnects, gaps, numbers } = await joinNoting(
        [first.url, second.url, third.url],
        'mover',
        'moved.*',
      );
      for (const [index, [from, to]] of [
        [first, second],
        [second, third],
      ].entries()) {
        if (index === 0) await from.stop();
        else await from.kill();
        await until('the move', () => reconnects.length === index + 1);
        assert.equal(disconnects[index].code, index === 0 ? 'SHUTTING_DOWN' : 'DISCONNECTED');
        assert.equal(disconnects[index].reconnecting, true);
        assert.equal(new URL(reconnects[index].url).host, new URL(to.url).host);
        assert.deepEqual(gaps[index], { missed: undefined, reason: 'session-lost' });
        const publisher = await join(to.url, 'publisher');
        publisher.publish('moved.x', index);
        await until('the message', () => numbers.length === index + 1);
        const reply = publisher.request('mover', 'x');
        agent.once('message', () => 'here');
        assert.equal((await reply).text(), 'here');
      }
    });
  });

  describe('SIGTERM', () => {
    const programs: ChildProcess[] = [];
    afterEach(() => {
      for (const child of programs.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
    });

    it('delivers what is under way, says goodbye to all kinds of agents, and exits with code 0', async () => {
      const child = spawn(process.execPath, [PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
      programs.push(child);
      const exited = once(child, 'exit');
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const { url, pids } = JSON.parse(line.toString()) as { url: string; pids: number[] };
      const total = 10_000;
      const publisher = await join(url, { agentId: nameOn(0, 'publisher'), reconnect: false });
      const slow = await join(url, { agentId: nameOn(1, 'slow'), reconnect: false, maxInFlight: 1 });
      const ends: Disconnect[] = [];
      for (const agent of [publisher, slow]) agent.on('disconnect', (end) => ends.push(end));
      let open = () => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      let count = 0;
      await slow.subscribe('last.*', () => (count++ === 0 ? gate : undefined));
      const json = await JsonAgent.join(url, { agentId: 'json' });
      const address = { host: '127.0.0.1', port: Number(new URL(url).port) };
      // Nobody new is let in later, so who asks whether the node is ready has a connection already.
      const kept = new HttpAgent({ keepAlive: true, maxSockets: 1 });
      const readiness = (): Promise<number | undefined> =>
        new Promise((resolve, reject) => {
          get({ ...address, path: '/readyz', agent: kept }, (answer) => {
            answer.resume().once('end', () => resolve(answer.statusCode));
          }).once('error', reject);
        });
      assert.equal(await readiness(), 200);
      const stream = get({ ...address, path: '/v1/subscribe?pattern=last.*', agent: false });
      const [response] = (await once(stream, 'response')) as [IncomingMessage];
      let events = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        events += text;
      });

      const payload = new Uint8Array(200);
      for (let i = 0; i < total; i++) {
        if (!publisher.publish('last.x', payload)) await publisher.drained();
      }
      await until(
        'all to be taken',
        async () => (await metric({ address }, 'flowbus_publishes_total')) === total,
      );
      assert.ok(count < total, 'nothing was under way');
      child.kill('SIGTERM');
      await until('the end of accepting', () =>
        fetchPage({ address }, '/healthz').then(
          () => false,
          () => true,
        ),
      );
      await until('the end of being ready', async () => (await readiness()) === 503);
      kept.destroy();
      open();
      await until('the goodbyes', () => ends.length === 2);
      assert.equal(count, total);
      assert.deepEqual(
        ends.map(({ code, reconnecting }) => ({ code, reconnecting })),
        Array(2).fill({ code: 'SHUTTING_DOWN', reconnecting: false }),
      );
      const goaway = await json.next('goaway');
      assert.deepEqual([goaway.code, goaway.reconnect], ['SHUTTING_DOWN', true]);
      await until('the end of the stream', () => response.complete);
      assert.match(events, /event: goaway\ndata: .*SHUTTING_DOWN/);
      assert.equal(events.match(/^event: message$/gm)?.length, total);
      assert.deepEqual(await exited, [0, null]);
      assert.deepEqual(pids.filter(isAlive), []);
    });

    it('takes no longer than drainTimeout for an agent that does not read, and says goodbye to the others', async function () {
      this.timeout(60_000);
      const node = await startBroker({ drainTimeout: 5000, stallLimit: 60_000, backlog: 64 * KIB * KIB });
      const stuckId = nameOn(1, 'stuck');
      const stuck = await RawAgent.join(
        `${node.url}?agentId=${stuckId}`,
        { agentId: stuckId, subscriptions: ['last.*'] },
        { keep: false },
      );
      stuck.socket.pause();
      const ends: Disconnect[] = [];
      const agents = [nameOn(0, 'publisher'), nameOn(1, 'other')].map((agentId) =>
        join(node.url, { agentId, reconnect: false }),
      );
      const [publisher] = await Promise.all(agents);
      for (const agent of await Promise.all(agents)) agent.on('disconnect', (end) => ends.push(end));
      // More than the sockets' buffers take, less than makes it shed.
      const total = 24 * KIB;
      for (let i = 0; i < total; i++) {
        if (!publisher.publish('last.x', new Uint8Array(KIB))) await publisher.drained();
      }
      await until('all to be taken', async () => (await metric(node, 'flowbus_publishes_total')) === total);
      await node.stop();
      // A shard that the primary has to kill makes it 1.
      assert.equal(await node.closed, 0);
      await until('the goodbyes', () => ends.length === 2);
      assert.deepEqual(
        ends.map(({ code }) => code),
        ['SHUTTING_DOWN', 'SHUTTING_DOWN'],
      );
    });
  });

  describe('a primary that stands still', () => {
    it('does not matter to agents that are connected: no message passes through it', async function () {
      this.timeout(60_000);
      const child = spawn(process.execPath, [PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        const [line] = (await once(child.stdout, 'data')) as [Buffer];
        const { url } = JSON.parse(line.toString()) as { url: string };
        const [near, far] = [await join(url, nameOn(0, 'near')), await join(url, nameOn(1, 'far'))];
        far.on('message', (message) => `${message.text()} back`);
        child.kill('SIGSTOP');
        let count = 0;
        const subscription = await far.subscribe('still.*', () => count++);
        for (let i = 0; i < 1000; i++) {
          for (const priority of ['critical', 'normal'] as const) near.publish('still.x', i, { priority });
        }
        await until('all', () => count === 2000);
        assert.equal((await near.request(far.agentId, 'there and')).text(), 'there and back');
        assert.equal((await near.agents({ id: far.agentId }))[0].shard, 1);
        await subscription.unsubscribe();
        assert.deepEqual([near.connected, far.connected], [true, true]);
        child.kill('SIGCONT');
        const exited = once(child, 'exit');
        await closeAgents();
        child.kill('SIGTERM');
        assert.deepEqual(await exited, [0, null]);
      } finally {
        // Also when it stands still; its shards end with it.
        if (child.exitCode === null) child.kill('SIGKILL');
      }
    });
  });

  describe('a node over Unix sockets', () => {
    it('carries messages, requests, floods and the directory across its shards', async () => {
      const node = await start({ links: 'unix-socket', backlog: 1024 * KIB });
      assert.equal(node.linkKind, 'unix-socket');
      const agents = [await join(node.url, nameOn(0, 'agent')), await join(node.url, nameOn(1, 'agent'))];
      for (const agent of agents) agent.on('message', (message) => `${agent.agentId}: ${message.text()}`);
      for (const [index, agent] of agents.entries()) {
        const other = agents[1 - index];
        const reply = await agent.request(other.agentId, 'ping');
        assert.equal(reply.text(), `${other.agentId}: ping`);
        assert.equal((await agent.agents({ id: other.agentId }))[0].shard, 1 - index);
        const total = 30_000;
        let count = 0;
        const wrong: number[] = [];
        const subscription = await other.subscribe('flood.**', ({ sequence }) => {
          if (sequence !== ++count) wrong.push(sequence);
        });
        for (let i = 0; i < total; i++) {
          if (!agent.publish('flood.x', 'y'.repeat(100))) await agent.drained();
        }
        await until('all', () => count === total);
        assert.deepEqual(wrong, []);
        await subscription.unsubscribe();
        await assert.rejects(agent.request('nobody', ''), { code: 'UNKNOWN_AGENT' });
      }
      await until('the counters', async () => {
        return (await metric(node, 'flowbus_link_frames_total', 'direction="out"')) >= 60_000;
      });
    });
  });

  describe('pinShards', () => {
    const coresOfProcess = (pid: number | 'self') =>
      /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];

    const coresOfShards = (node: RunningNode) => node.processes().map(({ pid }) => coresOfProcess(pid!));

    it('keeps each shard on one core, round the cores that the node may use', async function () {
      if (process.platform !== 'linux') this.skip();
      const cores = coresOfShards(await start({ shards: 3, pinShards: true }));
      for (const core of cores) assert.match(core!, /^\d+$/);
      assert.equal(new Set(cores).size, Math.min(3, availableParallelism()));
    });

    it('is off by default', function () {
      if (process.platform !== 'linux') this.skip();
      const all = coresOfProcess('self');
      assert.deepEqual(coresOfShards(usual), [all, all]);
    });
  });

  describe('HTTP', () => {
    function post(node: RunningNode, path: string, body: string, headers = {}): Promise<HttpAnswer> {
      return new Promise((resolve, reject) => {
        const { host, port } = node.address;
        const call = request({ host, port, path, method: 'POST', headers, agent: false }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => {
            text += chunk;
          });
          response.once('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
        });
        call.once('error', reject);
        call.end(body);
      });
    }

    it('tells that the node lives, is ready, and what it counts', async () => {
      const workers = ['worker="0"', 'worker="1"'];
      const connects = () =>
        Promise.all(workers.map((worker) => metric(usual, 'flowbus_connects_total', worker)));
      assert.deepEqual(await fetchPage(usual, '/healthz'), { status: 200, body: '{"status":"ok"}\n' });
      assert.deepEqual(await fetchPage(usual, '/readyz'), {
        status: 200,
        body: '{"ready":true,"reasons":[]}\n',
      });
      const before = await connects();
      await Promise.all([0, 1].map((slot) => join(usual.url, nameOn(slot, 'counted'))));
      assert.deepEqual(
        await connects(),
        before.map((count) => count + 1),
      );
      for (const worker of workers)
        await until('the gauge', async () => (await metric(usual, 'flowbus_agents', worker)) === 1);
      const { body } = await fetchPage(usual, '/metrics');
      assert.match(body, /^# TYPE flowbus_publishes_total counter$/m);
      assert.match(body, /^# TYPE flowbus_door_to_socket_seconds histogram$/m);
    });

    it('publishes by POST and delivers by event stream, to and from both shards', async () => {
      const node = usual;
      const { host, port } = node.address;
      const got: Message[][] = [[], []];
      for (const slot of [0, 1]) {
        const agent = await join(node.url, nameOn(slot, 'agent'));
        await agent.subscribe('http.*', (message) => got[slot].push(message));
      }
      const streams = await Promise.all(
        [0, 1].map(async () => {
          const call = get({ host, port, path: '/v1/subscribe?pattern=http.*&pattern=x', agent: false });
          const [response] = (await once(call, 'response')) as [IncomingMessage];
          const noted = { call, text: '' };
          response.setEncoding('utf8').on('data', (chunk: string) => {
            noted.text += chunk;
          });
          return noted;
        }),
      );
      const json = { 'content-type': 'application/json', 'flowbus-priority': 'high' };
      const answer = await post(node, '/v1/publish/http.json', '{"n":1}', json);
      assert.deepEqual(answer, { status: 202, body: '{"accepted":true}\n' });
      await until('the agents', () => got.every((messages) => messages.length === 1));
      for (const [message] of got) {
        assert.equal(message.from, 'http');
        assert.equal(message.priority, 'high');
        assert.deepEqual(message.json(), { n: 1 });
      }
      const publisher = await join(node.url, nameOn(1, 'publisher'));
      publisher.publish('http.sdk', 'by SDK');
      await until('the streams', () =>
        streams.every(({ text }) => (text.match(/^event: message$/gm)?.length ?? 0) === 2),
      );
      for (const { call, text } of streams) {
        const events = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data));
        assert.deepEqual(
          events.map(({ topic, from, data }) => [topic, from, data]),
          [
            ['http.json', 'http', { n: 1 }],
            ['http.sdk', publisher.agentId, 'by SDK'],
          ],
        );
        call.destroy();
      }
      const refused = await post(node, '/v1/publish/_agent.nobody', 'x');
      assert.equal((JSON.parse(refused.body) as { code: string }).code, 'UNKNOWN_AGENT');
      // A stream that is gone takes its interest along.
      await until('the end of the streams', async () => {
        return (await metric(node, 'flowbus_subscriptions')) === 2;
      });
    });
  });
});
