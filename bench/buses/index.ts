/** Every bus by its name. Each is loaded only by who uses it, so that none weighs on another's processes. */
import type { Bus, BusClient, BusName, ClientName } from './bus.js';

const BUSES: Readonly<Record<BusName, () => Promise<Bus>>> = {
  flowbus: async () => (await import('./flowbus.js')).flowbus,
  nats: async () => (await import('./nats.js')).nats,
  jetstream: async () => (await import('./jetstream.js')).jetstream,
  'nats-ws': async () => (await import('./nats.js')).natsWebSocket,
  redis: async () => (await import('./redis.js')).redis,
  mosquitto: async () => (await import('./mqtt.js')).mosquitto,
  aedes: async () => (await import('./mqtt.js')).aedes,
  'socket.io': async () => (await import('./socket-io.js')).socketIo,
};

/** A client of `name`, connected to the server at `url`. */
export async function connectTo(client: ClientName, url: string, name: string): Promise<BusClient> {
  if (client === 'flowbus-json') return (await import('./text-door.js')).TextDoorClient.connect(url, name);
  return (await busOf(client)).connect(url, name);
}

export function busOf(name: BusName): Promise<Bus> {
  return BUSES[name]();
}
