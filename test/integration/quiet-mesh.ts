/**
 * A mesh worker for tests, which reads its links and knows no other node. QUIET_MESH is how it is to misbehave, and QUIET_MESH_LOG a
 * file in which it says what it sees.
 */
import { appendFileSync } from 'node:fs';
import { startProcessGauges } from '../../lib/telemetry/process-gauges.js';
import { joinPrimary, readBootData, reportFailure } from '../../shards/primary-channel.js';
import { openGround } from '../../shards/worker-ground.js';

const boot = readBootData();
const fault = process.env.QUIET_MESH ?? '';

function note(text: string): void {
  if (process.env.QUIET_MESH_LOG) appendFileSync(process.env.QUIET_MESH_LOG, `${text}\n`);
}

const channel = joinPrimary({
  onConnection: () => note('connection'),
  onPeerUp: (slot, incarnation) => note(`up ${slot}.${incarnation}`),
  onPeerDown: (slot, incarnation) => note(`down ${slot}.${incarnation}`),
  onDrain() {
    note('drain');
    if (fault !== 'never-drains') channel.drained();
  },
  connections: () => 0,
});

if (fault === 'says-why') reportFailure('PORT_IN_USE', 'no place to listen');
else if (fault === 'never-ready') setInterval(() => {}, 1000);
else {
  const ground = await openGround(boot);
  startProcessGauges(ground.block);
  await ground.links.start({ onRecord() {}, onBatchEnd() {} });
  channel.ready(0, ['127.0.0.1:1']);
}
