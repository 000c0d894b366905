/** Several brokers in processes of their own, which are one cluster. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Agent, Message } from '../../lib/client/index.js';
import type { ClusterNode } from '../../lib/mesh.js';
import { closeAgents, join, until } from './broker/node.js';
import { endAll, type Ready, Run } from './cli/run.js';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('a cluster', function () {
  this.timeout(120_000);

  const runs: Run[] = [];
  let dir: string;

  /** A node with its ports, by which it comes back when it is started again. */
  class Member {
    readonly name: string;
    readonly #flags: readonly string[];
    #ready: (Ready & { mesh: string[] }) | null = null;
    run: Run | null = null;

    constructor(name: string, ...flags: string[]) {
      this.name = name;
      this.#flags = flags;
    }

    async start(): Promise<void> {
      const { port = 0 } = this.#ready ?? {};
      const flags = ['--node', this.name, '--port', String(port), '--resume-window', '300ms', ...this.#flags];
      const run = new Run(['start', '--json', '--log-level', 'warn', ...flags], {}, dir);
      this.run = run;
      runs.push(run);
      await run.until('ready line', () => run.out.includes('\n'));
      this.#ready = JSON.parse(run.lines[0]);
    }

    get url(): string {
      return this.#ready!.url;
    }

    /** Where others join it. */
    get address(): string {
      return this.#ready!.mesh[0];
    }

    get pid(): number {
      return this.#ready!.pid;
    }

    async nodes(): Promise<ClusterNode[]> {
      const response = await fetch(`${this.url.replace('ws', 'http')}/v1/cluster`);
      return response.ok ? ((await response.json()) as { nodes: ClusterNode[] }).nodes : [];
    }

    async stateOf(name: string): Promise<string | undefined> {
      return (await this.nodes()).find(({ node }) => node === name)?.state;
    }

    async kill(): Promise<void> {
      this.run?.child.kill('SIGKILL');
      await this.run?.ended;
    }
  }

  let a: Member;
  let b: Member;
  let c: Member;

  /** Each node knows that the others are alive, and has a link with them: one comes after the other. */
  async function untilComplete(): Promise<void> {
    const linked = ({ state, roundTrip }: ClusterNode, i: number) =>
      state === 'alive' && (i === 0 || roundTrip !== null);
    const complete = async (member: Member) => (await member.nodes()).filter(linked).length === 3;
    await until(
      'three nodes with links to each other',
      async () => (await Promise.all([a, b, c].map(complete))).every(Boolean),
      30_000,
    );
  }

  before(async () => {
    dir = mkdtempSync(joinPath(tmpdir(), 'flowbus-mesh-'));
    const seedPort = await freePort();
    const seed = `127.0.0.1:${seedPort}`;
    a = new Member('node-a', '--shards', '2', '--mesh-port', String(seedPort), '--data-dir', 'a');
    b = new Member(
      'node-b',
      '--shards',
      '1',
      '--mesh-port',
      String(await freePort()),
      '--data-dir',
      'b',
      '--join',
      seed,
    );
    await b.start();
    // Its seed is down, which is no reason not to start.
    await until('an address that nobody answers at', async () =>
      (await b.nodes()).some(({ state, addresses }) => state === 'joining' && addresses[0] === seed),
    );
    c = new Member('node-c', '--shards', '1', '--mesh-port', '0', '--join', b.address);
    await Promise.all([a.start(), c.start()]);
    assert.equal(a.address, seed);
    await untilComplete();
  });
  afterEach(closeAgents);
  after(async () => {
    await endAll(runs);
    rmSync(dir, { recursive: true });
    for (const run of runs) if (run.child.signalCode === null) assert.equal(run.child.exitCode, 0, run.err);
  });

  /** `count` numbers on `topic`, as fast as they are taken. */
  async function publishNumbers(agent: Agent, topic: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) if (!agent.publish(topic, i)) await agent.drained();
  }

  it('is listed by every node, itself first', async () => {
    const list = new Run(['cluster', '--json', '--url', b.url], {}, dir);
    runs.push(list);
    assert.equal(await list.exit(), 0, list.err);
    const nodes = list.lines.map((line) => JSON.parse(line) as ClusterNode);
    assert.deepEqual(
      nodes.map(({ node }) => node),
      ['node-b', 'node-a', 'node-c'],
    );
    assert.equal(nodes[0].roundTrip, null);
    const shown = new Run(['cluster', '--url', c.url], {}, dir);
    runs.push(shown);
    assert.equal(await shown.exit(), 0, shown.err);
    assert.match(shown.lines[0], /^NODE +STATE +SINCE \(UTC\) +RTT +AGENTS +IN +OUT +ADDRESSES$/);
    assert.match(shown.lines[2], /^node-a +alive +[\d-]+ [\d:]+ +\d.* ms +\d+ .*127\.0\.0\.1/);
  });

  it('brings what is published on one node to the subscribers of all, once and in order', async () => {
    const COUNT = 2000;
    const got: number[][] = [];
    for (const [i, { url }] of [a, a, b, c].entries()) {
      const agent = await join(url, `taker-${i}`);
      const numbers: number[] = [];
      got.push(numbers);
      const subscription = await agent.subscribe('count.**', (message) => {
        numbers.push(message.json() as number);
      });
      await subscription.everywhere();
    }
    await publishNumbers(await join(c.url, 'giver'), 'count.up', COUNT);
    await until('all', () => got.every(({ length }) => length >= COUNT));
    const expected = Array.from({ length: COUNT }, (_, i) => i);
    for (const numbers of got) assert.deepEqual(numbers, expected);
  });

  it('stops sending to a node where nobody subscribes any more', async () => {
    const taker = await join(b.url, 'taker');
    const subscription = await taker.subscribe('gone.x', () => {});
    await subscription.everywhere();
    await subscription.unsubscribe();
    const sentTo = async () => (await c.nodes()).find(({ node }) => node === 'node-b')!.bytesOut;
    const giver = await join(c.url, 'giver');
    const mark = await join(b.url, 'mark');
    const seen: Message[] = [];
    await (await mark.subscribe('mark', (message) => void seen.push(message))).everywhere();
    giver.publish('mark', '');
    await until('the mark', () => seen.length === 1);
    const before = await sentTo();
    for (let i = 0; i < 100; i++) giver.publish('gone.x', 'x'.repeat(1000));
    giver.publish('mark', '');
    await until('the next mark', () => seen.length === 2);
    assert.ok((await sentTo()) - before < 50_000);
  });

  it('lets agents ask, send to and find each other wherever they are', async () => {
    const [asker, answerer, other] = await Promise.all([
      join(a.url, { agentId: 'asker' }),
      join(b.url, { agentId: 'answerer', capabilities: ['add'], metadata: { room: 7 } }),
      join(c.url, { agentId: 'other' }),
    ]);
    answerer.on('message', (message) => (message.json() as number) + 1);
    const records = async (agent: Agent) => agent.agents({ capability: 'add', online: true });
    for (const agent of [asker, answerer, other]) {
      await until('the record', async () => (await records(agent)).length === 1);
      const [{ agentId, node, metadata }] = await records(agent);
      assert.deepEqual([agentId, node, metadata], ['answerer', 'node-b', { room: 7 }]);
    }
    assert.equal((await asker.request('answerer', 1)).json(), 2);
    const inbox: string[] = [];
    other.on('message', (message) => void inbox.push(`${message.from}: ${message.text()}`));
    answerer.send('other', 'hello');
    await until('the letter', () => inbox.length === 1);
    assert.deepEqual(inbox, ['answerer: hello']);
    const worked: string[] = [];
    answerer.on('message', (message) => void worked.push(message.text()));
    other.sendTo({ capability: 'add' }, 5);
    await until('the work', () => worked.length > 0);
    await assert.rejects(asker.request('nobody', ''), { code: 'UNKNOWN_AGENT' });
  });

  it('tells on every node who has come, and who was killed', async () => {
    const watcher = await join(c.url, 'watcher');
    const seen: string[] = [];
    const subscription = await watcher.subscribe(
      'system.agent.walker.*',
      ({ topic }) => void seen.push(topic),
    );
    await subscription.everywhere();
    const walker = new Run(['reply', 'x', '--agent-id', 'walker', '--url', a.url], {}, dir);
    runs.push(walker);
    await until('the arrival', () => seen.includes('system.agent.walker.online'));
    const stateAt = async (member: Member) => {
      const agent = await join(member.url, `asks-${member.name}`);
      return (await agent.agents({ id: 'walker' }))[0]?.state;
    };
    await until('walker online', async () => (await stateAt(b)) === 'online');
    walker.child.kill('SIGKILL');
    await until('the end', () => seen.includes('system.agent.walker.offline'));
    await until('walker offline', async () => (await stateAt(b)) === 'offline');
  });

  it('goes on when a node is killed under load, and takes it back', async () => {
    const COUNT = 5000;
    const lost = await join(b.url, { agentId: 'lost', reconnect: false });
    lost.on('error', () => {});
    const giver = await join(a.url, 'giver');
    const taker = await join(c.url, 'taker');
    const numbers: number[] = [];
    await (await lost.subscribe('load.**', () => {})).everywhere();
    await (
      await taker.subscribe('load.**', (message) => void numbers.push(message.json() as number))
    ).everywhere();
    const published = publishNumbers(giver, 'load.x', COUNT);
    await until('some', () => numbers.length > 0);
    await b.kill();
    await published;
    await until('all', () => numbers.length === COUNT);
    assert.deepEqual(
      numbers,
      Array.from({ length: COUNT }, (_, i) => i),
    );
    for (const agent of [giver, taker])
      await until(
        'its agent offline',
        async () => (await agent.agents({ id: 'lost' }))[0]?.state === 'offline',
        30_000,
      );
    await b.start();
    await untilComplete();
    const back = await join(b.url, 'back');
    const heard: string[] = [];
    await (await back.subscribe('news', (message) => void heard.push(message.text()))).everywhere();
    giver.publish('news', 'from a');
    taker.publish('news', 'from c');
    await until(
      () => `the news: ${heard}`,
      () => heard.length === 2,
    );
    assert.deepEqual(heard.sort(), ['from a', 'from c']);
  });

  it('gets over the end of a mesh worker, of which agents of the node notice nothing', async () => {
    const pidOfMesh = () =>
      readdirSync('/proc').find((pid) => {
        try {
          const parent = / (\d+) /.exec(
            readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) \S/, ''),
          )?.[1];
          return (
            Number(parent) === a.pid && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('mesh-worker')
          );
        } catch {
          return false;
        }
      });
    if (process.platform !== 'linux') return;
    const [giver, near, far] = await Promise.all([
      join(a.url, 'giver'),
      join(a.url, 'near'),
      join(c.url, 'far'),
    ]);
    let disconnects = 0;
    for (const agent of [giver, near]) agent.on('disconnect', () => disconnects++);
    const got: Record<string, string[]> = { near: [], far: [] };
    for (const agent of [near, far])
      await (
        await agent.subscribe('both', (message) => void got[agent.agentId].push(message.text()))
      ).everywhere();
    const before = pidOfMesh();
    assert.ok(before !== undefined);
    process.kill(Number(before), 'SIGKILL');
    giver.publish('both', 'at once');
    await until('the near one', () => got.near.length === 1);
    await until('another mesh worker', () => ![undefined, before].includes(pidOfMesh()));
    await untilComplete();
    await until('the far one', () => {
      giver.publish('both', 'again');
      return got.far.includes('again');
    });
    assert.equal(disconnects, 0);
  });
});
