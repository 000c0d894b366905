import type { BrokerConfig } from './keys.js';

/** Far enough that a few nodes of one machine, on neighbouring ports, do not take each other's. */
const ABOVE = 1000;
const MAX_PORT = 65_535;

/** Whether the node is part of a cluster, or is to be one that others can join. */
export function isInMesh({ join, mdns, meshPort }: BrokerConfig): boolean {
  return join.length > 0 || mdns || meshPort !== undefined;
}

/** The port for other nodes; 0: any that is free, as where `port` is, or there is none above it. */
export function meshPortOf({ port, meshPort }: BrokerConfig): number {
  if (meshPort !== undefined) return meshPort;
  return port === 0 || port + ABOVE > MAX_PORT ? 0 : port + ABOVE;
}
