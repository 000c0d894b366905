import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeSharedMemory } from '../../../../lib/memory/probe.js';

describe('shared-memory probe', () => {
  let dir: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-probe-'));
  });

  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  function program(text: string): string {
    const path = join(dir, 'program.mjs');
    writeFileSync(path, text);
    return path;
  }

  it('is true where two processes share a word', async () => {
    assert.equal(await probeSharedMemory({ dir }), true);
    assert.deepEqual(readdirSync(dir), []);
  });

  it('is false without the directory', async () => {
    assert.equal(await probeSharedMemory({ dir: join(dir, 'none') }), false);
  });

  it('is false when the child fails, crashes, swaps nothing, or takes too long', async () => {
    assert.equal(await probeSharedMemory({ dir, program: program('process.exit(1)') }), false);
    assert.equal(await probeSharedMemory({ dir, program: program('process.abort()') }), false);
    assert.equal(await probeSharedMemory({ dir, program: program('') }), false);
    const hangs = program('setInterval(() => {}, 1000)');
    assert.equal(await probeSharedMemory({ dir, program: hangs, timeLimit: 100 }), false);
    assert.deepEqual(readdirSync(dir), ['program.mjs']);
  });
});
