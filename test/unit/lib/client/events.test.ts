import assert from 'node:assert/strict';
import { Emitter } from '../../../../lib/client/events.js';
import { FlowbusError } from '../../../../lib/errors.js';

/** Runs `act` and returns what it warned of. */
function warnings(act: () => void): string[] {
  const heard: string[] = [];
  const { warn } = console;
  console.warn = (text: string) => heard.push(text);
  try {
    act();
  } finally {
    console.warn = warn;
  }
  return heard;
}

describe('Emitter', () => {
  it('calls listeners in order, those of once once, none after off', () => {
    const emitter = new Emitter();
    const calls: string[] = [];
    const b = (): void => void calls.push('b');
    emitter.add('gap', () => void calls.push('a'), false);
    emitter.add('gap', b, false);
    emitter.add('gap', () => void calls.push('once'), true);
    emitter.gap({ missed: 1, reason: 'shed' });
    emitter.remove('gap', b);
    emitter.remove('gap', () => undefined);
    emitter.gap({ missed: 1, reason: 'shed' });
    assert.deepEqual(calls, ['a', 'b', 'once', 'a']);
  });

  it('an emit in progress is not changed by what its listeners add or remove', () => {
    const emitter = new Emitter();
    const calls: string[] = [];
    const second = (): void => void calls.push('second');
    emitter.add(
      'pressure',
      () => {
        calls.push('first');
        emitter.remove('pressure', second);
        emitter.add('pressure', () => void calls.push('new'), false);
      },
      true,
    );
    emitter.add('pressure', second, false);
    emitter.pressure(true, undefined);
    assert.deepEqual(calls, ['first', 'second']);
    emitter.pressure(false, 'group:g:a');
    assert.deepEqual(calls, ['first', 'second', 'new']);
  });

  it('refuses unknown events and what is no function', () => {
    const emitter = new Emitter();
    assert.throws(() => emitter.add('gaps' as 'gap', () => undefined, false), {
      code: 'BAD_OPTION',
      message: /gap/,
    });
    assert.throws(() => emitter.add('toString' as 'gap', () => undefined, false), { code: 'BAD_OPTION' });
    assert.throws(() => emitter.add('gap', 7 as unknown as () => void, false), { code: 'BAD_OPTION' });
  });

  it('without a listener warns once per code, and never throws', () => {
    const emitter = new Emitter();
    const heard = warnings(() => {
      emitter.error(new FlowbusError('BAD_TOPIC', 'one'));
      emitter.error(new FlowbusError('BAD_TOPIC', 'two'));
      emitter.error(new FlowbusError('BAD_TYPE', 'three'));
    });
    assert.equal(heard.length, 2);
    assert.match(heard[0], /BAD_TOPIC: one/);
  });

  it('turns what listeners throw into errors, and what error listeners throw into warnings', () => {
    const emitter = new Emitter();
    const codes: string[] = [];
    emitter.add('reconnect', () => assert.fail('from a listener'), false);
    emitter.add('error', ({ code }) => codes.push(code), false);
    emitter.add(
      'error',
      () => {
        throw new Error('even here');
      },
      false,
    );
    const heard = warnings(() => emitter.reconnect({ url: '', attempts: 1, resumed: false }));
    assert.deepEqual(codes, ['HANDLER_FAILED']);
    assert.match(heard[0], /even here/);
  });
});
