/** What the command does on a terminal, which `script` makes one for. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import type { RunningNode } from '../../../shards/primary.js';
import { startBroker } from '../broker/node.js';
import { endAll, MAIN, Run } from './run.js';

const SCRIPT = '/usr/bin/script';

describe('flowbus on a terminal', function () {
  this.timeout(30_000);
  const runs: Run[] = [];
  let node: RunningNode;

  before(async function () {
    if (!existsSync(SCRIPT)) this.skip();
    node = await startBroker({ shards: 1 });
  });
  afterEach(() => endAll(runs.splice(0)));
  after(() => node?.stop());

  /** What the terminal shows comes as standard output. */
  function onTerminal(command: string): Run {
    const line = `exec "${process.execPath}" "${MAIN}" ${command}`;
    const run = new Run(
      ['-qec', line, '/dev/null'],
      { FLOWBUS_URL: node.url, SHELL: '/bin/sh' },
      undefined,
      SCRIPT,
    );
    runs.push(run);
    return run;
  }

  function shown(run: Run): string[] {
    return run.out.replaceAll('\r', '').split('\n').slice(0, -1);
  }

  it('writes nothing but JSON with start --json', async () => {
    const run = onTerminal('start --json --port 0 --shards 1');
    await run.until('ready line', () => run.out.includes('"event":"ready"'));
    const objects = shown(run).map((line) => JSON.parse(line));
    assert.ok(objects.some(({ msg }) => /^listening on/.test(msg)));
    const { pid } = objects.find(({ event }) => event === 'ready');
    process.kill(pid, 'SIGTERM');
    assert.equal(await run.exit(), 0, run.out);
  });

  it('says that pub reads what is typed', async () => {
    const run = onTerminal('pub demo.typed');
    const note = 'flowbus: reading standard input: each line is a message, Ctrl-D ends it';
    await run.until('note', () => shown(run).includes(note));
    run.child.stdin?.write('\x04');
    assert.equal(await run.exit(), 0, run.out);
  });
});
