import assert from 'node:assert/strict';
import { Reason } from '../../../lib/telemetry/ledger.js';
import { topicRoot } from '../../../lib/topics/topic.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import {
  Encoding,
  FrameType,
  HEADER_SIZE,
  OFFSET_TYPE,
  viewOf,
  writeHeader,
} from '../../../lib/wire/frame.js';
import type { Session, Sink } from '../../../shards/session.js';
import type { Shard } from '../../../shards/shard.js';
import { HELLO, makeBlock, makeShard, Wires } from './wires.js';

/** Reads what it is given as an agent does: by the announcements that came on the same connection. */
class Reader implements Sink {
  readonly announces = true;
  unsent = 0;
  readonly topics = new Map<number, string>();
  readonly got: string[] = [];
  readonly chunks: number[] = [];

  send(chunk: { bytes: Uint8Array; start: number; end: number; frames: number }): void {
    const reader = new BatchReader();
    reader.open(chunk.bytes, chunk.start, chunk.end, 65_536);
    while (reader.next() === Step.frame) {
      const text = Buffer.from(chunk.bytes.subarray(reader.topicStart, reader.extensionsStart)).toString();
      if (reader.type === FrameType.topic) this.topics.set(reader.topicId, text);
      // Presence spells its topics out.
      else if (reader.type === FrameType.publish && reader.topicId !== 0)
        this.got.push(
          `${this.topics.get(reader.topicId)} ${Buffer.from(chunk.bytes.subarray(reader.payloadStart, reader.end))}`,
        );
    }
  }

  credit(): void {}
  gap(): void {}
  pause(): void {}
  resume(): void {}
  probe(): void {}
  close(): void {}
}

/** A message by topic id; nobody here looks at checksums. */
function frameOf(topicId: number, sender: number, payload: Uint8Array): Uint8Array {
  const total = HEADER_SIZE + payload.length;
  const frame = new Uint8Array(total);
  writeHeader(
    viewOf(frame),
    0,
    FrameType.publish,
    0,
    2,
    Encoding.text,
    total,
    payload.length,
    0,
    0,
    topicId,
    0,
    sender,
  );
  frame.set(payload, HEADER_SIZE);
  return frame;
}

/** A batch of messages on topics that have ids, as a door takes it apart. */
function batch(shard: Shard, session: Session, topics: readonly string[]): void {
  const { exchange, publishing } = shard;
  const frames = topics.map((text, i) => {
    const topic = exchange.topic(text)!;
    let id = exchange.seen(topic);
    id ??= exchange.seen(topic);
    if (!session.knownTopics.has(id!.index)) session.announceTopic(id!);
    return frameOf(id!.id, session.sender.number, Buffer.from(String(i)));
  });
  const bytes = Buffer.concat(frames);
  const reader = new BatchReader();
  reader.open(bytes, 0, bytes.length, 65_536);
  while (reader.next() === Step.frame) {
    if (publishing.extend(session, reader)) continue;
    assert.equal(publishing.finish(session, bytes), null);
    assert.equal(publishing.take(session, reader), null);
  }
  assert.equal(publishing.finish(session, bytes), null);
  exchange.endTurn();
}

const expected = (topics: readonly string[], wanted: (topic: string) => boolean) =>
  topics.map((topic, i) => `${topic} ${i}`).filter((line) => wanted(line.split(' ')[0]));

describe('runs of several topics', () => {
  const TOPICS = ['a.1', 'a.2', 'b.1', 'a.1', 'a.1', 'c.1', 'b.2', 'b.1', 'none.1', 'a.3', 'c.1'];

  async function two(): Promise<{
    wires: Wires;
    shards: Shard[];
    open: (slot: number, ...patterns: string[]) => Reader;
  }> {
    const wires = new Wires();
    const shards = [makeShard(wires, 0, 1), makeShard(wires, 1, 1)];
    await Promise.all(shards.map((shard) => shard.start([])));
    let agents = 0;
    const open = (slot: number, ...subscriptions: string[]): Reader => {
      const reader = new Reader();
      const { session } = shards[slot].sessions.open({
        ...HELLO,
        agentId: `taker-${agents++}`,
        subscriptions,
      });
      shards[slot].sessions.attach(session, reader);
      return reader;
    };
    return { wires, shards, open };
  }

  it('reach each taker here and on another shard, in order, each with the topics that it takes', async () => {
    const { wires, shards, open } = await two();
    const takers = [
      { patterns: ['a.*', 'b.*'], slot: 0 },
      { patterns: ['a.*'], slot: 0 },
      { patterns: ['**'], slot: 1 },
      { patterns: ['b.*', 'c.*'], slot: 1 },
      { patterns: ['a.2'], slot: 1 },
    ].map(({ patterns, slot }) => ({ reader: open(slot, ...patterns), patterns }));
    const { session } = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' });
    wires.run([0, 1]);
    for (let round = 0; round < 2; round++) {
      batch(shards[0], session, TOPICS);
      wires.run([0, 1]);
      for (const { reader, patterns } of takers) {
        const takes = (topic: string) =>
          patterns.some(
            (pattern) => pattern === '**' || topic === pattern || `${topic.split('.')[0]}.*` === pattern,
          );
        assert.deepEqual(reader.got.splice(0), expected(TOPICS, takes), patterns.join());
      }
    }
  });

  it('go as one record where their takers are the same, and as several where they are not', async () => {
    const { wires, shards, open } = await two();
    open(1, 'a.*', 'b.*');
    const { session } = shards[0].sessions.open({ ...HELLO, agentId: 'feeder' });
    wires.run([0, 1]);
    const records = (topics: string[]) => {
      batch(shards[0], session, topics);
      const messages = wires.queues[1][1].filter(({ bytes }) => bytes[OFFSET_TYPE] === FrameType.publish);
      wires.run([0, 1]);
      return messages.length;
    };
    assert.equal(records(['a.1', 'b.1', 'a.2', 'b.1']), 1);
    open(0, 'a.2');
    assert.equal(records(['a.1', 'b.1', 'a.2', 'b.1']), 3);
  });

  it('are counted by topic when they are lost', async () => {
    const block = makeBlock();
    const shard = makeShard(new Wires(), 0, 1, {}, block);
    await shard.start([]);
    const { session: taker } = shard.sessions.open({ ...HELLO, agentId: 'taker', subscriptions: ['**'] });
    shard.sessions.attach(taker, new Reader());
    const { session } = shard.sessions.open({ ...HELLO, agentId: 'feeder' });
    shard.exchange.backlogBytes = shard.exchange.settings.totalBacklog;
    batch(shard, session, TOPICS);
    const rows = block.ledger
      .read()
      .map(({ root, counts }) => [root, counts[Reason.backlogGlobal]])
      .filter(([, count]) => count !== 0);
    const roots = TOPICS.map(topicRoot);
    assert.deepEqual(
      Object.fromEntries(rows),
      Object.fromEntries([...new Set(roots)].map((root) => [root, roots.filter((r) => r === root).length])),
    );
  });
});
