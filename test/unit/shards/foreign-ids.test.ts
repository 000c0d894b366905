import assert from 'node:assert/strict';
import type { Exchange } from '../../../shards/exchange.js';
import { ForeignIds, ForeignSenders, MAX_FOREIGN_IDS } from '../../../shards/foreign-ids.js';
import { SENDERS_PER_WORKER, SenderIds } from '../../../shards/sender-ids.js';

function exchange(): Exchange {
  return { senders: new SenderIds(2, 1, () => {}), now: 0, clock: 0 } as unknown as Exchange;
}

function at(of: Exchange, now: number): void {
  of.now = now;
  of.clock = now;
}

describe('senders of other nodes', () => {
  it('have numbers here for as long as there are some; then those get them that were quiet longest', () => {
    const here = exchange();
    const senders = new ForeignSenders(here);
    const ids = new ForeignIds(here, senders, () => {});
    const count = SENDERS_PER_WORKER + 2000;
    for (let i = 1; i <= count; i++) ids.learnSender(i, `s-${i}`);
    const numberOf = (i: number) => senders.idOf(ids.sender(i)!)?.number ?? null;
    const numbers = new Set<number | null>();
    for (let i = 1; i <= SENDERS_PER_WORKER; i++) numbers.add(numberOf(i));
    assert.equal(numbers.size, SENDERS_PER_WORKER);
    assert.ok(!numbers.has(null) && !numbers.has(0));
    assert.equal(numberOf(SENDERS_PER_WORKER + 1), null);
    at(here, 9000);
    for (let i = 1001; i <= SENDERS_PER_WORKER; i++) numberOf(i);
    at(here, 12_000);
    for (let i = 1; i <= 1000; i++) {
      const sender = ids.sender(SENDERS_PER_WORKER + i)!;
      const number = senders.idOf(sender)!.number;
      assert.equal(here.senders.find(number)!.text, sender.text);
      assert.equal(senders.bearer(number), sender);
    }
    // Those spoke not long ago.
    assert.equal(numberOf(SENDERS_PER_WORKER + 1001), null);
    assert.equal(ids.sender(1)!.id, null);
    assert.notEqual(ids.sender(1001)!.id, null);
    at(here, 30_000);
    assert.notEqual(numberOf(1), null);
  });

  it('are no more than can be remembered: then all are forgotten, and announced anew', () => {
    const here = exchange();
    const senders = new ForeignSenders(here);
    const ids = new ForeignIds(here, senders, () => {});
    ids.learnSender(1, 's');
    const id = senders.idOf(ids.sender(1)!)!;
    for (let i = 2; i <= MAX_FOREIGN_IDS + 1; i++) ids.learnSender(i, 's');
    assert.equal(ids.sender(1), undefined);
    assert.equal(senders.bearer(id.number), null);
    assert.notEqual(ids.sender(MAX_FOREIGN_IDS + 1), undefined);
  });

  it('that are held are let go when their number means another, and say so', () => {
    const here = exchange();
    const held: string[] = [];
    const ids = new ForeignIds(here, new ForeignSenders(here), ({ text, holds }) =>
      held.push(`${text} ${holds}`),
    );
    ids.learnSender(1, 'one');
    ids.sender(1)!.hold();
    ids.sender(1)!.hold();
    ids.sender(1)!.unhold();
    ids.learnSender(1, 'another');
    assert.deepEqual(held, ['one 1', 'one 0']);
  });
});
