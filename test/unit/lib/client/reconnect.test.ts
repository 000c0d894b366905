import assert from 'node:assert/strict';
import type { Ending } from '../../../../lib/client/connection.js';
import { checkOptions } from '../../../../lib/client/options.js';
import { Dialer, plain, Schedule } from '../../../../lib/client/reconnect.js';

describe('Schedule', () => {
  it('goes round the URLs in order', () => {
    const schedule = new Schedule(['a', 'b', 'c'], 1, 1);
    assert.deepEqual(
      Array.from({ length: 5 }, () => schedule.url()),
      ['a', 'b', 'c', 'a', 'b'],
    );
  });

  it('doubles the bound of the wait up to the greatest, and takes any part of it', () => {
    const whole = new Schedule(['a'], 100, 1000, () => 1);
    assert.deepEqual(
      Array.from({ length: 6 }, () => whole.delay()),
      [100, 200, 400, 800, 1000, 1000],
    );
    const half = new Schedule(['a'], 100, 1000, () => 0.5);
    assert.equal(half.delay(), 50);
    for (let i = 0; i < 2000; i++) half.delay();
    assert.equal(half.delay(), 500);
  });

  it('waits differently long each time', () => {
    const schedule = new Schedule(['a'], 1000, 1000);
    const waits = Array.from({ length: 100 }, () => schedule.delay());
    for (const wait of waits) assert.ok(wait >= 0 && wait < 1000);
    assert.ok(new Set(waits).size > 90);
  });

  it('begins short again only after a connection that stood for a while', () => {
    const schedule = new Schedule(['a'], 100, 1000, () => 1);
    schedule.delay();
    schedule.delay();
    schedule.stood(10);
    assert.equal(schedule.delay(), 400);
    schedule.stood(60_000);
    assert.equal(schedule.delay(), 100);
  });
});

describe('Dialer', () => {
  const failure: Ending = { code: 'DISCONNECTED', message: 'refused', reconnect: true };

  it('shares the time of the first connection among the URLs, and gives what one leaves to the next', async () => {
    const times: number[] = [];
    const dialer = new Dialer(
      ['ws://a', 'ws://b'],
      checkOptions({ connectTimeout: 60_000 }),
      async (_url, timeout) => {
        times.push(timeout);
        return failure;
      },
    );
    await assert.rejects(dialer.first(), { code: 'CONNECT_FAILED' });
    assert.equal(times.length, 2);
    assert.ok(times[0] <= 30_000);
    assert.ok(times[1] > 30_000 && times[1] <= 60_000);
  });

  it('ends with what cannot become better', async () => {
    const final: Ending = { code: 'AGENT_REPLACED', message: 'another', reconnect: true };
    const endings = [failure, failure, final];
    const settings = checkOptions({ reconnect: { minDelay: 1, maxDelay: 1 } });
    const dialer = new Dialer(['ws://a'], settings, async () => endings.shift() ?? null);
    assert.equal(await dialer.again(), final);
    assert.equal(dialer.attempts, 3);
    assert.equal(await dialer.again(), null);
    assert.equal(dialer.attempts, 1);
  });

  it('stops in the middle of a wait', async () => {
    const settings = checkOptions({ reconnect: { minDelay: 3_600_000, maxDelay: 3_600_000 } });
    const dialer = new Dialer(['ws://a'], settings, () => assert.fail('dialled'));
    const again = dialer.again();
    dialer.stop();
    assert.equal(await again, null);
  });
});

describe('plain', () => {
  it('leaves out user, password and query', () => {
    assert.equal(plain('wss://user:pw@host:1/path?token=x'), 'wss://host:1/path');
  });
});
