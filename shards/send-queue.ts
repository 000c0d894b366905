/** How much the kernel may hold of what was written to a socket, beyond what is on its way (Linux, tcp(7)). */
import type { Socket } from 'node:net';
import { handleOf } from './arrival.js';
import { linuxCall } from './libc.js';

const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;
const INT_BYTES = 4;

/**
 * Bytes. What lies in the kernel is sent in the order in which it was written, so a critical message would wait behind all of it: up
 * to 4 MiB for an agent that reads slowly. Less than two writes, and a fast agent's queue runs dry before this loop is back.
 */
const UNSENT = 128 * 1024;

const setsockopt = linuxCall('int setsockopt(int fd, int level, int name, const void *value, uint32_t size)');
const VALUE = new Int32Array([UNSENT]);

/** Where it cannot be had, the system decides (net.ipv4.tcp_notsent_lowat, which is unlimited unless set). */
export function limitSendQueue(socket: Socket): void {
  const fd = handleOf(socket)?.fd;
  if (setsockopt === null || fd === undefined || fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, VALUE, INT_BYTES);
}
