import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Message } from '../../../lib/client/index.js';
import { columns, escapeControl, messageLine, oneLineJson, showPayload } from '../../../ops/cli/text.js';

function message(payload: Uint8Array | string, encoding: Message['encoding'], more: object = {}): Message {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
  return {
    topic: 'demo.hello',
    from: 'planner-1',
    payload: bytes,
    encoding,
    timestamp: 1_000_000,
    sequence: 7,
    priority: 'normal',
    headers: {},
    key: null,
    replyTo: null,
    redelivered: 0,
    replayed: false,
    retained: false,
    text: () => Buffer.from(bytes).toString('utf8'),
    ...more,
  } as unknown as Message;
}

describe('cli text', () => {
  it('keeps other agents away from the terminal', () => {
    assert.equal(
      escapeControl('a\nb\r\t\x1b[2J\x7f\u009b\u2028'),
      'a\\nb\\r\\t\\u001b[2J\\u007f\\u009b\\u2028',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(escapeControl(text), /[\p{Cc}\u2028\u2029]/u);
      }),
    );
  });

  it('shows a payload on one line', () => {
    assert.equal(showPayload(message('héllo\nworld', 'text')), 'héllo\\nworld');
    assert.equal(showPayload(message('plain', 'bytes')), 'plain');
    assert.equal(showPayload(message(Uint8Array.of(255, 0), 'bytes')), 'base64:/wA=');
    assert.equal(showPayload(message('', 'text')), '');
  });

  it('writes a message as one JSON object', () => {
    assert.deepEqual(
      JSON.parse(messageLine(message('hi', 'text', { headers: { a: 'b' }, key: 'k', replyTo: '_reply.n' }))),
      {
        topic: 'demo.hello',
        from: 'planner-1',
        data: 'hi',
        timestamp: 1_000_000,
        sequence: 7,
        priority: 'normal',
        headers: { a: 'b' },
        key: 'k',
        replyTo: '_reply.n',
      },
    );
    assert.deepEqual(JSON.parse(messageLine(message('{"a":[1]}', 'json'))).data, { a: [1] });
    const bytes = JSON.parse(messageLine(message(Uint8Array.of(255), 'bytes')));
    assert.deepEqual([bytes.data, bytes.encoding], ['/w==', 'base64']);
    const again = JSON.parse(messageLine(message('hi', 'text', { redelivered: 2, retained: true })));
    assert.deepEqual([again.redelivered, again.replayed, again.retained], [2, undefined, true]);
    // What is not what it says is handed on as bytes.
    assert.equal(JSON.parse(messageLine(message('{no', 'json'))).encoding, 'base64');
    assert.equal(JSON.parse(messageLine(message(Uint8Array.of(255), 'text'))).data, '/w==');
  });

  it('leaves numbers in JSON as they were written, and the line whole', () => {
    const line = messageLine(message('{\r\n "n": 12345678901234567890\n}\n', 'json'));
    assert.match(line, /"data":\{ {2}"n": 12345678901234567890 \},/);
    assert.doesNotMatch(line, /[\r\n]/);
  });

  it('puts any JSON on one line without changing it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        const line = oneLineJson(text);
        assert.ok(line !== undefined);
        assert.doesNotMatch(line, /\n/);
        assert.deepEqual(JSON.parse(line), JSON.parse(text));
      }),
    );
    assert.equal(oneLineJson('{'), undefined);
    assert.equal(oneLineJson(''), undefined);
  });

  it('aligns columns', () => {
    assert.deepEqual(
      columns([
        ['A', 'LONG', 'C'],
        ['aaa', 'b', ''],
      ]),
      ['A    LONG  C', 'aaa  b'],
    );
    assert.deepEqual(columns([]), []);
  });
});
