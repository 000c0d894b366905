import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Encoding } from '../../../lib/wire/frame.js';
import { encodeInput, MAX_INPUT, readLines, readWhole } from '../../../ops/cli/input.js';

async function* chunks(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

async function linesOf(...parts: (string | Uint8Array)[]): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLines(chunks(...parts))) lines.push(Buffer.from(line).toString());
  return lines;
}

describe('cli input', () => {
  it('reads lines with either ending, the last with or without', async () => {
    assert.deepEqual(await linesOf('a\nb\r\nc'), ['a', 'b', 'c']);
    assert.deepEqual(await linesOf('a\n\nb\n'), ['a', '', 'b']);
    assert.deepEqual(await linesOf('a\r', '\nb'), ['a', 'b']);
    assert.deepEqual(await linesOf('\n'), ['']);
    assert.deepEqual(await linesOf(), []);
    assert.deepEqual(await linesOf('a\rb\n'), ['a\rb']);
  });

  it('reads the same lines however the stream is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', 'é', ' ', '\r') })),
        fc.array(fc.nat(40)),
        async (lines, cuts) => {
          const text = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const parts: Uint8Array[] = [];
          let at = 0;
          for (const cut of cuts) {
            parts.push(text.subarray(at, at + cut));
            at += cut;
          }
          parts.push(text.subarray(at));
          const expected = lines.map((line) => line.replace(/\r$/, ''));
          assert.deepEqual(await linesOf(...parts), expected);
        },
      ),
    );
  });

  it('does not hold a line without end', async () => {
    const longest = 'x'.repeat(MAX_INPUT);
    assert.deepEqual(await linesOf(`${longest}\r`, '\n'), [longest]);
    for (const parts of [
      ['a\n', `${longest}x\n`],
      ['a\n', longest, 'xx'],
      ['a\n', `${longest}x`],
    ]) {
      await assert.rejects(linesOf(...parts), {
        code: 'PAYLOAD_TOO_LARGE',
        message: 'line 2 of standard input is longer than 65536 bytes',
      });
    }
  });

  it('reads everything as one, up to the same bound', async () => {
    assert.equal(Buffer.from(await readWhole(chunks('a\n', 'b'))).toString(), 'a\nb');
    await assert.rejects(readWhole(chunks('x'.repeat(MAX_INPUT), 'x')), { code: 'PAYLOAD_TOO_LARGE' });
  });

  it('names what the bytes are, and leaves them alone', () => {
    const kinds: [string | Uint8Array, Encoding][] = [
      ['{"a": 1e400}', Encoding.json],
      [' [1]', Encoding.json],
      ['{"a"', Encoding.text],
      ['12', Encoding.text],
      ['"quoted"', Encoding.text],
      ['', Encoding.text],
      [Uint8Array.of(0xff), Encoding.bytes],
    ];
    for (const [input, encoding] of kinds) {
      const bytes = Buffer.from(input);
      const payload = encodeInput(bytes, 'auto');
      assert.equal(payload.encoding, encoding, String(input));
      assert.equal(payload.bytes, bytes);
    }
  });

  it('does as it is told, where that is possible', () => {
    assert.equal(encodeInput(Buffer.from('12'), 'json').encoding, Encoding.json);
    assert.equal(encodeInput(Buffer.from('{}'), 'text').encoding, Encoding.text);
    assert.equal(encodeInput(Buffer.from('{}'), 'bytes').encoding, Encoding.bytes);
    assert.throws(() => encodeInput(Buffer.from('{'), 'json'), { code: 'BAD_OPTION' });
    assert.throws(() => encodeInput(Uint8Array.of(0xff), 'json'), { code: 'BAD_OPTION' });
    assert.throws(() => encodeInput(Uint8Array.of(0xff), 'text'), { code: 'BAD_OPTION' });
  });
});
