/** The server of a bus, ours or another. */
import type { BusName, BusServer, ServerOptions } from '../buses/bus.js';
import { busOf } from '../buses/index.js';
import { serve } from './serve.js';

let server: BusServer | null = null;

function running(): BusServer {
  if (server === null) throw new Error('it was not started');
  return server;
}

const operations = {
  /** `address`: where other nodes join it; null: it is in no cluster. */
  async start({
    bus,
    ...options
  }: ServerOptions & { bus: BusName }): Promise<{ url: string; version: string; address: string | null }> {
    server = await (await busOf(bus)).start(options);
    return { url: server.url, version: server.version, address: server.member?.address ?? null };
  },

  /** In an order that does not change, and that one of them which speaks with other nodes. */
  processes(): { pids: number[]; meshPid: number | null } {
    const { pids, member } = running();
    return { pids: pids(), meshPid: member?.pid() ?? null };
  },

  /** Whether there is a link with another node. */
  async linked(): Promise<boolean> {
    const { member } = running();
    return member !== undefined && (await member.linked());
  },
};

export type BrokerOperations = typeof operations;

serve(operations, async () => {
  await server?.stop();
});
