import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Placement } from '../../../shards/placement.js';

class Shards {
  readonly down = new Set<number>();
  readonly counts: number[];

  constructor(slots: number) {
    this.counts = new Array<number>(slots).fill(0);
  }

  isLive(slot: number): boolean {
    return !this.down.has(slot);
  }

  connections(slot: number): number {
    return this.counts[slot];
  }
}

const AGENTS = Array.from({ length: 2000 }, (_, index) => `agent-${index}`);

function placeAll(placement: Placement): number[] {
  return AGENTS.map((agentId) => placement.place(agentId));
}

describe('Placement', () => {
  it('spreads agents over all shards', () => {
    const counts = [0, 0, 0, 0];
    for (const slot of placeAll(new Placement(4, new Shards(4)))) counts[slot]++;
    for (const count of counts) assert.ok(count > 250 && count < 850, counts.join(' '));
  });

  it('moves only the agents of a shard that leaves, to all others, and all of them back', () => {
    const shards = new Shards(4);
    const placement = new Placement(4, shards);
    const before = placeAll(placement);
    shards.down.add(2);
    const during = placeAll(placement);
    const tookOver = new Set<number>();
    for (let i = 0; i < AGENTS.length; i++) {
      if (before[i] === 2) tookOver.add(during[i]);
      else assert.equal(during[i], before[i]);
    }
    assert.deepEqual([...tookOver].sort(), [0, 1, 3]);
    shards.down.delete(2);
    assert.deepEqual(placeAll(placement), before);
  });

  it('moves few agents when there is one shard more', () => {
    const [four, five] = [4, 5].map((slots) => placeAll(new Placement(slots, new Shards(slots))));
    const moved = AGENTS.filter((_, i) => four[i] !== five[i]);
    // A fifth is the least; agents that are dealt out by a remainder would move four times as often.
    assert.ok(moved.length < AGENTS.length / 2, String(moved.length));
    assert.ok(AGENTS.every((_, i) => four[i] === five[i] || five[i] === 4));
  });

  it('gives every agent the same place in every process', () => {
    const once = placeAll(new Placement(3, new Shards(3)));
    assert.deepEqual(placeAll(new Placement(3, new Shards(3))), once);
  });

  it('places on live shards only, and on none when none is live', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.nat(7)),
        fc.string(),
        (slots, down, agentId) => {
          const shards = new Shards(slots);
          for (const slot of down) shards.down.add(slot % slots);
          const placement = new Placement(slots, shards);
          for (const who of [agentId, null]) {
            const slot = placement.place(who);
            if (shards.down.size === slots) assert.equal(slot, -1);
            else assert.ok(slot >= 0 && slot < slots && shards.isLive(slot));
          }
        },
      ),
    );
  });

  it('is not confused by agents named like properties of every object', () => {
    const placement = new Placement(4, new Shards(4));
    for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString']) {
      const slot = placement.place(name);
      assert.ok(slot >= 0 && slot < 4);
      assert.equal(placement.place(name), slot);
    }
    assert.deepEqual(Object.keys(Object.prototype), []);
    for (const leaked of ['before', 'next', 'key', 'value']) assert.ok(!(leaked in {}), leaked);
  });

  it('puts connections without an agentId where the fewest are, in turn among equals', () => {
    const shards = new Shards(3);
    const placement = new Placement(3, shards);
    assert.deepEqual(
      [0, 0, 0, 0, 0, 0].map(() => placement.place(null)),
      [0, 1, 2, 0, 1, 2],
    );
    shards.counts.splice(0, 3, 5, 3, 4);
    assert.equal(placement.place(null), 1);
    shards.down.add(1);
    assert.equal(placement.place(null), 2);
  });
});
