import assert from 'node:assert/strict';
import { PendingTable } from '../../../../lib/client/pending.js';
import { FlowbusError } from '../../../../lib/errors.js';

const CUT = new FlowbusError('DISCONNECTED');

describe('PendingTable', () => {
  it('settles and fails by key, once', async () => {
    const table = new PendingTable<number, string>('things', 10);
    const one = table.open(1, 1000);
    const two = table.open(2, 1000);
    assert.equal(table.settle(1, 'yes'), true);
    assert.equal(table.settle(1, 'again'), false);
    assert.equal(table.fail(2, CUT), true);
    assert.equal(table.fail(2, CUT), false);
    assert.equal(await one, 'yes');
    await assert.rejects(two, CUT);
    assert.equal(table.size, 0);
  });

  it('times out', async () => {
    const table = new PendingTable<number, string>('things', 10);
    await assert.rejects(table.open(1, 2), { code: 'TIMEOUT', message: /2 ms/ });
    assert.equal(table.has(1), false);
  });

  it('is bounded', async () => {
    const table = new PendingTable<number, string>('things', 1);
    const one = table.open(1, 1000);
    assert.throws(() => table.open(2, 1000), { code: 'LIMIT_REACHED', message: /1 things/ });
    table.settle(1, 'done');
    await one;
  });

  it('fails all but some, and tells when nothing is left', async () => {
    const table = new PendingTable<number, string>('things', 10);
    await table.empty();
    const one = assert.rejects(table.open(1, 1000), CUT);
    const two = table.open(2, 1000);
    let empty = false;
    const emptied = table.empty().then(() => {
      empty = true;
    });
    table.failAll(CUT, new Set([2]));
    await one;
    assert.equal(empty, false);
    table.settle(2, 'kept');
    assert.equal(await two, 'kept');
    await emptied;
  });
});
