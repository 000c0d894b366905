/** ops/rolling-upgrade, before nodes that are no more than their HTTP doors. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Run } from './cli/run.js';

/** dist/test/integration → the checkout. */
const SCRIPT = fileURLToPath(new URL('../../../ops/rolling-upgrade', import.meta.url));
const RESTART = 'curl --silent --fail -X POST "$NODE_URL/restart/$NODE_HOST"';
const DOWN = 300;
/** Until the others have noticed: longer than the script waits between two looks. */
const UNSEEN = 1200;

class FakeNode {
  readonly #server: Server;
  readonly #cluster: FakeNode[];
  incarnation = 1;
  up = true;
  /** The others have noticed that it is up. */
  seen = true;
  /** Never comes back from a restart. */
  broken = false;
  tokens: (string | undefined)[] = [];
  onRestart: (host: string) => void = () => {};

  constructor(cluster: FakeNode[]) {
    this.#cluster = cluster;
    this.#server = createServer((request, response) => {
      const { url = '', headers } = request;
      if (url.startsWith('/restart/')) {
        this.onRestart(url.slice('/restart/'.length));
        this.up = false;
        this.seen = false;
        if (!this.broken)
          setTimeout(() => {
            this.up = true;
            this.incarnation++;
            setTimeout(() => {
              this.seen = true;
            }, UNSEEN);
          }, DOWN);
      } else if (url === '/readyz') response.statusCode = this.up ? 200 : 503;
      else {
        this.tokens.push(headers.authorization);
        const nodes = [this, ...this.#cluster.filter((node) => node !== this)].map(
          ({ seen, incarnation }) => ({
            state: seen ? 'alive' : 'suspect',
            incarnation,
          }),
        );
        response.write(JSON.stringify({ nodes }));
      }
      response.end();
    });
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

describe('ops/rolling-upgrade', function () {
  this.timeout(30_000);
  let nodes: FakeNode[];
  let restarts: number[];

  beforeEach(async () => {
    nodes = [];
    restarts = [];
    for (let i = 0; i < 3; i++) nodes.push(new FakeNode(nodes));
    await Promise.all(nodes.map((node) => node.listen()));
    for (const [i, node] of nodes.entries())
      node.onRestart = (host) => {
        assert.equal(host, '127.0.0.1');
        assert.ok(
          nodes.every(({ seen }) => seen),
          'two at a time',
        );
        restarts.push(i);
      };
  });
  afterEach(() => {
    for (const node of nodes) node.close();
  });

  function upgrade(...args: string[]): Run {
    return new Run([...args, ...nodes.map(({ url }) => url)], {}, undefined, SCRIPT);
  }

  it('restarts one node after the other, each when the last is back and seen by all', async () => {
    const run = upgrade('--restart', RESTART, '--token', 'a.b.c');
    assert.equal(await run.exit(), 0, run.err);
    assert.deepEqual(restarts, [0, 1, 2]);
    assert.match(run.out, /: all 3 nodes were restarted\n$/);
    for (const { tokens } of nodes) assert.ok(tokens.every((token) => token === 'Bearer a.b.c'));
  });

  it('stops at a node that does not come back', async () => {
    nodes[1].broken = true;
    const run = upgrade('--restart', RESTART, '--timeout', '4');
    assert.equal(await run.exit(), 1);
    assert.deepEqual(restarts, [0, 1]);
    assert.match(
      run.err,
      /was restarted 4 s ago, and the cluster is not complete: http:\/\/127.* has not started again\n$/,
    );
  });

  it('touches nothing while a node is missing, or where it cannot restart one', async () => {
    nodes[2].seen = false;
    const incomplete = upgrade('--restart', RESTART);
    assert.equal(await incomplete.exit(), 1);
    assert.match(
      incomplete.err,
      /the cluster is not complete, so no node is restarted: .* sees 2 of 3 nodes\n$/,
    );
    nodes[2].seen = true;
    const failing = upgrade('--restart', 'false');
    assert.equal(await failing.exit(), 1);
    assert.match(failing.err, /the command that restarts http:\/\/127\S+ failed\n$/);
    assert.deepEqual(restarts, []);
  });

  it('says what is wrong with its arguments', async () => {
    const [{ url }] = nodes;
    for (const [args, expected] of [
      [[url, url], /not said how to restart/],
      [['--restart', 'x', url], /two nodes at least/],
      [['--restart', 'x', url, `${url}/`], /named twice/],
      [['--restart', 'x', url, 'node-b'], /node-b is no URL/],
      [['--restart', 'x', '--timeout', '1m', url], /number of seconds/],
      [['--restrat', 'x', url], /no option --restrat/],
      [['--restart'], /needs a value/],
    ] as const) {
      const run = new Run(args, {}, undefined, SCRIPT);
      assert.equal(await run.exit(), 2, args.join(' '));
      assert.match(run.err, expected);
    }
    const help = new Run(['--help'], {}, undefined, SCRIPT);
    assert.equal(await help.exit(), 0);
    assert.match(help.out, /^usage: ops\/rolling-upgrade/);
  });
});
