import assert from 'node:assert/strict';
import { Rig } from './mailbox-rig.js';

describe('Mailbox, with lanes and deadlines', () => {
  it('gives every lane its share: background is one of 31 at least', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    for (let i = 0; i < 310; i++) for (let lane = 0; lane < 5; lane++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < 310; i++) counts[rig.mailbox.take(consumer, 0, rig.wall)!.lane]++;
    assert.deepEqual(counts, [160, 80, 40, 20, 10]);
  });

  it('shares its lanes as it is told, and gives the less urgent more under pressure', () => {
    const rig = new Rig(
      { maxMessages: 1_000_000, maxBytes: 100_000_000 },
      { weights: [4, 3, 2, 2, 1], boost: 3 },
    );
    for (let i = 0; i < 200; i++) for (let lane = 0; lane < 5; lane++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    const round = (messages: number): number[] => {
      const counts = [0, 0, 0, 0, 0];
      for (let i = 0; i < messages; i++) counts[rig.mailbox.take(consumer, 0, rig.wall)!.lane]++;
      return counts;
    };
    assert.deepEqual(round(24), [8, 6, 4, 4, 2]);
    rig.mailbox.boosted = true;
    // The round that had begun is not changed.
    round(12);
    assert.deepEqual(round(36), [8, 6, 4, 12, 6]);
  });

  it('hands out first what must be gone within a second, but never two in a row ahead of their turn', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    for (let i = 0; i < 6; i++) rig.put(0);
    rig.put(4, 900);
    rig.put(2, 800);
    rig.put(2, 800);
    rig.put(3, 5000);
    rig.put(2, 700, 'a key keeps its turn');
    const consumer = rig.consumer(100);
    const got: (number | null)[] = [];
    for (let i = 0; i < 8; i++) got.push(rig.take(consumer));
    assert.deepEqual(got, [8, 1, 9, 2, 7, 3, 4, 5]);
    rig.pass(3999);
    assert.equal(rig.take(consumer), 6);
    rig.mailbox.detach(consumer, false, rig.wall);
    rig.put(0);
    const other = rig.consumer(100);
    rig.pass(1);
    assert.equal(rig.take(other), 10);
  });

  it('starves nobody though all that comes is urgent', () => {
    const rig = new Rig({ maxMessages: 1_000_000, maxBytes: 100_000_000 });
    const patient = rig.put(4).offset;
    for (let lane = 0; lane < 5; lane++) for (let i = 0; i < 200; i++) rig.put(lane);
    const consumer = rig.consumer(10_000);
    let taken = 0;
    for (;;) {
      rig.put(0, 500);
      taken++;
      if (rig.take(consumer) === patient) break;
    }
    assert.ok(taken <= 62, `${taken}`);
  });
});
