import assert from 'node:assert/strict';
import { RecentIds } from '../../../../lib/queues/recent-ids.js';

describe('RecentIds', () => {
  it('knows the last ones, and never holds more than twice its capacity', () => {
    const ids = new RecentIds(100);
    for (let i = 0; i < 1000; i++) {
      ids.add('p', String(i));
      for (let back = 0; back < Math.min(i, 100); back++) assert.ok(ids.has('p', String(i - back)));
      assert.ok(!ids.has('p', String(i + 1)));
      assert.ok(!ids.has('q', String(i)));
      assert.ok(ids.size <= 200);
    }
    assert.ok(!ids.has('p', '0'));
  });

  it('takes no id for another, and none for one of another sender', () => {
    const ids = new RecentIds(65_536);
    for (let i = 0; i < 65_536; i++) ids.add(`sender-${i % 7}`, `${i}`);
    for (let i = 0; i < 65_536; i++) assert.ok(ids.has(`sender-${i % 7}`, `${i}`));
    for (let i = 0; i < 200_000; i++) assert.ok(!ids.has(`sender-${(i + 1) % 7}`, `${i}`));
    ids.add('a', 'bc');
    assert.ok(!ids.has('ab', 'c'));
  });

  it('forgets what it is told to', () => {
    const ids = new RecentIds(1);
    ids.add('p', 'a');
    ids.add('p', 'b');
    ids.delete('p', 'a');
    ids.delete('p', 'b');
    assert.ok(!ids.has('p', 'a') && !ids.has('p', 'b'));
    ids.add('p', 'a');
    assert.ok(ids.has('p', 'a'));
  });
});
