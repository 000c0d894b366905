import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Topic, TopicTable } from '../../../../lib/topics/table.js';
import { matches } from '../../../../lib/topics/topic.js';

type Route = { to: string };

function table(capacity: number): { topics: TopicTable<Route>; evicted: string[] } {
  const evicted: string[] = [];
  const topics = new TopicTable<Route>(capacity, (topic) => {
    assert.ok(topic.index >= 0);
    evicted.push(topic.text);
  });
  return { topics, evicted };
}

function added(topics: TopicTable<Route>, text: string): Topic<Route> {
  const topic = topics.add(text);
  assert.ok(topic !== null);
  return topic;
}

describe('TopicTable', () => {
  it('hands out topics with bytes and a dense index', () => {
    const { topics } = table(3);
    const first = added(topics, 'a.é');
    assert.equal(first.text, 'a.é');
    assert.deepEqual(first.bytes, new TextEncoder().encode('a.é'));
    assert.deepEqual([first.index, added(topics, 'b').index, added(topics, 'c').index], [0, 1, 2]);
    assert.equal(topics.add('a.é'), first);
    assert.equal(topics.get('a.é'), first);
    assert.equal(topics.get('a'), undefined);
    assert.equal(topics.at(0), first);
    assert.equal(topics.at(3), undefined);
    assert.equal(topics.size, 3);
    assert.equal(topics.capacity, 3);
  });

  it('refuses a senseless capacity', () => {
    for (const capacity of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => new TopicTable<Route>(capacity, () => {}), RangeError);
    }
  });

  it('evicts what was longest without use, and reuses its index', () => {
    const { topics, evicted } = table(3);
    for (const text of ['a', 'b', 'c']) added(topics, text);
    topics.get('a');
    const b = topics.at(1) as Topic<Route>;
    b.route = { to: 'x' };
    assert.equal(added(topics, 'd').index, 1);
    assert.deepEqual(evicted, ['b']);
    assert.equal(topics.get('b'), undefined);
    assert.deepEqual([b.index, b.route], [-1, null]);
    added(topics, 'e');
    assert.deepEqual(evicted, ['b', 'c']);
  });

  it('takes hits for use', () => {
    const { topics, evicted } = table(2);
    added(topics, 'a').hits++;
    added(topics, 'b');
    added(topics, 'c');
    assert.deepEqual(evicted, ['b']);
  });

  it('finds a victim even when all are in use', () => {
    const { topics, evicted } = table(2);
    for (const text of ['a', 'b']) {
      added(topics, text).hits++;
      topics.get(text);
    }
    added(topics, 'c');
    assert.deepEqual(evicted, ['a']);
  });

  it('forgets the levels of evicted topics', () => {
    const { topics } = table(2);
    for (let i = 0; i < 100; i++) added(topics, `a${i}.b.c${i}`);
    const { root } = topics as unknown as { root: { children: Map<string, object> } };
    assert.deepEqual([...root.children.keys()], ['a98', 'a99']);
  });

  it('keeps what is pinned', () => {
    const { topics, evicted } = table(2);
    const a = added(topics, 'a');
    const b = added(topics, 'b');
    for (const topic of [a, a, b]) topics.pin(topic);
    assert.equal(topics.add('c'), null);
    assert.equal(topics.add('a'), a);
    assert.ok(a.pinned);
    topics.unpin(a);
    topics.unpin(a);
    added(topics, 'c');
    assert.deepEqual(evicted, ['a']);
    topics.pin(a);
    assert.equal(a.pinned, false);
    added(topics, 'd');
    assert.deepEqual(evicted, ['a', 'c']);
    assert.equal(topics.get('b'), b);
  });

  it('clears by pattern, and reserved topics only by their own name', () => {
    const { topics } = table(10);
    const all = ['a', 'a.b', 'a.b.c', 'x.b', '_agent.b'].map((text) => added(topics, text));
    const cleared = (pattern: string): string[] => {
      for (const topic of all) topic.route = { to: topic.text };
      const count = pattern === '' ? topics.invalidateAll() : topics.invalidate(pattern);
      const gone = all.filter((topic) => topic.route === null).map((topic) => topic.text);
      assert.equal(count, gone.length);
      return gone;
    };
    assert.deepEqual(cleared('a.b'), ['a.b']);
    assert.deepEqual(cleared('a.*'), ['a.b']);
    assert.deepEqual(cleared('a.**'), ['a', 'a.b', 'a.b.c']);
    assert.deepEqual(cleared('**.b'), ['a.b', 'x.b']);
    assert.deepEqual(cleared('**'), ['a', 'a.b', 'a.b.c', 'x.b']);
    assert.deepEqual(cleared('_agent.*'), ['_agent.b']);
    assert.deepEqual(cleared('_agent.b'), ['_agent.b']);
    assert.deepEqual(cleared('none.*'), []);
    assert.deepEqual(cleared('none'), []);
    assert.deepEqual(cleared(''), ['a', 'a.b', 'a.b.c', 'x.b', '_agent.b']);
    assert.equal(topics.invalidateAll(), 0);
  });

  it('walks many ** over deep topics in one pass', () => {
    const { topics } = table(16);
    for (let levels = 1; levels <= 16; levels++) {
      added(topics, new Array(levels).fill('a').join('.')).route = { to: 'x' };
    }
    assert.equal(topics.invalidate(new Array(8).fill('**.b').join('.')), 0);
    assert.equal(topics.invalidate('**.a.**.a.**.a'), 14);
    assert.equal(topics.invalidate(new Array(16).fill('**').join('.')), 2);
  });

  it('keeps bound, victims and routes right through any history', () => {
    const level = fc.constantFrom('a', 'b', '_c');
    // Few enough texts that most steps meet a known one.
    const some = [
      'a',
      'b',
      '_c',
      'a.a',
      'a.b',
      'b.a',
      'b._c',
      '_c.a',
      'a.a.a',
      'a.b.a',
      'b.b.b',
      '_c.a.b',
      'a.a.b.b',
    ];
    const text = fc.constantFrom(...some);
    const wild = fc.oneof(level, fc.constantFrom('*', '**'));
    const pattern = fc.array(wild, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('.'));
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.tuple(fc.constant('add' as const), text) },
      { weight: 3, arbitrary: fc.tuple(fc.constant('invalidate' as const), pattern) },
      fc.tuple(fc.constantFrom('get' as const, 'hit' as const, 'pin' as const, 'unpin' as const), text),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(step, { maxLength: 120 }), (capacity, steps) => {
        const model = new Map<string, Topic<Route>>();
        const idle = (topic: Topic<Route>) =>
          !topic.pinned && !topic.touched && topic.hits === topic.hitsSeen;
        let idleBefore = 0;
        const topics = new TopicTable<Route>(capacity, (topic) => {
          assert.equal(model.get(topic.text), topic);
          assert.ok(!topic.pinned);
          if (idleBefore > 0) assert.ok(idle(topic), 'a used topic went before an idle one');
          model.delete(topic.text);
        });
        for (const [what, argument] of steps) {
          const known = model.get(argument);
          if (what === 'add') {
            idleBefore = [...model.values()].filter(idle).length;
            const topic = topics.add(argument);
            if (topic === null) {
              assert.ok(model.size === capacity && [...model.values()].every((other) => other.pinned));
            } else {
              assert.ok(known === undefined || topic === known);
              topic.route ??= { to: argument };
              model.set(argument, topic);
            }
          } else if (what === 'invalidate') {
            let expected = 0;
            const before = new Map([...model].map(([name, topic]) => [name, topic.route]));
            for (const [name, route] of before) if (route !== null && matches(argument, name)) expected++;
            assert.equal(topics.invalidate(argument), expected);
            for (const [name, topic] of model) {
              assert.equal(topic.route, matches(argument, name) ? null : before.get(name));
            }
          } else if (what === 'get') {
            assert.equal(topics.get(argument), known);
          } else if (known !== undefined) {
            if (what === 'hit') known.hits++;
            else if (what === 'pin') topics.pin(known);
            else topics.unpin(known);
          }
          assert.equal(topics.size, model.size);
          assert.ok(model.size <= capacity);
          const places = [...model.values()].map((topic) => topic.index).sort((a, b) => a - b);
          assert.deepEqual(places, [...places.keys()]);
          for (const topic of model.values()) assert.equal(topics.at(topic.index), topic);
        }
        for (const topic of model.values()) assert.equal(topics.get(topic.text), topic);
      }),
      { numRuns: 400 },
    );
  });
});
