/** Shards without their processes, and the links between two of them in the hands of the test. */
import { type BrokerConfig, makeConfig } from '../../../lib/config/index.js';
import type { LinkOut, LinkReader, Links, RecordKind } from '../../../lib/links.js';
import { attachBlock, TELEMETRY_BYTES, type TelemetryBlock } from '../../../lib/telemetry/block.js';
import type { Reason } from '../../../lib/telemetry/ledger.js';
import type { BreakerChange, Hello } from '../../../lib/wire/control.js';
import { Encoding, Flag } from '../../../lib/wire/frame.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import type { Session, Sink } from '../../../shards/session.js';
import { Shard } from '../../../shards/shard.js';

interface Item {
  from: number;
  urgent: boolean;
  kind: RecordKind;
  stamp: number;
  bytes: Uint8Array;
}

/** Links of two workers that deliver when, and in the order of paths in which, the test says. */
export class Wires {
  readonly readers: (LinkReader | null)[] = [null, null];
  /** By receiver, and there by path: urgent, bulk. */
  readonly queues: Item[][][] = [
    [[], []],
    [[], []],
  ];
  /** All rings are full. */
  full = false;
  /** Those that this slot writes are; -1: of none. */
  fullFrom = -1;

  linksOf(slot: number): Links {
    const to = 1 - slot;
    const out: LinkOut = {
      write: (urgent, kind, stamp, src, start, end) => {
        if (this.full || this.fullFrom === slot) return false;
        this.queues[to][urgent ? 0 : 1].push({
          from: slot,
          urgent,
          kind,
          stamp,
          // A slice of a Buffer would only be a view.
          bytes: Uint8Array.prototype.slice.call(src, start, end),
        });
        return true;
      },
      flush: () => {},
    };
    return {
      kind: 'shared-memory',
      to: () => out,
      start: async (reader) => {
        this.readers[slot] = reader;
      },
      drain: () => {},
      close: async () => {},
    };
  }

  /** As if nobody had ever been linked. */
  cut(): void {
    this.full = false;
    this.fullFrom = -1;
    this.readers.fill(null);
    for (const paths of this.queues) for (const items of paths) items.length = 0;
  }

  /** Delivers what waits for `slot`, one path after the other, until nothing waits for anybody. */
  run(paths: readonly [number, number]): void {
    for (let rest = true; rest; ) {
      rest = false;
      for (const slot of [0, 1]) {
        const reader = this.readers[slot];
        if (reader === null) continue;
        for (const path of paths) {
          for (const { from, urgent, kind, stamp, bytes } of this.queues[slot][path].splice(0)) {
            rest = true;
            reader.onRecord(from, urgent, kind, stamp, bytes, 0, bytes.length);
          }
        }
        reader.onBatchEnd();
      }
    }
  }
}

export const HELLO: Hello = {
  agentId: 'a',
  agentType: 'agent',
  capabilities: [],
  subscriptions: [],
  priority: 2,
  heartbeatInterval: 0,
  metadata: '{}',
  token: null,
  resume: null,
};

/** Counts the messages that it is given. */
export class Counter implements Sink {
  announces = false;
  closed = false;
  unsent = 0;
  frames = 0;
  missed = 0;

  send(chunk: { frames: number }): void {
    this.frames += chunk.frames;
  }

  credit(): void {}

  gap(missed: number): void {
    this.missed += missed;
  }

  pause(): void {}
  resume(): void {}
  probe(): void {}

  close(): void {
    this.closed = true;
  }
}

export function makeBlock(): TelemetryBlock {
  return attachBlock(new SharedArrayBuffer(TELEMETRY_BYTES));
}

export function makeShard(
  wires: Wires,
  slot: number,
  incarnation: number,
  settings: Partial<BrokerConfig> = {},
  block = makeBlock(),
  onBreaker?: (agentId: string, change: BreakerChange) => void,
): Shard {
  const config = makeConfig({ shards: 2, ...settings });
  return new Shard(
    {
      slot,
      workers: 2,
      incarnation,
      clockOffset: 0,
      node: 'n',
      config,
    },
    wires.linksOf(slot),
    block,
    () => {},
    onBreaker,
  );
}

/** What the ledger of a shard has under one reason. */
export function drops(block: TelemetryBlock, reason: Reason): number {
  return block.ledger.read().reduce((sum, { counts }) => sum + counts[reason], 0);
}

export function publish(
  shard: Shard,
  from: Session,
  topic: string,
  lane: number,
  size = 1,
  ttl: number | undefined = undefined,
): void {
  const frame = new FrameWriter(65_536).publish({
    topic,
    sender: from.sender.number,
    from: from.sender.text,
    lane,
    encoding: Encoding.bytes,
    payload: new Uint8Array(size),
    extensions: { ttl },
  });
  const flags = ttl === undefined ? 0 : Flag.expires;
  shard.publishing.send(from.sender, null, topic, null, frame, 0, frame.length, 1, lane, flags);
  shard.exchange.endTurn();
}
