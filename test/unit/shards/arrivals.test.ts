import assert from 'node:assert/strict';
import fc from 'fast-check';
import { C } from '../../../lib/telemetry/counters.js';
import { senderAnnouncement, topicAnnouncement } from '../../../lib/wire/announcement.js';
import { Encoding, FrameType, OFFSET_TYPE, writeU24 } from '../../../lib/wire/frame.js';
import { utf8 } from '../../../lib/wire/text.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import { Cluster, frameOf, type Got, type Node, type Reader } from './cluster.js';

const TOPICS = ['to.a', 'to.b', '_agent.taker', 'nobody.wants'];
const SENDERS = ['one', 'two', 'thrée'];
const FIRST_TOPIC = 0x0100_0001;
const FIRST_SENDER = 0x0001;

interface Sent {
  topic: number;
  sender: number;
  lane: number;
  spelled: boolean;
  ttl: boolean;
  payload: string;
}

const messages = fc.array(
  fc.record({
    topic: fc.nat(TOPICS.length - 1),
    sender: fc.nat(SENDERS.length - 1),
    lane: fc.nat(4),
    spelled: fc.boolean(),
    ttl: fc.boolean(),
    payload: fc.string({ maxLength: 20 }),
  }),
  { maxLength: 40 },
);

function frame({ topic, sender, lane, spelled, ttl, payload }: Sent): Uint8Array {
  const number = FIRST_SENDER + sender;
  if (!spelled && !ttl)
    return frameOf(FIRST_TOPIC + topic, TOPICS[topic], number, SENDERS[sender], lane, payload);
  return new FrameWriter(65_536).publish({
    topic: TOPICS[topic],
    sender: number,
    from: SENDERS[sender],
    lane,
    encoding: Encoding.text,
    payload: utf8(payload),
    extensions: { ttl: ttl ? 60_000 : undefined },
  });
}

const announcements = [
  ...TOPICS.map((topic, i) => topicAnnouncement(FIRST_TOPIC + i, utf8(topic))),
  ...SENDERS.map((sender, i) => senderAnnouncement(FIRST_SENDER + i, sender)),
];

/** What of it an agent must get that wants `to.*` and whose address it is, as far as order is promised. */
function byOrder(got: readonly Got[]): string[] {
  return got.map(({ topic, from, payload }) => `${topic} ${from} ${payload}`);
}

async function taker(
  settings = {},
): Promise<{ cluster: Cluster; b: Node; sink: Reader; take: (batch: Uint8Array) => void }> {
  const cluster = new Cluster();
  await cluster.add('a');
  const b = await cluster.add('b', 2, settings);
  cluster.link('a', 'b');
  const { sink } = b.agent('taker', 1, ['to.*']);
  await cluster.run();
  return { cluster, b, sink, take: (batch) => b.gateway.onBatch(cluster.way('b', 'a'), batch) };
}

