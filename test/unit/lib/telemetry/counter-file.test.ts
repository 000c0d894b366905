import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readBlock, TELEMETRY_BYTES } from '../../../../lib/telemetry/block.js';
import { CounterFile, CounterFileReader, createCounterFile } from '../../../../lib/telemetry/counter-file.js';
import { C } from '../../../../lib/telemetry/counters.js';
import { Reason } from '../../../../lib/telemetry/ledger.js';

const SOURCE = new URL('../../../../lib/telemetry/', import.meta.url).href;
const POLL = 5;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(POLL);
}

describe('counter file', () => {
  let folder: string;
  let path: string;
  let reader: CounterFileReader;
  let child: ChildProcess | null;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'flowbus-counters-'));
    path = join(folder, 'counters');
    createCounterFile(path, 2);
    reader = new CounterFileReader(path, ['0', '1']);
    child = null;
  });

  afterEach(() => {
    child?.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });

  function publishes(slot: number): number | undefined {
    return readBlock(reader.blocks()[slot])?.counters[C.publishesIn];
  }

  it('has a region for each worker and can be read by its owner alone', () => {
    assert.equal(statSync(path).size, 2 * TELEMETRY_BYTES);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(publishes(0), undefined);
  });

  it('shows what the worker counted without being asked', async () => {
    const file = new CounterFile(path, 1, { interval: 10 });
    try {
      file.block.counters[C.publishesIn] = 42;
      await until(() => publishes(1) === 42);
      assert.equal(publishes(0), undefined);
    } finally {
      file.close();
    }
  });

  it('is written a last time at the end, and taken up again', () => {
    const first = new CounterFile(path, 0, { interval: 60_000 });
    first.block.counters[C.publishesIn] = 7;
    first.block.ledger.count('agent', Reason.shed, 3);
    first.close();
    first.close();
    assert.equal(publishes(0), 7);
    const second = new CounterFile(path, 0, { interval: 60_000 });
    second.close();
    const block = readBlock(reader.blocks()[0]);
    assert.equal(block?.counters[C.publishesIn], 7);
    assert.equal(block?.counters[C.restarts], 1);
    assert.equal(block?.ledger.read()[1].counts[0], 3);
  });

  it('keeps the counts of a killed worker', async () => {
    const program = `
      const { CounterFile } = await import('${SOURCE}counter-file.js');
      const { C } = await import('${SOURCE}counters.js');
      const { block } = new CounterFile(${JSON.stringify(path)}, 0, { interval: 10 });
      block.counters[C.publishesIn] = 1234;
      setInterval(() => {}, 1000);`;
    child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' });
    await until(() => publishes(0) === 1234);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    const next = new CounterFile(path, 0);
    next.block.counters[C.publishesIn] += 1;
    next.close();
    assert.equal(publishes(0), 1235);
  });

  it('reads a file that was cut short as one that nobody counts in', () => {
    truncateSync(path, 100);
    assert.equal(publishes(0), undefined);
    assert.equal(publishes(1), undefined);
  });
});
