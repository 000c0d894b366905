import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { cut, readCorpus, tasksOf } from '../../../../ops/demo/corpus.js';
import { addCount, countWords, differenceOf, emptyCount } from '../../../../ops/demo/count.js';

const text = fc
  .array(fc.oneof(fc.constantFrom('\n', ' ', '\n\n'), fc.string({ unit: 'grapheme', maxLength: 9 })))
  .map((parts) => parts.join(''));

describe('the corpus of the demo', () => {
  it('is cut into parts that are the text again, none too long, with the same words', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 8, max: 60 }), (whole, most) => {
        const parts = cut(whole, most);
        if (parts === null) return;
        assert.equal(parts.join(''), whole);
        const sum = emptyCount();
        for (const part of parts) {
          assert.ok(part.length > 0 && Buffer.byteLength(part) <= most);
          addCount(sum, countWords(part));
        }
        assert.equal(differenceOf(sum, countWords(whole)), null);
      }),
    );
  });

  it('is cut at the ends of lines where that is possible, else behind a blank, else not at all', () => {
    assert.deepEqual(cut('ab\ncd\nef', 7), ['ab\ncd\n', 'ef']);
    assert.deepEqual(cut('ab\ncd\nef', 4), ['ab\n', 'cd\n', 'ef']);
    assert.deepEqual(cut('one two three', 9), ['one two ', 'three']);
    assert.equal(cut('word and-something-longer', 9), null);
    assert.deepEqual(cut('', 9), []);
    assert.deepEqual(cut('ää ää', 5), ['ää ', 'ää']);
  });

  describe('on disk', () => {
    let folder: string;
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'flowbus-corpus-'));
      mkdirSync(join(folder, 'deep', 'er.md'), { recursive: true });
      writeFileSync(join(folder, 'deep', 'readme.md'), 'deep down\n');
      writeFileSync(join(folder, 'LICENSE'), 'do what you like\n');
      writeFileSync(join(folder, 'licence.txt'), 'or not\n');
      writeFileSync(join(folder, 'code.js'), 'not a text');
      writeFileSync(join(folder, 'long.md'), 'x'.repeat(100));
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    it('is the texts below a folder, in order, without those that cannot be cut', () => {
      const corpus = readCorpus(folder, 1000, 50);
      assert.deepEqual(
        corpus.files.map(({ path }) => path),
        ['LICENSE', 'deep/readme.md', 'licence.txt'],
      );
      assert.equal(corpus.bytes, 34);
      assert.equal(corpus.leftOut, 1);
      assert.deepEqual(
        tasksOf(corpus, 50).map(({ number, path }) => [number, path]),
        [
          [0, 'LICENSE'],
          [1, 'deep/readme.md'],
          [2, 'licence.txt'],
        ],
      );
    });

    it('stays within its bound', () => {
      const corpus = readCorpus(folder, 20, 50);
      assert.deepEqual(
        corpus.files.map(({ path }) => path),
        ['LICENSE'],
      );
      assert.equal(corpus.leftOut, 3);
    });

    it('says when there is no such folder', () => {
      assert.throws(() => readCorpus(join(folder, 'nowhere')), { code: 'ENOENT' });
    });
  });
});
