import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FlowbusError } from '../../../../lib/errors.js';
import { topicProblem } from '../../../../lib/topics/topic.js';
import { Encoding } from '../../../../lib/wire/frame.js';
import { checkPayload, encodingOf, topicOf } from '../../../../shards/http/publish.js';

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof FlowbusError, String(error));
    return error.code;
  }
  return 'ok';
}

describe('HTTP publish', () => {
  it('takes every valid topic, percent-encoded, and nothing else', () => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: fc.constantFrom('a', '.', '*', 'ü') }),
    );
    fc.assert(
      fc.property(text, (topic) => {
        const valid = topicProblem(topic) === null;
        const code = codeOf(() => assert.equal(topicOf(encodeURIComponent(topic)), topic));
        assert.equal(code, valid ? 'ok' : 'BAD_TOPIC');
      }),
    );
  });

  it('never fails but with BAD_TOPIC', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('%', 'F', '0', 'e', '2', '.', 'x') }), (path) => {
        assert.ok(['ok', 'BAD_TOPIC'].includes(codeOf(() => topicOf(path))));
      }),
    );
  });

  it('accepts as JSON what JSON.parse accepts', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string(), fc.constantFrom('', ' ', '\ufeff{}', '01')), (text) => {
        const code = codeOf(() => checkPayload(Buffer.from(text), Encoding.json));
        let wanted = 'ok';
        try {
          JSON.parse(text);
        } catch {
          wanted = 'BAD_JSON';
        }
        assert.equal(code, wanted);
      }),
    );
  });

  it('does not look into bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        assert.equal(
          codeOf(() => checkPayload(bytes, Encoding.bytes)),
          'ok',
        );
      }),
    );
  });

  it('tells the encoding by the content type', () => {
    for (const [type, encoding] of [
      ['Application/JSON ; charset=utf-8', Encoding.json],
      ['application/ld+json', Encoding.json],
      ['text/html', Encoding.text],
      ['application/x-ndjson', Encoding.bytes],
      ['image/png', Encoding.bytes],
      ['', Encoding.bytes],
      [undefined, Encoding.bytes],
    ] as const) {
      assert.equal(encodingOf(type, Buffer.from('x')), encoding, type);
    }
  });
});
