/** A LinkPeer in a process of its own: `argv[2]` is what it opens, commands come and answers go over IPC. */
import { performance } from 'node:perf_hooks';
import type { Links } from '../../lib/links.js';
import { attachSegment } from '../../lib/memory/segment.js';
import { openLinks } from '../../shards/links/open-links.js';
import { LinkPeer, type PathStats } from './link-peer.js';

export interface ProgramOptions {
  kind: Links['kind'];
  slot: number;
  workers: number;
  socketsDir: string;
  segmentPath: string | null;
}

export type Command =
  | { op: 'flood'; to: number; urgent: boolean; generation: number; count: number }
  | { op: 'stats' }
  /** Turns of the event loop within `time` ms. */
  | { op: 'turns'; time: number }
  | { op: 'close' };

export interface Answer {
  ready?: true;
  closed?: true;
  turns?: number;
  stats?: Record<string, PathStats>;
  /** Payloads of poisonous records. */
  poison?: string[];
  flooding?: boolean;
}

const { segmentPath, ...options } = JSON.parse(process.argv[2]) as ProgramOptions;
const poison: string[] = [];
const links = await openLinks({
  ...options,
  segment: segmentPath === null ? undefined : await attachSegment(segmentPath),
  onPoison: (_from, _urgent, _kind, _stamp, src, start, end) => {
    poison.push(Buffer.from(src.subarray(start, end)).toString());
  },
});
const peer = new LinkPeer(links);
peer.onDeadly = () => process.kill(process.pid, 'SIGKILL');

function answer(message: Answer): void {
  process.send!(message);
}

function turnsSoFar(): number {
  return performance.nodeTiming.uvMetricsInfo.loopCount;
}

process.on('message', (command: Command) => {
  switch (command.op) {
    case 'flood':
      peer.flood(command.to, command.urgent, command.generation, command.count);
      break;
    case 'stats':
      answer({ stats: Object.fromEntries(peer.paths), poison, flooding: peer.flooding });
      break;
    case 'turns': {
      const before = turnsSoFar();
      setTimeout(() => answer({ turns: turnsSoFar() - before }), command.time);
      break;
    }
    case 'close':
      links.close().then(() => {
        answer({ closed: true });
        process.disconnect();
      });
      break;
  }
});
// A test that ends early must not leave processes behind.
process.on('disconnect', () => process.exit());

await links.start(peer);
answer({ ready: true });
