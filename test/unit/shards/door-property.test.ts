/**
 * Any bytes at all: the doors never throw, the shard goes on, and what is delivered is exactly what a second reading of the
 * rules of PROTOCOL.md lets pass.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ERRORS, type ErrorCode, isErrorCode } from '../../../lib/errors.js';
import { decodeTopic, topicProblem } from '../../../lib/topics/topic.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import { EXTENSION_FLAGS, Extensions } from '../../../lib/wire/extensions.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  LANE_COUNT,
  OFFSET_SENDER,
  OFFSET_TOPIC_LENGTH,
  readU24,
  viewOf,
  writeHeader,
} from '../../../lib/wire/frame.js';
import { controlFrame, FrameWriter } from '../../../lib/wire/writer.js';
import { aloneShard, FakeClient, turn } from './fake-client.js';

const MAX_PAYLOAD = 64 * 1024;
const writer = new FrameWriter(MAX_PAYLOAD);
const KNOWN_TOPIC = 'known.topic';

/** What an attacker makes a publish frame of. `id`: by topic id; `both`: by id and spelled out. */
interface Parts {
  address: 'spelled' | 'id' | 'both' | 'unknown id';
  topic: Uint8Array;
  flags: number;
  lane: number;
  encoding: number;
  extensions: Uint8Array;
  payload: Uint8Array;
  forged: boolean;
  /** Offsets and values of bytes that are changed at last. */
  damage: readonly (readonly [number, number])[];
}

const text = (value: string): Uint8Array => Buffer.from(value);

const topics = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('a', 'a.b', 'x.y.z', KNOWN_TOPIC, 'ä.ö', 'a.b.c.d.e.f.g').map(text),
  },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom('', '.', 'a..b', 'a*', '_foo', '_agent.nobody', 'system.agent.x.online', 'a b')
      .map(text),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 255 }) },
);

const extension = fc
  .record({
    type: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(0, 9, 127, 128, 255)),
    value: fc.oneof(
      fc.constant(Uint8Array.of(0xff, 0xff, 0xff, 0x7f)),
      fc.uint8Array({ maxLength: 10 }),
      fc.uint8Array({ minLength: 55, maxLength: 70 }),
    ),
    lie: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 300 })),
  })
  .map(({ type, value, lie }) => {
    const size = Math.max(0, value.length + lie);
    return Buffer.concat([Buffer.from([type, size & 255, size >>> 8]), value]);
  });

const parts: fc.Arbitrary<Parts> = fc.record({
  address: fc.oneof(
    { weight: 4, arbitrary: fc.constant('spelled' as const) },
    { weight: 4, arbitrary: fc.constant('id' as const) },
    { weight: 1, arbitrary: fc.constantFrom('both' as const, 'unknown id' as const) },
  ),
  topic: topics,
  flags: fc.oneof(
    { weight: 6, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.constantFrom(Flag.expires, Flag.wantsReply, Flag.signed, Flag.compressed) },
    fc.integer({ min: 0, max: 255 }),
  ),
  lane: fc.oneof({ weight: 8, arbitrary: fc.constant(2) }, fc.integer({ min: 0, max: 7 })),
  encoding: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 31 })),
  extensions: fc.oneof(
    { weight: 3, arbitrary: fc.constant(new Uint8Array(0)) },
    fc.array(extension, { minLength: 1, maxLength: 3 }).map((list) => Buffer.concat(list)),
  ),
  payload: fc.uint8Array({ maxLength: 40 }),
  forged: fc.integer({ min: 0, max: 39 }).map((n) => n === 0),
  damage: fc.oneof(
    { weight: 8, arbitrary: fc.constant<[number, number][]>([]) },
    fc.array(fc.tuple(fc.nat(79), fc.nat(255)), { minLength: 1, maxLength: 3 }),
  ),
});

/** Further from a known id than those that the topics of a batch may get. */
const NEVER_ALLOTTED = 100_000;

