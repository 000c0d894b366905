import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '../../lib/client/index.js';
import { CAPABILITY } from '../../ops/demo/coordinator.js';
import { countWords, toPayload } from '../../ops/demo/count.js';
import type { DemoReport } from '../../ops/demo/report.js';
import { isAlive } from './broker/node.js';

const MAIN = fileURLToPath(new URL('../../ops/demo/main.js', import.meta.url));
const DEADLINE = 50_000;
const FILES = 80;

/** Words that differ from file to file, and some that do not. */
function textOf(file: number): string {
  const lines = Array.from(
    { length: 20 },
    (_, line) => `The bus, line ${line} of file${file}: naïve Ünïcode.`,
  );
  return `${lines.join('\n')}\n`;
}

describe('the demo', function () {
  this.timeout(60_000);
  let own: string;
  let corpus: string;
  const children: ChildProcess[] = [];

  before(() => {
    own = mkdtempSync(join(tmpdir(), 'fb-demo-'));
    corpus = join(own, 'corpus');
    mkdirSync(join(corpus, 'deep'), { recursive: true });
    for (let file = 0; file < FILES; file++) writeFileSync(join(corpus, 'deep', `${file}.md`), textOf(file));
    // Several tasks of one file.
    writeFileSync(join(corpus, 'LICENSE'), 'as long as it takes\n'.repeat(6000));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  after(() => rmSync(own, { recursive: true, force: true }));

  function start(args: readonly string[]): ChildProcess {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...process.env, TMPDIR: own },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return child;
  }

  async function run(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
    const child = start(args);
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

  /** What it prints, once that is so. */
  async function said(child: ChildProcess, what: RegExp): Promise<RegExpExecArray> {
    let out = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      out += part;
    });
    const limit = Date.now() + DEADLINE;
    for (;;) {
      const match = what.exec(out);
      if (match !== null) return match;
      assert.ok(Date.now() < limit && child.exitCode === null, `it has not said ${what}: ${out}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  function remains(): string[] {
    return readdirSync(own).filter((name) => /^flowbus-(run|demo)-/.test(name));
  }

  it('has 50 workers count a corpus, and gets what one process gets', async () => {
    const { code, out, err } = await run([
      '--corpus',
      corpus,
      '--workers',
      '50',
      '--processes',
      '3',
      '--json',
    ]);
    assert.equal(code, 0, err);
    const report = JSON.parse(out) as DemoReport;
    assert.equal(report.ok, true);
    assert.equal(report.difference, null);
    assert.equal(report.corpus.files, FILES + 1);
    // 120,000 bytes in parts of at most 48 KiB.
    assert.equal(report.corpus.tasks, FILES + 3);
    assert.deepEqual(report.totals, {
      words: FILES * 20 * 8 + 6000 * 5,
      // "the bus line of naïve ünïcode", "as long it takes", the numbers of the lines, the names of the files.
      different: 6 + 4 + 20 + FILES,
      lines: FILES * 20 + 6000,
    });
    assert.deepEqual(report.top[0], ['as', 12_000]);
    assert.equal(report.shares.length, 50);
    assert.equal(
      report.shares.reduce((sum, { tasks }) => sum + tasks, 0),
      report.corpus.tasks,
    );
    assert.equal(
      report.shares.reduce((sum, { words }) => sum + words, 0),
      report.totals.words,
    );
    assert.ok(report.statuses.messages >= 2 * report.corpus.tasks);
    // The second act: whoever was at the task in the middle was killed, and it was counted all the same.
    const { task, worker, process: killed, heir, redelivered } = report.crash!;
    assert.equal(task, Math.floor(report.corpus.tasks / 2));
    assert.match(worker, /^worker-\d\d$/);
    assert.match(heir, /^worker-\d\d$/);
    assert.ok(redelivered >= 1);
    assert.ok(!isAlive(killed));
    assert.deepEqual(remains(), []);
  });

  it('gives the tasks of workers that do not answer to others', async () => {
    const args = [
      '--corpus',
      corpus,
      '--workers',
      '12',
      '--processes',
      '2',
      '--stuck',
      '2',
      '--timeout',
      '1000',
    ];
    const { code, out, err } = await run([...args, '--json']);
    assert.equal(code, 0, err);
    const report = JSON.parse(out) as DemoReport;
    assert.equal(report.ok, true);
    assert.ok(report.retries >= 2);
    for (const worker of ['worker-01', 'worker-02']) {
      assert.ok(report.setAside.includes(worker));
      assert.equal(report.shares.find((share) => share.worker === worker)?.tasks, 0);
    }
  });

  it('tells people how it goes, without colours where there is no terminal', async () => {
    const { code, out, err } = await run(['--corpus', corpus, '--workers', '5', '--processes', '1']);
    assert.equal(code, 0, err);
    assert.match(out, /81 files, 0\.2 MiB, 83 tasks/);
    assert.match(out, /100 % {3}83 of 83 tasks {3}5 workers heard of/);
    assert.match(out, /12,000 {2}as\n/);
    assert.match(
      out,
      /worker-\d was killed \(kill -9 of process \d+\) in the midst of task 41, which worker-\d did/,
    );
    assert.match(out, /OK: the same as a single process computes/);
    assert.ok(!out.includes('\x1b'));
  });

  it('gives tasks to whoever has the capability, and notices when one of them is wrong', async () => {
    const processes = 8;
    const child = start([
      '--corpus',
      corpus,
      '--workers',
      String(processes),
      '--processes',
      String(processes),
    ]);
    let out = '';
    child.stdout?.on('data', (part: string) => {
      out += part;
    });
    const ended = once(child, 'close');
    const [, url] = await said(child, /broker {3}(ws:\S+),/);
    // It is there before eight processes have started, which is before the coordinator looks for workers.
    const liar = await connect(url, { agentType: 'liar', capabilities: [CAPABILITY], reconnect: false });
    try {
      const crews = new Set<unknown>();
      liar.on('message', async () => {
        const workers = await liar.agents({ type: 'worker', online: true });
        for (const { metadata } of workers) crews.add((metadata as { process: number }).process);
        return toPayload(countWords('a lie'));
      });
      assert.equal((await ended)[0], 1, out);
      assert.match(out, /WRONG: the agents have \d+ words, and \d+ in a single process/);
      assert.equal(crews.size, processes);
      assert.ok(!crews.has(child.pid));
    } finally {
      await liar.close();
    }
  });

  it('fails when no worker answers', async () => {
    const args = [
      '--corpus',
      corpus,
      '--workers',
      '2',
      '--processes',
      '1',
      '--stuck',
      '2',
      '--timeout',
      '50',
    ];
    const { code, err } = await run(args);
    assert.equal(code, 1);
    assert.match(err, /^flowbus: 83 tasks are left, and no worker answers any more/m);
    assert.deepEqual(remains(), []);
  });

  it('refuses wrong arguments, and a folder without texts', async () => {
    const empty = join(own, 'empty');
    mkdirSync(empty);
    for (const [args, message] of [
      [['--workers', '0'], /It must be a whole number from 1 to 1000\. \(BAD_OPTION\): see --help\n$/],
      [['--wrokers', '5'], /unknown option '--wrokers' \(BAD_OPTION\): did you mean --workers\?/],
      [['--corpus', join(own, 'nowhere')], /the corpus cannot be read/],
      [['--corpus', empty], /there are no \*\.md and no LICENSE\* files/],
    ] as const) {
      const { code, err } = await run(args);
      assert.equal(code, 2, err);
      assert.match(err, /^flowbus: [^\n]+\n$/);
      assert.match(err, message);
    }
  });

  it('leaves nothing behind when it is interrupted', async () => {
    // As many as there are without a word about it.
    const child = start(['--corpus', corpus, '--stuck', '1000', '--timeout', '30000']);
    const ended = once(child, 'close');
    const [, workers, processes] = await said(child, /(\d+) workers in (\d+) processes/);
    assert.ok(Number(workers) >= 50 && Number(processes) > 1);
    child.kill('SIGINT');
    assert.equal((await ended)[0], 130);
    assert.deepEqual(remains(), []);
  });
});
