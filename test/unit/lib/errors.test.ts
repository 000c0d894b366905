import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ERRORS, type ErrorCode, errorEntry, FlowbusError, isErrorCode } from '../../../lib/errors.js';

const CODES = Object.keys(ERRORS) as ErrorCode[];

describe('errors', () => {
  it('has the same table as PROTOCOL.md', () => {
    // From the compiled test, test/unit/lib/ in the output folder, to the sources.
    const protocol = readFileSync(new URL('../../../../lib/wire/PROTOCOL.md', import.meta.url), 'utf8');
    const section = protocol.slice(protocol.indexOf('\n## Errors'), protocol.indexOf('\n## Limits'));
    const rows = section
      .split('\n')
      .filter((line) => /^\| [A-Z]/.test(line))
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      );
    const expected = CODES.map((code) => {
      const { where, fatal, retriable, summary, remedy, httpStatus } = errorEntry(code);
      const yes = (value: boolean) => (value ? 'yes' : 'no');
      return [code, where, yes(fatal), yes(retriable), summary, remedy, String(httpStatus ?? '')];
    });
    assert.deepEqual(rows, expected);
  });

  it('names every code that PROTOCOL.md uses', () => {
    const protocol = readFileSync(new URL('../../../../lib/wire/PROTOCOL.md', import.meta.url), 'utf8');
    for (const [, code] of protocol.matchAll(/`([A-Z]+(?:_[A-Z0-9]+)+|TRUNCATED|OVERSIZED|TIMEOUT)`/g)) {
      assert.ok(isErrorCode(code), code);
    }
  });

  for (const code of CODES) {
    it(`${code} says what was wrong and what to do, in sentences`, () => {
      const { where, summary, remedy, httpStatus } = errorEntry(code);
      assert.match(code, /^[A-Z]+(_[A-Z0-9]+)*$/);
      assert.match(summary, /^[A-Z].*\.$/);
      assert.match(remedy, /^[A-Z].*\.$/);
      if (where === 'http') assert.ok(httpStatus !== undefined);
      if (httpStatus !== undefined) assert.ok(httpStatus >= 400 && httpStatus < 600);
    });
  }

  it('builds its message from the table', () => {
    const error = new FlowbusError('TIMEOUT');
    assert.equal(error.code, 'TIMEOUT');
    assert.equal(error.message, `${ERRORS.TIMEOUT.summary} ${ERRORS.TIMEOUT.remedy}`);
    assert.equal(error.fatal, false);
    assert.equal(error.retriable, true);
    assert.equal(error.name, 'FlowbusError');
    assert.ok(error instanceof Error);
  });

  it('takes a message and a cause', () => {
    const cause = new Error('below');
    const error = new FlowbusError('FORGED_SENDER', 'It was 7.', { cause });
    assert.equal(error.message, 'It was 7.');
    assert.equal(error.cause, cause);
    assert.equal(error.fatal, true);
  });

  it('knows its codes and nothing that every object has', () => {
    assert.ok(isErrorCode('TIMEOUT'));
    assert.ok(!isErrorCode('toString'));
    assert.ok(!isErrorCode('NEW_IN_VERSION_2'));
  });
});
