import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import type { Agent } from '../../../../lib/client/agent.js';
import type { Gap } from '../../../../lib/client/events.js';
import { FakeBroker, message, settle, until } from './fake-broker.js';

describe('Dispatch', () => {
  let broker: FakeBroker;
  let agent: Agent;
  let open: (() => void)[];
  let begun: number;
  let gaps: Gap[];

  async function start(maxInFlight: number, options = {}): Promise<void> {
    broker = new FakeBroker();
    agent = await broker.connect({ maxInFlight, ...options });
    await wait(0);
    open = [];
    begun = 0;
    gaps = [];
    agent.on('gap', (gap) => gaps.push(gap));
    await agent.subscribe('slow', () => {
      begun++;
      return new Promise<void>((resolve) => open.push(resolve));
    });
    broker.last.announceSender(9, 'other');
  }

  function deliver(count: number, size = 1): void {
    const frame = message('slow', 'other', 9, { payload: new Uint8Array(size) });
    for (let i = 0; i < count; i++) broker.last.push(frame);
  }

  afterEach(() => agent.close());

  it('stops reading at maxInFlight, and goes on below half', async () => {
    await start(4);
    deliver(4);
    assert.equal(broker.last.paused, false);
    deliver(3);
    assert.equal(begun, 4);
    assert.equal(broker.last.paused, true);
    for (let i = 0; i < 3; i++) open[i]();
    await settle();
    assert.equal(begun, 7);
    assert.equal(broker.last.paused, true);
    open[3]();
    await settle();
    assert.equal(broker.last.paused, true);
    open[4]();
    await settle();
    assert.equal(broker.last.paused, false);
  });

  it('keeps the order', async () => {
    await start(1);
    const order: string[] = [];
    await agent.subscribe('x', async (msg) => {
      order.push(msg.text());
      await null;
    });
    for (let i = 0; i < 20; i++) broker.last.deliver('x', 'other', 9, { payload: `${i}` });
    await until('all', () => order.length === 20);
    assert.deepEqual(
      order,
      Array.from({ length: 20 }, (_, i) => `${i}`),
    );
  });

  it('keeps reading while a handler waits for the broker', async () => {
    await start(2);
    deliver(5);
    assert.equal(broker.last.paused, true);
    const reply = agent.request('w', 'x');
    assert.equal(broker.last.paused, false);
    await settle();
    deliver(1);
    assert.equal(broker.last.paused, false);
    broker.last.reply(broker.last.published[0], 'y');
    assert.equal((await reply).text(), 'y');
    deliver(1);
    assert.equal(broker.last.paused, true);
    const subscribed = agent.subscribe('other', () => undefined);
    assert.equal(broker.last.paused, false);
    await subscribed;
  });

  it('keeps reading while it is out of credit', async () => {
    await start(1);
    deliver(2);
    assert.equal(broker.last.paused, true);
    agent.publish('t', new Uint8Array(60_000));
    for (let i = 0; i < 20; i++) agent.publish('t', new Uint8Array(60_000));
    assert.equal(broker.last.paused, false);
  });

  it('where reading cannot be stopped, holds a bounded backlog and reports what it drops', async () => {
    await start(1, { maxBuffered: 256 * 1024 });
    broker.last.canPause = false;
    deliver(20, 16 * 1024 - 256);
    await settle();
    assert.deepEqual(gaps, [{ missed: 3, reason: 'shed' }]);
    for (let i = 0; i < 17; i++) {
      await until('begun', () => open.length === i + 1);
      open[i]();
    }
    await settle();
    assert.equal(begun, 17);
  });

  it('forgets the backlog when it is closed', async () => {
    await start(1);
    deliver(3);
    await agent.close();
    open[0]();
    await settle();
    assert.equal(begun, 1);
  });

  it('is not paused any more after the connection was lost', async () => {
    await start(1, { reconnect: { minDelay: 1, maxDelay: 1 } });
    deliver(2);
    assert.equal(broker.last.paused, true);
    broker.last.end();
    await until('back', () => broker.connections.length === 2 && agent.connected);
    open[0]();
    await until('the next', () => begun === 2);
    broker.last.announceSender(9, 'other');
    deliver(1);
    assert.equal(broker.last.paused, true);
  });
});
