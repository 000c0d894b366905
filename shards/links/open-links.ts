/** Opens the links of one worker, of the kind that the primary has found to work. */
import { FlowbusError } from '../../lib/errors.js';
import type { Links } from '../../lib/links.js';
import type { AttachedSegment } from '../../lib/memory/segment.js';
import type { GaugedLinks, OnPoison } from './gauged-links.js';
import { RingLinks } from './ring-links.js';
import { SocketLinks } from './socket-links.js';

export interface LinksOptions {
  kind: Links['kind'];
  /** This worker, 0 to workers - 1. */
  slot: number;
  workers: number;
  /** A private directory for the workers' sockets, the same for all of them; its path is short (100 bytes). */
  socketsDir: string;
  /** For 'shared-memory': the segment of this node, of as many workers. */
  segment?: AttachedSegment;
  /** For 'shared-memory': default is to skip such a record. */
  onPoison?: OnPoison;
}

/** Writing works at once, reading from `start()` on. Throws BAD_CONFIG when the options do not go together. */
export async function openLinks(options: LinksOptions): Promise<GaugedLinks> {
  const { kind, slot, workers, socketsDir, segment, onPoison } = options;
  if (!Number.isInteger(slot) || slot < 0 || slot >= workers) {
    throw new RangeError(`slot must be 0 to ${workers - 1}, not ${slot}`);
  }
  if (kind === 'unix-socket') return new SocketLinks({ slot, workers, socketsDir });
  if (segment === undefined || segment.sizes.workers !== workers) {
    throw new FlowbusError('BAD_CONFIG', `Links of kind shared-memory need a segment of ${workers} workers.`);
  }
  return new RingLinks({ slot, segment, socketsDir, onPoison });
}
