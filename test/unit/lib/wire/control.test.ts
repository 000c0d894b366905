import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FlowbusError } from '../../../../lib/errors.js';
import { avroControl } from '../../../../lib/wire/avro.js';
import {
  BALANCES,
  BREAKER_STATES,
  CONTROL_KINDS,
  type ControlCodec,
  type ControlKind,
  type ControlPayloads,
  checkAgentRecord,
  checkControl,
  jsonControl,
  MAILBOX_KINDS,
} from '../../../../lib/wire/control.js';
import { Encoding } from '../../../../lib/wire/frame.js';
import { readUtf8, utf8 } from '../../../../lib/wire/text.js';
import { CONTROL_VALUES } from './vectors.js';

const CODECS: [string, ControlCodec][] = [
  ['JSON', jsonControl],
  ['Avro', avroControl],
];

function text(least: number, greatest: number): fc.Arbitrary<string> {
  return fc
    .string({ unit: 'binary', minLength: least, maxLength: Math.min(greatest, 40) })
    .filter((t) => Buffer.byteLength(t) <= greatest);
}
function orNull<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.option(arbitrary, { nil: null });
}

const patterns = fc.record({ patterns: fc.array(text(1, 255), { maxLength: 9 }) });
const record = fc.record({
  agentId: text(1, 64),
  agentType: text(1, 64),
  capabilities: fc.array(text(1, 64), { maxLength: 5 }),
  node: text(1, 255),
  shard: fc.nat(255),
  state: fc.constantFrom('online' as const, 'suspect' as const, 'offline' as const),
  since: fc.maxSafeNat(),
  metadata: text(0, 4096),
});
const ARBITRARIES: { readonly [K in ControlKind]: fc.Arbitrary<ControlPayloads[K]> } = {
  hello: fc.record({
    agentId: text(1, 64),
    agentType: text(1, 64),
    capabilities: fc.array(text(1, 64), { maxLength: 9 }),
    subscriptions: fc.array(text(1, 255), { maxLength: 9 }),
    priority: fc.nat(4),
    heartbeatInterval: fc.nat(3_600_000),
    metadata: text(0, 4096),
    token: orNull(text(1, 8192)),
    resume: orNull(fc.record({ session: text(1, 255), received: fc.maxSafeNat() })),
  }),
  welcome: fc.record({
    agentId: text(1, 64),
    session: text(1, 255),
    sender: fc.integer({ min: 1, max: 0xffffff }),
    node: text(1, 255),
    shard: fc.nat(255),
    maxPayload: fc.integer({ min: 40, max: 0x7fffffff }),
    window: fc.nat(0x7fffffff),
    heartbeatInterval: fc.integer({ min: 1, max: 3_600_000 }),
    resumed: fc.boolean(),
    missed: fc.integer({ min: -1, max: Number.MAX_SAFE_INTEGER }),
    topicIds: fc.boolean(),
  }),
  subscribe: patterns,
  unsubscribe: patterns,
  query: fc.record({
    kind: fc.constant('agents' as const),
    id: orNull(text(1, 64)),
    type: orNull(text(1, 64)),
    capability: orNull(text(1, 64)),
    online: orNull(fc.boolean()),
    cursor: orNull(text(1, 255)),
  }),
  result: fc.record({ records: fc.array(record, { maxLength: 5 }), cursor: orNull(text(1, 255)) }),
  error: fc.record({
    code: text(1, 64),
    message: text(0, 1024),
    fatal: fc.boolean(),
    topic: orNull(text(0, 255)),
    correlation: orNull(fc.uint8Array({ maxLength: 64 })),
  }),
  goaway: fc.record({ code: text(1, 64), message: text(0, 1024), reconnect: fc.boolean() }),
  gap: fc.record({ missed: fc.integer({ min: -1, max: Number.MAX_SAFE_INTEGER }), reason: text(1, 64) }),
  consume: fc.record({
    mailbox: fc.constantFrom(...MAILBOX_KINDS),
    group: orNull(text(1, 64)),
    pattern: orNull(text(1, 255)),
    capability: orNull(text(1, 64)),
    prefetch: fc.integer({ min: 1, max: 10_000 }),
    lease: fc.nat(3_600_000),
    maxAge: fc.nat(31_536_000_000),
    maxMessages: fc.nat(0x7fffffff),
    balance: orNull(fc.constantFrom(...BALANCES)),
    breaker: orNull(
      fc.record({
        failures: fc.integer({ min: -1, max: 1000 }),
        window: fc.nat(86_400_000),
        coolDown: fc.nat(3_600_000),
        slowAck: fc.nat(3_600_000),
      }),
    ),
    maxAttempts: fc.nat(65_535),
    retryBase: fc.nat(3_600_000),
    retryCap: fc.nat(86_400_000),
  }),
  consuming: fc.record({ mailbox: fc.nat(0xffffffff) }),
  breaker: fc.record({
    mailbox: fc.nat(0xffffffff),
    name: text(1, 512),
    state: fc.constantFrom(...BREAKER_STATES),
    reason: text(1, 64),
    coolDown: fc.nat(0x7fffffff),
  }),
  pressure: fc.record({ mailbox: text(1, 512), active: fc.boolean() }),
  replay: fc.record({
    pattern: text(1, 255),
    stream: fc.nat(0xffffffff),
    last: orNull(fc.nat(0x7fffffff)),
    age: orNull(fc.maxSafeNat()),
    cursor: orNull(fc.uint8Array({ minLength: 8, maxLength: 60 })),
  }),
};

