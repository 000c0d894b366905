import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  addCount,
  type Count,
  countWords,
  differenceOf,
  emptyCount,
  fromPayload,
  toPayload,
  topWords,
} from '../../../../ops/demo/count.js';

function travelled(count: Count): Count {
  return fromPayload(JSON.parse(JSON.stringify(toPayload(count))));
}

describe('the words of the demo', () => {
  it('counts words in lower case, and lines', () => {
    const count = countWords('The cat, the CAT.\nÉté 42\n');
    assert.deepEqual(
      [...count.words],
      [
        ['the', 2],
        ['cat', 2],
        ['été', 1],
        ['42', 1],
      ],
    );
    assert.equal(count.total, 6);
    assert.equal(count.lines, 2);
  });

  it('lists the most frequent words, equals in the order of the alphabet', () => {
    assert.deepEqual(topWords(countWords('b b a c c d'), 3), [
      ['b', 2],
      ['c', 2],
      ['a', 1],
    ]);
  });

  it('travels without a loss, also with the names that objects have', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 400 }), (text) => {
        const count = countWords(`${text} constructor __proto__ `);
        assert.equal(differenceOf(travelled(count), count), null);
      }),
    );
    assert.equal(differenceOf(travelled(emptyCount()), emptyCount()), null);
  });

  it('needs hardly more bytes than the text, even when all words differ', () => {
    const text = Array.from({ length: 9000 }, (_, i) => i.toString(36)).join(' ');
    const bytes = Buffer.byteLength(JSON.stringify(toPayload(countWords(text))));
    assert.ok(bytes <= text.length + 200, `${bytes} bytes for ${text.length}`);
  });

  it('refuses what is no count', () => {
    for (const wrong of [{}, { total: 1, lines: 1, words: null }, { total: '1', lines: 1, words: {} }])
      assert.throws(() => fromPayload(wrong as never), /no count/);
  });

  it('names the first difference', () => {
    const one = countWords('a b b');
    assert.equal(differenceOf(one, countWords('a b b')), null);
    assert.equal(differenceOf(one, countWords('a b')), '3 words, and 2');
    assert.equal(differenceOf(one, countWords('a b b\n')), '0 lines, and 1');
    assert.equal(differenceOf(one, countWords('a b c')), '2 different words, and 3');
    assert.equal(differenceOf(one, countWords('a a b')), '"a" 1 times, and 2 times');
  });

  it('adds parts', () => {
    const whole = emptyCount();
    addCount(whole, countWords('a b\n'));
    addCount(whole, countWords('b c\n'));
    assert.equal(differenceOf(whole, countWords('a b\nb c\n')), null);
  });
});
