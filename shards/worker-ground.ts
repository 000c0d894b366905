/** What a worker stands on: its links and its telemetry, in shared memory or in sockets and a file. */
import { RecordKind } from '../lib/links.js';
import { type AttachedSegment, attachSegment } from '../lib/memory/segment.js';
import {
  attachBlock,
  SharedTelemetry,
  type TelemetryBlock,
  type TelemetryReader,
} from '../lib/telemetry/block.js';
import { CounterFile, CounterFileReader } from '../lib/telemetry/counter-file.js';
import { Reason } from '../lib/telemetry/ledger.js';
import type { GaugedLinks, OnPoison } from './links/gauged-links.js';
import { openLinks } from './links/open-links.js';
import type { BootData } from './worker-protocol.js';

export interface WorkerGround {
  readonly links: GaugedLinks;
  readonly block: TelemetryBlock;
  /** The shared memory; null where there is none. */
  readonly segment: AttachedSegment | null;
  /** All workers' telemetry. */
  readonly reader: TelemetryReader;
  /** Told, once the links are started, of what two readers have died over and was for mailboxes. */
  onPoison: OnPoison | null;
  close(): Promise<void>;
}

export async function openGround(boot: BootData): Promise<WorkerGround> {
  const { linkKind: kind, slot, workers, socketsDir, segmentPath, counterFile, config } = boot;
  const names = Array.from({ length: workers }, (_, worker) =>
    worker < config.shards ? String(worker) : 'mesh',
  );
  if (segmentPath !== null) {
    const segment = await attachSegment(segmentPath);
    const own = segment.metrics(slot);
    const block = attachBlock(own.buffer, own.offset);
    const onPoison: OnPoison = (from, urgent, recordKind, ...record) => {
      if (recordKind === RecordKind.frames) block.ledger.count('', Reason.poison, 1);
      else if (recordKind === RecordKind.assured) ground.onPoison?.(from, urgent, recordKind, ...record);
    };
    const links = await openLinks({ kind, slot, workers, socketsDir, segment, onPoison });
    const ground: WorkerGround = {
      links,
      block,
      segment,
      reader: new SharedTelemetry(own.buffer, segment.metrics(0).offset, names),
      onPoison: null,
      close: () => links.close(),
    };
    return ground;
  }
  const links = await openLinks({ kind, slot, workers, socketsDir });
  if (counterFile === null) throw new Error('the boot data name neither a segment nor a counter file');
  const file = new CounterFile(counterFile, slot);
  return {
    links,
    block: file.block,
    segment: null,
    reader: new CounterFileReader(counterFile, names),
    onPoison: null,
    close: async () => {
      await links.close();
      file.close();
    },
  };
}
