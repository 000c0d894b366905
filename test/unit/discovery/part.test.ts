import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Part } from '../../../discovery/part.js';

const value = (text: string) => Buffer.from(text);

/** Brings a copy up to date in pieces of `bytes`, as a node does that pulls. */
function catchUp(copy: Part, owner: Part, bytes: number): void {
  for (let last = false; !last; ) {
    const page = owner.since(copy.sequence, bytes);
    for (const change of page.changes) assert.ok(copy.apply(change));
    copy.reach(page.to);
    last = page.last;
  }
}

function contents(part: Part): Record<string, string> {
  return Object.fromEntries([...part.live()].map(({ key, value }) => [key, value.toString()]).sort());
}

describe('Part', () => {
  it('counts its changes, and keeps the last of each key', () => {
    const part = new Part();
    part.write('a', value('1'));
    part.write('b', value('2'));
    part.write('a', value('3'));
    assert.equal(part.sequence, 3);
    assert.equal(part.count, 2);
    assert.equal(part.bytes, 4);
    assert.deepEqual(
      part.since(0, 1000).changes.map(({ key, sequence }) => [key, sequence]),
      [
        ['b', 2],
        ['a', 3],
      ],
    );
    assert.deepEqual(
      part.since(2, 1000).changes.map(({ key }) => key),
      ['a'],
    );
  });

  it('tells of a removed key, and of one that was never there nothing', () => {
    const part = new Part();
    part.write('a', value('1'));
    assert.equal(part.write('b', null), null);
    part.write('a', null);
    assert.equal(part.count, 0);
    assert.equal(part.bytes, 0);
    assert.equal(part.hash, 0);
    assert.deepEqual(part.since(1, 1000).changes, [{ key: 'a', value: null, sequence: 2 }]);
  });

  it('hands out what changed in pieces that go on where the one before ended', () => {
    const part = new Part();
    for (let i = 0; i < 100; i++) part.write(`key-${i}`, value('x'.repeat(100)));
    const first = part.since(0, 1000);
    assert.equal(first.last, false);
    assert.ok(first.changes.length >= 9 && first.changes.length <= 11);
    assert.equal(part.since(first.to, 1000).changes[0].key, `key-${first.changes.length}`);
  });

  it('has a hash that tells apart values, keys, and which change they come from', () => {
    const hashes = new Set<number>();
    for (const [key, text] of [
      ['a', 'b'],
      ['b', 'a'],
      ['ab', ''],
      ['', 'ab'],
    ]) {
      const part = new Part();
      part.write(key, value(text));
      hashes.add(part.hash);
      part.write(key, value(text));
      hashes.add(part.hash);
    }
    assert.equal(hashes.size, 8);
  });

  it('forgets the oldest tombstones, and says up to where', () => {
    const part = new Part();
    for (let i = 0; i < 5000; i++) {
      part.write(`key-${i}`, value('x'));
      part.write(`key-${i}`, null);
    }
    assert.ok(part.floor > 0 && part.floor < part.sequence);
    assert.ok(part.since(0, Number.POSITIVE_INFINITY).changes.length <= 2 * 1024 + 1);
  });

  it('a copy that pulls at any time, in any pieces, ends with the same records and the same hash', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        key: fc.integer({ min: 0, max: 8 }),
        text: fc.string(),
      }),
      fc.record({ kind: fc.constant('remove' as const), key: fc.integer({ min: 0, max: 8 }) }),
      fc.record({ kind: fc.constant('pull' as const), bytes: fc.integer({ min: 1, max: 60 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const owner = new Part();
        const copy = new Part();
        for (const s of steps) {
          if (s.kind === 'pull') catchUp(copy, owner, s.bytes);
          else owner.write(`key-${s.key}`, s.kind === 'write' ? value(s.text) : null);
        }
        catchUp(copy, owner, 1000);
        assert.equal(copy.sequence, owner.sequence);
        assert.equal(copy.hash, owner.hash);
        assert.deepEqual(contents(copy), contents(owner));
      }),
    );
  });
});
