import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createLogger, formatLine } from '../../../../lib/telemetry/log.js';

const CONFIG = { logLevel: 'info', logFormat: 'json', node: 'node-a' } as const;

function capture(fields?: Record<string, unknown>, level: 'info' | 'debug' = 'info') {
  const lines: string[] = [];
  const log = createLogger({ ...CONFIG, logLevel: level }, fields, {
    write: (line) => void lines.push(line),
  });
  return { log, lines };
}

describe('log', () => {
  it('writes one JSON object per line, with the node and the fields of the process', () => {
    const { log, lines } = capture({ shard: 3 });
    log.info({ port: 8081 }, 'listening');
    const { time, ...record } = JSON.parse(lines[0]);
    assert.ok(Math.abs(time - Date.now()) < 10_000);
    assert.deepEqual(record, { level: 30, node: 'node-a', shard: 3, port: 8081, msg: 'listening' });
  });

  it('leaves out what is below the level', () => {
    const { log, lines } = capture();
    log.debug('unseen');
    assert.equal(lines.length, 0);
  });

  it('hides secrets', () => {
    const { log, lines } = capture();
    log.info(
      { config: { authSecret: 'hunter2' }, hello: { token: 'hunter2' }, token: 'hunter2' },
      'all of it',
    );
    assert.doesNotMatch(lines[0], /hunter2/);
  });

  it('has a line for people', () => {
    const { log, lines } = capture({ shard: 1 });
    log.warn({ url: 'ws://127.0.0.1:1', note: 'two words' }, 'slow');
    assert.match(
      formatLine(lines[0], false),
      /^\d\d:\d\d:\d\d\.\d{3} warn {2}slow node=node-a shard=1 url=ws:\/\/127\.0\.0\.1:1 note="two words"\n$/,
    );
    assert.ok(formatLine(lines[0], true).includes('\x1b[33mwarn '));
  });

  it('puts an error on one line, with the place', () => {
    const { log, lines } = capture();
    log.error({ err: new TypeError('it\nbroke') }, 'failed');
    assert.match(
      formatLine(lines[0], false),
      /^\S+ error failed node=node-a err="it\\nbroke" at="[^\n]+"\n$/,
    );
  });

  it('lets nobody reach the terminal', () => {
    const { log, lines } = capture();
    log.info({ agentId: '\x1b[2J\u009b', '\x07': 1 }, 'a\x1b[31m\r\nb');
    assert.match(formatLine(lines[0], false), /^[^\p{Cc}]*\n$/u);
  });

  it('formats any line', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.object().map((o) => JSON.stringify(o)),
        ),
        (line) => {
          assert.match(formatLine(line, false), /^[^\p{Cc}]*\n$/u);
        },
      ),
    );
  });
});
