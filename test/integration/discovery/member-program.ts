/** A member in a process of its own: `argv[2]` is its name, `argv[3]` its options. It sends numbers to node `a`, and tells what was wrong when asked. */
import type { MeshOptions } from '../../../discovery/mesh.js';
import { startMember, stopMembers } from './member.js';

export interface Answer {
  addresses?: readonly string[];
  received?: number;
  wrong?: readonly string[];
}

const member = await startMember(process.argv[2], JSON.parse(process.argv[3]) as Partial<MeshOptions>);
const answer = (message: Answer) => process.send?.(message);

const timer = setInterval(() => {
  for (let i = 0; i < 20; i++) member.gateway.send('a', 64);
}, 5);
process.on('message', () =>
  answer({ received: member.gateway.life('a')?.received ?? 0, wrong: member.gateway.wrong }),
);
process.once('disconnect', () => {
  clearInterval(timer);
  void stopMembers();
});
answer({ addresses: member.mesh.addresses });
