/** A node's mesh by itself, one of two: sends messages over the link in batches, counts those that come, and times those that are paced. */
import { type RunningMesh, startMesh } from '../../discovery/mesh.js';
import type { MeshGateway, NodeLink } from '../../lib/mesh.js';
import { now } from '../clock.js';
import { Recorder } from './latency.js';
import { serve } from './serve.js';

/** A batch is full; what one write of a link takes. */
const BATCH_BYTES = 65_000;
/** So much waits on the link while it is flooded: never nothing, never much. */
const AHEAD = 256 * 1024;

/*
 * A message begins with two doubles: its number, from 0, and when it was due (ms), or 0 when it is not timed.
 */
const HEADER = 16;

let mesh: RunningMesh | null = null;
let link: NodeLink | null = null;
let onLinked: () => void = () => {};
let size = HEADER;
let batch = Buffer.alloc(0);

let flooding = false;
let sent = 0;
let received = 0;
/** Messages that came in another order than they were sent. */
let disordered = 0;
let recorder = new Recorder();
let lateness = new Recorder();

function put(at: number, due: number): void {
  batch.writeDoubleLE(sent++, at);
  batch.writeDoubleLE(due, at + 8);
}

function flood(): void {
  const perBatch = Math.floor(batch.length / size);
  while (flooding && link !== null && link.unsent < AHEAD) {
    for (let i = 0; i < perBatch; i++) put(i * size, 0);
    link.send(batch, 0, perBatch * size);
  }
}

const gateway: MeshGateway = {
  onLink(begun): void {
    link = begun;
    onLinked();
  },
  onLinkLost(): void {
    link = null;
  },
  onRoom: flood,
  onBatch(_link, bytes): void {
    const time = now();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += size) {
      if (view.getFloat64(at, true) !== received) disordered++;
      received++;
      const due = view.getFloat64(at + 8, true);
      if (due > 0) recorder.record(time - due);
    }
  },
  onRecord(): void {},
  onNode(): void {},
};

/** Only to sleep on: nobody wakes it. */
const BED = new Int32Array(new SharedArrayBuffer(4));
/** A sleep is no longer than this (ms), so that acknowledgements are read meanwhile. */
const LONGEST_SLEEP = 1;

/** As the publisher's: what is due goes together, in a turn of its own, and sleeps are finer than Node's timers. */
async function pace(rate: number, from: number, until: number): Promise<void> {
  const perBatch = Math.floor(batch.length / size);
  const interval = 1000 / rate;
  const total = Math.floor((until - from) / interval);
  for (let done = 0; done < total; ) {
    const early = from + done * interval - now();
    if (early > 0) Atomics.wait(BED, 0, 0, Math.min(early, LONGEST_SLEEP));
    const time = now();
    let count = 0;
    for (; done < total && count < perBatch && from + done * interval <= time; done++) {
      put(count++ * size, from + done * interval);
      lateness.record(time - (from + done * interval));
    }
    if (count > 0) link?.send(batch, 0, count * size);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const operations = {
  /** Returns where it can be joined. */
  async open(what: {
    node: string;
    join: string[];
    secret: string | null;
    payload: number;
  }): Promise<string[]> {
    const { node, join, secret, payload } = what;
    size = payload;
    batch = Buffer.alloc(BATCH_BYTES - (BATCH_BYTES % size));
    const silent = () => {};
    mesh = await startMesh(
      {
        node,
        identityDir: null,
        host: '127.0.0.1',
        port: 0,
        announce: [],
        join,
        mdns: false,
        secret: secret ?? undefined,
        log: { debug: silent, info: silent, warn: console.error, error: console.error },
      },
      gateway,
    );
    return [...mesh.addresses];
  },

  async linked(): Promise<void> {
    if (link === null)
      await new Promise<void>((resolve) => {
        onLinked = resolve;
      });
  },

  flood(): void {
    flooding = true;
    flood();
  },

  /** How many were sent in all. */
  finish(): number {
    flooding = false;
    return sent;
  },

  /** So many a second, from `from` until `until` (ms of the machine's clock). Resolves with how many were sent in all. */
  async pace({ rate, from, until }: { rate: number; from: number; until: number }): Promise<number> {
    await pace(rate, from, until);
    return sent;
  },

  /** Forgets the times so far. */
  forget(): void {
    recorder = new Recorder();
    lateness = new Recorder();
  },

  times() {
    return { delivered: recorder.percentiles(), late: lateness.percentiles() };
  },

  /** `cpu`: milliseconds of all threads of this process. */
  mark() {
    const { user, system } = process.cpuUsage();
    return { count: received, disordered, cpu: (user + system) / 1000, at: now() };
  },
};

export type NodeOperations = typeof operations;

serve(operations, async () => {
  await mesh?.close();
});
