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
  async start({
    bus,
    ...options
  }: ServerOptions & { bus: BusName }): Promise<{ url: string; version: string }> {
    server = await (await busOf(bus)).start(options);
    return { url: server.url, version: server.version };
  },

  /** In an order that does not change. */
  processes(): number[] {
    return running().pids();
  },
};

export type BrokerOperations = typeof operations;

serve(operations, async () => {
  await server?.stop();
});
