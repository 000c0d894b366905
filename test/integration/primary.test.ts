import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { type BrokerConfig, makeConfig } from '../../lib/config/index.js';
import { type RunningNode, type StartOptions, startNode } from '../../shards/primary.js';
import { echoBehindUpgrade, receive, request, sendPieces } from './raw-client.js';

const EXEC = fileURLToPath(new URL('./echo-worker.js', import.meta.url));
const MESH = fileURLToPath(new URL('./quiet-mesh.js', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./primary-program.js', import.meta.url));

interface LogLine {
  level: string;
  message: string;
}

const lines: LogLine[] = [];
const log = {
  debug: (_: object, message: string) => lines.push({ level: 'debug', message }),
  info: (_: object, message: string) => lines.push({ level: 'info', message }),
  warn: (_: object, message: string) => lines.push({ level: 'warn', message }),
  error: (_: object, message: string) => lines.push({ level: 'error', message }),
};

const nodes: RunningNode[] = [];
const programs: ChildProcess[] = [];

async function start(config: Partial<BrokerConfig> = {}, options: StartOptions = {}): Promise<RunningNode> {
  const node = await startNode(
    makeConfig({ port: 0, shards: 2, links: 'unix-socket', drainTimeout: 2000, ...config }),
    log,
    { exec: EXEC, ...options },
  );
  nodes.push(node);
  return node;
}

async function until(what: string, condition: () => boolean | Promise<boolean>, limit = 8000): Promise<void> {
  const end = performance.now() + limit;
  while (!(await condition())) {
    if (performance.now() > end) assert.fail(`${what}: not within ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isAlive(pid: number | undefined): boolean {
  try {
    return pid !== undefined && process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** User time that a process has had, in hundredths of a second. */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[11]);
}

function runDirectories(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('flowbus-run-'));
}

interface Who {
  slot: number;
  incarnation: number;
  pid: number;
  epochs: number[];
  peers: string[];
  segmentPath: string | null;
  socketsDir: string;
}

async function who(node: RunningNode, agentId: string): Promise<Who> {
  return whoAt(node.address.port, agentId);
}

async function whoAt(port: number, agentId: string): Promise<Who> {
  const response = await request(
    port,
    `GET /who?agentId=${agentId} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
  );
  return JSON.parse(response.slice(response.indexOf('{'), response.lastIndexOf('}') + 1)) as Who;
}

/** An agentId that is placed on `slot`. */
async function agentOn(node: RunningNode, slot: number): Promise<string> {
  for (let number = 0; number < 100; number++) {
    if ((await who(node, `agent-${number}`)).slot === slot) return `agent-${number}`;
  }
  return assert.fail(`no agent on shard ${slot}`);
}

function live(node: RunningNode, slot: number): boolean {
  return node.processes().some((process) => process.slot === slot && process.live);
}

/** Asks a shard for what it does not survive. */
function provoke(port: number, path: string, agentId: string): void {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`GET ${path}?agentId=${agentId} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
}

/** Starts a primary in its own process and resolves with what it prints. */
function runProgram(faults = ''): Promise<{ child: ChildProcess; url: string; pids: number[] }> {
  const child = spawn(process.execPath, [PROGRAM], {
    env: { ...process.env, ECHO_WORKER: faults },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  programs.push(child);
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('the primary ended')));
    child.stdout?.once('data', (line: Buffer) => resolve({ child, ...JSON.parse(line.toString()) }));
  });
}

describe('the primary', function () {
  this.timeout(20_000);

  // Apart from whatever other nodes run on this machine.
  const ownTmp = mkdtempSync(join(tmpdir(), 'flowbus-test-'));
  const callersTmp = process.env.TMPDIR;
  before(() => {
    process.env.TMPDIR = ownTmp;
  });
  after(() => {
    if (callersTmp === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = callersTmp;
    rmSync(ownTmp, { recursive: true });
  });

  afterEach(async () => {
    delete process.env.ECHO_WORKER;
    await Promise.all(nodes.splice(0).map((node) => node.kill()));
    for (const child of programs.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
    lines.length = 0;
  });

  describe('handing over', () => {
    it('loses no byte of 2,000 connections that send right behind the upgrade, in pieces', async () => {
      const node = await start();
      const wrong: string[] = [];
      let random = 12345;
      const next = () => {
        random = (Math.imul(random, 1103515245) + 12345) >>> 0;
        return random >>> 8;
      };
      for (let round = 0; round < 20; round++) {
        const batch = Array.from({ length: 100 }, (_, index) => {
          const messages = Array.from({ length: 1 + (next() % 6) }, () =>
            Buffer.alloc(1 + (next() % 100), next()),
          );
          const cuts = Array.from({ length: next() % 8 }, next);
          return echoBehindUpgrade(node.address.port, `/?agentId=a-${round}-${index}`, messages, cuts);
        });
        for (const problem of await Promise.all(batch)) if (problem !== null) wrong.push(problem);
      }
      assert.deepEqual(wrong, []);
    });

    it('loses no byte that comes while a connection waits for its shard', async () => {
      const node = await start({ shards: 1 });
      const [{ pid }] = node.processes();
      assert.ok(pid !== undefined);
      process.kill(pid, 'SIGSTOP');
      try {
        // More than its channel takes at a time: most stay in the primary, which has read their first piece.
        const waiting = until('the wait', () => node.processes()[0].connections === 10);
        const messages = Array.from({ length: 4 }, (_, index) => Buffer.alloc(100, index));
        const echoes = Array.from({ length: 10 }, () =>
          echoBehindUpgrade(node.address.port, '/?agentId=x', messages, [60, 200, 400], waiting),
        );
        await waiting;
        // Turns for each piece to be sent, and read by whoever still does.
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
        process.kill(pid, 'SIGCONT');
        assert.deepEqual(await Promise.all(echoes), Array(10).fill(null));
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    });

    it('loses no byte of a body much larger than what is read at once', async () => {
      const node = await start();
      const body = Buffer.from(Uint32Array.from({ length: 750_000 }, (_, index) => index).buffer);
      const socket = connect(node.address.port, '127.0.0.1');
      const head = `POST /?agentId=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
      socket.write(Buffer.concat([Buffer.from(head), body]));
      const answer = await receive(socket);
      assert.ok(answer.subarray(answer.indexOf('\r\n\r\n') + 4).equals(body));
    });

    it('answers a client that has closed its side of the connection', async () => {
      const node = await start();
      const socket = connect({ port: node.address.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.end('GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      assert.match((await receive(socket)).toString(), /^HTTP\/1\.1 200 /);
      socket.destroy();
    });

    it('brings an agent to the same shard each time, and both shards have some', async () => {
      const node = await start();
      const slots = new Set<number>();
      for (let number = 0; number < 20; number++) {
        const { slot } = await who(node, `agent-${number}`);
        assert.equal((await who(node, `agent-${number}`)).slot, slot);
        slots.add(slot);
      }
      assert.equal(slots.size, 2);
    });

    it('serves through cluster’s own round robin where a socket cannot be stopped', async () => {
      const node = await start({}, { accept: 'self' });
      const problem = await echoBehindUpgrade(node.address.port, '/', [Buffer.from('hello')], [50]);
      assert.equal(problem, null);
      const { port } = node.address;
      provoke(node.address.port, '/crash', 'x');
      await until('the restart', () =>
        node.processes().some(({ incarnation, live }) => incarnation === 2 && live),
      );
      assert.equal(await echoBehindUpgrade(port, '/', [Buffer.from('hello')], []), null);
    });
  });

  describe('at the door', () => {
    const jsonOf = (response: string) =>
      JSON.parse(response.slice(response.indexOf('{'))) as { code: string };

    it('answers 408 to a request line that does not come, or comes too slowly, and stays usable', async () => {
      const node = await start({ upgradeTimeout: 300 });
      const { port } = node.address;
      const silent = connect(port, '127.0.0.1');
      const slow = connect(port, '127.0.0.1');
      const drip = setInterval(() => slow.write('a'), 50);
      try {
        const answers = await Promise.all([receive(silent), receive(slow)]);
        for (const answer of answers) {
          assert.match(answer.toString(), /^HTTP\/1\.1 408 Request Timeout\r\n/);
          assert.equal(jsonOf(answer.toString()).code, 'UPGRADE_TIMEOUT');
        }
      } finally {
        clearInterval(drip);
        silent.destroy();
        slow.destroy();
      }
      assert.equal(await echoBehindUpgrade(port, '/?agentId=x', [Buffer.from('hello')], []), null);
    });

    it('answers 431 to a request line over 8 KiB, also to a client that reads only once all is sent', async () => {
      const node = await start();
      const socket = connect(node.address.port, '127.0.0.1');
      socket.pause();
      const failed = new Promise<never>((_, reject) => socket.once('error', reject));
      const pieces = Array.from({ length: 200 }, () => Buffer.alloc(1000, 'a'));
      await Promise.race([sendPieces(socket, [Buffer.from('GET /'), ...pieces]), failed]);
      const answer = receive(socket);
      socket.resume();
      const text = (await answer).toString();
      assert.match(text, /^HTTP\/1\.1 431 /);
      assert.equal(jsonOf(text).code, 'UPGRADE_TOO_LARGE');
      socket.destroy();
    });

    it('refuses with 503 what comes while too many requests are incomplete', async () => {
      const node = await start({}, { limits: { maxPeeks: 2 } });
      const { port } = node.address;
      const idle = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
      await Promise.all(idle.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
      const socket = connect(port, '127.0.0.1');
      assert.equal(jsonOf((await receive(socket)).toString()).code, 'OVERLOADED');
      idle[0].destroy();
      await until(
        'a place',
        async () => (await echoBehindUpgrade(port, '/', [Buffer.from('hello')], [])) === null,
      );
      idle[1].destroy();
    });

    it('refuses with 503 what has waited too long for a live shard, and what is too much to wait', async () => {
      const node = await start(
        { shards: 1 },
        { timing: { backoffMin: 2000 }, limits: { maxWaiting: 1, waitLimit: 200 } },
      );
      const { port } = node.address;
      provoke(node.address.port, '/crash', 'x');
      await until('the end', () => !live(node, 0));
      const text = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
      const answers = await Promise.all([request(port, text), request(port, text)]);
      const messages = answers.map((answer) => (jsonOf(answer) as { message?: string }).message);
      assert.deepEqual(messages.sort(), [
        'no shard is live',
        'no shard is live, and too many connections wait for one',
      ]);
    });

    it('survives clients that leave at any point', async () => {
      const node = await start();
      const { port } = node.address;
      for (const text of [
        '',
        'GE',
        'GET /?agentId=x HTTP/1.1\r\n',
        'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
      ]) {
        for (const reset of [false, true]) {
          const socket = connect(port, '127.0.0.1');
          socket.on('error', () => {});
          await sendPieces(socket, [Buffer.from(text)]);
          if (reset) socket.resetAndDestroy();
          else socket.destroy();
        }
      }
      assert.equal(await echoBehindUpgrade(port, '/?agentId=x', [Buffer.from('hello')], []), null);
      assert.ok(node.processes().every(({ incarnation }) => incarnation === 1));
    });

    it('refuses connections beyond maxConnections with 503, and takes new ones when others have ended', async () => {
      const node = await start({ maxConnections: 3 });
      const { port } = node.address;
      const webSockets = await Promise.all(
        [0, 1, 2].map(async (number) => {
          const webSocket = new WebSocket(`${node.url}/?agentId=a-${number}`);
          await new Promise((resolve, reject) => webSocket.once('open', resolve).once('error', reject));
          return webSocket;
        }),
      );
      const answer = await request(port, 'GET / HTTP/1.1\r\n\r\n');
      assert.match(answer, /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/);
      assert.equal(jsonOf(answer).code, 'OVERLOADED');
      for (const webSocket of webSockets) webSocket.close();
      await until('a place', async () => {
        const problem = await echoBehindUpgrade(port, '/', [Buffer.from('hello')], []);
        return problem === null;
      });
    });
  });

  describe('supervision', () => {
    it('restarts a shard that died, with pauses that grow to a limit, tells the others, and gives its agents back', async () => {
      const node = await start({}, { timing: { backoffMax: 150 } });
      const victim = await agentOn(node, 1);
      const other = await agentOn(node, 0);
      const bystander = new WebSocket(`${node.url}/?agentId=${other}`);
      await new Promise((resolve, reject) => bystander.once('open', resolve).once('error', reject));
      for (let incarnation = 1; incarnation <= 3; incarnation++) {
        provoke(node.address.port, '/crash', victim);
        await until('the end', () => !live(node, 1));
        assert.equal((await who(node, victim)).slot, 0);
        await until('the restart', () => live(node, 1));
        const back = await who(node, victim);
        assert.deepEqual([back.slot, back.incarnation], [1, incarnation + 1]);
        assert.deepEqual(back.epochs, [1, incarnation + 1]);
        assert.deepEqual(back.peers, ['up 0.1']);
      }
      assert.deepEqual((await who(node, other)).peers, [
        'up 1.1',
        'down 1.1',
        'up 1.2',
        'down 1.2',
        'up 1.3',
        'down 1.3',
        'up 1.4',
      ]);
      const pauses = lines.flatMap(({ message }) => /again in (\d+) ms/.exec(message)?.[1] ?? []);
      assert.deepEqual(pauses, ['50', '100', '150']);
      assert.equal(bystander.readyState, WebSocket.OPEN);
      bystander.close();
    });

    it('begins with short pauses again after a life long enough', async () => {
      const node = await start({ shards: 1 }, { timing: { backoffReset: 1 } });
      for (let incarnation = 1; incarnation <= 2; incarnation++) {
        provoke(node.address.port, '/crash', 'x');
        await until(
          'the restart',
          () => node.processes()[0]?.incarnation === incarnation + 1 && live(node, 0),
        );
      }
      const pauses = lines.flatMap(({ message }) => /again in (\d+) ms/.exec(message)?.[1] ?? []);
      assert.deepEqual(pauses, ['50', '50']);
    });

    it('keeps connections that come while no shard is live, and hands them to the next', async () => {
      const node = await start({ shards: 1 }, { timing: { backoffMin: 300 } });
      provoke(node.address.port, '/crash', 'x');
      await until('the end', () => !live(node, 0));
      assert.equal(
        await echoBehindUpgrade(node.address.port, '/?agentId=x', [Buffer.from('hello')], [9]),
        null,
      );
      assert.equal((await who(node, 'x')).incarnation, 2);
    });

    it('kills and restarts a shard that is stuck; the connections that waited for it go elsewhere', async () => {
      const node = await start({}, { timing: { pingInterval: 50, stuckTimeout: 500, backoffMin: 2000 } });
      const victim = await agentOn(node, 1);
      provoke(node.address.port, '/spin', victim);
      const waiting = Array.from({ length: 40 }, (_, index) =>
        echoBehindUpgrade(node.address.port, `/?agentId=${victim}`, [Buffer.from(`hello ${index}`)], [index]),
      );
      await until('the kill', () => lines.some(({ message }) => message.includes('was stuck')));
      // Those that were in its channel already went down with it: one on its way and one behind.
      const lost = (await Promise.all(waiting)).filter((problem) => problem !== null);
      assert.ok(lost.length <= 3, lost.join('\n'));
    });

    it('rejects with what the workers say when none can start, and leaves nothing behind', async () => {
      process.env.ECHO_WORKER = 'says-why';
      await assert.rejects(start(), {
        code: 'DATA_DIR_UNWRITABLE',
        message: 'dataDir /nowhere: cannot be written',
      });
      process.env.ECHO_WORKER = 'crashes-at-start';
      await assert.rejects(start(), /shard \d does not start: code 7/);
      assert.deepEqual(runDirectories(), []);
    });

    it('waits longer for shards that say that they get on with their journals', async () => {
      process.env.ECHO_WORKER = 'recovers-slowly';
      const node = await start({}, { timing: { readyTimeout: 4000 } });
      assert.deepEqual([node.liveShards, node.recovered], [2, 14]);
      assert.ok(node.processes().every(({ incarnation }) => incarnation === 1));
    });

    it('starts with the shards that are ready when another never is', async () => {
      process.env.ECHO_WORKER = 'one-never-ready';
      // Long enough for the other to start beside whatever else this machine does.
      const node = await start({}, { timing: { readyTimeout: 5000 } });
      assert.deepEqual([live(node, 0), live(node, 1)], [true, false]);
      assert.equal((await who(node, 'x')).slot, 0);
      assert.deepEqual([node.shards, node.liveShards], [2, 1]);
      assert.ok(
        lines.some(({ message }) => /^listening on \S+ with 1 of 2 shards; the others/.test(message)),
      );
    });
  });

  describe('the mesh worker', () => {
    let log = '';
    const seen = () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);

    beforeEach(() => {
      log = join(ownTmp, `mesh-${nodes.length}-${Date.now()}`);
      process.env.QUIET_MESH_LOG = log;
    });
    afterEach(() => {
      delete process.env.QUIET_MESH;
      delete process.env.QUIET_MESH_LOG;
    });

    it('has the slot behind the shards, counts as none of them, and gets no connection', async () => {
      const node = await start({ links: 'auto' }, { mesh: MESH });
      await node.meshSettled;
      const mesh = node.meshProcess();
      assert.deepEqual([mesh?.slot, mesh?.incarnation, mesh?.live], [2, 1, true]);
      assert.deepEqual(node.meshAddresses, ['127.0.0.1:1']);
      assert.deepEqual([node.shards, node.liveShards, node.processes().length], [2, 2, 2]);
      const { epochs } = await who(node, await agentOn(node, 1));
      assert.equal(epochs.length, 3);
      const slots = new Set<number>();
      for (let number = 0; number < 30; number++) slots.add((await who(node, `a-${number}`)).slot);
      assert.deepEqual([...slots].sort(), [0, 1]);
      assert.ok(!seen().includes('connection'));
    });

    it('is started again when it dies, and nothing else notices but the workers', async () => {
      const node = await start({}, { mesh: MESH });
      await node.meshSettled;
      const pid = node.meshProcess()?.pid;
      assert.ok(pid !== undefined);
      process.kill(pid, 'SIGKILL');
      await until('the end', () => node.meshProcess()?.pid !== pid);
      assert.equal(node.liveShards, 2);
      await until('the restart', () => node.meshProcess()?.live === true);
      const { peers } = await who(node, await agentOn(node, 0));
      assert.deepEqual(
        peers.filter((peer) => / 2\./.test(peer)),
        ['up 2.1', 'down 2.1', 'up 2.2'],
      );
      assert.ok(lines.some(({ message }) => message.startsWith('the mesh worker ended (SIGKILL)')));
    });

    it('that cannot start, or takes for ever, keeps nobody from starting', async () => {
      process.env.QUIET_MESH = 'says-why';
      const node = await start({}, { mesh: MESH });
      await node.meshSettled;
      assert.deepEqual([node.liveShards, node.meshAddresses], [2, []]);
      await until('the reason', () =>
        lines.some(({ message }) => message.startsWith('the mesh worker ended (no place to listen)')),
      );
      await node.stop();
      assert.equal(await node.closed, 0);
      process.env.QUIET_MESH = 'never-ready';
      assert.equal((await start({}, { mesh: MESH })).liveShards, 2);
    });

    it('drains when the shards have ended, and is killed when it takes too long', async () => {
      const polite = await start({}, { mesh: MESH });
      await polite.meshSettled;
      await polite.stop();
      assert.equal(await polite.closed, 0);
      const told = seen();
      assert.deepEqual(told.slice(-3).sort(), ['down 0.1', 'down 1.1', 'drain']);
      assert.equal(told.at(-1), 'drain');
      process.env.QUIET_MESH = 'never-drains';
      const stubborn = await start({ drainTimeout: 500 }, { mesh: MESH });
      await stubborn.meshSettled;
      const pid = stubborn.meshProcess()?.pid;
      await stubborn.stop();
      assert.equal(await stubborn.closed, 1);
      assert.ok(!isAlive(pid));
    });
  });

  describe('the end', () => {
    it('drains: agents are told, shards exit, nothing is left, code 0', async () => {
      const node = await start({ links: 'auto' });
      const { segmentPath, socketsDir } = await who(node, 'x');
      assert.equal(segmentPath !== null, node.linkKind === 'shared-memory');
      const left = [segmentPath, socketsDir].filter((path) => path !== null);
      const closes = Array.from({ length: 10 }, async (_, number) => {
        const webSocket = new WebSocket(`${node.url}/?agentId=a-${number}`);
        await new Promise((resolve, reject) => webSocket.once('open', resolve).once('error', reject));
        return { closed: new Promise<number>((resolve) => webSocket.once('close', resolve)) };
      });
      const opened = await Promise.all(closes);
      const pids = node.processes().map(({ pid }) => pid);
      await Promise.all([node.stop(), node.stop()]);
      assert.equal(await node.closed, 0);
      for (const { closed } of opened) assert.equal(await closed, 1001);
      assert.ok(!pids.some(isAlive));
      assert.ok(!left.some(existsSync));
      await assert.rejects(request(node.address.port, 'GET / HTTP/1.1\r\n\r\n'), { code: 'ECONNREFUSED' });
    });

    it('kills shards that do not drain in time, code 1', async () => {
      process.env.ECHO_WORKER = 'never-drains';
      const node = await start({ drainTimeout: 300 });
      const pids = node.processes().map(({ pid }) => pid);
      const begin = performance.now();
      await node.stop();
      assert.ok(performance.now() - begin >= 290);
      assert.equal(await node.closed, 1);
      assert.ok(!pids.some(isAlive));
    });

    it('says in one line what to do when the port is in use, and that before it forks', async () => {
      const occupant = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => occupant.once('listening', resolve));
      const { port } = occupant.address() as { port: number };
      try {
        await assert.rejects(start({ port }, { exec: '/nowhere' }), {
          code: 'PORT_IN_USE',
          message: `port ${port} on 127.0.0.1 is in use by another program: stop that, or choose another port (--port, FLOWBUS_PORT)`,
        });
      } finally {
        occupant.close();
      }
    });

    it('says so when the host is not one of this machine', async () => {
      await assert.rejects(start({ host: '192.0.2.1', allowUnauthenticated: true }), { code: 'BAD_CONFIG' });
    });

    it('drains at SIGTERM with code 0, and ends at once at the second signal', async () => {
      const polite = await runProgram();
      polite.child.kill('SIGTERM');
      const [code] = await new Promise<number[]>((resolve) =>
        polite.child.once('exit', (...args) => resolve(args as number[])),
      );
      assert.equal(code, 0);
      const stubborn = await runProgram('never-drains');
      const ended = new Promise<number[]>((resolve) =>
        stubborn.child.once('exit', (...args) => resolve(args as number[])),
      );
      stubborn.child.kill('SIGINT');
      await until('the end of accepting', () =>
        request(Number(new URL(stubborn.url).port), 'GET / HTTP/1.1\r\n\r\n').then(
          () => false,
          () => true,
        ),
      );
      assert.ok(stubborn.pids.every(isAlive));
      stubborn.child.kill('SIGTERM');
      assert.equal((await ended)[0], 1);
      await until('the end of the shards', () => !stubborn.pids.some(isAlive));
    });

    it('takes a signal that comes twice, as from GNU timeout, for one', async () => {
      const node = await start({}, { signals: true });
      // Real ones might be delivered as one.
      process.emit('SIGTERM', 'SIGTERM');
      process.emit('SIGTERM', 'SIGTERM');
      assert.equal(await node.closed, 0);
      assert.ok(!lines.some(({ message }) => message.includes('again')));
      process.env.ECHO_WORKER = 'never-drains';
      const stubborn = await start({}, { signals: true });
      process.emit('SIGINT', 'SIGINT');
      process.emit('SIGTERM', 'SIGTERM');
      assert.equal(await stubborn.closed, 1);
      assert.ok(lines.some(({ message }) => message === 'SIGTERM again: ending at once'));
    });

    it('leaves no process after kill -9 of the primary, and the next start removes what was left', async () => {
      const { child, url, pids } = await runProgram();
      const { segmentPath, socketsDir } = await whoAt(Number(new URL(url).port), 'x');
      const left = [segmentPath, socketsDir].filter((path) => path !== null);
      assert.ok(left.every(existsSync));
      child.kill('SIGKILL');
      await until('the end of the shards', () => !pids.some(isAlive));
      const node = await start();
      assert.ok(!left.some(existsSync));
      await node.stop();
      assert.deepEqual(runDirectories(), []);
    });

    it('takes shards along that are too busy to notice kill -9 of the primary', async function () {
      if (process.platform !== 'linux') this.skip();
      const { child, url, pids } = await runProgram();
      const port = Number(new URL(url).port);
      const { pid } = await whoAt(port, 'x');
      const before = cpuTicks(pid);
      provoke(port, '/spin', 'x');
      await until('the spin', () => cpuTicks(pid) > before + 20);
      child.kill('SIGKILL');
      await until('the end of the shards', () => !pids.some(isAlive));
    });
  });
});
