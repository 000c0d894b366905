import assert from 'node:assert/strict';
import { TopicTable } from '../../../lib/topics/table.js';
import type { Route } from '../../../shards/route.js';
import { TopicIds } from '../../../shards/topic-ids.js';

describe('TopicIds', () => {
  const table = new TopicTable<Route>(1000, () => {});

  it('allots ids that are never zero and stay apart between workers and incarnations', () => {
    const topic = table.add('a.b')!;
    const seen = new Set<number>();
    for (const slot of [0, 1, 59]) {
      for (const incarnation of [1, 2]) {
        const id = new TopicIds(slot, incarnation, 10, () => {}).allot(topic)!.id;
        assert.ok(id > 0 && id <= 0xffffffff);
        seen.add(id);
      }
    }
    assert.equal(seen.size, 6);
  });

  it('stops at its limit: topics stay spelled out then', () => {
    const ids = new TopicIds(0, 1, 2, () => {});
    assert.notEqual(ids.allot(table.add('x.1')!), null);
    assert.notEqual(ids.allot(table.add('x.2')!), null);
    assert.equal(ids.allot(table.add('x.3')!), null);
  });

  it('lets nobody announce ids of another worker, or beyond the limit', () => {
    const own = new TopicIds(0, 1, 2, () => {});
    const peer = new TopicIds(3, 1, 2, () => {});
    const id = peer.allot(table.add('y')!)!.id;
    assert.equal(own.belongs(id, 3), true);
    assert.equal(own.belongs(id, 2), false);
    assert.equal(own.belongs(id + 2, 3), false);
    assert.equal(own.belongs(0, 0), false);
  });

  it('keeps the ids of the incarnation before, and forgets those of older ones', () => {
    const unused: string[] = [];
    const own = new TopicIds(0, 1, 10, (topic) => unused.push(topic.text));
    const of = (incarnation: number): number =>
      new TopicIds(1, incarnation, 10, () => {}).allot(table.add('z')!)!.id;
    for (const incarnation of [1, 2]) own.learn(of(incarnation), table.add(`old.${incarnation}`)!);
    assert.deepEqual(unused, []);
    own.learn(of(3), table.add('new')!);
    assert.deepEqual(unused, ['old.1']);
    assert.equal(own.find(of(1)), undefined);
    assert.equal(own.find(of(2))?.topic.text, 'old.2');
    assert.equal(own.find(of(3))?.topic.text, 'new');
  });
});
