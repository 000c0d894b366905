/** The HTTP door of a real node, as PROTOCOL.md describes it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Message } from '../../lib/client/index.js';
import type { RunningNode } from '../../shards/primary.js';
import { closeAgents, join, startBroker, until } from './broker/node.js';

const PROTOCOL = readFileSync(new URL('../../../lib/wire/PROTOCOL.md', import.meta.url), 'utf8');
const SECTION = PROTOCOL.slice(PROTOCOL.indexOf('\n## HTTP door\n'), PROTOCOL.indexOf('\n## Errors\n'));

/** What a parameter of the table may be. */
const SAMPLES: Record<string, string> = {
  priority: 'low',
  ttl: '500',
  key: 'k',
  pattern: 'door.*',
  id: 'a',
  type: 'agent',
  capability: 'c',
  online: 'true',
  limit: '5',
  assured: 'true',
  delay: '1',
  maxAttempts: '3',
  retryBase: '5',
  retryCap: '50',
  retain: 'true',
};

describe('HTTP door of a node', function () {
  this.timeout(20_000);
  let node: RunningNode;
  let dataDir: string;

  before(async () => {
    dataDir = mkdtempSync(joinPath(tmpdir(), 'flowbus-http-'));
    node = await startBroker({ dataDir });
  });
  afterEach(closeAgents);
  after(async () => {
    await node.stop();
    rmSync(dataDir, { recursive: true });
  });

  const url = (path: string): string => `http://127.0.0.1:${node.address.port}${path}`;
  const post = (path: string, body: BodyInit, headers: HeadersInit = {}): Promise<Response> =>
    fetch(url(path), { method: 'POST', body, headers });

  const routes = [...SECTION.matchAll(/^\| (GET|POST|DELETE) +\| `(\S+)` +\| (.*?) *\| (\d+)/gm)];

  it('has routes in PROTOCOL.md', () => {
    assert.equal(routes.length, 13);
  });

  for (const [, method, path, parameters, status] of routes) {
    it(`answers ${method} ${path} with ${parameters || 'nothing'}`, async () => {
      const member = await join(node.url, 'member');
      await member.subscribe('door.*', () => {}, { group: 'door' });
      const names = (parameters.match(/[A-Za-z_]+/g) ?? []).filter((name) => name in SAMPLES);
      const query = new URLSearchParams(names.map((name) => [name, SAMPLES[name]]));
      const target = `${path.replace('<topic>', 'door.x')}?${query}`;
      const response = await fetch(url(target), { method, ...(method === 'POST' && { body: 'x' }) });
      // Nothing has died here that could be shown, replayed or purged.
      const dead = path.includes('<id>') || parameters.startsWith('id, or all');
      // And this node is part of no cluster.
      const alone = path === '/v1/cluster';
      assert.equal(response.status, dead ? 404 : alone ? 501 : Number(status));
      await response.body?.cancel();
    });
  }

  it('takes what curl -d sends as text, if it can be', async () => {
    const agent = await join(node.url, 'reader');
    const got: Message[] = [];
    await agent.subscribe('form.*', (message) => got.push(message));
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    assert.equal((await post('/v1/publish/form.a?key=order-1', 'hällo & more', form)).status, 202);
    assert.equal((await post('/v1/publish/form.b?priority=low', new Uint8Array([0xff]), form)).status, 202);
    await until('both', () => got.length === 2);
    assert.deepEqual(
      got.map(({ from, encoding, topic }) => [from, encoding, topic]),
      [
        ['http', 'text', 'form.a'],
        ['http', 'bytes', 'form.b'],
      ],
    );
    assert.equal(got[0].text(), 'hällo & more');
    assert.deepEqual([got[0].key, got[1].key], ['order-1', null]);
  });

  it('counts what one connection posts over all topics and lanes, in order', async () => {
    const agent = await join(node.url, 'reader');
    const got: Message[] = [];
    await agent.subscribe('order.*', (message) => got.push(message));
    const one = (topic: string): string =>
      `POST /v1/publish/order.${topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx`;
    const socket = connect(node.address.port, '127.0.0.1');
    socket.write(one('a') + one('b?priority=high') + one('a'));
    await until('all', () => got.length === 3);
    socket.destroy();
    const sequences = got.map(({ sequence }) => sequence).sort((a, b) => a - b);
    assert.deepEqual(
      sequences.map((sequence) => sequence - sequences[0]),
      [0, 1, 2],
    );
    assert.deepEqual(
      got.filter(({ topic }) => topic === 'order.a').map(({ sequence }) => sequence - sequences[0]),
      [0, 2],
    );
  });

  it('streams events as PROTOCOL.md shows them', async () => {
    const abort = new AbortController();
    const response = await fetch(url('/v1/subscribe?pattern=demo.*'), { signal: abort.signal });
    await post('/v1/publish/demo.hello', 'hi', { 'content-type': 'text/plain' });
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body!) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes('data: ')) break;
    }
    const [, shown] = /```\n(retry: [\s\S]*?)```/.exec(SECTION)!;
    const plain = (events: string): string =>
      events.trim().replaceAll(/(?<="(timestamp|sequence)":)\d+/g, '0');
    assert.equal(plain(text), plain(shown));
    abort.abort();
  });
});