/** Records that fast-check makes have no prototype; copies have one. */
function plain<T>(value: T): T {
  return structuredClone(value);
}

function roundTrip<K extends ControlKind>(codec: ControlCodec, kind: K, value: ControlPayloads[K]): void {
  const bytes = codec.encode(kind, value);
  const padded = new Uint8Array(bytes.length + 7).fill(0xff);
  padded.set(bytes, 3);
  const decoded = codec.decode(kind, padded, 3, 3 + bytes.length);
  padded.fill(0);
  assert.deepEqual(decoded, plain(value));
  assert.deepEqual(codec.encode(kind, decoded), bytes);
}

for (const [name, codec] of CODECS) {
  describe(`control payloads as ${name}`, () => {
    for (const kind of CONTROL_KINDS) {
      it(`${kind} round-trips, and keeps no reference to the bytes`, () => {
        fc.assert(fc.property(ARBITRARIES[kind], (value) => roundTrip(codec, kind, value)));
      });

      it(`any bytes as ${kind} are a value or BAD_CONTROL`, () => {
        const mutated = fc
          .tuple(ARBITRARIES[kind], fc.nat(), fc.nat(255), fc.nat(3))
          .map(([value, at, byte, cut]) => {
            const b = new Uint8Array(codec.encode(kind, value));
            b[at % b.length] = byte;
            return b.subarray(0, b.length - cut);
          });
        fc.assert(
          fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), (b) => {
            try {
              const value = codec.decode(kind, b, 0, b.length);
              assert.deepEqual(checkControl(kind, value), value);
            } catch (error) {
              assert.ok(error instanceof FlowbusError && error.code === 'BAD_CONTROL', String(error));
            }
          }),
          { numRuns: 500 },
        );
      });

      it(`${kind} cut anywhere, or with a byte more, is BAD_CONTROL`, () => {
        const bytes = codec.encode(kind, CONTROL_VALUES[kind]);
        for (let end = 0; end < bytes.length; end++) {
          assert.throws(() => codec.decode(kind, bytes, 0, end), { code: 'BAD_CONTROL' }, `${end}`);
        }
        const longer = Uint8Array.of(...bytes, 0);
        assert.throws(() => codec.decode(kind, longer, 0, longer.length), { code: 'BAD_CONTROL' });
      });
    }
  });
}

function decodeJson<K extends ControlKind>(kind: K, value: unknown): ControlPayloads[K] {
  const b = utf8(JSON.stringify(value));
  return jsonControl.decode(kind, b, 0, b.length);
}

