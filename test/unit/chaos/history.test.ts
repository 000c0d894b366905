/** The checker of the chaos tests: what it must not let pass. */
import assert from 'node:assert/strict';
import { clock, History } from '../../chaos/history.js';

const ID = 'p:normal:k:';
const MEMBER = 1;
const OTHER = 2;

/** Numbers of one chain that are all acked, and got as `receipts` say: number, process, microseconds, redelivered. */
function historyOf(...receipts: [number, number, number, number?][]): History {
  const history = new History();
  for (const [number, by, at, redelivered = 0] of receipts) {
    history.acked.add(ID + number);
    history.receive({ id: ID + number, by, at, redelivered });
  }
  return history;
}

describe('the history of the chaos tests', () => {
  it('finds what was acked and never came, and what came twice unflagged', () => {
    const lost = historyOf([1, MEMBER, 1]);
    lost.acked.add(`${ID}2`);
    assert.throws(() => lost.check('none'), /never received/);
    const twice = historyOf([1, MEMBER, 1], [1, OTHER, 2]);
    assert.throws(() => twice.check('none'), /not flagged/);
    historyOf([1, MEMBER, 1], [1, OTHER, 2, 1]).check('by-key');
  });

  it('finds what is out of order: repeats too where they wait for each other, which one consumer’s do not', () => {
    const late = historyOf([2, MEMBER, 1], [1, MEMBER, 2]);
    assert.throws(() => late.check('one-consumer'), /out of order/);
    late.check('none');
    const repeated = historyOf([1, MEMBER, 1], [2, MEMBER, 2], [1, MEMBER, 3, 1]);
    repeated.check('one-consumer');
    assert.throws(() => repeated.check('by-key'), /out of order/);
  });

  describe('where a process stood still', () => {
    /** 1 was delivered to the member, which stands still; the other gets it when the lease is over, and then 2. */
    const from = 100;
    const to = clock();
    const after = to + 60_000_000;
    const meanwhile: [number, number, number, number?][] = [
      [1, OTHER, from + 1, 1],
      [2, OTHER, from + 2, 1],
    ];

    it('lets pass what the lease was over of', () => {
      const history = historyOf(...meanwhile, [1, MEMBER, after]);
      assert.throws(() => history.check('by-key'), /out of order/, 'nobody says that it stood still');
      history.resumed(MEMBER, from);
      history.check('by-key');
    });

    it('finds all else: of another, before it went on, of what nobody else has got since, or twice of one key', () => {
      for (const receipts of [
        [...meanwhile, [1, 3, after]],
        [...meanwhile, [1, MEMBER, to - 1]],
        [
          [1, OTHER, from - 1],
          [2, OTHER, from + 2],
          [1, MEMBER, after, 1],
        ],
        [
          [2, OTHER, from + 2],
          [1, MEMBER, after],
        ],
        [...meanwhile, [1, MEMBER, after, 2]],
        [...meanwhile, [3, OTHER, from + 3], [1, MEMBER, after], [2, MEMBER, after + 1]],
      ] as [number, number, number, number?][][]) {
        const history = historyOf(...receipts);
        history.resumed(MEMBER, from);
        assert.throws(() => history.check('by-key'), /out of order/, JSON.stringify(receipts));
      }
    });
  });
});