function frameOf(from: Parts, sender: number, knownId: number): Uint8Array {
  const topic = from.address === 'id' || from.address === 'unknown id' ? new Uint8Array(0) : from.topic;
  const id =
    from.address === 'spelled' ? 0 : from.address === 'unknown id' ? knownId + NEVER_ALLOTTED : knownId;
  const flags = from.flags | (from.extensions.length > 0 ? Flag.extensions : 0);
  const body = Buffer.concat([topic, from.extensions, from.payload]);
  const frame = new Uint8Array(HEADER_SIZE + body.length);
  writeHeader(
    viewOf(frame),
    0,
    FrameType.publish,
    flags,
    from.lane,
    from.encoding,
    frame.length,
    from.payload.length,
    1,
    1,
    id,
    topic.length,
    from.forged ? sender + 1 : sender,
  );
  frame.set(body, HEADER_SIZE);
  for (const [offset, value] of from.damage) if (offset < frame.length) frame[offset] = value;
  return frame;
}

/**
 * What a subscriber to everything gets of a batch: a plain reading of PROTOCOL.md, frame by frame. Frames that expire
 * may be dropped in between, so none here has less time than the test.
 */
function deliverable(batch: Uint8Array, sender: number, knownId: number): Uint8Array[] {
  const reader = new BatchReader();
  const extensions = new Extensions();
  const frames: Uint8Array[] = [];
  reader.open(batch, 0, batch.length, MAX_PAYLOAD);
  for (let step = reader.next(); step !== Step.end && step !== Step.broken; step = reader.next()) {
    if (step !== Step.frame || reader.type !== FrameType.publish) continue;
    if (reader.sender !== sender) break;
    if (extensions.read(batch, reader.extensionsStart, reader.payloadStart) !== null) continue;
    if ((reader.flags & EXTENSION_FLAGS) !== extensions.flags) continue;
    // There is neither a mailbox nor shared memory.
    if ((reader.flags & (Flag.assured | Flag.retain)) !== 0) continue;
    if ((extensions.ttl ?? Number.POSITIVE_INFINITY) < 60_000) continue;
    if (reader.topicId !== 0) {
      if (reader.topicId !== knownId || reader.topicLength !== 0) continue;
    } else {
      const topic = decodeTopic(batch, reader.topicStart, reader.extensionsStart);
      if (topic === null || topicProblem(topic) !== null) continue;
      // To everything, but for reserved topics and what is the bus's own.
      if (topic.startsWith('_') || topic.startsWith('system.agent.')) continue;
    }
    frames.push(batch.slice(reader.start, reader.end));
  }
  return frames;
}

/** What the bus itself says when an attacker comes or goes. */
function isPresence(frame: Uint8Array): boolean {
  const topic = Buffer.from(frame.subarray(HEADER_SIZE, HEADER_SIZE + frame[OFFSET_TOPIC_LENGTH])).toString();
  return readU24(frame, OFFSET_SENDER) === 0 && /^system\.agent\.(attacker|one|two)\./.test(topic);
}

function shortLived(frame: Uint8Array): boolean {
  const reader = new BatchReader();
  const extensions = new Extensions();
  reader.open(frame, 0, frame.length, MAX_PAYLOAD);
  reader.next();
  extensions.read(frame, reader.extensionsStart, reader.payloadStart);
  return (extensions.ttl ?? Number.POSITIVE_INFINITY) < 60_000;
}

/** By lane, as each keeps its order and the lanes among each other do not. */
function byLane(frames: Uint8Array[]): string[][] {
  const lanes: string[][] = Array.from({ length: LANE_COUNT }, () => []);
  for (const frame of frames) lanes[frame[7] & 7].push(Buffer.from(frame).toString('hex'));
  return lanes;
}

