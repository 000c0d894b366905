/** One end of the links between two workers: sends records, counts those that come, pings and answers pings. */
import { type LinkOut, type LinkReader, type Links, RecordKind } from '../../lib/links.js';
import { attachSegment } from '../../lib/memory/segment.js';
import { openLinks } from '../../shards/links/open-links.js';
import { now } from '../clock.js';
import { Recorder } from './latency.js';
import { serve } from './serve.js';

const WORKERS = 2;

/** What the kinds of records mean here. */
const MESSAGE = RecordKind.frames;
const PING = RecordKind.control;
const PONG = RecordKind.reset;

let links: Links | null = null;
let peer: LinkOut | null = null;
let payload = new Uint8Array(0);

let flooding = false;
let flood: Promise<void> = Promise.resolve();
let sent = 0;
let received = 0;
/** Records that came in another order than they were sent. */
let disordered = 0;
/** How often the path was found full, and who waits for room. */
let refusals = 0;
let goOn: () => void = () => {};

let recorder = new Recorder();
let asked = 0;
let recordFrom = 0;
let pingUntil = 0;
let pingsOver: () => void = () => {};

function opposite(): LinkOut {
  if (peer === null) throw new Error('it was not opened');
  return peer;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function room(): Promise<void> {
  return new Promise((resolve) => {
    goOn = resolve;
  });
}

/** Each record's stamp is its number. False: there was no room for all. */
function writeBatch(to: LinkOut, count: number): boolean {
  for (let i = 0; i < count; i++) {
    if (!to.write(false, MESSAGE, sent >>> 0, payload, 0, payload.length)) {
      refusals++;
      return false;
    }
    sent++;
  }
  return true;
}

async function writeAll(batch: number): Promise<void> {
  const to = opposite();
  while (flooding) {
    const fitted = writeBatch(to, batch);
    to.flush();
    await (fitted ? turn() : room());
  }
}

function ping(): void {
  asked = now();
  opposite().write(true, PING, 0, payload, 0, payload.length);
  opposite().flush();
}

function onPong(): void {
  const time = now();
  if (asked >= recordFrom) recorder.record(time - asked);
  if (time < pingUntil) ping();
  else pingsOver();
}

const reader: LinkReader = {
  onRecord(_from, _urgent, kind, stamp, src, start, end): void {
    if (kind === MESSAGE) {
      if (stamp !== received >>> 0) disordered++;
      received++;
    } else if (kind === PING) opposite().write(true, PONG, 0, src, start, end);
    else onPong();
  },
  onBatchEnd(): void {
    opposite().flush();
    goOn();
  },
};

const operations = {
  async open(what: {
    kind: Links['kind'];
    slot: number;
    socketsDir: string;
    segmentPath: string | null;
    payload: number;
  }): Promise<void> {
    const { kind, slot, socketsDir, segmentPath } = what;
    const segment = segmentPath === null ? undefined : await attachSegment(segmentPath);
    payload = new Uint8Array(what.payload);
    links = await openLinks({ kind, slot, workers: WORKERS, socketsDir, segment });
    peer = links.to(1 - slot);
    await links.start(reader);
  },

  /** Begins to send as fast as it goes, `batch` records to each turn of the event loop. */
  flood(batch: number): void {
    flooding = true;
    flood = writeAll(batch);
    // Told when the flood is ended.
    flood.catch(() => {});
  },

  /** Resolves with how many records were sent in all. */
  async finish(): Promise<number> {
    flooding = false;
    goOn();
    await flood;
    return sent;
  },

  /** One ping after the other until `until` (ms of the machine's clock), recorded from `from` on. */
  async ping({ from, until }: { from: number; until: number }) {
    recorder = new Recorder();
    recordFrom = from;
    pingUntil = until;
    const over = new Promise<void>((resolve) => {
      pingsOver = resolve;
    });
    ping();
    await over;
    return recorder.percentiles();
  },

  /** `cpu`: milliseconds of all threads of this process. */
  mark() {
    const { user, system } = process.cpuUsage();
    return { sent, count: received, disordered, refusals, cpu: (user + system) / 1000, at: now() };
  },
};

export type LinkWorkerOperations = typeof operations;

serve(operations, async () => {
  await links?.close();
});
