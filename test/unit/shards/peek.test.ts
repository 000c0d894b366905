import assert from 'node:assert/strict';
import fc from 'fast-check';
import { agentIdOf, MAX_REQUEST_LINE, type PeekProgress, RequestPeek } from '../../../shards/peek.js';

const LINE = 'GET /?agentId=planner-1 HTTP/1.1';
const REQUEST = Buffer.from(`${LINE}\r\nHost: x\r\n\r\nbehind`, 'latin1');

/** Feeds the pieces until one decides, as the acceptor does. */
function feed(peek: RequestPeek, pieces: Buffer[]): PeekProgress {
  for (const piece of pieces) {
    const progress = peek.push(piece);
    if (progress !== 'more') return progress;
  }
  return 'more';
}

function cut(bytes: Buffer, cuts: number[]): Buffer[] {
  const edges = [0, ...cuts.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return edges.slice(1).map((end, index) => bytes.subarray(edges[index], end));
}

describe('RequestPeek', () => {
  it('takes a request in one piece, uncopied, with all that is behind the line', () => {
    const peek = new RequestPeek();
    assert.equal(peek.push(REQUEST), 'line');
    assert.equal(peek.requestLine, LINE);
    assert.deepEqual(peek.head, REQUEST);
    assert.equal(peek.head.buffer, REQUEST.buffer);
  });

  it('takes each byte alone, and decides at the line end and not before', () => {
    const peek = new RequestPeek();
    const end = REQUEST.indexOf('\n');
    for (let at = 0; at < end; at++) {
      assert.equal(peek.push(REQUEST.subarray(at, at + 1)), 'more');
      assert.equal(peek.requestLine, '');
    }
    assert.equal(peek.push(REQUEST.subarray(end, end + 1)), 'line');
    assert.equal(peek.requestLine, LINE);
    assert.deepEqual(peek.head, REQUEST.subarray(0, end + 1));
  });

  it('keeps what it was given, however that is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), (cuts) => {
        const peek = new RequestPeek();
        const pieces = cut(REQUEST, cuts);
        assert.equal(feed(peek, pieces), 'line');
        assert.equal(peek.requestLine, LINE);
        assert.deepEqual(peek.head, REQUEST.subarray(0, peek.head.length));
      }),
    );
  });

  it('gives the same answer for any bytes in any pieces as for all at once', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(), { maxLength: 8 }), (bytes, cuts) => {
        const whole = new RequestPeek();
        const pieced = new RequestPeek();
        const buffer = Buffer.from(bytes);
        assert.equal(feed(pieced, cut(buffer, cuts)), whole.push(buffer));
        assert.equal(pieced.requestLine, whole.requestLine);
        assert.deepEqual(pieced.head, buffer.subarray(0, pieced.head.length));
      }),
    );
  });

  it('passes over line ends ahead of the request', () => {
    const peek = new RequestPeek();
    assert.equal(feed(peek, [Buffer.from('\r'), Buffer.from('\n\r\n'), REQUEST]), 'line');
    assert.equal(peek.requestLine, LINE);
    assert.equal(peek.head.length, REQUEST.length + 4);
  });

  it('gives up at 8 KiB without a line end, in one piece or many', () => {
    const fits = Buffer.alloc(MAX_REQUEST_LINE, 'a');
    fits[MAX_REQUEST_LINE - 1] = 0x0a;
    const over = Buffer.alloc(MAX_REQUEST_LINE + 1, 'a');
    over[MAX_REQUEST_LINE] = 0x0a;
    assert.equal(new RequestPeek().push(fits), 'line');
    assert.equal(new RequestPeek().push(over), 'too-large');
    const peek = new RequestPeek();
    for (let at = 0; at < MAX_REQUEST_LINE - 1; at++) {
      assert.equal(peek.push(over.subarray(at, at + 1)), 'more');
    }
    assert.equal(peek.push(over.subarray(0, 1)), 'too-large');
  });

  it('gives up at 8 KiB of nothing but line ends', () => {
    assert.equal(new RequestPeek().push(Buffer.alloc(MAX_REQUEST_LINE, '\r\n')), 'too-large');
  });

  it('occupies at most twice what it holds when the bytes come alone', () => {
    const peek = new RequestPeek();
    for (let count = 0; count < 3000; count++) peek.push(Buffer.from('a'));
    assert.ok(peek.head.buffer.byteLength <= 6000, `${peek.head.buffer.byteLength} bytes`);
  });
});

describe('agentIdOf', () => {
  const cases: [string, string | null][] = [
    ['GET /?agentId=planner-1 HTTP/1.1', 'planner-1'],
    ['GET /?x=1&agentId=a%20b&y=2 HTTP/1.1', 'a b'],
    ['GET http://host:1/?agentId=z HTTP/1.1', 'z'],
    ['GET /?agentId=%C3%A4 HTTP/1.1', 'ä'],
    ['GET /?agentId=first&agentId=second HTTP/1.1', 'first'],
    ['GET /?agentId=__proto__ HTTP/1.1', '__proto__'],
    [`GET /?agentId=${'a'.repeat(64)} HTTP/1.1`, 'a'.repeat(64)],
    [`GET /?agentId=${'a'.repeat(65)} HTTP/1.1`, null],
    ['GET /?agentId= HTTP/1.1', null],
    ['GET /?agentid=x HTTP/1.1', null],
    ['GET / HTTP/1.1', null],
    ['GET', null],
    ['', null],
  ];
  for (const [line, expected] of cases) {
    it(`${line.slice(0, 60) || '(nothing)'} → ${expected?.slice(0, 20) ?? 'none'}`, () => {
      assert.equal(agentIdOf(line), expected);
    });
  }

  it('throws at no text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const agentId = agentIdOf(`GET /?agentId=${text}`);
        assert.ok(agentId === null || Buffer.byteLength(agentId) <= 64);
      }),
    );
  });
});
