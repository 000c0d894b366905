import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Report } from '../../bench/report.js';
import type { Result } from '../../bench/scenario.js';

const MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
const TINY = ['--runs', '1', '--seconds', '0.3', '--warmup', '0.1', '--shards', '2'];
const DEADLINE = 60_000;

describe('the bench', function () {
  this.timeout(90_000);
  let own: string;
  const children: ChildProcess[] = [];

  before(() => {
    own = mkdtempSync(join(tmpdir(), 'fb-bench-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  after(() => rmSync(own, { recursive: true, force: true }));

  function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...process.env, TMPDIR: own, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return child;
  }

  async function run(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ code: number | null; out: string; err: string }> {
    const child = start(args, env);
    const timer = setTimeout(() => child.kill('SIGTERM'), DEADLINE);
    const text = { out: '', err: '' };
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      text.out += part;
    });
    child.stderr?.setEncoding('utf8').on('data', (part: string) => {
      text.err += part;
    });
    const [code] = (await once(child, 'close')) as [number | null];
    clearTimeout(timer);
    return { code, ...text };
  }

  function readReport(file: string): Report {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  }

  /** What is true of every result: nothing lost, each figure measured once, its median its only value. */
  function checkResult(result: Result, scenario: string, of: string, figures: readonly string[]): void {
    assert.equal(result.scenario, scenario);
    assert.equal(result.case, of);
    assert.deepEqual(
      result.figures.map(({ name }) => name),
      figures,
    );
    for (const { name, runs, median, min, max } of result.figures) {
      assert.equal(runs.length, 1, name);
      assert.deepEqual([median, min, max], [runs[0], runs[0], runs[0]], name);
      if (process.platform === 'linux') assert.ok(Number.isFinite(median), `${name} is ${median}`);
    }
    const { expected, received, lost, repeated } = result.account;
    assert.ok(expected > 0);
    assert.deepEqual({ received, lost, repeated }, { received: expected, lost: 0, repeated: 0 });
  }

  function figure(result: Result, name: string): number {
    const value = result.figures.find((one) => one.name === name)?.median;
    assert.ok(typeof value === 'number', name);
    return value;
  }

  it('throughput: counts each delivery, in a case for each number of subscribers', async () => {
    const file = join(own, 'throughput.json');
    const { code, out, err } = await run(['throughput', ...TINY, '--cases', '1:1,1:3', '--json', file]);
    assert.equal(code, 0, err);
    const report = readReport(file);
    const figures = ['delivered', 'published', 'cpuPerDelivery', 'batch', 'acrossShards'];
    assert.equal(report.results.length, 2);
    checkResult(report.results[0], 'throughput', '1→1', figures);
    checkResult(report.results[1], 'throughput', '1→3', figures);
    assert.ok(figure(report.results[0], 'delivered') > 0);
    assert.equal(report.results[1].account.expected % 3, 0);
    assert.ok(figure(report.results[0], 'batch') > 1);
    assert.match(out, /throughput 1→3\n.*payload bytes: 64/);
    assert.match(out, /messages lost: 0 of \d+/);
    assert.match(out, /NOT MET|met/);
    const chart = join(own, 'throughput-throughput.svg');
    assert.ok(out.includes(`chart: ${chart}\n`));
    assert.match(readFileSync(chart, 'utf8'), /^<svg [\s\S]*1→3[\s\S]*<\/svg>\n$/);
    const { machine } = report;
    assert.equal(machine.node, process.version);
    assert.ok(machine.cores >= 1 && machine.cpu !== '' && !Number.isNaN(Date.parse(machine.date)));
  });

  it('throughput: has a case for each size and burst, also from several publishers to many topics', async () => {
    const { code, out, err } = await run([
      'throughput',
      ...TINY,
      ...['--cases', '2:2', '--payload', '16,1000', '--burst', '1,32', '--topics', '100', '--json'],
    ]);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    assert.deepEqual(
      results.map(({ conditions }) => [conditions['payload bytes'], conditions['messages per burst']]),
      [
        [16, 1],
        [16, 32],
        [1000, 1],
        [1000, 32],
      ],
    );
    for (const result of results) {
      checkResult(result, 'throughput', '2→2', [
        'delivered',
        'published',
        'cpuPerDelivery',
        'batch',
        'acrossShards',
      ]);
      assert.equal(result.conditions.topics, 100);
    }
    // What is published one by one cannot be batched as what is published in bursts.
    assert.ok(figure(results[0], 'batch') < figure(results[1], 'batch'));
  });

  it('garbage: has what is allocated per message and per batch', async () => {
    const { code, out, err } = await run([
      'garbage',
      ...['--runs', '1', '--seconds', '2', '--warmup', '0.5', '--shards', '2', '--burst', '64', '--json'],
    ]);
    assert.equal(code, 0, err);
    const [result] = (JSON.parse(out) as Report).results;
    const figures = ['perMessage', 'perBatch', 'batch', 'delivered', 'collections', 'pauses'];
    checkResult(result, 'garbage', 'bursts of 64', figures);
    assert.ok(figure(result, 'collections') > 0);
    assert.ok(figure(result, 'perBatch') > figure(result, 'perMessage'));
  });

  it('request: counts answers, and times each', async () => {
    const { code, out, err } = await run(['request', ...TINY, '--outstanding', '3', '--json']);
    assert.equal(code, 0, err);
    const [result] = (JSON.parse(out) as Report).results;
    const figures = ['requests', 'p50', 'p95', 'p99', 'p999', 'max', 'cpuPerRequest', 'acrossShards'];
    checkResult(result, 'request', '3 outstanding', figures);
    assert.ok(figure(result, 'p50') > 0);
  });

  it('peers: has the same work done by each bus, and prints how they compare', async () => {
    const { code, out, err } = await run([
      'peers',
      ...TINY,
      ...['--buses', 'aedes,socket.io', '--tasks', '1→1,request', '--json'],
    ]);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    assert.deepEqual(
      results.map((result) => `${result.bus} ${result.case}`),
      [
        'flowbus 1→1',
        'aedes 1→1',
        'socket.io 1→1',
        'flowbus 1→1: flowbus against aedes',
        'flowbus 1→1: flowbus against socket.io',
        'flowbus request',
        'socket.io request',
        'flowbus request: flowbus against socket.io',
      ],
    );
    const [own, other, , ratio] = results;
    assert.equal(figure(ratio, 'delivered'), figure(own, 'delivered') / figure(other, 'delivered'));
    for (const { conditions } of [own, other]) assert.match(String(conditions.version), /^\d+\.\d+\.\d+/);
  });

  it('assured: stores, paces and recovers messages, each of which is consumed once; does without JetStream where it is not', async () => {
    const tasks = [
      '--tasks',
      'publish,pace,recover',
      '--outstanding',
      '8',
      '--rate',
      '500',
      '--recover',
      '300',
    ];
    const { code, out, err } = await run(['assured', ...TINY, ...tasks, '--json'], { PATH: own });
    assert.equal(code, 0, err);
    assert.match(err, /nats-server is not installed/);
    const { results } = JSON.parse(out) as Report;
    const stored = ['stored', 'storedP50', 'storedP95', 'storedP99', 'cpuPerPublish'];
    const latencies = [
      'p50',
      'p95',
      'p99',
      'p999',
      'max',
      'storedP50',
      'storedP95',
      'latenessP50',
      'latenessP99',
    ];
    const [publish, pace, recover, ...others] = results;
    assert.deepEqual(others, []);
    checkResult(publish, 'assured', 'publish, 8 on their way', stored);
    checkResult(pace, 'assured', '500/s', [...latencies, 'cpuPerDelivery']);
    checkResult(recover, 'assured', 'recover 300 messages', ['start', 'startEmpty', 'memoryFull']);
    assert.ok(figure(publish, 'stored') > 0 && figure(pace, 'p50') > 0 && figure(pace, 'storedP50') > 0);
    assert.deepEqual([pace.account.expected, recover.account.expected], [200, 300]);
    assert.deepEqual(
      readdirSync(own).filter((name) => name.startsWith('flowbus-stored-')),
      [],
    );
  });

  it('latency: has ordered percentiles of every message that was due in the measured time', async () => {
    const file = join(own, 'latency.json');
    const { code, err } = await run(['latency', ...TINY, '--rate', '2000', '--json', file]);
    assert.equal(code, 0, err);
    const [result] = readReport(file).results;
    checkResult(result, 'latency', '2000/s', [
      'p50',
      'p95',
      'p99',
      'p999',
      'max',
      'jitter',
      'latenessP50',
      'latenessP99',
      'cpuPerDelivery',
      'batch',
      'acrossShards',
    ]);
    assert.equal(result.account.expected, 800);
    const percentiles = ['p50', 'p95', 'p99', 'p999', 'max'].map((name) => figure(result, name));
    assert.deepEqual(
      [...percentiles].sort((a, b) => a - b),
      percentiles,
    );
    assert.ok(percentiles[0] > 0);
  });

  it('soak: samples each second while agents come and go', async () => {
    const { code, out, err } = await run([
      'soak',
      ...['--seconds', '3', '--warmup', '0.5', '--shards', '2', '--rate', '1000', '--visits', '10', '--json'],
    ]);
    assert.equal(code, 0, err);
    const [result] = (JSON.parse(out) as Report).results;
    checkResult(result, 'soak', '', [
      'memoryStart',
      'memoryEnd',
      'memoryGrowth',
      'p99First',
      'p99Last',
      'cpu',
      'visitP50',
      'visitP99',
    ]);
    // 3.5 s of messages, and of visits.
    assert.equal(result.account.expected, 3500 + 35);
    const series = Object.fromEntries(result.series!.map(({ name, runs }) => [name, runs[0]]));
    assert.deepEqual(Object.keys(series), ['memory', 'cpu', 'p50', 'p99', 'missing']);
    for (const values of Object.values(series)) assert.equal(values.length, 3);
    for (const value of [...series.p50, ...series.p99]) assert.ok(value !== null && value > 0);
  });

  it('connections: connects all, weighs them, and reaches each', async () => {
    const { code, out, err } = await run([
      'connections',
      ...TINY,
      '--agents',
      '50',
      '--swarms',
      '2',
      '--json',
    ]);
    assert.equal(code, 0, err);
    const report = JSON.parse(out) as Report;
    const [result] = report.results;
    checkResult(result, 'connections', '', [
      'memoryEach',
      'memoryBefore',
      'connects',
      'cpuPerConnect',
      'broadcast',
      'broadcastRate',
      'heartbeat',
      'heartbeatP50',
      'heartbeatP99',
      'cpuPerHeartbeat',
      'silentCores',
      'heartbeatCores',
    ]);
    assert.ok(figure(result, 'heartbeatP50') > 0);
    assert.ok(figure(result, 'heartbeatP50') <= figure(result, 'heartbeatP99'));
    // In 0.3 s of 15 the first agent of each swarm is due, and no more.
    assert.equal(result.account.expected, 50 * (6 + 5) + 2);
    assert.ok(figure(result, 'connects') > 0);
    if (process.platform === 'linux') assert.match(result.notes.join(), /memory is (Pss|RSS)/);
  });

  it('routing: finds the one taker of each topic, whatever else is subscribed', async () => {
    const { code, out, err } = await run([
      'routing',
      ...TINY,
      ...['--subscriptions', '10,2000', '--held', '2000', '--json'],
    ]);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    const lookups = ['match', 'cachedText', 'cachedId'];
    const many = [...lookups, 'memoryPerSubscription', 'matchRatio'];
    checkResult(results[0], 'routing', '10 exact', lookups);
    checkResult(results[1], 'routing', '2000 exact', many);
    checkResult(results[2], 'routing', '10 wildcard', lookups);
    checkResult(results[3], 'routing', '2000 wildcard', many);
    assert.equal(figure(results[1], 'matchRatio'), figure(results[1], 'match') / figure(results[0], 'match'));
    checkResult(results[4], 'routing', '1→1 beside 2000 subscriptions', [
      'delivered',
      'cpuPerDelivery',
      'acrossShards',
      'subscribes',
    ]);
  });

  it('priority: times critical messages alone and under a flood of background, and counts both', async () => {
    const { code, out, err } = await run(['priority', ...TINY, '--rate', '500', '--json']);
    assert.equal(code, 0, err);
    const [alone, flooded] = (JSON.parse(out) as Report).results;
    const latencies = ['p50', 'p99', 'p999', 'max', 'latenessP99'];
    checkResult(alone, 'priority', 'without a flood', [...latencies, 'acrossShards']);
    assert.equal(alone.account.expected, 200);
    assert.equal(flooded.case, 'under a flood');
    const { expected, received, lost, repeated } = flooded.account;
    // What was shed was told: it is no loss, and with what came it makes up everything.
    assert.equal(received + figure(flooded, 'backgroundShed'), expected);
    assert.deepEqual({ lost, repeated }, { lost: 0, repeated: 0 });
    assert.ok(expected > 200);
    assert.ok(figure(flooded, 'background') > 0 && figure(flooded, 'p50') > 0);
  });

  it('http: counts answers, times each, and has every message delivered', async () => {
    const { code, out, err } = await run([
      'http',
      ...TINY,
      '--connections',
      '3',
      '--pipelining',
      '2',
      '--json',
    ]);
    assert.equal(code, 0, err);
    const [result] = (JSON.parse(out) as Report).results;
    const figures = ['requests', 'p50', 'p95', 'p99', 'p999', 'max', 'cpuPerRequest'];
    checkResult(result, 'http', '3 connections', figures);
    assert.ok(figure(result, 'requests') > 0 && figure(result, 'p50') > 0);
    assert.deepEqual(result.notes, []);
  });

  it('json: has text delivered from door to door', async () => {
    const { code, out, err } = await run(['json', ...TINY, '--json']);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    const cases = ['JSON→JSON', 'SDK→JSON', 'JSON→SDK'];
    assert.equal(results.length, cases.length);
    for (const [place, result] of results.entries()) {
      checkResult(result, 'json', cases[place], ['delivered', 'published', 'cpuPerDelivery', 'acrossShards']);
      assert.ok(figure(result, 'delivered') > 0);
      assert.deepEqual(result.notes, []);
    }
  });

  it('links: has every record arrive in order, and pings answered, over both kinds', async () => {
    const { code, out, err } = await run(['links', ...TINY, '--batch', '1,64', '--json']);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    // Sockets alone where shared memory does not work.
    assert.ok(results.length === 4 || (results.length === 2 && /probe of shared memory/.test(err)), err);
    const figures = [
      'records',
      'cpuSender',
      'cpuReceiver',
      'cores',
      'refusals',
      'roundTripP50',
      'roundTripP99',
    ];
    for (const result of results) {
      checkResult(result, 'links', result.case, figures);
      assert.ok(figure(result, 'records') > 0 && figure(result, 'roundTripP50') > 0);
      assert.deepEqual(result.notes, []);
    }
    assert.deepEqual(new Set(results.slice(-2).map((result) => result.case)), new Set(['unix-socket']));
  });

  it('node-link: has every message arrive in order, paced ones too, without a secret and with one', async () => {
    const { code, out, err } = await run(['node-link', ...TINY, '--rate', '1000', '--json']);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    assert.deepEqual(
      results.map((result) => result.case),
      ['noise', 'noise and secret'],
    );
    for (const result of results) {
      checkResult(result, 'node-link', result.case, [
        'messages',
        'cpuSender',
        'cpuReceiver',
        'p50',
        'p95',
        'p99',
        'sentLateP50',
      ]);
      assert.ok(figure(result, 'messages') > 0 && figure(result, 'p50') > 0);
      assert.deepEqual(result.notes, []);
    }
  });

  it('mesh: messages from node to node, with a secret too, and what of their cost is the mesh workers', async () => {
    const { code, out, err } = await run(['mesh', ...TINY, '--rate', '1000', '--secret', '--json']);
    assert.equal(code, 0, err);
    const { results } = JSON.parse(out) as Report;
    const own = results.filter(({ bus, account }) => bus === 'flowbus' && account.expected > 0);
    const costs = ['cpuPerDelivery', 'cpuNear', 'cpuNearMesh', 'cpuFar', 'cpuFarMesh'];
    const paced = ['p50', 'p95', 'p99', 'oneP50', 'oneP95', 'oneP99', 'addedP50', 'addedP95', 'latenessP50'];
    assert.equal(own.length, 2);
    checkResult(own[0], 'mesh', 'throughput', ['delivered', 'published', ...costs]);
    checkResult(own[1], 'mesh', 'latency at 1000/s', [...paced, ...costs]);
    for (const result of own) assert.deepEqual(result.notes, []);
    if (process.platform === 'linux') {
      const [whole, near, nearMesh, far, farMesh] = costs.map((name) => figure(own[0], name));
      assert.ok(Math.abs(whole - near - far) < whole * 1e-6);
      assert.ok(nearMesh > 0 && nearMesh <= near && farMesh > 0 && farMesh <= far);
    }
    assert.ok(figure(own[1], 'p50') > 0);
    const { oneP50, p50, addedP50 } = Object.fromEntries(paced.map((name) => [name, figure(own[1], name)]));
    assert.equal(addedP50, p50 - oneP50);
    const other = results.find(({ bus, case: task }) => bus === 'nats' && task === 'throughput');
    // Where it is not installed the bench says so, and goes on without it.
    if (other === undefined) assert.match(err, /nats-server is not installed/);
    else assert.ok(figure(other, 'delivered') > 0 && figure(other, 'cpuNear') > 0);
  });

  it('directory: simulated nodes agree after all that happens to them', async () => {
    const { code, out, err } = await run(['directory', ...TINY, '--nodes', '3', '--agents', '60', '--json']);
    assert.equal(code, 0, err);
    const [result] = (JSON.parse(out) as Report).results;
    const figures = ['join', 'settle', 'dead', 'back', 'heal', 'quiet', 'busy', 'memoryOfNode'];
    checkResult(result, 'directory', '3 nodes', figures);
    assert.ok(figure(result, 'dead') >= 5000);
    assert.ok(figure(result, 'busy') > figure(result, 'quiet'));
  });

  // Where the system does not tell its limits, there is nothing to check beforehand.
  const itKnowsLimits = existsSync('/proc/self/limits') ? it : () => {};
  itKnowsLimits('says which limit stands in the way, and fails', async () => {
    const file = join(own, 'refused.json');
    const { code, err } = await run(['connections', '--agents', '1000000', '--swarms', '1', '--json', file]);
    // A limit that allows even this would be a strange machine.
    assert.equal(code, 1);
    assert.match(err, /1000000 agents need 1000200 open files in one process, and \d+ are allowed/);
    assert.equal(readReport(file).refused.length, 1);
  });

  it('refuses wrong arguments with exit code 2', async () => {
    for (const [args, message] of [
      [['speed'], /there is no scenario "speed"/],
      [['--runs', '0'], /It must be a whole number from 1/],
      [['--json', 'latency'], /put the scenario first/],
      [['latency', '--payload', '1'], /It must be a whole number from 12/],
      [['throughput', '--cases', '1'], /a list of publishers:subscribers/],
      [['peers', '--buses', 'smoke'], /a list of flowbus, nats/],
      [['assured', '--tasks', 'sleep'], /a list of publish, consume/],
      [['soak', '--minutes', '0'], /It must be minutes, more than 0/],
      [['gate'], /'--base <commit>' not specified/],
      [['gate', '--base', 'HEAD', '--tolerance', '-1'], /It must be a whole number from 0/],
    ] as const) {
      const { code, err } = await run(args);
      assert.equal(code, 2, err);
      assert.match(err, message);
    }
  });

  it('gate: refuses a commit that it does not know with exit code 2 and one line', async () => {
    const { code, out, err } = await run(['gate', '--base', 'no-such-commit']);
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.equal(err, 'error: there is no commit "no-such-commit" here\n');
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const child = start(['throughput', '--seconds', '60', '--cases', '1:1', '--json']);
    const ended = once(child, 'close');
    const limit = Date.now() + DEADLINE;
    while (!readdirSync(own).some((name) => name.startsWith('flowbus-run-'))) {
      assert.ok(Date.now() < limit && child.exitCode === null, 'the broker has not started');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    child.kill('SIGINT');
    assert.equal((await ended)[0], 130);
    assert.deepEqual(
      readdirSync(own).filter((name) => name.startsWith('flowbus-run-')),
      [],
    );
  });
});