describe('the doors, whatever comes', function () {
  this.timeout(60_000);
  const { shard, context } = aloneShard();
  let everything: FakeClient;
  let bystander: FakeClient;

  before(async () => {
    everything = await FakeClient.join(context, 'everything', ['**']);
    bystander = await FakeClient.join(context, 'bystander', ['quiet.*']);
  });
  after(() => {
    everything.leave();
    bystander.leave();
    shard.close();
  });

  /** The shard serves others as before: what is published on `quiet.x` comes, and nothing else. */
  function goesOn(): void {
    const payload = Buffer.from(String(Math.random()));
    const sender = bystander.welcome!.sender;
    bystander.messages.length = 0;
    bystander.receive(
      writer.publish({
        topic: 'quiet.x',
        sender,
        from: 'bystander',
        lane: 2,
        encoding: Encoding.bytes,
        payload,
      }),
    );
    assert.equal(bystander.messages.length, 1);
    assert.deepEqual(Buffer.from(bystander.messages[0].subarray(-payload.length)), payload);
    assert.deepEqual(bystander.errors, []);
    assert.equal(bystander.closeReason, null);
    everything.messages.length = 0;
  }

  /** A connection either goes on, with errors that are not fatal, or ends with one that is. */
  function endsAsItShould(client: FakeClient): void {
    const fatal = client.errors.filter((error) => error.fatal);
    for (const error of client.errors) assert.ok(isErrorCode(error.code), error.code);
    assert.deepEqual(
      fatal.map(({ code }) => code),
      client.closeReason === null ? [] : [client.closeReason],
    );
  }

  it('delivers of a batch what PROTOCOL.md lets pass, byte by byte, and nothing else', async () => {
    let delivered = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(parts, { minLength: 1, maxLength: 12 }),
        fc.uint8Array({ maxLength: 50 }),
        async (list, tail) => {
          const attacker = await FakeClient.join(context, 'attacker');
          const { sender } = attacker.welcome!;
          const spelled = writer.publish({
            topic: KNOWN_TOPIC,
            sender,
            from: 'attacker',
            lane: 2,
            encoding: Encoding.bytes,
            payload: new Uint8Array(0),
          });
          attacker.receive(Buffer.concat([spelled, spelled]));
          const knownId = attacker.topicIds.get(KNOWN_TOPIC)!;
          everything.messages.length = 0;

          const frames = list.map((from) => frameOf(from, sender, knownId));
          const batch = Buffer.concat([...frames, list.length % 4 === 0 ? tail : new Uint8Array(0)]);
          attacker.receive(batch);

          const expected = deliverable(batch, sender, knownId);
          const got = everything.messages.filter((frame) => !isPresence(frame) && !shortLived(frame));
          assert.deepEqual(byLane(got), byLane(expected));
          endsAsItShould(attacker);
          delivered += expected.length;
          refused += frames.length - expected.length;
          goesOn();
          attacker.leave();
        },
      ),
      { numRuns: 1500 },
    );
    // Both sides of the rules were tried, often.
    assert.ok(delivered > 500 && refused > 500, `${delivered} delivered, ${refused} refused`);
  });

  it('answers control frames with any payload, and goes on', async () => {
    const types = [
      FrameType.subscribe,
      FrameType.unsubscribe,
      FrameType.query,
      FrameType.ping,
      FrameType.hello,
    ];
    const payloads = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(fc.constantFrom('a.*', '**', 'a*', '_agent.x', '', 'x'.repeat(70)), { maxLength: 30 })
        .map((patterns) =>
          Buffer.concat([
            Buffer.of(patterns.length * 2),
            ...patterns.map((p) => Buffer.concat([zigzag(p.length), Buffer.from(p)])),
            Buffer.of(0),
          ]),
        ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...types), payloads, fc.boolean()), { minLength: 1, maxLength: 8 }),
        async (list) => {
          const attacker = await FakeClient.join(context, 'attacker');
          const frames = list.map(([type, payload, whole]) => {
            const frame = controlFrame(type, 5, Encoding.avro, payload);
            if (!whole && payload.length > 0) frame[frame.length - 1] ^= 1;
            return frame;
          });
          attacker.receive(Buffer.concat(frames));
          await turn();
          endsAsItShould(attacker);
          assert.equal(attacker.closeReason, null);
          goesOn();
          attacker.leave();
          assert.equal(shard.interest.patterns, 2, 'only what everything and bystander are subscribed to');
        },
      ),
      { numRuns: 500 },
    );
  });

  it('takes a first message of any bytes for a hello, or ends the connection', async () => {
    const before = shard.sessions.size;
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      // Whole but for the payload, so that the payload is looked at.
      fc
        .tuple(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(Encoding.avro, Encoding.json))
        .map(([payload, encoding]) => controlFrame(FrameType.hello, 1, encoding, payload)),
      fc.json().map((json) => controlFrame(FrameType.hello, 1, Encoding.json, Buffer.from(json))),
      fc
        .record({ agentId: fc.string(), metadata: fc.json(), capabilities: fc.array(fc.string()) })
        .map((hello) => controlFrame(FrameType.hello, 1, Encoding.json, Buffer.from(JSON.stringify(hello)))),
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (message) => {
        const attacker = FakeClient.binary(context);
        attacker.receive(message);
        await turn();
        assert.notEqual(attacker.welcome === null, attacker.closeReason === null);
        goesOn();
        attacker.leave();
        assert.equal(shard.sessions.size, before);
      }),
      { numRuns: 1500 },
    );
  });

  it('answers any text on the JSON door', async () => {
    const before = shard.sessions.size;
    const names = fc.constantFrom('a.b', 'a*', '_foo', '', 'nobody', 'system.agent.x.online');
    const field = fc.oneof(names, fc.jsonValue(), fc.constantFrom(0, 1, -1, 1e300));
    const operation = fc.record(
      {
        op: fc.constantFrom(
          'hello',
          'subscribe',
          'publish',
          'send',
          'request',
          'reply',
          'agents',
          'ping',
          'x',
        ),
        ref: field,
        topic: field,
        to: field,
        replyTo: field,
        data: fc.jsonValue(),
        pattern: field,
        priority: fc.oneof(field, fc.constant('high')),
        ttl: field,
        headers: fc.oneof(field, fc.dictionary(fc.string(), fc.string())),
        encoding: fc.oneof(field, fc.constant('base64')),
      },
      { requiredKeys: ['op'] },
    );
    const texts = fc.oneof(
      { weight: 1, arbitrary: fc.string() },
      { weight: 1, arbitrary: fc.json() },
      { weight: 6, arbitrary: operation.map((value) => JSON.stringify(value)) },
    );
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(texts, { maxLength: 10 }), async (polite, list) => {
        const attacker = FakeClient.json(context);
        if (polite) {
          attacker.receive(Buffer.from('{"op":"hello","agentId":"json"}'), false);
          await turn();
        }
        for (const message of list) attacker.receive(Buffer.from(message), false);
        await turn();
        for (const answer of attacker.texts.map(
          (json) => JSON.parse(json) as { op: string; code: ErrorCode },
        )) {
          assert.ok(answer.op !== 'error' || Object.hasOwn(ERRORS, answer.code), answer.code);
        }
        goesOn();
        attacker.leave();
        assert.equal(shard.sessions.size, before);
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps apart what two connections send in turns', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.boolean(), parts), { minLength: 2, maxLength: 12 }),
        async (list) => {
          const clients = [await FakeClient.join(context, 'one'), await FakeClient.join(context, 'two')];
          everything.messages.length = 0;
          const expected: Uint8Array[] = [];
          for (const [first, from] of list) {
            const which = first ? 0 : 1;
            const { sender } = clients[which].welcome!;
            // Neither was told of any id.
            const batch = frameOf({ ...from, damage: [] }, sender, 99);
            if (clients[which].closeReason === null) expected.push(...deliverable(batch, sender, -1));
            clients[which].receive(batch);
          }
          const got = everything.messages.filter((frame) => !isPresence(frame) && !shortLived(frame));
          assert.deepEqual(byLane(got), byLane(expected));
          goesOn();
          for (const client of clients) client.leave();
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** A small size as Avro writes it. */
function zigzag(size: number): Buffer {
  const value = size * 2;
  return value < 128 ? Buffer.of(value) : Buffer.of((value & 127) | 128, value >>> 7);
}
