import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LANE_COUNT } from '../../../../lib/wire/frame.js';
import { MAX_SLOTS, Progress } from '../../../../lib/wire/past.js';
import { readEventId, writeEventId } from '../../../../shards/doors/event-id.js';

const HISTORY = '00ff1a09c4d2b37e';

describe('ids of events', () => {
  it('say a history, a time, and one place for each slot, or one for each of its lanes', () => {
    const progress = new Progress();
    assert.equal(writeEventId({ cursor: progress.cursor(HISTORY), at: 36.9 }), `${HISTORY}.10`);
    progress.reachAll(0, 12);
    progress.reachAll(11, 7);
    progress.reach(11, 4, 40);
    const id = writeEventId({ cursor: progress.cursor(HISTORY), at: 0 });
    assert.equal(id, `${HISTORY}.0.0-c.b-7-7-7-7-14`);
  });

  it('are read as they were written', () => {
    const place = fc.integer({ min: 1, max: 2 ** 47 });
    const reached = fc.array(fc.tuple(fc.nat(MAX_SLOTS - 1), fc.nat(LANE_COUNT - 1), place), {
      maxLength: 100,
    });
    fc.assert(
      fc.property(reached, fc.nat(2 ** 47), (steps, at) => {
        const progress = new Progress();
        for (const step of steps) progress.reach(...step);
        const cursor = progress.cursor(HISTORY);
        const id = writeEventId({ cursor, at });
        assert.ok(id.length < 8192 - 512, 'it fits into the headers of a request');
        assert.deepEqual(readEventId(id), { cursor, at });
      }),
    );
  });

  it('are refused when they are none, whatever comes', () => {
    for (const text of [
      '',
      '5',
      HISTORY,
      `${HISTORY}.`,
      `${HISTORY.slice(1)}.0`,
      `${HISTORY}.0.`,
      `${HISTORY}.0.0`,
      `${HISTORY}.0.0-`,
      `${HISTORY}.0.0-1-1`,
      `${HISTORY}.0.0-1-1-1-1-1-1`,
      `${HISTORY}.0.1s-1`,
      `${HISTORY}.0.0-zzzzzzzzzzz`,
      `${HISTORY}.0${'.0-1'.repeat(MAX_SLOTS + 1)}`,
    ])
      assert.equal(readEventId(text), null, text);
    const part = fc.constantFrom('.', '-', '0', 'zz', 'A', HISTORY, ' ');
    const near = fc.array(part, { maxLength: 20 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), near), (text) => {
        const id = readEventId(text);
        if (id !== null) assert.ok(new Progress().read(id.cursor), text);
      }),
    );
  });
});
