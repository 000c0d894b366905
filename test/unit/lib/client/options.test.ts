import assert from 'node:assert/strict';
import { type ConnectOptions, checkOptions, checkUrls, laneOf } from '../../../../lib/client/options.js';
import { LANES } from '../../../../lib/wire/frame.js';

describe('checkOptions', () => {
  it('has defaults for all', () => {
    const { agentId, token, ...rest } = checkOptions({});
    assert.match(agentId, /^agent-[0-9a-z]+$/);
    assert.notEqual(agentId, checkOptions({}).agentId);
    assert.equal(token, null);
    assert.deepEqual(rest, {
      agentType: 'agent',
      capabilities: [],
      metadata: '{}',
      lane: 2,
      heartbeatInterval: 15_000,
      connectTimeout: 10_000,
      minDelay: 100,
      maxDelay: 10_000,
      attempts: Number.POSITIVE_INFINITY,
      maxBuffered: 16 * 1024 * 1024,
      maxInFlight: 1024,
      mailbox: null,
    });
  });

  it('takes a mailbox with limits, for agents that have a name', () => {
    const again = { maxAttempts: 0, retryBase: 0, retryCap: 0 };
    const limits = { prefetch: 256, lease: 0, maxAge: 0, maxMessages: 0 };
    const none = { ...limits, balance: null, breaker: null, ...again };
    const wish = { mailbox: 'agent', group: null, pattern: null, capability: null };
    assert.deepEqual(checkOptions({ agentId: 'a', mailbox: true }).mailbox, { ...wish, ...none });
    assert.deepEqual(
      checkOptions({ agentId: 'a', mailbox: { prefetch: 1, lease: 100, balance: 'round-robin' } }).mailbox,
      {
        ...wish,
        ...none,
        prefetch: 1,
        lease: 100,
        balance: 'round-robin',
      },
    );
    const wished = { failures: 3, window: 0, coolDown: 100, slowAck: 0 };
    const breaker = { failures: 3, coolDown: 100 };
    assert.deepEqual(checkOptions({ agentId: 'a', mailbox: { breaker } }).mailbox?.breaker, wished);
    const off = checkOptions({ agentId: 'a', mailbox: { breaker: false } }).mailbox?.breaker;
    assert.deepEqual(off, { failures: -1, window: 0, coolDown: 0, slowAck: 0 });
    const retry = { maxAttempts: 2, retryBase: 5, retryCap: 50 };
    assert.deepEqual(checkOptions({ agentId: 'a', mailbox: retry }).mailbox, { ...wish, ...none, ...retry });
    assert.equal(checkOptions({ mailbox: false }).mailbox, null);
    assert.throws(() => checkOptions({ mailbox: true }), { code: 'BAD_OPTION', message: /agentId/ });
    for (const mailbox of [
      1,
      'yes',
      null,
      { prefetch: 0 },
      { lease: 99 },
      { maxAge: 1 },
      { balance: 'x' },
      { breaker: true },
      { breaker: { failures: 0 } },
      { breaker: { fails: 1 } },
      { size: 1 },
      { size: 1 },
      { maxAttempts: 0 },
    ])
      assert.throws(() => checkOptions({ agentId: 'a', mailbox } as ConnectOptions), { code: 'BAD_OPTION' });
  });

  it('takes tokens and functions that make them', async () => {
    assert.equal(await checkOptions({ token: 't' }).token?.(), 't');
    assert.equal(await checkOptions({ token: async () => 'later' }).token?.(), 'later');
  });

  const bad: [keyof ConnectOptions, unknown, RegExp][] = [
    ['agentId', 'a.b', /agentId is "a\.b"/],
    ['agentId', '', /agentId is ""/],
    ['agentId', '_x', /agentId/],
    ['agentId', 'flowbus', /agentId/],
    ['agentId', 7, /agentId is 7/],
    ['agentId', 'x'.repeat(65), /agentId is "x+\.\.\./],
    ['agentType', 'a b', /agentType/],
    ['capabilities', 'ocr', /capabilities is "ocr", but must be an array/],
    ['capabilities', [''], /capabilities/],
    ['capabilities', Array(65).fill('x'), /at most 64/],
    ['metadata', 10n, /metadata is 10/],
    ['metadata', () => 0, /metadata is a function/],
    ['metadata', 'x'.repeat(4095), /4096/],
    ['token', '', /token must/],
    ['token', 7, /token must/],
    ['priority', 'urgent', /critical, high, normal, low, background/],
    ['heartbeatInterval', 9, /heartbeatInterval is 9, but must be a whole number from 10/],
    ['heartbeatInterval', 1.5, /1\.5/],
    ['heartbeatInterval', Number.NaN, /NaN/],
    ['connectTimeout', 0, /connectTimeout/],
    ['reconnect', true, /reconnect is true/],
    ['reconnect', { minDelay: 0 }, /reconnect\.minDelay/],
    ['reconnect', { minDelay: 50, maxDelay: 49 }, /reconnect\.maxDelay is 49, but must be at least minDelay/],
    ['reconnect', { attempts: 0 }, /reconnect\.attempts/],
    ['reconnect', { retries: 3 }, /reconnect\.retries/],
    ['maxBuffered', 1024, /maxBuffered/],
    ['maxInFlight', 0, /maxInFlight/],
  ];
  for (const [name, value, message] of bad) {
    it(`refuses ${name}: ${String(message)}`, () => {
      assert.throws(() => checkOptions({ [name]: value }), { code: 'BAD_OPTION', message });
    });
  }

  it('never repeats a token', () => {
    const token = `secret${'x'.repeat(9000)}`;
    assert.throws(
      () => checkOptions({ token }),
      (error: Error) => !error.message.includes('secret'),
    );
  });

  it('refuses options that do not exist, naming those that do', () => {
    assert.throws(() => checkOptions({ agentID: 'x' } as ConnectOptions), { message: /agentID.*agentId/ });
    assert.throws(() => checkOptions(null as unknown as ConnectOptions), { code: 'BAD_OPTION' });
  });
});

describe('checkUrls', () => {
  it('adds the agentId, percent-encoded, and keeps the rest', () => {
    assert.deepEqual(checkUrls(['ws://h:1', 'wss://h/p?x=1'], 'ä&b'), [
      'ws://h:1/?agentId=%C3%A4%26b',
      'wss://h/p?x=1&agentId=%C3%A4%26b',
    ]);
  });

  it('refuses what is no WebSocket URL', () => {
    for (const url of ['http://h', 'h:1', '', 'ws://h/#x', 7 as unknown as string]) {
      assert.throws(() => checkUrls(url, 'a'), { code: 'BAD_OPTION', message: /WebSocket URL/ });
    }
    assert.throws(() => checkUrls([], 'a'), { code: 'BAD_OPTION' });
  });
});

describe('laneOf', () => {
  it('knows every priority', () => {
    LANES.forEach((priority, lane) => {
      assert.equal(laneOf(priority), lane);
    });
  });
});