describe('batches of another node', () => {
  it('become messages of this one: each whole, in the order of its topic, lane and sender', async () => {
    const { cluster, sink, take } = await taker();
    take(Buffer.concat(announcements));
    await fc.assert(
      fc.asyncProperty(messages, async (sent) => {
        sink.got.length = 0;
        take(Buffer.concat(sent.map(frame)));
        await cluster.run();
        assert.ok(sink.got.every(({ whole }) => whole));
        for (let lane = 0; lane < 5; lane++) {
          const expected = sent.filter((one) => one.topic !== 3 && one.lane === lane);
          for (const topic of TOPICS) {
            const of = expected.filter((one) => TOPICS[one.topic] === topic);
            for (const from of SENDERS) {
              const want = of.filter(({ sender }) => SENDERS[sender] === from).map(({ payload }) => payload);
              const all = sink.got.filter((got) => got.topic === topic && got.from === from);
              const have = all.map(({ payload }) => payload);
              assert.ok(isSubsequence(want, have), `${want} is not in ${have}`);
            }
          }
        }
        assert.equal(sink.got.length, sent.filter(({ topic }) => topic !== 3).length);
      }),
      { numRuns: 60 },
    );
  });

  it('that are damaged lose what is damaged, bring nothing that was not sent, and harm nobody', async () => {
    const { cluster, sink, take } = await taker();
    const damage = fc.array(fc.tuple(fc.nat(9999), fc.nat(255)), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(messages, damage, fc.nat(60), async (sent, flips, cutOff) => {
        sink.got.length = 0;
        const batch = Buffer.concat([...announcements, ...sent.map(frame)]);
        for (const [where, byte] of flips) batch[Math.floor((where / 10_000) * batch.length)] = byte;
        take(batch.subarray(0, batch.length - cutOff));
        await cluster.run();
        const known = new Set(
          sent.map(({ topic, sender, payload }) => `${TOPICS[topic]} ${SENDERS[sender]} ${payload}`),
        );
        for (const [i, text] of byOrder(sink.got).entries())
          assert.ok(sink.got[i].whole && known.has(text), text);
        // Whole again, it is as if nothing had been.
        sink.got.length = 0;
        take(Buffer.concat([...announcements, frame({ ...WHOLE })]));
        await cluster.run();
        assert.deepEqual(byOrder(sink.got), ['to.a one whole']);
      }),
      { numRuns: 100 },
    );
  });

  it('go on as one run where several topics have the same takers, who know all of them', async () => {
    const { cluster, b, sink, take } = await taker();
    const run = [0, 1, 0].map((topic) => frame({ ...WHOLE, topic, payload: `${topic}` }));
    take(Buffer.concat([...announcements, ...run]));
    b.gateway.exchange.endTurn();
    const records = b.wires.queues[1].filter(({ bytes }) => bytes[OFFSET_TYPE] === FrameType.publish);
    assert.equal(records.length, 1);
    await cluster.run();
    assert.deepEqual(byOrder(sink.got), ['to.a one 0', 'to.b one 1', 'to.a one 0']);
    sink.got.length = 0;
    run[1][run[1].length - 1]++;
    take(Buffer.concat(run));
    await cluster.run();
    assert.deepEqual(byOrder(sink.got), ['to.a one 0', 'to.a one 0']);
  });

  it('of noise harm nobody', async () => {
    const { cluster, sink, take } = await taker();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (noise) => {
        take(noise);
        await cluster.run();
        assert.deepEqual(sink.got, []);
      }),
      { numRuns: 50 },
    );
  });

  it('that name ids which are not known are asked to announce them anew', async () => {
    const { cluster, sink, take, b } = await taker();
    const [a] = cluster.nodes;
    const { session } = a.agent('feeder', 0);
    await cluster.run();
    a.publish(0, session, 'to.a', 2, ['1']);
    await cluster.run();
    // As if the tables of the link had been full.
    take(frame({ ...WHOLE }));
    assert.equal(b.gateway.exchange.counters[C.protocolErrors], 1);
    await cluster.run();
    a.publish(0, session, 'to.a', 2, ['2']);
    a.gateway.exchange.endTurn();
    for (const shard of a.shards) shard.exchange.endTurn();
    a.wires.deliver();
    const types = cluster.way('a', 'b').sent.map((batch) => batch[5]);
    assert.deepEqual(types, [14]);
    await cluster.run();
    assert.deepEqual(byOrder(sink.got), ['to.a feeder 1', 'to.a feeder 2']);
  });

  it('spell topics out where this node has no id left for them, and are whole all the same', async () => {
    const { cluster, b, sink, take } = await taker({ maxTopics: 1024 });
    const count = 400;
    const topics = Array.from({ length: count }, (_, i) => `to.${i}`);
    take(Buffer.concat([senderAnnouncement(FIRST_SENDER, 'one')]));
    for (const [i, topic] of topics.entries()) {
      const id = FIRST_TOPIC + i;
      take(
        Buffer.concat([
          topicAnnouncement(id, utf8(topic)),
          frameOf(id, topic, FIRST_SENDER, 'one', 2, topic),
        ]),
      );
    }
    await cluster.run();
    assert.ok(b.gateway.exchange.topicIds.size < count);
    assert.deepEqual(
      sink.got.map(({ topic, payload, whole }) => [topic, payload, whole]),
      topics.map((topic) => [topic, topic, true]),
    );
  });

  it('of a node that takes larger ones are cut, and what is too large here is dropped', async () => {
    const { cluster, sink, take } = await taker({ maxPayload: 16 * 1024 });
    take(Buffer.concat(announcements));
    const large = (size: number) => frame({ ...WHOLE, payload: 'x'.repeat(size) });
    take(Buffer.concat([large(10_000), large(10_000), large(10_000), large(20_000), large(5)]));
    await cluster.run();
    assert.deepEqual(
      sink.got.map(({ payload }) => payload.length),
      [10_000, 10_000, 10_000, 5],
    );
  });

  it('may not say what only the bus may, nor who is the bus', async () => {
    const { cluster, b, sink, take } = await taker();
    const watcher = b.agent('watcher', 0, ['system.agent.x.*']).sink;
    await cluster.run();
    const forged = new FrameWriter(65_536).publish({
      topic: 'system.agent.x.online',
      sender: FIRST_SENDER,
      from: 'one',
      lane: 2,
      encoding: Encoding.text,
      payload: utf8('x'),
    });
    const bus = frame({ ...WHOLE, spelled: true });
    writeU24(bus, 37, 0);
    take(Buffer.concat([...announcements, forged, bus, senderAnnouncement(0, 'mallory')]));
    await cluster.run();
    assert.deepEqual([watcher.got, sink.got], [[], []]);
  });
});

const WHOLE: Sent = { topic: 0, sender: 0, lane: 2, spelled: false, ttl: false, payload: 'whole' };

function isSubsequence(part: readonly string[], whole: readonly string[]): boolean {
  let i = 0;
  for (const one of whole) if (i < part.length && one === part[i]) i++;
  return i === part.length;
}
