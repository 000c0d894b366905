import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FlowbusError } from '../../../../lib/errors.js';
import { Encoding } from '../../../../lib/wire/frame.js';
import {
  dataOf,
  type JsonMessage,
  type JsonOp,
  jsonRecord,
  parseOp,
  payloadOf,
} from '../../../../lib/wire/json.js';
import { utf8 } from '../../../../lib/wire/text.js';

function parse(value: unknown): JsonOp {
  return parseOp(JSON.stringify(value));
}

function message(fields: Partial<JsonMessage>): JsonMessage {
  return {
    payload: { encoding: Encoding.text, bytes: utf8('x') },
    lane: null,
    ttl: null,
    delay: null,
    retry: null,
    key: null,
    headers: null,
    replyTo: null,
    correlation: null,
    retain: false,
    ...fields,
  };
}

describe('JSON door', () => {
  it('reads a hello with everything and with nothing', () => {
    const all = {
      op: 'hello',
      ref: 1,
      agentId: 'a',
      agentType: 't',
      capabilities: ['c'],
      subscriptions: ['s.*'],
      priority: 'high',
      heartbeatInterval: 1000,
      metadata: { room: 7 },
      token: 'secret',
    };
    assert.deepEqual(parse(all), {
      op: 'hello',
      ref: 1,
      hello: {
        agentId: 'a',
        agentType: 't',
        capabilities: ['c'],
        subscriptions: ['s.*'],
        priority: 1,
        heartbeatInterval: 1000,
        metadata: '{"room":7}',
        token: 'secret',
        resume: null,
      },
    });
    assert.deepEqual(parse({ op: 'hello' }), {
      op: 'hello',
      ref: 0,
      hello: {
        agentId: '',
        agentType: 'agent',
        capabilities: [],
        subscriptions: [],
        priority: 2,
        heartbeatInterval: 0,
        metadata: '{}',
        token: null,
        resume: null,
      },
    });
  });

  it('reads a publish with everything', () => {
    const op = {
      op: 'publish',
      topic: 'a.b',
      data: { n: 1 },
      priority: 'background',
      ttl: 500,
      key: 'k',
      headers: { h: 'v' },
      replyTo: 'r',
      correlation: '00FF',
      retain: true,
      ref: 4_294_967_295,
    };
    assert.deepEqual(parse(op), {
      op: 'publish',
      ref: 4_294_967_295,
      topic: 'a.b',
      message: {
        payload: { encoding: Encoding.json, bytes: utf8('{"n":1}') },
        lane: 4,
        ttl: 500,
        key: 'k',
        headers: { h: 'v' },
        replyTo: 'r',
        correlation: Uint8Array.of(0, 255),
        delay: null,
        retry: null,
        retain: true,
      },
    });
  });

  it('reads how a mailbox tries a message again, of those that one takes', () => {
    const op = { op: 'publish', topic: 'a', data: 'x', assured: true };
    const retryIn = (operation: JsonOp) => (operation.op === 'store' ? operation.message.retry : undefined);
    assert.deepEqual(retryIn(parse({ ...op, retry: { maxAttempts: 3, base: 500, cap: 5000 } })), {
      maxAttempts: 3,
      base: 500,
      cap: 5000,
    });
    assert.deepEqual(retryIn(parse({ ...op, retry: { cap: 1 } })), {
      maxAttempts: undefined,
      base: undefined,
      cap: 1,
    });
    assert.equal(retryIn(parse({ ...op, retry: null })), null);
  });

  it('reads the other operations', () => {
    for (const [replay, wish] of [
      [undefined, null],
      [7, { last: 7, age: null }],
      [{ last: 7 }, { last: 7, age: null }],
      [{ since: 500 }, { last: null, age: 500 }],
    ] as const) {
      assert.deepEqual(parse({ op: 'subscribe', pattern: 'a', replay }), {
        op: 'subscribe',
        ref: 0,
        patterns: ['a'],
        replay: wish,
      });
    }
    assert.deepEqual(parse({ op: 'unsubscribe', patterns: ['a', '*'], ref: 2 }), {
      op: 'unsubscribe',
      ref: 2,
      patterns: ['a', '*'],
    });
    assert.deepEqual(parse({ op: 'send', to: 'w', data: 'x' }), {
      op: 'send',
      ref: 0,
      to: 'w',
      message: message({}),
    });
    assert.deepEqual(parse({ op: 'request', to: 'w', data: 'x', timeout: 50, ref: 3 }), {
      op: 'request',
      ref: 3,
      to: 'w',
      timeout: 50,
      message: message({}),
    });
    assert.deepEqual(parse({ op: 'reply', replyTo: '_reply.n.1.1', correlation: '01', data: 'x' }), {
      op: 'reply',
      ref: 0,
      topic: '_reply.n.1.1',
      message: message({ correlation: Uint8Array.of(1) }),
    });
    assert.deepEqual(parse({ op: 'agents', capability: 'ocr', online: true, cursor: null }), {
      op: 'agents',
      ref: 0,
      query: { kind: 'agents', id: null, type: null, capability: 'ocr', online: true, cursor: null },
    });
    assert.deepEqual(parse({ op: 'ping', ref: 9, more: 1 }), { op: 'ping', ref: 9 });
    assert.deepEqual(parse({ op: 'everywhere', ref: 8 }), { op: 'everywhere', ref: 8 });
  });

  const WRONG: [string, unknown][] = [
    ['message', null],
    ['message', []],
    ['message', 'publish'],
    ['message.op', {}],
    ['message.op', { op: 'toString' }],
    ['message.op', { op: 7 }],
    ['ping.ref', { op: 'ping', ref: -1 }],
    ['ping.ref', { op: 'ping', ref: 'a' }],
    ['ping.ref', { op: 'ping', ref: 4_294_967_296 }],
    ['request.ref', { op: 'request', to: 'w', data: 1 }],
    ['request.timeout', { op: 'request', to: 'w', data: 1, ref: 1, timeout: 0 }],
    ['request.to', { op: 'request', data: 1, ref: 1 }],
    ['send.to', { op: 'send', to: 'a'.repeat(65), data: 1 }],
    ['subscribe.pattern', { op: 'subscribe' }],
    ['subscribe.pattern', { op: 'subscribe', pattern: 'a'.repeat(256) }],
    ['subscribe.patterns', { op: 'subscribe', patterns: 'a' }],
    ['subscribe.patterns', { op: 'subscribe', patterns: [null] }],
    ['publish.topic', { op: 'publish', data: 1 }],
    ['publish.topic', { op: 'publish', topic: ['a'], data: 1 }],
    ['publish.data', { op: 'publish', topic: 'a' }],
    ['publish.priority', { op: 'publish', topic: 'a', data: 1, priority: 1 }],
    ['publish.priority', { op: 'publish', topic: 'a', data: 1, priority: 'urgent' }],
    ['publish.delay', { op: 'publish', topic: 'a', data: 1, delay: 5 }],
    ['publish.delay', { op: 'publish', topic: 'a', data: 1, assured: true, delay: 604_800_001 }],
    ['publish.ttl', { op: 'publish', topic: 'a', data: 1, assured: true, delay: 5, ttl: 5 }],
    ['publish.retry', { op: 'publish', topic: 'a', data: 1, retry: { base: 1 } }],
    ['publish.retry', { op: 'publish', topic: 'a', data: 1, assured: true, retry: 3 }],
    ['publish.retry.base', { op: 'publish', topic: 'a', data: 1, assured: true, retry: { base: 3_600_001 } }],
    ['publish.retry.cap', { op: 'publish', topic: 'a', data: 1, assured: true, retry: { cap: 0 } }],
    [
      'publish.retry.maxAttempts',
      { op: 'publish', topic: 'a', data: 1, assured: true, retry: { maxAttempts: 65_536 } },
    ],
    ['request.retry', { op: 'request', ref: 1, to: 'a', data: 1, assured: true, retry: { base: 1 } }],
    ['request.delay', { op: 'request', ref: 1, to: 'a', data: 1, delay: 5 }],
    ['publish.ttl', { op: 'publish', topic: 'a', data: 1, ttl: 1.5 }],
    ['publish.key', { op: 'publish', topic: 'a', data: 1, key: '' }],
    ['publish.headers', { op: 'publish', topic: 'a', data: 1, headers: ['a'] }],
    ['publish.headers', { op: 'publish', topic: 'a', data: 1, headers: { a: 1 } }],
    ['publish.headers', { op: 'publish', topic: 'a', data: 1, headers: { '': 'x' } }],
    ['publish.correlation', { op: 'publish', topic: 'a', data: 1, correlation: 'job' }],
    ['publish.retain', { op: 'publish', topic: 'a', data: 1, retain: 1 }],
    ['subscribe.replay', { op: 'subscribe', pattern: 'a', replay: -1 }],
    ['subscribe.replay', { op: 'subscribe', pattern: 'a', replay: {} }],
    ['subscribe.replay', { op: 'subscribe', pattern: 'a', replay: { last: 1, since: 1 } }],
    ['publish.correlation', { op: 'publish', topic: 'a', data: 1, correlation: '' }],
    ['publish.encoding', { op: 'publish', topic: 'a', data: 'x', encoding: 'hex' }],
    ['data', { op: 'publish', topic: 'a', data: 'x', encoding: 'base64' }],
    ['data', { op: 'publish', topic: 'a', data: 7, encoding: 'base64' }],
    ['reply.replyTo', { op: 'reply', data: 1 }],
    ['hello.metadata', { op: 'hello', metadata: 'text' }],
    ['hello.metadata', { op: 'hello', metadata: { a: 'x'.repeat(4096) } }],
    ['hello.agentId', { op: 'hello', agentId: null }],
    ['hello.agentId', { op: 'hello', agentId: 'a'.repeat(65) }],
    ['agents.online', { op: 'agents', online: 1 }],
  ];
  for (const [field, value] of WRONG) {
    it(`refuses ${JSON.stringify(value).slice(0, 70)} naming ${field}`, () => {
      assert.throws(
        () => parse(value),
        (error: FlowbusError) => error.code === 'BAD_JSON' && error.message.startsWith(`${field} `),
      );
    });
  }

  it('refuses what is no JSON', () => {
    for (const text of ['', '{', 'hello', '{"op":"ping"}x', '\u0000']) {
      assert.throws(() => parseOp(text), { code: 'BAD_JSON' });
    }
  });

  it('refuses data that is nested too deep to be written again', () => {
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
    try {
      parseOp(`{"op":"publish","topic":"a","data":${deep}}`);
    } catch (error) {
      assert.ok(error instanceof FlowbusError && error.code === 'BAD_JSON');
    }
  });

  it('makes an operation or BAD_JSON of any text', () => {
    const field = fc.constantFrom(
      'op',
      'ref',
      'topic',
      'data',
      'to',
      'patterns',
      'pattern',
      'headers',
      'replyTo',
    );
    const value = fc.oneof(
      fc.constantFrom('publish', 'hello', 'subscribe', 'request', 'reply', 'agents', 'ping', 'send'),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const texts = fc.oneof(
      fc.string(),
      fc.dictionary(field, value).map((o) => JSON.stringify(o)),
      fc.json(),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          parseOp(text);
        } catch (error) {
          assert.ok(error instanceof FlowbusError && error.code === 'BAD_JSON', String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('brings data through a payload and back', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (data) => {
        const { encoding, bytes } = payloadOf(data, false);
        assert.equal(encoding, typeof data === 'string' ? Encoding.text : Encoding.json);
        // What JSON cannot tell apart (0 and -0) is not for this test.
        assert.deepEqual(dataOf(encoding, bytes, 0, bytes.length), {
          data: typeof data === 'string' ? data : (JSON.parse(JSON.stringify(data)) as unknown),
        });
      }),
    );
  });

  it('brings bytes through base64', () => {
    const payload = payloadOf('AAEC/w==', true);
    assert.deepEqual(payload, { encoding: Encoding.bytes, bytes: Uint8Array.of(0, 1, 2, 255) });
    assert.deepEqual(dataOf(Encoding.bytes, payload.bytes, 0, 4), { data: 'AAEC/w==', encoding: 'base64' });
    assert.deepEqual(dataOf(Encoding.avro, payload.bytes, 1, 2), { data: 'AQ==', encoding: 'base64' });
  });

  it('shows JSON that could not be written again as base64', () => {
    const nested = (depth: number) => utf8(`${'[{"a\\"]}":'.repeat(depth / 2)}1${'}]'.repeat(depth / 2)}`);
    const shallow = nested(512);
    assert.equal(dataOf(Encoding.json, shallow, 0, shallow.length).encoding, undefined);
    for (const deep of [nested(514), nested(10_000), utf8('['.repeat(60_000))]) {
      assert.equal(dataOf(Encoding.json, deep, 0, deep.length).encoding, 'base64');
    }
    const brackets = utf8(JSON.stringify('['.repeat(1000)));
    assert.equal(dataOf(Encoding.json, brackets, 0, brackets.length).data, '['.repeat(1000));
  });

  it('makes data that can be written of any bytes', () => {
    const unit = fc.constantFrom('[', ']', '{', '}', '"', '\\', ':', ',', '1', 'a', ' ');
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.string({ unit }).map(utf8)), fc.nat(4), (b, encoding) => {
        JSON.stringify(dataOf(encoding, b, 0, b.length));
      }),
    );
  });

  it('shows what is not what it claims to be as base64', () => {
    assert.deepEqual(dataOf(Encoding.text, Uint8Array.of(255), 0, 1), { data: '/w==', encoding: 'base64' });
    assert.deepEqual(dataOf(Encoding.json, utf8('{'), 0, 1), { data: 'ew==', encoding: 'base64' });
  });

  it('shows metadata as it is, and nothing that could not be written again', () => {
    const record = {
      agentId: 'a',
      agentType: 'agent',
      capabilities: [],
      node: 'n',
      shard: 0,
      state: 'online',
      since: 1,
    } as const;
    const shown = (metadata: string) => jsonRecord({ ...record, capabilities: [], metadata });
    assert.deepEqual(shown('{"room":[7]}'), { ...record, metadata: { room: [7] } });
    const deep = '['.repeat(513) + ']'.repeat(513);
    assert.deepEqual(shown(deep), { ...record, metadata: deep });
  });

  it('property: data takes six times the room of its payload at most', () => {
    const controls = fc.string({ unit: fc.constantFrom('\u0000', '\u001f', '"', '\\', 'ü', '\u2028') });
    const numbers = fc.array(fc.constantFrom('9e20', '-9e20', '1e-6', '0')).map((list) => `[${list.join()}]`);
    const payload = fc.oneof(
      fc.tuple(fc.constant(Encoding.text), controls.map(utf8)),
      fc.tuple(fc.constant(Encoding.json), fc.oneof(fc.json(), numbers, controls).map(utf8)),
      fc.tuple(fc.constant(Encoding.bytes), fc.uint8Array()),
    );
    fc.assert(
      fc.property(payload, ([encoding, bytes]) => {
        const { data } = dataOf(encoding, bytes, 0, bytes.length);
        assert.ok(Buffer.byteLength(JSON.stringify(data)) <= 6 * bytes.length + 4);
      }),
    );
  });
});
