import assert from 'node:assert/strict';
import { attachBlock, SharedTelemetry, TELEMETRY_BYTES } from '../../../../lib/telemetry/block.js';
import { C } from '../../../../lib/telemetry/counters.js';
import { recoveringShards } from '../../../../shards/doors/http-port.js';
import { Progress, type Recovered } from '../../../../shards/journal/progress.js';

describe('Progress of a recovery', () => {
  it('is told once a second, with the share that is read', () => {
    let now = 5000;
    const told: Recovered[] = [];
    const progress = new Progress(
      (recovered) => told.push(recovered),
      () => now,
    );
    progress.at(0, 0, 100);
    now += 999;
    progress.at(10, 10, 100);
    now += 1;
    progress.at(20, 20, 100);
    now += 500;
    progress.at(30, 30, 100);
    now += 600;
    progress.at(40, 60, 100);
    assert.deepEqual(told, [
      { messages: 20, share: 0.2 },
      { messages: 40, share: 0.6 },
    ]);
  });

  it('is seen by all shards of the node, and no more when it is over', () => {
    const buffer = new ArrayBuffer(3 * TELEMETRY_BYTES);
    const blocks = [0, 1].map((slot) => attachBlock(buffer, slot * TELEMETRY_BYTES));
    // The third has never started.
    const telemetry = new SharedTelemetry(buffer, 0, ['0', '1', '2']);
    assert.deepEqual(recoveringShards(telemetry), []);
    blocks[1].counters[C.journalUnread] = 0.59;
    blocks[1].counters[C.mailboxMessages] = 412_000;
    assert.deepEqual(recoveringShards(telemetry), [{ shard: 1, messages: 412_000, share: 0.41 }]);
    blocks[1].counters[C.journalUnread] = 0;
    assert.deepEqual(recoveringShards(telemetry), []);
  });
});
