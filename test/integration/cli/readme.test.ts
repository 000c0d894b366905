/** What README.md tells a new user to type is typed, as it stands there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endAll, type Ready, Run } from './run.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const BLOCKS = [...README.matchAll(/^```(sh|js)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({
  language,
  text,
}));

/** The lines of the first block that holds `word`, without their comments. */
function linesOf(word: string): string[] {
  const { text } =
    BLOCKS.find((block) => block.text.includes(word)) ?? assert.fail(`no ${word} in README.md`);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ +#.*$/, ''));
}

describe('README.md', function () {
  this.timeout(60_000);
  const runs: Run[] = [];
  let dir: string;
  let url: string;

  before(async () => {
    // A user's project, with the package where npm would put it.
    dir = mkdtempSync(join(tmpdir(), 'flowbus-readme-'));
    mkdirSync(join(dir, 'node_modules', '.bin'), { recursive: true });
    symlinkSync(ROOT, join(dir, 'node_modules', 'flowbus'));
    const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      bin: Record<string, string>;
    };
    // npx finds programs here; what it adds to them is its own, and takes a second each time.
    for (const [name, path] of Object.entries(bin)) {
      symlinkSync(join(ROOT, path), join(dir, 'node_modules', '.bin', name));
    }
    writeFileSync(join(dir, 'node_modules', '.bin', 'npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    const broker = type('npx flowbus start --port 0 --shards 2 --json --log-level warn');
    await broker.until('address', () => broker.lines.length > 0);
    ({ url } = JSON.parse(broker.out) as Ready);
  });

  after(async () => {
    await endAll(runs.splice(0));
    rmSync(dir, { recursive: true });
  });

  function type(line: string): Run {
    const PATH = `${join(dir, 'node_modules', '.bin')}:${process.env.PATH}`;
    const env = { PATH, ...(url !== undefined && { FLOWBUS_URL: url }) };
    // In place of the shell, so that a signal reaches the program.
    const run = new Run(['-c', `exec ${line}`], env, dir, '/bin/sh');
    runs.push(run);
    return run;
  }

  it('has a tour that can be walked', async () => {
    const [sub] = linesOf('flowbus sub');
    const [reply] = linesOf('flowbus reply');
    const [pub, request, agents, ...curls] = linesOf('flowbus pub');
    const listener = type(sub);
    await listener.until('subscription', () => listener.err.includes('subscribed'));
    const echo = type(reply);
    await echo.until('readiness', () => echo.err.includes('echo'));
    const speaker = type(pub);
    assert.equal(await speaker.exit(), 0, speaker.err);
    await listener.until('the message', () => /^demo\.hello .*\{"hi":1\}$/m.test(listener.out));
    const asker = type(request);
    assert.equal(await asker.exit(), 0, asker.err);
    assert.match(asker.out, /\bpong$/m);
    await echo.until('the request', () => echo.out.includes('ping') || echo.err.includes('ping'));
    const visitor = type(agents);
    assert.equal(await visitor.exit(), 0, visitor.err);
    assert.match(visitor.out, /^echo\b/m);
    // The rest is for curl: the same requests, by fetch.
    assert.deepEqual(curls, [
      "curl -d 'over HTTP' localhost:8081/v1/publish/demo.http",
      "curl -N 'localhost:8081/v1/subscribe?pattern=demo.*'",
      'curl localhost:8081/metrics',
    ]);
    const base = url.replace('ws:', 'http:');
    const stream = await fetch(`${base}/v1/subscribe?pattern=demo.*`);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const posted = await fetch(`${base}/v1/publish/demo.http`, {
      method: 'POST',
      body: 'over HTTP',
      headers,
    });
    assert.equal(posted.status, 202);
    await listener.until('what was posted', () => /^demo\.http .*over HTTP$/m.test(listener.out));
    let events = '';
    for await (const chunk of stream.body!.pipeThrough(new TextDecoderStream())) {
      events += chunk;
      if (events.includes('over HTTP')) break;
    }
    assert.match(await (await fetch(`${base}/metrics`)).text(), /^flowbus_publishes_total\{/m);
  });

  it('has an example that runs, imported as users import it', async () => {
    const { text } = BLOCKS.find(({ language }) => language === 'js') ?? assert.fail('no example');
    assert.ok(text.includes("from 'flowbus'"));
    writeFileSync(join(dir, 'example.mjs'), text.replaceAll('ws://127.0.0.1:8081', url));
    const example = type('node example.mjs');
    assert.equal(await example.exit(), 0, example.err);
    assert.match(example.out, /agentId: 'worker-7'[\s\S]*\{ done: 3 \}\nplanner-1 \{ page: 4 \}\n$/);
  });

  it('is right that browsers get an entry of their own', () => {
    const resolved = (...conditions: string[]) =>
      execFileSync(
        process.execPath,
        [...conditions, '--input-type=module', '-e', "console.log(import.meta.resolve('flowbus'))"],
        { cwd: dir, encoding: 'utf8' },
      ).trim();
    assert.match(resolved(), /\/dist\/lib\/client\/index\.js$/);
    assert.match(resolved('--conditions=browser'), /\/dist\/lib\/client\/browser\.js$/);
  });
});
