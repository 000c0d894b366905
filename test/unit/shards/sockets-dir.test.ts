import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSocketsDir, removeSocketsDir, removeStaleSocketsDirs } from '../../../shards/sockets-dir.js';

describe('the sockets directory', () => {
  let base: string;

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'flowbus-test-'));
  });

  afterEach(() => rmSync(base, { recursive: true }));

  function rewriteOwner(directory: string, change: object): void {
    const file = join(directory, 'owner.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
  }

  it('is private, short, and stays while its owner lives', () => {
    const directory = createSocketsDir(base);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.ok(directory.length - base.length <= 24);
    assert.deepEqual(removeStaleSocketsDirs(base), []);
    removeSocketsDir(directory);
    assert.ok(!existsSync(directory));
    removeSocketsDir(directory);
  });

  it('is stale when its owner is dead, or another process has that pid now', () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const ofDead = createSocketsDir(base);
    rewriteOwner(ofDead, { pid: dead });
    writeFileSync(join(ofDead, '0.sock'), '');
    const ofReused = createSocketsDir(base);
    rewriteOwner(ofReused, { start: 1 });
    assert.deepEqual(removeStaleSocketsDirs(base).sort(), [ofDead, ofReused].sort());
    assert.ok(!existsSync(ofDead) && !existsSync(ofReused));
  });

  it('is left alone when its owner lives among other pids', () => {
    const directory = createSocketsDir(base);
    rewriteOwner(directory, { pid: 4_000_000, namespace: 1 });
    assert.deepEqual(removeStaleSocketsDirs(base), []);
  });

  it('may still lack its owner while it is young, and not for long', () => {
    const directory = join(base, 'flowbus-run-abcdef');
    mkdirSync(directory);
    writeFileSync(join(directory, 'owner.json'), 'null');
    assert.deepEqual(removeStaleSocketsDirs(base), []);
    const old = new Date(Date.now() - 120_000);
    utimesSync(directory, old, old);
    assert.deepEqual(removeStaleSocketsDirs(base), [directory]);
  });

  it('is not confused with anything else', () => {
    mkdirSync(join(base, 'flowbus-run-abcdef0'));
    mkdirSync(join(base, 'other'));
    writeFileSync(join(base, 'flowbus-run-ghijkl'), '');
    assert.deepEqual(removeStaleSocketsDirs(base), []);
  });
});
