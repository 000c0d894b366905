/** Mailboxes from the command line: `sub --group`, `sub --capability`, `pub --assured`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import type { RunningNode } from '../../../shards/primary.js';
import { startBroker } from '../broker/node.js';
import { endAll, Run } from './run.js';

describe('flowbus, with mailboxes', function () {
  this.timeout(30_000);
  const runs: Run[] = [];
  let dir: string;
  let node: RunningNode;

  before(async () => {
    dir = mkdtempSync(path(tmpdir(), 'flowbus-cli-assured-'));
    node = await startBroker({ shards: 1, dataDir: path(dir, 'data') });
  });
  afterEach(() => endAll(runs.splice(0)));
  after(async () => {
    await node.stop();
    rmSync(dir, { recursive: true });
  });

  function flowbus(...args: string[]): Run {
    const run = new Run(args, { FLOWBUS_URL: node.url }, dir);
    runs.push(run);
    return run;
  }

  it('keeps for a group what is published while no member is there, and gives it out once', async () => {
    const early = flowbus('pub', 'page.new', '1', '--assured');
    assert.equal(await early.exit(), 1, early.err);
    assert.match(early.err, /NO_MAILBOX/);

    const first = flowbus('sub', 'page.*', '--group', 'ocr', '--count', '1');
    await first.until('subscribed', () => first.err.includes('subscribed'));
    const report = flowbus('pub', 'page.new', '1', '--assured', '--json');
    assert.equal(await report.exit(), 0, report.err);
    const line = { event: 'published', topic: 'page.new', messages: 1, refused: 0, stored: 1 };
    assert.deepEqual(JSON.parse(report.out), line);
    assert.equal(await first.exit(), 0, first.err);
    assert.match(first.out, /^page\.new {2}cli-\S+ {2}1\n$/);

    for (const [text, ...delay] of [['2'], ['3', '--delay', '50ms']]) {
      const later = flowbus('pub', 'page.new', text, '--assured', ...delay);
      assert.equal(await later.exit(), 0, later.err);
    }
    const second = flowbus('sub', 'page.*', '--group', 'ocr', '--count', '2');
    assert.equal(await second.exit(), 0, second.err);
    assert.deepEqual(
      second.lines.map((text) => text.at(-1)),
      ['2', '3'],
    );
  });

  it('keeps for an agent what is sent to it while it is away', async () => {
    const first = flowbus('sub', '--mailbox', '--agent-id', 'w7', '--count', '1');
    await first.until('subscribed', () => first.err.includes('subscribed'));
    const lines = flowbus('pub', '_agent.w7', '--assured', '--lines');
    lines.child.stdin?.end('a\nb\nc\n');
    assert.equal(await lines.exit(), 0, lines.err);
    assert.equal(await first.exit(), 0, first.err);
    assert.match(first.out, /^_agent\.w7 {2}cli-\S+ {2}a\n$/);
    for (const text of ['b', 'c']) {
      const next = flowbus('sub', '--mailbox', '--agent-id', 'w7', '--count', '1', '--json');
      assert.equal(await next.exit(), 0, next.err);
      assert.deepEqual(
        next.lines.map((line) => (JSON.parse(line) as { data: string }).data),
        [text],
      );
    }
  });

  it('keeps for a capability what is sent to it while nobody is there, and finds who is there for live messages', async () => {
    const nobody = flowbus('pub', '--capability', 'ocr', '1', '--assured');
    assert.equal(await nobody.exit(), 1, nobody.err);
    assert.match(nobody.err, /NO_MAILBOX/);

    const first = flowbus('sub', '--capability', 'ocr', '--count', '1');
    await first.until('subscribed', () => first.err.includes('subscribed'));
    const live = flowbus('pub', '--capability', 'ocr', '1');
    assert.equal(await live.exit(), 0, live.err);
    assert.equal(await first.exit(), 0, first.err);
    assert.match(first.out, /^_agent\.cli-\S+ {2}cli-\S+ {2}1\n$/);

    const stored = flowbus('pub', '--capability', 'ocr', '2', '--assured', '--json');
    assert.equal(await stored.exit(), 0, stored.err);
    assert.equal((JSON.parse(stored.out) as { stored: number }).stored, 1);
    const second = flowbus('sub', '--capability', 'ocr', '--count', '1');
    assert.equal(await second.exit(), 0, second.err);
    assert.match(second.out, /^_capability\.ocr {2}cli-\S+ {2}2\n$/);
  });
});
