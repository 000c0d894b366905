import assert from 'node:assert/strict';
import {
  attachBlock,
  SharedTelemetry,
  TELEMETRY_BYTES,
  type TelemetryBlock,
} from '../../../../lib/telemetry/block.js';
import { C, COUNTER_NAMES, METRICS } from '../../../../lib/telemetry/counters.js';
import { HISTOGRAM_CELLS, Histogram } from '../../../../lib/telemetry/histogram.js';
import { Reason } from '../../../../lib/telemetry/ledger.js';
import { BUCKET_BOUNDS, MetricsPage } from '../../../../lib/telemetry/prometheus.js';

function workersOf(count: number): { blocks: TelemetryBlock[]; page: MetricsPage } {
  const buffer = new ArrayBuffer(count * TELEMETRY_BYTES);
  const names = Array.from({ length: count }, (_, slot) => String(slot));
  const blocks = names.map((_, slot) => attachBlock(buffer, slot * TELEMETRY_BYTES));
  return { blocks, page: new MetricsPage(new SharedTelemetry(buffer, 0, names)) };
}

async function linesOf(page: MetricsPage): Promise<string[]> {
  return (await page.render()).body.split('\n');
}

describe('metrics page', () => {
  it('says what it is', async () => {
    const { page } = workersOf(1);
    const { contentType, body } = await page.render();
    assert.equal(contentType, 'text/plain; version=0.0.4; charset=utf-8');
    for (const name of COUNTER_NAMES) {
      const { metric, kind } = METRICS[name];
      assert.ok(body.includes(`# TYPE ${metric} ${kind}\n`), metric);
    }
  });

  it('has each worker as it is at the moment', async () => {
    const { blocks, page } = workersOf(2);
    blocks[0].counters[C.publishesIn] = 3;
    blocks[1].counters[C.shedsLow] = 4;
    blocks[1].counters[C.connections] = 5;
    let lines = await linesOf(page);
    assert.ok(lines.includes('flowbus_publishes_total{worker="0"} 3'));
    assert.ok(lines.includes('flowbus_publishes_total{worker="1"} 0'));
    assert.ok(lines.includes('flowbus_sheds_total{lane="low",worker="1"} 4'));
    assert.ok(lines.includes('flowbus_connections{worker="1"} 5'));
    blocks[0].counters[C.publishesIn] = 9;
    blocks[1].counters[C.connections] = 2;
    lines = await linesOf(page);
    assert.ok(lines.includes('flowbus_publishes_total{worker="0"} 9'));
    assert.ok(lines.includes('flowbus_connections{worker="1"} 2'));
  });

  it('has the drop ledger of all workers together, with odd roots escaped', async () => {
    const { blocks, page } = workersOf(2);
    blocks[0].ledger.count('agent', Reason.shed, 3);
    blocks[1].ledger.count('agent', Reason.shed, 4);
    blocks[1].ledger.count('a"b\\', Reason.nodeDown, 1);
    const lines = await linesOf(page);
    assert.ok(lines.includes('flowbus_dropped_total{root="agent",reason="shed"} 7'));
    assert.ok(lines.includes('flowbus_dropped_total{root="a\\"b\\\\",reason="node-down"} 1'));
    assert.equal(lines.filter((line) => line.startsWith('flowbus_dropped_total')).length, 2);
  });

  it('has the errors by code', async () => {
    const { blocks, page } = workersOf(2);
    blocks[0].countError('BAD_TOPIC');
    blocks[1].countError('BAD_TOPIC');
    const lines = await linesOf(page);
    assert.deepEqual(
      lines.filter((line) => line.startsWith('flowbus_errors_total')),
      ['flowbus_errors_total{code="BAD_TOPIC"} 2'],
    );
  });

  it('has histograms that add up', async () => {
    const { blocks, page } = workersOf(1);
    for (const micros of [40, 60, 999, 1_500_000, 60_000_000]) blocks[0].doorToSocket.record(micros);
    const lines = await linesOf(page);
    const name = 'flowbus_door_to_socket_seconds';
    assert.ok(lines.includes(`# TYPE ${name} histogram`));
    assert.ok(lines.includes(`${name}_bucket{le="0.00005",worker="0"} 1`));
    assert.ok(lines.includes(`${name}_bucket{le="0.0001",worker="0"} 2`));
    assert.ok(lines.includes(`${name}_bucket{le="0.001",worker="0"} 3`));
    assert.ok(lines.includes(`${name}_bucket{le="4.096",worker="0"} 4`));
    assert.ok(lines.includes(`${name}_bucket{le="+Inf",worker="0"} 5`));
    assert.ok(lines.includes(`${name}_count{worker="0"} 5`));
    assert.ok(lines.includes(`${name}_sum{worker="0"} 61.501099`));
  });

  it('has bounds that are edges of cells', () => {
    for (const bound of BUCKET_BOUNDS) {
      const histogram = new Histogram(new Float64Array(HISTOGRAM_CELLS));
      histogram.record(bound - 1);
      histogram.record(bound);
      assert.equal(histogram.snapshot().below(bound), 1, `${bound}`);
    }
  });

  it('is rendered once for all who ask at the same time', async () => {
    const { page } = workersOf(1);
    const [a, b] = [page.render(), page.render()];
    assert.equal(a, b);
    await a;
    assert.notEqual(page.render(), a);
  });

  it('leaves out workers that have not begun, and rejects when the reader cannot read', async () => {
    const buffer = new ArrayBuffer(TELEMETRY_BYTES);
    const page = new MetricsPage(new SharedTelemetry(buffer, 0, ['0']));
    assert.ok(!(await page.render()).body.includes('worker='));
    const broken = new MetricsPage({
      blocks() {
        throw new Error('gone');
      },
    });
    await assert.rejects(broken.render(), /gone/);
    await assert.rejects(broken.render(), /gone/);
  });

  it('stays small with the largest node and the fullest ledger', async () => {
    const { blocks, page } = workersOf(61);
    for (const block of blocks) {
      for (let i = 0; i < 300; i++) block.ledger.count(`root-${i}`, Reason.shed, 1);
    }
    const { body } = await page.render();
    assert.ok(body.length < 1_000_000, `${body.length} characters`);
  });
});
