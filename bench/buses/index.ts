/** Every bus by its name. Each is loaded only by who uses it, so that none weighs on another's processes. */
import type { Bus, BusName } from './bus.js';

const BUSES: Readonly<Record<BusName, () => Promise<Bus>>> = {
  flowbus: async () => (await import('./flowbus.js')).flowbus,
  nats: async () => (await import('./nats.js')).nats,
  'nats-ws': async () => (await import('./nats.js')).natsWebSocket,
  redis: async () => (await import('./redis.js')).redis,
  mosquitto: async () => (await import('./mqtt.js')).mosquitto,
  aedes: async () => (await import('./mqtt.js')).aedes,
  'socket.io': async () => (await import('./socket-io.js')).socketIo,
};

export function busOf(name: BusName): Promise<Bus> {
  return BUSES[name]();
}
