import assert from 'node:assert/strict';
import { RecentIds } from '../../../../lib/queues/recent-ids.js';

describe('RecentIds', () => {
  it('knows the last ones, and never holds more than twice its capacity', () => {
    const ids = new RecentIds(100);
    for (let i = 0; i < 1000; i++) {
      ids.add(String(i));
      for (let back = 0; back < Math.min(i, 100); back++) assert.ok(ids.has(String(i - back)));
      assert.ok(ids.size <= 200);
    }
    assert.ok(!ids.has('0'));
  });

  it('forgets what it is told to', () => {
    const ids = new RecentIds(1);
    ids.add('a');
    ids.add('b');
    ids.delete('a');
    ids.delete('b');
    assert.ok(!ids.has('a') && !ids.has('b'));
  });
});
