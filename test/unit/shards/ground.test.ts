import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type BrokerConfig, makeConfig } from '../../../lib/config/index.js';
import { FlowbusError } from '../../../lib/errors.js';
import { SHARED_MEMORY_DIR } from '../../../lib/memory/segment.js';
import { type Ground, prepareGround, type SharedMemory } from '../../../shards/ground.js';

describe('the ground', () => {
  const callersTmp = process.env.TMPDIR;
  let messages: string[];
  let tmp: string;
  const line = (_: object, message: string) => messages.push(message);
  const log = { debug: line, info: line, warn: line, error: line };

  beforeEach(() => {
    messages = [];
    tmp = mkdtempSync(join(tmpdir(), 'flowbus-test-'));
    process.env.TMPDIR = tmp;
  });

  afterEach(() => {
    if (callersTmp === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = callersTmp;
    rmSync(tmp, { recursive: true });
  });

  /** Shared memory that works, or not, and what was done with it. */
  function memory(works: boolean, calls: string[] = []): SharedMemory {
    return {
      probe: () => Promise.resolve(works),
      removeStale: () => ['/stale'],
      create(instance, { workers, historyBytes, retainedBytes }) {
        calls.push(`create ${instance} ${workers} ${historyBytes} ${retainedBytes}`);
        return '/segment';
      },
      remove: (path) => calls.push(`remove ${path}`),
    };
  }

  function prepare(links: BrokerConfig['links'], sharedMemory: SharedMemory): Promise<Ground> {
    return prepareGround(makeConfig({ links, shards: 3 }), 3, 'i1', log, sharedMemory);
  }

  it('is shared memory where the probe works, after stale segments are removed; all of it can be removed', async () => {
    const calls: string[] = [];
    const ground = await prepare('auto', memory(true, calls));
    assert.deepEqual(
      [ground.linkKind, ground.segmentPath, ground.counterFile],
      ['shared-memory', '/segment', null],
    );
    assert.ok(existsSync(ground.socketsDir));
    assert.match(messages.join('\n'), /dead instances[\s\S]*links are shared memory/);
    ground.remove();
    assert.ok(!existsSync(ground.socketsDir));
    assert.deepEqual(calls, ['create i1 3 0 524288', 'remove /segment']);
  });

  it('is Unix sockets, and a counter file, where the probe fails, and says so', async () => {
    const ground = await prepare('auto', memory(false));
    assert.deepEqual([ground.linkKind, ground.segmentPath], ['unix-socket', null]);
    assert.ok(existsSync(String(ground.counterFile)));
    assert.match(messages.join('\n'), /links are Unix sockets: the probe .* failed/);
    ground.remove();
    assert.deepEqual(readdirSync(tmp), []);
  });

  it('is Unix sockets without a probe where so configured', async () => {
    const sharedMemory = { ...memory(true), probe: () => assert.fail('probed') };
    const ground = await prepare('unix-socket', sharedMemory);
    assert.equal(ground.linkKind, 'unix-socket');
    ground.remove();
  });

  it('fails where shared memory is demanded and does not work', async () => {
    await assert.rejects(prepare('shared-memory', memory(false)), {
      code: 'BAD_CONFIG',
      message: /^links shared-memory: /,
    });
    assert.deepEqual(readdirSync(tmp), []);
  });

  it('passes on that shared memory is full, and leaves nothing behind', async () => {
    const full = new FlowbusError('SHARED_MEMORY_FULL', 'needs 7 bytes');
    const sharedMemory: SharedMemory = {
      ...memory(true),
      create() {
        throw full;
      },
    };
    await assert.rejects(prepare('auto', sharedMemory), full);
    assert.deepEqual(readdirSync(tmp), []);
  });

  it('is not probed again by a process that has seen shared memory work', async function () {
    if (!existsSync(SHARED_MEMORY_DIR)) this.skip();
    const again = () => prepareGround(makeConfig({ links: 'auto', shards: 1 }), 1, 'i2', log);
    const first = await again();
    first.remove();
    if (first.linkKind !== 'shared-memory') this.skip();
    const made: (string | null)[] = [];
    const watcher = watch(SHARED_MEMORY_DIR, (_, name) => made.push(name));
    const second = await again();
    second.remove();
    // A probe's file would have come before the segment's.
    const segment = basename(String(second.segmentPath));
    while (!made.includes(segment)) await once(watcher, 'change');
    watcher.close();
    assert.deepEqual(
      made.filter((name) => name?.startsWith(`flowbus-probe-${process.pid}-`)),
      [],
    );
  });

  it('is measured against what is free on this machine', async function () {
    if (!existsSync('/dev/shm')) this.skip();
    const { availableMemory } = process;
    process.availableMemory = () => 1_000_000;
    try {
      await assert.rejects(prepareGround(makeConfig({ links: 'shared-memory', shards: 3 }), 3, 'i1', log), {
        code: 'SHARED_MEMORY_FULL',
        message: /: \d+ bytes are needed, 1000000 are free\./,
      });
    } finally {
      process.availableMemory = availableMemory;
    }
    assert.deepEqual(readdirSync(tmp), []);
  });
});
