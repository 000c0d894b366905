import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlowbusError } from '../../../../lib/errors.js';
import { segmentBytes } from '../../../../lib/memory/layout.js';
import { isDead, thisProcess } from '../../../../lib/memory/owner.js';
import {
  attachSegment,
  createSegment,
  freeSharedMemory,
  removeSegment,
  removeStaleSegments,
} from '../../../../lib/memory/segment.js';

const SIZES = {
  workers: 3,
  metricsBytes: 100,
  urgentBytes: 1024,
  bulkBytes: 4096,
  historyBytes: 0,
  retainedBytes: 0,
};
const MODULE = new URL('../../../../lib/memory/segment.js', import.meta.url).href;

/** A process that lives until its input ends, and runs `code` first. */
async function spawnOwner(code: string, args: string[]): Promise<ReturnType<typeof spawn>> {
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', `${code}; console.log('ready'); process.stdin.resume();`, ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await once(child.stdout!, 'data');
  return child;
}

async function kill(child: ReturnType<typeof spawn>): Promise<void> {
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

describe('segment', () => {
  let dir: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-segment-'));
  });

  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  it('is a file of zeros behind its header, readable for its owner alone', () => {
    const path = createSegment({ dir, instance: 'a-1', sizes: SIZES });
    assert.equal(path, join(dir, 'flowbus-a-1'));
    const bytes = readFileSync(path);
    assert.equal(bytes.length, segmentBytes(SIZES));
    assert.ok(bytes.subarray(128).every((byte) => byte === 0));
    removeSegment(path);
    assert.deepEqual(readdirSync(dir), []);
    removeSegment(path);
  });

  it('is mapped by whoever attaches: sizes, owner, words, metrics', async () => {
    const path = createSegment({ dir, instance: 'a', sizes: SIZES });
    const [one, two] = [await attachSegment(path), await attachSegment(path)];
    assert.deepEqual(one.sizes, SIZES);
    assert.deepEqual(one.owner, thisProcess());
    assert.equal(one.buffer.byteLength, segmentBytes(SIZES));

    Atomics.store(one.words, one.asleepIndex(2), 1);
    assert.equal(Atomics.load(two.words, two.asleepIndex(2)), 1);
    assert.equal(Atomics.load(two.words, two.asleepIndex(1)), 0);

    const { buffer, offset, length } = one.metrics(2);
    new Uint8Array(buffer, offset, length).fill(7);
    const seen = two.metrics(2);
    assert.equal(seen.length, 100);
    assert.ok(new Uint8Array(seen.buffer, seen.offset, seen.length).every((byte) => byte === 7));
    assert.equal(two.ringBytes(0, 1, true), 0);
    assert.throws(() => one.metrics(3), RangeError);
    assert.throws(() => one.asleepIndex(-1), RangeError);
  });

  it('does not replace one that is there, and wants a plain name', () => {
    createSegment({ dir, instance: 'a', sizes: SIZES });
    assert.throws(() => createSegment({ dir, instance: 'a', sizes: SIZES }), { code: 'EEXIST' });
    assert.throws(() => createSegment({ dir, instance: '../a', sizes: SIZES }), { code: 'BAD_CONFIG' });
  });

  it('says how much is needed when the room ends, and leaves nothing behind', () => {
    let room = 5000;
    const write = (
      fd: number,
      bytes: Uint8Array,
      offset: number,
      length: number,
      position: number,
    ): number => {
      if (room === 0) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      const most = Math.min(length, room);
      room -= most;
      return writeSync(fd, bytes, offset, most, position);
    };
    assert.throws(
      () => createSegment({ dir, instance: 'a', sizes: SIZES, write }),
      (error: unknown) => {
        assert.ok(error instanceof FlowbusError);
        assert.equal(error.code, 'SHARED_MEMORY_FULL');
        assert.match(
          error.message,
          new RegExp(`takes ${segmentBytes(SIZES)} bytes of ${dir}, where \\d+ are free`),
        );
        return true;
      },
    );
    assert.deepEqual(readdirSync(dir), []);
  });

  it('is refused when it is something else, half made, or cut short', async () => {
    const path = createSegment({ dir, instance: 'a', sizes: SIZES });
    const good = readFileSync(path);
    for (const offset of [0, 4, 8, 28, 40]) {
      const bad = Buffer.from(good);
      bad[offset] ^= 1;
      writeFileSync(path, bad);
      await assert.rejects(attachSegment(path), /is no segment/);
    }
    writeFileSync(path, good);
    truncateSync(path, good.length - 1);
    await assert.rejects(attachSegment(path), /is no segment/);
    truncateSync(path, 3);
    await assert.rejects(attachSegment(path), /is no segment/);
    await assert.rejects(attachSegment(join(dir, 'none')), { code: 'ENOENT' });
  });

  it('is removed once its owner is dead, not before', async () => {
    const code = `const { createSegment } = await import(process.argv[1]);
      createSegment({ dir: process.argv[2], instance: 'other', sizes: JSON.parse(process.argv[3]) })`;
    const owner = await spawnOwner(code, [MODULE, dir, JSON.stringify(SIZES)]);
    try {
      createSegment({ dir, instance: 'mine', sizes: SIZES });
      writeFileSync(join(dir, 'another-file'), '');
      assert.deepEqual(removeStaleSegments(dir), []);
    } finally {
      await kill(owner);
    }
    assert.deepEqual(removeStaleSegments(dir), [join(dir, 'flowbus-other')]);
    assert.deepEqual(readdirSync(dir).sort(), ['another-file', 'flowbus-mine']);
  });

  it('is removed when its owner’s id belongs to a younger process', () => {
    const path = createSegment({ dir, instance: 'a', sizes: SIZES });
    const bytes = readFileSync(path);
    bytes.writeDoubleLE(bytes.readDoubleLE(32) - 1, 32);
    writeFileSync(path, bytes);
    assert.deepEqual(removeStaleSegments(dir), [path]);
  });

  it('is left alone when its owner is in another container', () => {
    const path = createSegment({ dir, instance: 'a', sizes: SIZES });
    const bytes = readFileSync(path);
    bytes.writeInt32LE(1 << 23, 24);
    bytes.writeDoubleLE(1, 48);
    writeFileSync(path, bytes);
    assert.deepEqual(removeStaleSegments(dir), []);
  });

  it('without a header is left alone while it may be in the making', () => {
    const path = join(dir, 'flowbus-new');
    writeFileSync(path, '');
    assert.deepEqual(removeStaleSegments(dir), []);
    utimesSync(path, new Date(0), new Date(0));
    assert.deepEqual(removeStaleSegments(dir), [path]);
    assert.equal(existsSync(path), false);
  });

  it('stays mapped after its name is gone', async () => {
    const path = createSegment({ dir, instance: 'a', sizes: SIZES });
    const segment = await attachSegment(path);
    removeSegment(path);
    assert.equal(Atomics.add(segment.words, segment.asleepIndex(0), 1), 0);
    assert.equal(Atomics.load(segment.words, segment.asleepIndex(0)), 1);
  });

  it('loads native code only to attach', async () => {
    const code = `const { attachSegment, createSegment, removeSegment } = await import(process.argv[1]);
      const { readFileSync } = await import('node:fs');
      const native = () => readFileSync('/proc/self/maps', 'latin1').includes('koffi');
      const path = createSegment({ dir: process.argv[2], instance: 'x', sizes: JSON.parse(process.argv[3]) });
      const before = native();
      await attachSegment(path);
      process.stdout.write(before + ' ' + native())`;
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', code, MODULE, dir, JSON.stringify(SIZES)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const [[output]] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
    assert.equal(String(output), 'false true');
  });

  it('knows what is free: on the file system, and of what this process may use', () => {
    const { availableMemory } = process;
    try {
      process.availableMemory = () => 5000;
      assert.equal(freeSharedMemory(dir), 5000);
      process.availableMemory = () => Number.MAX_SAFE_INTEGER;
      const free = freeSharedMemory(dir);
      const { blocks, bsize } = statfsSync(dir);
      assert.ok(free > 0 && free <= blocks * bsize, String(free));
    } finally {
      process.availableMemory = availableMemory;
    }
  });
});

describe('owner', () => {
  it('is dead when its process has ended, or another has its id, and not when it cannot be seen', () => {
    const owner = thisProcess();
    assert.equal(isDead(owner), false);
    assert.equal(isDead({ ...owner, start: owner.start + 1 }), true);
    // Ids end below 2^22.
    assert.equal(isDead({ ...owner, pid: 1 << 23 }), true);
    assert.equal(isDead({ ...owner, pid: 1 << 23, namespace: owner.namespace + 1 }), false);
  });
});
