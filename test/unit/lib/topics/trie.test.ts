import assert from 'node:assert/strict';
import fc from 'fast-check';
import { matches } from '../../../../lib/topics/topic.js';
import { PatternTrie } from '../../../../lib/topics/trie.js';

function found(trie: PatternTrie<string>, topic: string): string[] {
  const into: string[] = [];
  trie.collect(topic, into);
  return into.sort();
}

const topics = fc
  .array(fc.constantFrom('a', 'b', '_c'), { minLength: 1, maxLength: 6 })
  .map((levels) => levels.join('.'));
const patterns = fc
  .array(fc.constantFrom('a', 'b', '_c', '*', '**', '**'), { minLength: 1, maxLength: 6 })
  .map((levels) => levels.join('.'));

describe('PatternTrie', () => {
  it('is a set of pairs', () => {
    const trie = new PatternTrie<string>();
    for (const pattern of ['a.b', 'a.*']) {
      assert.equal(trie.add(pattern, '1'), true);
      assert.equal(trie.add(pattern, '1'), false);
      assert.equal(trie.add(pattern, '2'), true);
      assert.equal(trie.count(pattern), 2);
    }
    assert.equal(trie.size, 4);
    assert.deepEqual(found(trie, 'a.b'), ['1', '1', '2', '2']);
    for (const pattern of ['a.b', 'a.*']) {
      assert.equal(trie.remove(pattern, '3'), false);
      assert.equal(trie.remove(pattern, '1'), true);
      assert.equal(trie.remove(pattern, '1'), false);
      assert.equal(trie.count(pattern), 1);
    }
    assert.equal(trie.remove('a.**', '2'), false);
    assert.equal(trie.remove('x.*.y', '2'), false);
    assert.equal(trie.count('x.*.y'), 0);
    assert.deepEqual(found(trie, 'a.b'), ['2', '2']);
    assert.equal(trie.size, 2);
  });

  it('tells values apart by identity', () => {
    const trie = new PatternTrie<{ name: string }>();
    const one = { name: 'x' };
    assert.ok(trie.add('**', one) && trie.add('**', { name: 'x' }));
    assert.equal(trie.remove('**', { name: 'x' }), false);
    assert.equal(trie.remove('**', one), true);
    assert.equal(trie.size, 1);
  });

  it('keeps what is reserved from patterns that begin with a wildcard', () => {
    const trie = new PatternTrie<string>();
    for (const pattern of ['**', '*.x', '**._agent.x', '*.**', '_agent.*', '_agent.x', '_agent.**']) {
      trie.add(pattern, pattern);
    }
    assert.deepEqual(found(trie, '_agent.x'), ['_agent.*', '_agent.**', '_agent.x']);
    assert.deepEqual(found(trie, 'b.x'), ['**', '*.**', '*.x']);
  });

  it('lets a crowd on one pattern come and go in any order', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('a.b', 'a.*'),
        fc.array(fc.tuple(fc.boolean(), fc.nat(40)), { minLength: 200, maxLength: 400, size: 'max' }),
        (pattern, steps) => {
          const trie = new PatternTrie<number>();
          const model = new Set<number>();
          for (const [add, value] of steps) {
            if (add) {
              assert.equal(trie.add(pattern, value), !model.has(value));
              model.add(value);
            } else {
              assert.equal(trie.remove(pattern, value), model.delete(value));
            }
            const into: number[] = [];
            trie.collect('a.b', into);
            assert.equal(into.length, model.size);
            assert.deepEqual(new Set(into), model);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it('finds exactly what the reference matcher finds, and prunes to nothing', () => {
    const step = fc.tuple(fc.boolean(), patterns, fc.constantFrom('1', '2', '3'));
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.array(topics, { minLength: 1, maxLength: 12 }),
        (steps, asked) => {
          const trie = new PatternTrie<string>();
          const model = new Map<string, Set<string>>();
          for (const [add, pattern, value] of steps) {
            const values = model.get(pattern) ?? new Set();
            model.set(pattern, values);
            if (add) {
              assert.equal(trie.add(pattern, value), !values.has(value));
              values.add(value);
            } else {
              assert.equal(trie.remove(pattern, value), values.delete(value));
            }
          }
          for (const topic of asked) {
            const expected = [...model].flatMap(([pattern, values]) =>
              matches(pattern, topic) ? [...values] : [],
            );
            assert.deepEqual(found(trie, topic), expected.sort(), topic);
          }
          for (const [pattern, values] of model) {
            assert.equal(trie.count(pattern), values.size);
            for (const value of values) assert.equal(trie.remove(pattern, value), true);
          }
          assert.equal(trie.size, 0);
          assert.deepEqual(trie, Object.assign(new PatternTrie<string>(), lastLookup(trie)));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('finds its way through many ** in bounded steps', () => {
    const topic = new Array(16).fill('a').join('.');
    const trie = new PatternTrie<string>();
    trie.add('**.a.**.a.**.a', 'three');
    assert.deepEqual(found(trie, topic), ['three']);
    assert.ok(trie.steps <= 7 * 17, `${trie.steps} steps for 7 nodes`);

    const deepest = new Array(8).fill('**.a').join('.');
    for (const pattern of [deepest, `${deepest.slice(0, -1)}b`, new Array(16).fill('**').join('.')]) {
      trie.add(pattern, pattern);
    }
    assert.deepEqual(found(trie, topic), ['three', deepest, new Array(16).fill('**').join('.')].sort());
    // 8 of the 16 levels can be chosen in 12,870 ways; nodes times entries is what may be walked instead.
    assert.ok(trie.steps <= 33 * 17, `${trie.steps} steps for 33 nodes`);
  });

  it('takes as many steps beside 100,000 patterns as beside ten', () => {
    const steps = [10, 100_000].map((count) => {
      const trie = new PatternTrie<number>();
      for (let i = 0; i < count; i++) trie.add(`agent.w${i}.*.done`, i);
      const into: number[] = [];
      trie.collect('agent.w7.task.done', into);
      assert.deepEqual(into, [7]);
      return trie.steps;
    });
    assert.equal(steps[0], steps[1]);
  });

  it('walks nothing when no pattern has a wildcard', () => {
    const trie = new PatternTrie<string>();
    trie.add('a.b', '1');
    assert.deepEqual(found(trie, 'a.b'), ['1']);
    assert.equal(trie.steps, 0);
  });
});

/** The fields that a look-up leaves behind, so that an emptied trie can be compared with a new one. */
function lastLookup(trie: PatternTrie<string>): object {
  const { levels, into, walked } = trie as unknown as { levels: string[]; into: string[]; walked: number };
  return { levels, into, walked };
}
