import assert from 'node:assert/strict';
import { type BrokerConfig, makeConfig } from '../../../lib/config/index.js';
import type { LinkOut, LinkReader, Links, RecordKind } from '../../../lib/links.js';
import { attachBlock, TELEMETRY_BYTES } from '../../../lib/telemetry/block.js';
import type { Hello } from '../../../lib/wire/control.js';
import { Encoding } from '../../../lib/wire/frame.js';
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
class Wires {
  readonly readers: (LinkReader | null)[] = [null, null];
  /** By receiver, and there by path: urgent, bulk. */
  readonly queues: Item[][][] = [
    [[], []],
    [[], []],
  ];

  linksOf(slot: number): Links {
    const to = 1 - slot;
    const out: LinkOut = {
      write: (urgent, kind, stamp, src, start, end) => {
        this.queues[to][urgent ? 0 : 1].push({
          from: slot,
          urgent,
          kind,
          stamp,
          bytes: src.slice(start, end),
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

const HELLO: Hello = {
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
class Counter implements Sink {
  readonly announces = false;
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
  close(): void {}
}

function makeShard(
  wires: Wires,
  slot: number,
  incarnation: number,
  settings: Partial<BrokerConfig> = {},
): Shard {
  const config = makeConfig({ shards: 2, ...settings });
  const block = attachBlock(new SharedArrayBuffer(TELEMETRY_BYTES));
  return new Shard(
    { slot, workers: 2, incarnation, node: 'n', config },
    wires.linksOf(slot),
    block,
    () => {},
  );
}

function publish(shard: Shard, from: Session, topic: string, lane: number, size = 1): void {
  const frame = new FrameWriter(65_536).publish({
    topic,
    sender: from.sender.number,
    from: from.sender.text,
    lane,
    encoding: Encoding.bytes,
    payload: new Uint8Array(size),
  });
  shard.publishing.send(from.sender, null, topic, null, frame, 0, frame.length, 1, lane, 0);
  shard.exchange.endTurn();
}

describe('two shards', () => {
  // The two paths of a link have no mutual order.
  for (const [name, paths] of [
    ['urgent first', [0, 1]],
    ['bulk first', [1, 0]],
  ] as const) {
    it(`reach each other in every lane, also a new incarnation, whichever path is read first (${name})`, async () => {
      const wires = new Wires();
      const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
      await Promise.all(shards.map((shard) => shard.start([])));
      wires.run(paths);
      for (let incarnation = 1; incarnation <= 4; incarnation++) {
        if (incarnation > 1) {
          // The old one is gone; what was meant for it still waits in the rings.
          wires.readers[1] = null;
          shards[0].peerDown(1, incarnation - 1);
          shards[1] = makeShard(wires, 1, incarnation);
          await shards[1].start([]);
          wires.run(paths);
        }
        const sinks = [new Counter(), new Counter()];
        const sessions = shards.map((shard, slot) => {
          const agentId = `agent-${slot}-${incarnation}`;
          const { session } = shard.sessions.open({ ...HELLO, agentId, subscriptions: [`to.${slot}`] });
          shard.sessions.attach(session, sinks[slot]);
          return session;
        });
        wires.run(paths);
        for (const [slot, shard] of shards.entries()) {
          for (let lane = 0; lane < 5; lane++) publish(shard, sessions[slot], `to.${1 - slot}`, lane);
        }
        wires.run(paths);
        assert.deepEqual(
          sinks.map(({ frames }) => frames),
          [5, 5],
          `incarnation ${incarnation}`,
        );
        for (const [slot, shard] of shards.entries()) shard.sessions.end(sessions[slot], null, '');
        wires.run(paths);
      }
    });
  }
});

describe('a session that was stuck', () => {
  for (const size of [100, 1000, 60_000]) {
    it(`hears of all that it missed, also when all that waited leaves in one turn (${size} bytes each)`, async () => {
      const shard = makeShard(new Wires(), 0, 1, { backlog: 128 * 1024, stallLimit: 0 });
      await shard.start([]);
      const sink = new Counter();
      const { session } = shard.sessions.open({ ...HELLO, subscriptions: ['x'] });
      shard.sessions.attach(session, sink);
      sink.unsent = 1024 * 1024;
      const total = Math.ceil((1024 * 1024) / size);
      for (let i = 0; i < total; i++) {
        publish(shard, session, 'x', 2, size);
        shard.check(1);
      }
      assert.equal(sink.frames, 0);
      assert.equal(sink.missed, 0);
      assert.ok(shard.exchange.backlogBytes <= 128 * 1024);
      sink.unsent = 0;
      session.touch();
      // Two turns: one that sends, and one for what it caused.
      shard.exchange.endTurn();
      shard.exchange.endTurn();
      assert.ok(sink.frames > 0 && sink.missed > 0);
      assert.equal(sink.frames + sink.missed, total);
    });
  }
});
