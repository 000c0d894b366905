/**
 * The wires between network namespaces, in a process of its own, since a read of a wire holds a thread: a switch to which each
 * namespace has a TAP device, and which loses, delays and swallows frames as it is told. Kernels seldom have netem; all have TAP.
 *
 *   namespace 0 ── flowbus0 ── /dev/net/tun ── this process ── /dev/net/tun ── flowbus1 ── namespace 1
 */
import { spawnSync } from 'node:child_process';
import { openSync, read, writeSync } from 'node:fs';
import { linuxCall } from '../../shards/libc.js';

/** What the wires do from now on. */
export interface WireFaults {
  /** Of a hundred frames, how many get lost in each direction. */
  readonly loss: number;
  /** On the way from one namespace to another (ms). */
  readonly delay: number;
  /** Pairs of namespaces between which nothing passes, and of which nobody is told. */
  readonly cut: readonly (readonly [number, number])[];
}

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
/** Of Ethernet: addresses, type and 1500 bytes; room for a tag. */
const MAX_FRAME = 1518;
const MAC_BYTES = 6;
/** The lowest bit of an address's first byte: it is for several, or all. */
const GROUP = 1;

/** Opens a device that is there for as long as this process. */
function openTap(name: string): number {
  const ioctl = linuxCall('int ioctl(int, unsigned long, void *)');
  if (ioctl === null) throw new Error('no ioctl');
  const fd = openSync('/dev/net/tun', 'r+');
  const request = Buffer.alloc(40);
  request.write(name, 'latin1');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
  if (ioctl(fd, TUNSETIFF, request) !== 0) throw new Error(`${name} is no TAP device`);
  return fd;
}

/** What devices are called, but for their numbers, and the namespaces that they are for. */
const [device, ...namespaces] = process.argv.slice(2);
const taps = namespaces.map((_, i) => openTap(`${device}${i}`));
/** By MAC address, the wire that it was last seen on. */
const places = new Map<string, number>();
let faults: WireFaults = { loss: 0, delay: 0, cut: [] };

function write(frame: Buffer, to: number): void {
  try {
    writeSync(taps[to], frame);
  } catch {
    // The device is not up yet, or no more.
  }
}

function pass(frame: Buffer, from: number, to: number): void {
  const { loss, delay, cut } = faults;
  if (cut.some(([a, b]) => (a === from && b === to) || (a === to && b === from))) return;
  if (Math.random() * 100 < loss) return;
  if (delay === 0) write(frame, to);
  else setTimeout(write, delay, frame, to);
}

function onFrame(frame: Buffer, from: number): void {
  places.set(frame.toString('latin1', MAC_BYTES, 2 * MAC_BYTES), from);
  const place = (frame[0] & GROUP) === 0 ? places.get(frame.toString('latin1', 0, MAC_BYTES)) : undefined;
  if (place !== undefined) {
    if (place !== from) pass(frame, from, place);
  } else for (let to = 0; to < taps.length; to++) if (to !== from) pass(frame, from, to);
}

function listen(from: number): void {
  const buffer = Buffer.allocUnsafe(MAX_FRAME);
  read(taps[from], buffer, 0, MAX_FRAME, null, (error, size) => {
    if (error === null) onFrame(buffer.subarray(0, size), from);
    // It is down until it has moved to its namespace.
    if (error === null) listen(from);
    else setTimeout(listen, 10, from);
  });
}

// However whoever made the network ended, it goes with him. Threads that read do not end: an exit would wait for them for ever.
process.once('disconnect', () => {
  for (const name of namespaces) spawnSync('ip', ['netns', 'delete', name]);
  process.kill(process.pid, 'SIGKILL');
});
process.on('message', (next: WireFaults) => {
  faults = next;
  process.send?.('done');
});
for (let from = 0; from < taps.length; from++) listen(from);
process.send?.('ready');
