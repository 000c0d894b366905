/** Frames that are nearly right: made whole, then damaged where it hurts. */
import { avroControl } from '../../lib/wire/avro.js';
import { sealFrame } from '../../lib/wire/checksum.js';
import type { Hello } from '../../lib/wire/control.js';
import { extensionFlags, extensionsSize, MAX_TTL, writeExtensions } from '../../lib/wire/extensions.js';
import {
  Encoding,
  Flag,
  FrameType,
  HEADER_SIZE,
  OFFSET_CHECKSUM,
  OFFSET_FLAGS,
  OFFSET_LANE,
  OFFSET_PAYLOAD_SIZE,
  OFFSET_SENDER,
  OFFSET_TIMESTAMP,
  OFFSET_TOPIC_ID,
  OFFSET_TOPIC_LENGTH,
  OFFSET_TOTAL,
  OFFSET_TYPE,
  OFFSET_VERSION,
  readU32,
  viewOf,
  writeHeader,
  writeU32,
} from '../../lib/wire/frame.js';
import { encodeControl } from '../../lib/wire/writer.js';
import type { Random } from './random.js';

/** What frames must know of the connection that they are for. */
export interface Origin {
  readonly sender: number;
  /** Announced on it. */
  readonly topicIds: readonly number[];
}

const GOOD_TOPICS = [
  'fuzz',
  'fuzz.a',
  'fuzz.b.c',
  'fuzz.ä.ö',
  'fuzz.1.2.3.4.5.6.7.8.9.a.b.c.d.e',
  '_agent.fuzz-1',
  '_reply.n.1.x',
];
const BAD_TOPICS = ['_agent.nobody', '_foo', 'system.agent.x.online', 'fuzz.*', 'fuzz..x', ''];
const GOOD_PATTERNS = ['fuzz.a', 'fuzz.*', 'fuzz.**', 'fuzz.*.c', '**.c', 'fuzz.**.x.**'];
const BAD_PATTERNS = ['a*', '_agent.x', '', 'x..y', '***'];
const INTERESTING = [
  0, 1, 39, 40, 41, 127, 255, 256, 0x7fff, 0xffff, 0x10000, 0x10001, 0x7fff_ffff, 0x8000_0000, 0xffff_ffd8,
  0xffff_ffff,
];

function textOf(value: string): Uint8Array {
  return Buffer.from(value);
}

function helloOf(agentId: string): Hello {
  return {
    agentId,
    agentType: 'fuzz',
    capabilities: ['x'],
    subscriptions: [],
    priority: 2,
    heartbeatInterval: 0,
    metadata: '{}',
    token: null,
    resume: null,
  };
}

const NOTHING = new Uint8Array(0);
const HELLOS = ['fuzz-1', 'another'].map((agentId) => avroControl.encode('hello', helloOf(agentId)));
const QUERIES = ['fuzz-1', null].map((id) =>
  avroControl.encode('query', {
    kind: 'agents',
    id,
    type: null,
    capability: null,
    online: true,
    cursor: null,
  }),
);

/** The hello of a fuzzing connection. */
export function helloFrame(agentId: string): Uint8Array {
  return encodeControl(avroControl, 'hello', 1, helloOf(agentId));
}

const CONTROL = [
  FrameType.subscribe,
  FrameType.unsubscribe,
  FrameType.query,
  FrameType.ping,
  FrameType.hello,
];

/** A copy with one to four bits turned, between `start` and `end`. */
function flipped(random: Random, bytes: Uint8Array, start: number, end: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  for (let i = random.below(4); i >= 0; i--) copy[start + random.below(end - start)] ^= 1 << random.below(8);
  return copy;
}

/** Anything but publish, which would be forged: a control frame has no sender. */
function otherType(random: Random): FrameType {
  const type = random.below(24) as FrameType;
  return type === FrameType.publish ? FrameType.gap : type;
}

/** Makes frames for one connection. */
export class FrameMaker {
  /** Whether the last frame was anything but what a well-behaved client would send. */
  damaged = false;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** A frame whose sizes can be trusted: the connection survives it. */
  tolerable(origin: Origin): Uint8Array {
    this.damaged = false;
    return this.#random.once(4) ? this.#control() : this.#publish(origin);
  }

