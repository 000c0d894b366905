/** A member in a process of its own: `argv[2]` is its name, `argv[3]` its options. It sends numbers to node `a`, and tells what was wrong when asked. */
import type { MeshOptions } from '../../../discovery/mesh.js';
import type { NodeState } from '../../../lib/mesh.js';
import { startMember, stopMembers } from './member.js';

export interface Answer {
  addresses?: readonly string[];
  received?: number;
  wrong?: readonly string[];
  /** By node. */
  states?: Record<string, NodeState>;
  /** What is open, by kind, and bytes of the heap that are in use; the latter is worth something with --expose-gc only. */
  timers?: number;
  sockets?: number;
  heap?: number;
}

function open(kind: string): number {
  return process.getActiveResourcesInfo().filter((name) => name.startsWith(kind)).length;
}

const member = await startMember(process.argv[2], JSON.parse(process.argv[3]) as Partial<MeshOptions>);
const answer = (message: Answer) => process.send?.(message);

const timer = setInterval(() => {
  for (let i = 0; i < 20; i++) member.gateway.send('a', 64);
}, 5);
process.on('message', () => {
  globalThis.gc?.();
  answer({
    addresses: member.mesh.addresses,
    received: member.gateway.life('a')?.received ?? 0,
    wrong: member.gateway.wrong,
    states: Object.fromEntries(member.gateway.states),
    timers: open('Timeout'),
    sockets: open('TCP'),
    heap: process.memoryUsage().heapUsed,
  });
});
process.once('disconnect', () => {
  clearInterval(timer);
  void stopMembers();
});
answer({ addresses: member.mesh.addresses });
