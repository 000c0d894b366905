import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  LEDGER_BYTES,
  Ledger,
  MAX_ROOT_BYTES,
  MAX_ROOTS,
  mergeLedgers,
  OTHER_ROOT,
  REASON_NAMES,
  Reason,
  type ReasonName,
} from '../../../../lib/telemetry/ledger.js';

function opened(buffer = new ArrayBuffer(LEDGER_BYTES)): Ledger {
  const ledger = new Ledger(buffer, 0);
  ledger.open();
  return ledger;
}

function countOf(ledgers: readonly Ledger[], root: string, reason: ReasonName): number {
  const row = mergeLedgers(ledgers).find((one) => one.root === root);
  return row === undefined ? 0 : row.counts[REASON_NAMES.indexOf(reason)];
}

describe('drop ledger', () => {
  it('has a name for every reason', () => {
    const spelled = Object.entries(Reason).map(([key, column]) => {
      assert.equal(
        REASON_NAMES[column],
        key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      );
      return column;
    });
    assert.equal(new Set(spelled).size, REASON_NAMES.length);
  });

  it('counts by root and reason', () => {
    const ledger = opened();
    const row = ledger.row('agent');
    ledger.add(row, Reason.shed, 2);
    ledger.add(row, Reason.shed, 3);
    ledger.count('agent', Reason.expired, 1);
    ledger.count('metrics', Reason.shed, 7);
    assert.equal(countOf([ledger], 'agent', 'shed'), 5);
    assert.equal(countOf([ledger], 'agent', 'expired'), 1);
    assert.equal(countOf([ledger], 'metrics', 'shed'), 7);
    assert.equal(countOf([ledger], 'metrics', 'expired'), 0);
  });

  it('counts a topic that is not known under (other)', () => {
    const ledger = opened();
    ledger.count('', Reason.shardDown, 4);
    assert.equal(countOf([ledger], OTHER_ROOT, 'shard-down'), 4);
  });

  it('keeps the first 255 roots and counts later ones under (other)', () => {
    const ledger = opened();
    for (let i = 0; i < MAX_ROOTS + 50; i++) ledger.count(`root-${i}`, Reason.shed, 1);
    assert.equal(ledger.read().length, MAX_ROOTS);
    assert.equal(countOf([ledger], 'root-254', 'shed'), 1);
    assert.equal(countOf([ledger], 'root-255', 'shed'), 0);
    assert.equal(countOf([ledger], OTHER_ROOT, 'shed'), 51);
  });

  it('cuts long roots at a whole character', () => {
    const ledger = opened();
    const long = `${'x'.repeat(MAX_ROOT_BYTES - 1)}é`;
    ledger.count(long, Reason.shed, 1);
    ledger.count(`${long}and more`, Reason.shed, 1);
    assert.equal(countOf([ledger], 'x'.repeat(MAX_ROOT_BYTES - 1), 'shed'), 2);
  });

  it('goes on counting after its process is gone', () => {
    const buffer = new ArrayBuffer(LEDGER_BYTES);
    opened(buffer).count('agent', Reason.shed, 3);
    const next = opened(buffer);
    next.count('agent', Reason.shed, 4);
    next.count('metrics', Reason.shed, 1);
    assert.equal(countOf([next], 'agent', 'shed'), 7);
    assert.deepEqual(
      next.read().map(({ root }) => root),
      [OTHER_ROOT, 'agent', 'metrics'],
    );
  });

  it('is not misled by a name that its predecessor died in', () => {
    const buffer = new ArrayBuffer(LEDGER_BYTES);
    opened(buffer);
    new Uint8Array(buffer, 8 + MAX_ROOT_BYTES, 10).fill(0x61);
    const next = opened(buffer);
    next.count('b', Reason.shed, 1);
    assert.deepEqual(
      next.read().map(({ root }) => root),
      [OTHER_ROOT, 'b'],
    );
  });

  it('merges to at most 256 roots and loses no count', () => {
    const ledgers = [opened(), opened()];
    for (let i = 0; i < 200; i++) {
      ledgers[0].count(`a${i}`, Reason.shed, 1);
      ledgers[1].count(`b${i}`, Reason.shed, 1);
      ledgers[1].count('a0', Reason.expired, 1);
    }
    const merged = mergeLedgers(ledgers);
    assert.equal(merged.length, MAX_ROOTS);
    assert.equal(merged[0].root, OTHER_ROOT);
    assert.equal(countOf(ledgers, 'a0', 'expired'), 200);
    const sum = merged.reduce((all, { counts }) => all + counts[REASON_NAMES.indexOf('shed')], 0);
    assert.equal(sum, 400);
  });

  it('agrees with a plain map, whatever is counted', () => {
    const drop = fc.tuple(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }).filter((root) => !root.includes('\0')),
      fc.constantFrom(...REASON_NAMES),
      fc.nat(1000),
    );
    fc.assert(
      fc.property(fc.array(drop, { maxLength: 60 }), (drops) => {
        const ledger = opened();
        const model = new Map<string, number>();
        for (const [root, reason, n] of drops) {
          ledger.count(root, REASON_NAMES.indexOf(reason) as Reason, n);
          const key = JSON.stringify([root, reason]);
          model.set(key, (model.get(key) ?? 0) + n);
        }
        for (const [key, n] of model) {
          const [root, reason] = JSON.parse(key);
          assert.equal(countOf([ledger], root, reason), n);
        }
      }),
    );
  });
});