  /** A frame that mostly ends the connection: wrong sizes, headers, senders, or ends. */
  fatal(origin: Origin): Uint8Array {
    const random = this.#random;
    const frame = this.tolerable(origin);
    this.damaged = true;
    switch (random.below(8)) {
      case 0:
        writeU32(frame, OFFSET_TOTAL, random.pick(INTERESTING));
        return frame;
      case 1:
        writeU32(frame, OFFSET_PAYLOAD_SIZE, random.pick(INTERESTING));
        return frame;
      case 2: {
        const at = random.pick([OFFSET_TOTAL, OFFSET_PAYLOAD_SIZE]);
        writeU32(frame, at, readU32(frame, at) + random.below(7) - 3);
        return frame;
      }
      case 3:
        frame[OFFSET_TOPIC_LENGTH] = random.below(256);
        return frame;
      case 4:
        frame[random.pick([0, 1, 2, 3, OFFSET_VERSION, OFFSET_TYPE])] = random.below(256);
        return frame;
      case 5:
        frame[OFFSET_SENDER + random.below(3)] ^= 1 << random.below(8);
        return frame;
      case 6:
        return frame.subarray(0, random.below(frame.length));
      default:
        return flipped(random, frame, 0, HEADER_SIZE);
    }
  }

  #damage<T>(part: T): T {
    this.damaged = true;
    return part;
  }

  #topic(): Uint8Array {
    const random = this.#random;
    switch (random.below(8)) {
      case 0:
        return this.#damage(random.bytes(random.below(256)));
      case 1: {
        const topic = textOf(random.pick(GOOD_TOPICS));
        return this.#damage(flipped(random, topic, 0, topic.length));
      }
      case 2:
      case 3:
        return this.#damage(textOf(random.pick(BAD_TOPICS)));
      case 4:
        return textOf(`fuzz.${random.below(1_000_000).toString(36)}`);
      default:
        return textOf(random.pick(GOOD_TOPICS));
    }
  }

  /** Bytes, and the flags that go with them, or should. */
  #extensions(): [Uint8Array, number] {
    const random = this.#random;
    if (random.below(3) > 0) return [NOTHING, 0];
    const [bytes, flags] = goodExtensions(random);
    if (bytes.length === 0 || random.once(7)) return [bytes, flags];
    this.damaged = true;
    switch (random.below(6)) {
      case 0:
        return [bytes.subarray(0, random.below(bytes.length)), flags];
      case 1:
        return [flipped(random, bytes, 0, bytes.length), flags];
      case 2:
        return [Buffer.concat([bytes, bytes.subarray(0, random.below(bytes.length) + 1)]), flags];
      case 3:
        return [Buffer.concat([random.bytes(1 + random.below(20)), bytes]), flags];
      case 4:
        return [
          Buffer.concat([bytes, Buffer.of(random.below(256), random.below(256), random.below(4))]),
          flags,
        ];
      default:
        return [bytes, flags ^ random.pick([Flag.expires, Flag.signed, Flag.wantsReply])];
    }
  }

  #publish(origin: Origin): Uint8Array {
    const random = this.#random;
    const byId = origin.topicIds.length > 0 && random.once(2);
    const both = byId && random.once(20);
    const topic = byId && !both ? NOTHING : this.#topic();
    const unknown = random.once(20);
    const id = unknown ? random.below(0x1_0000_0000) : byId ? random.pick(origin.topicIds) : 0;
    if (both || unknown) this.damaged = true;
    const [extensions, extra] = this.#extensions();
    const payload = random.bytes(random.once(50) ? random.below(2000) : random.below(40));
    const total = HEADER_SIZE + topic.length + extensions.length + payload.length;
    const frame = new Uint8Array(total);
    const flags = extensions.length === 0 ? extra & ~Flag.extensions : extra | Flag.extensions;
    const [type, lane, encoding] = [FrameType.publish, random.below(5), random.below(4)];
    const size = payload.length;
    writeHeader(
      viewOf(frame),
      0,
      type,
      flags,
      lane,
      encoding,
      total,
      size,
      1,
      1,
      id,
      topic.length,
      origin.sender,
    );
    frame.set(topic, HEADER_SIZE);
    frame.set(extensions, HEADER_SIZE + topic.length);
    frame.set(payload, total - size);
    if (random.once(4)) this.#flipHeader(frame);
    return frame;
  }

  /** Bits that leave the sizes and the sender alone. */
  #flipHeader(frame: Uint8Array): void {
    const random = this.#random;
    this.damaged = true;
    const at = random.pick([OFFSET_FLAGS, OFFSET_LANE, OFFSET_TIMESTAMP, OFFSET_CHECKSUM, OFFSET_TOPIC_ID]);
    const wide = at > OFFSET_LANE ? random.below(4) : 0;
    // Without its flag, an extension section is a size that lies.
    frame[at + wide] ^= at === OFFSET_FLAGS ? random.pick([1, 4, 8, 16, 32, 64, 128]) : 1 << random.below(8);
  }

  #controlPayload(type: FrameType): Uint8Array {
    const random = this.#random;
    switch (type) {
      case FrameType.subscribe:
      case FrameType.unsubscribe: {
        const patterns = Array.from({ length: 1 + random.below(3) }, () =>
          textOf(random.once(3) ? this.#damage(random.pick(BAD_PATTERNS)) : random.pick(GOOD_PATTERNS)),
        );
        const parts = patterns.flatMap((pattern) => [Buffer.of(pattern.length * 2), pattern]);
        return Buffer.concat([Buffer.of(patterns.length * 2), ...parts, Buffer.of(0)]);
      }
      case FrameType.query:
        return random.pick(QUERIES);
      case FrameType.hello:
        return this.#damage(random.pick(HELLOS));
      default:
        return random.bytes(random.below(126));
    }
  }

  #control(): Uint8Array {
    const random = this.#random;
    const type = random.pick(CONTROL);
    let payload = this.#controlPayload(type);
    if (payload.length > 0 && random.below(6) < 4) payload = this.#damage(this.#damagedPayload(payload));
    const shown = random.once(12) ? this.#damage(otherType(random)) : type;
    const total = HEADER_SIZE + payload.length;
    const frame = new Uint8Array(total);
    const reference = random.below(1000);
    writeHeader(viewOf(frame), 0, shown, 0, 0, Encoding.avro, total, payload.length, 1, reference, 0, 0, 0);
    frame.set(payload, HEADER_SIZE);
    sealFrame(frame, 0, total, 0);
    if (random.once(20)) frame[OFFSET_CHECKSUM + this.#damage(random.below(4))] ^= 1 << random.below(8);
    return frame;
  }

  #damagedPayload(payload: Uint8Array): Uint8Array {
    const random = this.#random;
    switch (random.below(4)) {
      case 0:
        return payload.subarray(0, random.below(payload.length));
      case 1:
        return flipped(random, payload, 0, payload.length);
      case 2: {
        const at = random.below(payload.length + 1);
        const size = 1 + random.below(11);
        const wedge = random.once(2) ? random.bytes(size) : Buffer.alloc(size, 0xff);
        return Buffer.concat([payload.subarray(0, at), wedge, payload.subarray(at)]);
      }
      default:
        return random.bytes(random.below(60));
    }
  }
}

function goodExtensions(random: Random): [Uint8Array, number] {
  const wanted = {
    replyTo: random.once(3) ? '_reply.n.1.x' : undefined,
    correlation: random.once(2) ? random.bytes(8) : undefined,
    messageId: random.once(4) ? 'm-1' : undefined,
    ttl: random.once(3) ? random.pick([1, 1000, MAX_TTL]) : undefined,
    key: random.once(3) ? 'key' : undefined,
    signature: random.once(4) ? random.bytes(64) : undefined,
    headers: random.once(3) ? { a: 'b', ö: 'ü' } : undefined,
  };
  const bytes = new Uint8Array(extensionsSize(wanted));
  writeExtensions(bytes, 0, wanted);
  return [bytes, extensionFlags(wanted)];
}
