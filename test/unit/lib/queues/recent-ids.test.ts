import assert from 'node:assert/strict';
import { IdBudget, RecentIds } from '../../../../lib/queues/recent-ids.js';

function id(text: string): [b: Uint8Array, start: number, end: number] {
  const b = Buffer.from(`<${text}>`);
  return [b, 1, b.length - 1];
}

describe('RecentIds', () => {
  it('knows the last ones, and never holds more than twice its capacity', () => {
    const ids = new RecentIds(100);
    for (let i = 0; i < 1000; i++) {
      ids.add('p', ...id(String(i)));
      for (let back = 0; back < Math.min(i, 100); back++) assert.ok(ids.has('p', ...id(String(i - back))));
      assert.ok(!ids.has('p', ...id(String(i + 1))));
      assert.ok(!ids.has('q', ...id(String(i))));
      assert.ok(ids.size <= 200);
    }
    assert.ok(!ids.has('p', ...id('0')));
  });

  it('takes no id for another, and none for one of another sender', () => {
    const ids = new RecentIds(65_536);
    for (let i = 0; i < 65_536; i++) ids.add(`sender-${i % 7}`, ...id(`${i}`));
    for (let i = 0; i < 65_536; i++) assert.ok(ids.has(`sender-${i % 7}`, ...id(`${i}`)));
    for (let i = 0; i < 200_000; i++) assert.ok(!ids.has(`sender-${(i + 1) % 7}`, ...id(`${i}`)));
    ids.add('a', ...id('bc'));
    assert.ok(!ids.has('ab', ...id('c')));
  });

  it('forgets what it is told to', () => {
    const ids = new RecentIds(1);
    ids.add('p', ...id('a'));
    ids.add('p', ...id('b'));
    ids.delete('p', ...id('a'));
    ids.delete('p', ...id('b'));
    assert.ok(!ids.has('p', ...id('a')) && !ids.has('p', ...id('b')));
    ids.add('p', ...id('a'));
    assert.ok(ids.has('p', ...id('a')));
  });

  it('adds what it was asked for', () => {
    const ids = new RecentIds(1);
    assert.ok(!ids.has('p', ...id('a')));
    ids.addAsked();
    assert.ok(ids.has('p', ...id('a')));
  });

  it('take next to nothing before there are any', () => {
    const before = process.memoryUsage().arrayBuffers;
    const many = Array.from({ length: 1000 }, () => new RecentIds(65_536));
    const bytes = process.memoryUsage().arrayBuffers - before;
    assert.ok(bytes < 1_000_000, `${many.length} of them take ${bytes} bytes`);
  });

  describe('of many, with one budget', () => {
    const most = 100_000;

    it('take no more than that together, and those give way that have needed no more for longest', () => {
      const budget = new IdBudget(most);
      const many = Array.from({ length: 50 }, () => new RecentIds(1000, budget));
      const before = process.memoryUsage().arrayBuffers;
      for (const [n, ids] of many.entries()) {
        for (let i = 0; i < 2500; i++) {
          ids.add('p', ...id(`${i}`));
          assert.ok(budget.bytes <= most, `${budget.bytes} bytes`);
        }
        // Whoever is busy knows its window, whoever came before it does as long as there is room.
        for (let i = 1500; i < 2500; i++) assert.ok(ids.has('p', ...id(`${i}`)));
        if (n > 0) assert.ok(many[n - 1].has('p', ...id('2499')));
        if (n > 9) assert.equal(many[n - 10].size, 0);
      }
      const bytes = process.memoryUsage().arrayBuffers - before;
      assert.ok(bytes < 100 * most, `${bytes} bytes`);
      // What was forgotten may come again, and is known then.
      many[0].add('p', ...id('x'));
      assert.ok(many[0].has('p', ...id('x')));
    });

    it('keep what is busy, whoever came first', () => {
      const budget = new IdBudget(most);
      const fill = (ids: RecentIds, from: number): void => {
        for (let i = from; i < from + 2500; i++) ids.add('p', ...id(`${i}`));
      };
      const many = [1, 2, 3, 4].map(() => new RecentIds(1000, budget));
      for (const ids of many.slice(0, 3)) fill(ids, 0);
      fill(many[0], 2500);
      fill(many[3], 0);
      assert.deepEqual(
        many.map(({ size }) => size > 0),
        [true, false, true, true],
      );
      assert.ok(many[0].has('p', ...id('4000')));
    });

    it('give back what they have when they are cleared', () => {
      const budget = new IdBudget(most);
      const ids = new RecentIds(1000, budget);
      for (let i = 0; i < 5000; i++) ids.add('p', ...id(`${i}`));
      assert.ok(budget.bytes > 16_000);
      ids.clear();
      assert.deepEqual([budget.bytes, ids.size], [0, 0]);
    });
  });
});
