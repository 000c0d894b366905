import assert from 'node:assert/strict';
import {
  attachBlock,
  clearGauges,
  ERROR_CELLS,
  ERROR_CODES,
  histogramCells,
  readBlock,
  SharedTelemetry,
  TELEMETRY_BYTES,
} from '../../../../lib/telemetry/block.js';
import { C } from '../../../../lib/telemetry/counters.js';
import { mergeHistograms } from '../../../../lib/telemetry/histogram.js';
import { Reason } from '../../../../lib/telemetry/ledger.js';

describe('telemetry block', () => {
  it('is whole pages, at most 128 KiB, and has a cell for every error', () => {
    assert.equal(TELEMETRY_BYTES % 4096, 0);
    assert.ok(TELEMETRY_BYTES <= 128 * 1024);
    assert.ok(ERROR_CODES.length <= ERROR_CELLS);
  });

  it('keeps counters, histograms, errors and drops over a restart, but not gauges', () => {
    const buffer = new ArrayBuffer(TELEMETRY_BYTES);
    const first = attachBlock(buffer);
    first.counters[C.publishesIn] += 5;
    first.counters[C.connections] = 3;
    first.doorToSocket.record(1000);
    first.countError('BAD_TOPIC');
    first.ledger.count('agent', Reason.shed, 2);

    const second = attachBlock(buffer);
    second.counters[C.publishesIn] += 1;
    second.doorToSocket.record(2000);
    second.countError('BAD_TOPIC');
    second.ledger.count('agent', Reason.shed, 1);
    assert.equal(second.counters[C.publishesIn], 6);
    assert.equal(second.counters[C.connections], 0);
    assert.equal(second.counters[C.restarts], 1);
    assert.equal(second.doorToSocket.snapshot().count, 2);
    assert.equal(second.errors[ERROR_CODES.indexOf('BAD_TOPIC')], 2);
    assert.equal(second.ledger.read()[1].counts[0], 3);
  });

  it('clears memory that has another stamp', () => {
    const buffer = new ArrayBuffer(TELEMETRY_BYTES);
    new Uint8Array(buffer).fill(0xab);
    const block = attachBlock(buffer);
    assert.equal(block.counters[C.publishesIn], 0);
    assert.equal(block.counters[C.restarts], 0);
    assert.equal(block.loopDelay.snapshot().count, 0);
    assert.equal(block.ledger.read().length, 1);
  });

  it('clears its own block only', () => {
    const buffer = new ArrayBuffer(3 * TELEMETRY_BYTES);
    const bytes = new Uint8Array(buffer).fill(0xab);
    attachBlock(buffer, TELEMETRY_BYTES);
    assert.ok(bytes.subarray(0, TELEMETRY_BYTES).every((byte) => byte === 0xab));
    assert.ok(bytes.subarray(2 * TELEMETRY_BYTES).every((byte) => byte === 0xab));
  });

  it('has parts that do not overlap', () => {
    const buffer = new ArrayBuffer(TELEMETRY_BYTES);
    const block = attachBlock(buffer);
    block.counters.fill(1);
    block.errors.fill(2);
    for (let i = 0; i < 256; i++) block.ledger.count(`root-${i}`, Reason.shutdown, 3);
    block.doorToSocket.record(2 ** 26);
    block.loopDelay.record(0);
    assert.ok(block.counters.every((value) => value === 1));
    assert.ok(block.errors.every((value) => value === 2));
    assert.equal(block.ledger.read().length, 256);
    for (const name of ['doorToSocket', 'loopDelay'] as const) {
      assert.equal(mergeHistograms([histogramCells(buffer, 0, name)]).count, 1);
    }
  });

  it('is read by others without taking it over', () => {
    const buffer = new ArrayBuffer(2 * TELEMETRY_BYTES);
    const reader = new SharedTelemetry(buffer, 0, ['0', '1']);
    const [, region] = reader.blocks();
    assert.equal(readBlock(region), null);
    const block = attachBlock(buffer, TELEMETRY_BYTES);
    block.counters[C.connections] = 9;
    const seen = readBlock(region);
    assert.equal(seen?.counters[C.connections], 9);
    assert.equal(block.counters[C.restarts], 0);
    assert.equal(readBlock({ worker: '2', buffer, offset: 2 * TELEMETRY_BYTES }), null);
  });

  it('can lie in shared memory', () => {
    const buffer = new SharedArrayBuffer(TELEMETRY_BYTES);
    attachBlock(buffer).ledger.count('agent', Reason.expired, 1);
    const block = readBlock({ worker: '0', buffer, offset: 0 });
    assert.equal(block?.ledger.read()[1].root, 'agent');
  });

  it('loses its gauges when somebody clears them for a worker that is gone', () => {
    const block = attachBlock(new ArrayBuffer(TELEMETRY_BYTES));
    block.counters[C.agents] = 4;
    block.counters[C.connects] = 4;
    clearGauges(block);
    assert.equal(block.counters[C.agents], 0);
    assert.equal(block.counters[C.connects], 4);
  });
});
