import assert from 'node:assert/strict';
import { FRAME_HEADER } from '../../../../discovery/link/frame.js';
import { Outgoing, WINDOW } from '../../../../discovery/link/outgoing.js';
import { MAX_NODE_BATCH } from '../../../../lib/mesh.js';

const BATCH = new Uint8Array(MAX_NODE_BATCH);

describe('Outgoing', () => {
  let outgoing: Outgoing;

  beforeEach(() => {
    outgoing = new Outgoing();
  });

  function append(size: number, count = 1): void {
    for (let i = 0; i < count; i++) outgoing.append(BATCH, 0, size);
  }

  it('stops at the window, and goes on when the oldest are acknowledged', () => {
    append(MAX_NODE_BATCH, 40);
    let taken = 0;
    while (outgoing.take() !== null) taken++;
    assert.equal(taken, WINDOW / MAX_NODE_BATCH);
    assert.equal(outgoing.gone, WINDOW);
    assert.equal(outgoing.acknowledge(3), true);
    while (outgoing.take() !== null) taken++;
    assert.equal(taken, WINDOW / MAX_NODE_BATCH + 3);
    assert.equal(outgoing.unsent, (40 - taken) * MAX_NODE_BATCH);
  });

  it('writes small batches together, up to the size of a write', () => {
    append(1000, 100);
    const sizes: number[] = [];
    for (let bytes = outgoing.take(); bytes !== null; bytes = outgoing.take()) sizes.push(bytes.length);
    assert.equal(sizes.length, 2);
    assert.ok(sizes[0] <= 65_000);
    assert.equal(sizes[0] + sizes[1], 100 * (1000 + FRAME_HEADER));
  });

  it('what has gone is unsent again when the stream is another, but for what has arrived', () => {
    append(100, 10);
    outgoing.take();
    assert.deepEqual([outgoing.unsent, outgoing.sent], [0, 10]);
    assert.equal(outgoing.rewind(4), true);
    assert.deepEqual([outgoing.unsent, outgoing.gone, outgoing.sent], [600, 0, 4]);
    assert.equal(outgoing.kept().length, 6);
    assert.equal(outgoing.take()?.length, 6 * (100 + FRAME_HEADER));
  });

  it('does not believe that what was not sent has arrived', () => {
    append(100, 5);
    assert.equal(outgoing.acknowledge(1), false);
    outgoing.take();
    assert.equal(outgoing.acknowledge(6), false);
    assert.equal(outgoing.rewind(6), false);
    assert.equal(outgoing.gone, 500);
    assert.equal(outgoing.acknowledge(5), true);
    assert.deepEqual(outgoing.kept(), []);
  });

  it('lets go of what was acknowledged, also while more keeps coming', () => {
    for (let i = 1; i <= 5000; i++) {
      append(10);
      outgoing.take();
      if (i > 10) outgoing.acknowledge(i - 10);
    }
    assert.deepEqual([outgoing.sent, outgoing.gone, outgoing.kept().length], [5000, 100, 10]);
  });
});