describe('control payloads, their checks', () => {
  it('name their encoding', () => {
    assert.equal(jsonControl.encoding, Encoding.json);
    assert.equal(avroControl.encoding, Encoding.avro);
  });

  const { hello, welcome, result, error, query } = CONTROL_VALUES;
  const long = (bytes: number) => 'a'.repeat(bytes);
  const WRONG: [ControlKind, string, unknown][] = [
    ['hello', 'agentId', { ...hello, agentId: undefined }],
    ['hello', 'agentId', { ...hello, agentId: '' }],
    ['hello', 'agentId', { ...hello, agentId: 7 }],
    ['hello', 'agentId', { ...hello, agentId: long(65) }],
    ['hello', 'agentId', { ...hello, agentId: 'ä'.repeat(33) }],
    ['hello', 'agentType', { ...hello, agentType: null }],
    ['hello', 'capabilities', { ...hello, capabilities: 'plan' }],
    ['hello', 'capabilities', { ...hello, capabilities: [7] }],
    ['hello', 'capabilities', { ...hello, capabilities: Array(65).fill('a') }],
    ['hello', 'capabilities', { ...hello, capabilities: { length: 1, 0: 'a' } }],
    ['hello', 'subscriptions', { ...hello, subscriptions: [long(256)] }],
    ['hello', 'priority', { ...hello, priority: 5 }],
    ['hello', 'priority', { ...hello, priority: 'high' }],
    ['hello', 'heartbeatInterval', { ...hello, heartbeatInterval: -1 }],
    ['hello', 'heartbeatInterval', { ...hello, heartbeatInterval: 1.5 }],
    ['hello', 'metadata', { ...hello, metadata: {} }],
    ['hello', 'metadata', { ...hello, metadata: long(4097) }],
    ['hello', 'token', { ...hello, token: 1 }],
    ['hello', 'resume', { ...hello, resume: [] }],
    ['hello', 'resume.received', { ...hello, resume: { session: 's', received: -1 } }],
    ['welcome', 'sender', { ...welcome, sender: 0 }],
    ['welcome', 'sender', { ...welcome, sender: 0x1000000 }],
    ['welcome', 'resumed', { ...welcome, resumed: 1 }],
    ['welcome', 'missed', { ...welcome, missed: -2 }],
    ['subscribe', 'patterns', {}],
    ['subscribe', 'patterns', { patterns: Array(1025).fill('a') }],
    ['query', 'kind', { ...query, kind: 'mailboxes' }],
    ['query', 'online', { ...query, online: 'yes' }],
    ['result', 'records', { ...result, records: null }],
    ['result', 'records[1]', { ...result, records: [result.records[0], 7] }],
    ['result', 'records[0].state', { ...result, records: [{ ...result.records[0], state: 'away' }] }],
    ['error', 'correlation', { ...error, correlation: 'xy' }],
    ['error', 'correlation', { ...error, correlation: '00'.repeat(65) }],
    ['error', 'fatal', { ...error, fatal: null }],
    ['goaway', 'reconnect', { code: 'A', message: '' }],
    ['gap', 'missed', { missed: '1', reason: 'shed' }],
  ];
  for (const [kind, field, value] of WRONG) {
    it(`refuse ${kind}.${field} naming it: ${JSON.stringify(value).slice(0, 60)}`, () => {
      assert.throws(
        () => decodeJson(kind, value),
        (thrown: FlowbusError) =>
          thrown.code === 'BAD_CONTROL' && thrown.message.includes(`${kind}.${field} `),
      );
    });
  }

  for (const value of [null, [], 'text', 7, true]) {
    it(`refuse ${JSON.stringify(value)} as a payload`, () => {
      assert.throws(() => decodeJson('gap', value), { code: 'BAD_CONTROL' });
    });
  }

  it('apply to what is sent, too', () => {
    for (const [, codec] of CODECS) {
      assert.throws(() => codec.encode('hello', { ...hello, agentId: '' }), { code: 'BAD_CONTROL' });
      assert.throws(() => codec.encode('hello', { ...hello, agentId: '\ud800' }), { code: 'BAD_CONTROL' });
    }
  });

  it('fill in the defaults of a hello', () => {
    assert.deepEqual(decodeJson('hello', { agentId: 'a' }), {
      agentId: 'a',
      agentType: 'agent',
      capabilities: [],
      subscriptions: [],
      priority: 2,
      heartbeatInterval: 0,
      metadata: '{}',
      token: null,
      resume: null,
    });
  });

  it('ignore unknown fields and what is inherited', () => {
    const polluted = JSON.parse('{"missed":1,"reason":"shed","more":1,"__proto__":{"missed":7}}') as unknown;
    assert.deepEqual(decodeJson('gap', polluted), { missed: 1, reason: 'shed' });
    assert.throws(() => checkControl('gap', Object.create({ missed: 1, reason: 'shed' })), {
      code: 'BAD_CONTROL',
    });
  });

  it('show bytes as hexadecimal', () => {
    const bytes = jsonControl.encode('error', { ...error, correlation: Buffer.of(0, 255) });
    assert.match(readUtf8(bytes, 0, bytes.length), /"correlation":"00ff"/);
  });

  it('cut messages off instead of failing for them', () => {
    for (const [, codec] of CODECS) {
      const long = `${'a'.repeat(1023)}\u{1f600}${'b'.repeat(9000)}`;
      const bytes = codec.encode('error', { ...error, message: long });
      assert.equal(codec.decode('error', bytes, 0, bytes.length).message, 'a'.repeat(1023));
    }
  });

  it('check agent records on their own', () => {
    assert.deepEqual(checkAgentRecord({ ...result.records[0], more: 1 }), result.records[0]);
    assert.throws(() => checkAgentRecord({}), { code: 'BAD_CONTROL' });
  });
});
