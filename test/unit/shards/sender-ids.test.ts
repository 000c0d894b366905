import assert from 'node:assert/strict';
import { senderAnnouncement } from '../../../lib/wire/announcement.js';
import { SENDERS_PER_WORKER, SenderIds, workerOfSender } from '../../../shards/sender-ids.js';

describe('SenderIds', () => {
  it('gives numbers that say which worker they are of, and never the bus’s', () => {
    const ids = new SenderIds(5, 2, () => {});
    const entry = ids.allot('a', 0)!;
    assert.equal(workerOfSender(entry.number), 5);
    assert.notEqual(entry.number, 0);
    assert.equal(ids.find(entry.number), entry);
    assert.equal(ids.find(0)?.text, 'flowbus');
    assert.equal(new SenderIds(0, 0, () => {}).allot('a', 0)!.number !== 0, true);
  });

  it('lets a number rest before another agent gets it, under an index that nobody knows', () => {
    const ids = new SenderIds(0, 1, () => {});
    const first = ids.allot('first', 0)!;
    const index = first.index;
    ids.giveBack(first, 1000);
    assert.notEqual(ids.allot('second', 10_999)!.number, first.number);
    const third = ids.allot('third', 11_000)!;
    assert.deepEqual([third.number, third.text], [first.number, 'third']);
    assert.notEqual(third.index, index);
  });

  it('announces a number under the name that it has now', () => {
    const ids = new SenderIds(0, 1, () => {});
    const entry = ids.allot('first', 0)!;
    assert.deepEqual(entry.announcement, senderAnnouncement(entry.number, 'first'));
    assert.equal(entry.announcement, entry.announcement);
    ids.giveBack(entry, 0);
    assert.equal(ids.allot('second', 10_000), entry);
    assert.deepEqual(entry.announcement, senderAnnouncement(entry.number, 'second'));
  });

  it('lets numbers rest as long while the clock begins anew at 2^32 ms', () => {
    const ids = new SenderIds(0, 1, () => {});
    const first = ids.allot('first', 0)!;
    ids.giveBack(first, 2 ** 32 - 4000);
    assert.notEqual(ids.allot('second', 5999)!.number, first.number);
    assert.equal(ids.allot('third', 6000)!.number, first.number);
  });

  it('keeps its indexes few however many agents come and go, and says when they mean others', () => {
    let forgotten = 0;
    const ids = new SenderIds(0, 1, () => {
      forgotten++;
    });
    const stays = ids.allot('stays', 0)!;
    let now = 0;
    let most = 0;
    for (let i = 0; i < 20_000; i++) {
      const entry = ids.allot(`agent-${i}`, now)!;
      most = Math.max(most, entry.index);
      assert.notEqual(entry.index, stays.index);
      ids.giveBack(entry, now);
      now += 10_000;
    }
    assert.ok(forgotten >= 1 && forgotten < 50, `${forgotten} times`);
    assert.ok(most < 1100, `index ${most}`);
  });

  it('says when all numbers are taken', () => {
    const ids = new SenderIds(0, 1, () => {});
    for (let i = 0; i < SENDERS_PER_WORKER; i++) assert.notEqual(ids.allot('x', 0), null);
    assert.equal(ids.allot('x', 0), null);
  });

  it('learns only what a worker may say of itself', () => {
    const ids = new SenderIds(0, 1, () => {});
    const other = new SenderIds(1, 1, () => {});
    const entry = other.allot('far', 0)!;
    assert.equal(ids.belongs(entry.number, 1), true);
    assert.equal(ids.belongs(entry.number, 0), false);
    assert.equal(ids.belongs(0, 0), false);
    ids.learn(entry.number, 'far');
    const index = ids.find(entry.number)!.index;
    ids.learn(entry.number, 'farther');
    assert.equal(ids.find(entry.number)!.text, 'farther');
    assert.notEqual(ids.find(entry.number)!.index, index);
  });
});
