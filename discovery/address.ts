/** Addresses of nodes: what people write, and what libp2p reads. */
import { isIPv4, isIPv6 } from 'node:net';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { FlowbusError } from '../lib/errors.js';

const HOST_PORT = /^(?:\[([^\]]+)\]|([^:/\s]+)):(\d{1,5})$/;
const MAX_PORT = 65_535;

function malformed(text: string, cause?: unknown): FlowbusError {
  return new FlowbusError('BAD_NODE_ADDRESS', `${JSON.stringify(text)} is no address of a node.`, { cause });
}

/** `host` is a name or an IP address; 0 as `port` lets the system choose. */
export function addressOf(host: string, port: number): string {
  if (isIPv4(host)) return `/ip4/${host}/tcp/${port}`;
  return isIPv6(host) ? `/ip6/${host}/tcp/${port}` : `/dns/${host}/tcp/${port}`;
}

/** `host:port`, `[ipv6]:port` or a multiaddr over TCP, as a multiaddr without the peer. Throws BAD_NODE_ADDRESS. */
export function parseAddress(text: string): string {
  const [, bracketed, plain, digits] = HOST_PORT.exec(text) ?? [];
  let address: Multiaddr;
  try {
    if (digits === undefined) address = multiaddr(text);
    else if (Number(digits) > MAX_PORT) throw malformed(text);
    else address = multiaddr(addressOf(bracketed ?? plain, Number(digits)));
  } catch (cause) {
    throw malformed(text, cause);
  }
  const parts = address.getComponents().filter(({ name }) => name !== 'p2p');
  const [host, tcp, ...more] = parts;
  if (host === undefined || tcp?.name !== 'tcp' || more.length > 0) throw malformed(text);
  return `/${host.name}/${host.value}/tcp/${tcp.value}`;
}
