import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readStored, StoredWriter } from '../../../../lib/wire/stored.js';

type Ack = [id: string, stored: number];

function write(acks: readonly Ack[]): Uint8Array {
  const writer = new StoredWriter(80 * acks.length + 80);
  for (const [id, stored] of acks) {
    const bytes = Buffer.from(`<${id}>`, 'latin1');
    writer.add(bytes, 1, bytes.length - 1, stored);
  }
  return writer.bytes.slice(0, writer.size);
}

function read(bytes: Uint8Array): Ack[] | null {
  const acks: Ack[] = [];
  const whole = readStored(bytes, 0, bytes.length, (id, from, to, stored) =>
    acks.push([Buffer.from(id.slice(from, to)).toString('latin1'), stored]),
  );
  return whole ? acks : null;
}

function counted(prefix: string, counter: number): string {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(counter >>> 0);
  return prefix + b.toString('latin1');
}

describe('the acks of assured publishes', () => {
  it('come out as they went in, whatever the ids', () => {
    const id = fc.oneof(
      // Few of them, so that neighbours meet, and counters that wrap.
      fc
        .tuple(fc.constantFrom('', 'a', 'bc'), fc.integer({ min: -2, max: 3 }))
        .map(([prefix, counter]) => counted(prefix, counter)),
      fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(id, fc.integer({ min: 1, max: 2 })), { maxLength: 40 }), (acks) => {
        assert.deepEqual(read(write(acks)), acks);
      }),
    );
  });

  it('are one entry while the ids count up, also past where they wrap, and not when something else changes', () => {
    const run: Ack[] = Array.from({ length: 1000 }, (_, i) => [counted('sender--', i - 500), 1]);
    assert.equal(write(run).length, 1 + 12 + 8);
    assert.deepEqual(read(write(run)), run);
    for (const other of [
      [counted('sender--', 501), 1],
      [counted('sender-+', 500), 1],
      [counted('ender--', 500), 1],
      [counted('sender--', 500), 2],
    ] as Ack[])
      assert.deepEqual(read(write([...run, other])), [...run, other]);
  });

  it('are refused when they are cut, empty, or longer than any run', () => {
    const bytes = write([
      ['m', 1],
      [counted('x', 1), 1],
      [counted('x', 2), 1],
    ]);
    const ends = [0, 6, bytes.length];
    for (let end = 0; end <= bytes.length; end++)
      assert.equal(read(bytes.subarray(0, end)) !== null, ends.includes(end), `${end}`);
    assert.equal(read(Uint8Array.of(0, 1, 0, 0, 0)), null);
    // A run needs something that counts up.
    assert.equal(read(Uint8Array.of(0x83, 1, 2, 3, 1, 0, 0, 0, 1, 0, 0, 0)), null);
    assert.equal(read(Uint8Array.of(0x84, 1, 2, 3, 4, 1, 0, 1, 0, 1, 0, 0, 0)), null);
  });

  it('are two runs when they are more than one may have', () => {
    const acks: Ack[] = Array.from({ length: 65_537 }, (_, i) => [counted('', i), 1]);
    assert.equal(write(acks).length, 1 + 4 + 8 + 1 + 4 + 4);
    assert.deepEqual(read(write(acks)), acks);
  });

  it('begin anew when the writer is cleared', () => {
    const writer = new StoredWriter(200);
    writer.add(Buffer.from(counted('a', 1), 'latin1'), 0, 5, 1);
    writer.clear();
    writer.add(Buffer.from(counted('a', 2), 'latin1'), 0, 5, 1);
    assert.deepEqual(read(writer.bytes.slice(0, writer.size)), [[counted('a', 2), 1]]);
  });
});
