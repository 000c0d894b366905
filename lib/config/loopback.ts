import { BlockList, isIP } from 'node:net';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/**
 * Whether listening on `host` reaches this machine only. A name other than `localhost` could mean any address by
 * the time it is resolved, so it counts as not.
 */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === 'localhost';
  // BlockList also matches IPv4 addresses that are mapped into IPv6.
  return LOOPBACK.check(host, family === 6 ? 'ipv6' : 'ipv4');
}
