import assert from 'node:assert/strict';
import fc from 'fast-check';
import { OutgoingBatch } from '../../../../lib/client/batch.js';
import { OutgoingTopics } from '../../../../lib/client/outgoing-topics.js';
import { type Rewriter, rewriteFrames } from '../../../../lib/client/requeue.js';
import { BatchReader, Step } from '../../../../lib/wire/batch.js';
import { checksumSeed } from '../../../../lib/wire/checksum.js';
import { Extensions } from '../../../../lib/wire/extensions.js';
import { OFFSET_CHECKSUM, readU32 } from '../../../../lib/wire/frame.js';
import { readUtf8, utf8 } from '../../../../lib/wire/text.js';
import { FrameWriter } from '../../../../lib/wire/writer.js';

const OLD = '_reply.node-a.5.nonce';
const NEW = '_reply.another-node.1z.nonce';
const writer = new FrameWriter(65_536);

interface Seen {
  topic: string;
  lane: number;
  sequence: number;
  payload: string;
  replyTo: string | null;
  key: string | null;
}

function read(batches: OutgoingBatch[], sender: number): Seen[] {
  const reader = new BatchReader();
  const extensions = new Extensions();
  const seen: Seen[] = [];
  for (const batch of batches) {
    reader.open(batch.bytes, 0, batch.used, batch.bytes.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      assert.equal(step, Step.frame);
      const { bytes, start, end } = reader;
      const topic = readUtf8(bytes, reader.topicStart, reader.extensionsStart);
      // Not sealed yet.
      assert.equal(readU32(bytes, start + OFFSET_CHECKSUM), checksumSeed('me', topic));
      assert.equal(reader.sender, sender);
      assert.equal(extensions.read(bytes, reader.extensionsStart, reader.payloadStart), null);
      assert.equal(extensions.flags & reader.flags, extensions.flags);
      seen.push({
        topic,
        lane: reader.lane,
        sequence: reader.sequence,
        payload: readUtf8(bytes, reader.payloadStart, end),
        replyTo: extensions.replyTo,
        key: extensions.key,
      });
    }
  }
  return seen;
}

describe('rewriteFrames', () => {
  it('property: nothing but the hop fields, the reply address and the numbers changes', () => {
    const message = fc.record({
      topic: fc.constantFrom('a.b', 'c', 'ü.x'),
      lane: fc.integer({ min: 0, max: 4 }),
      payload: fc.string({ maxLength: 200 }),
      replyTo: fc.constantFrom(undefined, OLD, 'elsewhere'),
      key: fc.constantFrom(undefined, 'k'),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 40 }), fc.boolean(), (messages, renumber) => {
        const topics = new OutgoingTopics('me');
        const source = new OutgoingBatch(65_536);
        messages.forEach(({ topic, lane, payload, replyTo, key }, i) => {
          const frame = writer.publish({
            topic,
            sender: 5,
            from: 'me',
            lane,
            encoding: 1,
            payload: utf8(payload),
            sequence: 100 + i,
            extensions: { replyTo, key },
          });
          source.bytes.set(frame, source.used);
          source.used += frame.length;
        });
        let kept = 0;
        const rewriter: Rewriter = {
          sender: 6,
          renumber,
          now: 0,
          oldReply: utf8(OLD),
          newReply: utf8(NEW),
          textOf: () => null,
          topic: (text) => topics.get(text),
          onKept: () => kept++,
          onDropped: () => assert.fail('dropped'),
        };
        const batches = rewriteFrames([source], rewriter, 1000);
        const counts = new Map<string, number>();
        const expected = messages.map(({ topic, lane, payload, replyTo, key }, i): Seen => {
          const count = (counts.get(`${topic} ${lane}`) ?? 0) + 1;
          counts.set(`${topic} ${lane}`, count);
          return {
            topic,
            lane,
            sequence: renumber ? count : 100 + i,
            payload,
            replyTo: replyTo === OLD ? NEW : (replyTo ?? null),
            key: key ?? null,
          };
        });
        assert.deepEqual(read(batches, 6), expected);
        assert.equal(kept, messages.filter(({ replyTo }) => replyTo !== undefined).length);
        assert.ok(batches.every(({ used, bytes }) => used <= bytes.length && bytes.length === 1000));
      }),
    );
  });

  it('leaves out what was sent, what is too old and what is too large', () => {
    const topics = new OutgoingTopics('me');
    const source = new OutgoingBatch(65_536);
    const add = (text: string, ttl?: number): void => {
      const fields = {
        topic: 't',
        sender: 5,
        from: 'me',
        lane: 2,
        encoding: 1,
        payload: utf8(text),
      } as const;
      const frame = writer.publish({ ...fields, extensions: { ttl } });
      source.bytes.set(frame, source.used);
      source.used += frame.length;
    };
    add('sent');
    source.sent = source.used;
    add('old', 10);
    add('young', 60_000);
    add('x'.repeat(500));
    add('stays');
    const dropped: string[] = [];
    const rewriter: Rewriter = {
      sender: 6,
      renumber: false,
      now: (Date.now() + 1000) * 1000,
      oldReply: null,
      newReply: null,
      textOf: () => null,
      topic: (text) => topics.get(text),
      onKept: () => assert.fail('nobody waits for these'),
      onDropped: (reason) => dropped.push(reason),
    };
    const texts = read(rewriteFrames([source], rewriter, 200), 6).map(({ payload }) => payload);
    assert.deepEqual(texts, ['young', 'stays']);
    assert.deepEqual(dropped, ['expired', 'oversized']);
  });
});
