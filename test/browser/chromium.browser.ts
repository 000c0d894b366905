import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Agent, connect } from '../../lib/client/index.js';
import { makeConfig } from '../../lib/config/index.js';
import { createLogger } from '../../lib/telemetry/log.js';
import { type RunningNode, startNode } from '../../shards/primary.js';

/** dist/test/browser → dist. */
const DIST = resolve(fileURLToPath(new URL('.', import.meta.url)), '../..');
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  existsSync,
);
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** What the page does; it reports to a Node agent over the bus itself. */
const page = (url: string): string => `<!doctype html><title>flowbus</title><script type="module">
import { connect } from '/lib/client/browser.js';
try {
  const agent = await connect(${JSON.stringify(url)}, { agentId: 'browser-1', agentType: 'page', capabilities: ['dom'] });
  agent.on('message', (msg) => ({ echoed: msg.json(), title: document.title }));
  const got = [];
  await agent.subscribe('to.browser.*', (msg) => { got.push([msg.topic, msg.from, msg.text()]); if (got.length === 1000) agent.publish('from.browser.all', got); });
  agent.publish('from.browser.ready', new Uint8Array([1, 2, 3]));
} catch (error) {
  document.title = 'failed: ' + error;
  await fetch('/failed', { method: 'POST', body: String(error.stack ?? error) });
}
</script>`;

/** Needs chromium: a test of its own, `npm run test:browser`. */
describe('the SDK in a browser', () => {
  let node: RunningNode;
  let agent: Agent;
  let server: Server;
  let profile: string;
  let browser: ChildProcess;
  let failure = '';

  before(async function () {
    this.timeout(60_000);
    assert.ok(CHROMIUM, 'install chromium (Debian: apt-get install chromium)');
    const config = makeConfig({ port: 0, shards: 2, logLevel: 'warn' });
    node = await startNode(config, createLogger(config));
    agent = await connect(node.url, { agentId: 'node-1' });
    server = createServer((request, response) => {
      const path = normalize(request.url ?? '/');
      if (request.method === 'POST') {
        request.on('data', (chunk) => {
          failure += chunk;
        });
        response.end();
      } else if (path === '/') {
        response.setHeader('content-type', 'text/html').end(page(node.url));
      } else if (extname(path) === '.js' && existsSync(join(DIST, path))) {
        response.setHeader('content-type', 'text/javascript').end(readFileSync(join(DIST, path)));
      } else {
        response.writeHead(404).end();
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    profile = mkdtempSync(join(tmpdir(), 'flowbus-browser-'));
  });

  after(async () => {
    if (browser?.exitCode === null) {
      browser.kill('SIGKILL');
      await once(browser, 'exit');
    }
    server?.close();
    await agent?.close();
    await node?.stop();
    if (profile !== undefined)
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  it('connects, subscribes, publishes, answers requests, and is in the directory', async function () {
    this.timeout(60_000);
    const ready = new Promise<Uint8Array>((resolve) => {
      agent.subscribe('from.browser.ready', (msg) => resolve(msg.payload));
    });
    const all = new Promise<string[][]>((resolve) => {
      agent.subscribe('from.browser.all', (msg) => resolve(msg.json()));
    });
    const { port } = server.address() as AddressInfo;
    browser = spawn(CHROMIUM!, [...FLAGS, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], {
      stdio: 'ignore',
    });
    const timeout = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error(`the page did not get ready: ${failure}`)), 40_000).unref();
    });
    assert.deepEqual([...(await Promise.race([ready, timeout]))], [1, 2, 3]);

    const reply = await agent.request('browser-1', { n: 7 }, { timeout: 10_000 });
    assert.deepEqual(reply.json(), { echoed: { n: 7 }, title: 'flowbus' });
    assert.equal(reply.from, 'browser-1');

    for (let i = 0; i < 1000; i++) agent.publish(`to.browser.${i % 10}`, `message ${i}`);
    const received = await Promise.race([all, timeout]);
    assert.deepEqual(
      received,
      Array.from({ length: 1000 }, (_, i) => [`to.browser.${i % 10}`, 'node-1', `message ${i}`]),
    );

    const [record] = await agent.agents({ capability: 'dom', online: true });
    assert.deepEqual([record.agentId, record.agentType], ['browser-1', 'page']);
  });
});
