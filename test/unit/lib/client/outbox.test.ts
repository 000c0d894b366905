import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Agent } from '../../../../lib/client/agent.js';
import { LANES } from '../../../../lib/wire/frame.js';
import { FakeBroker, settle, until } from './fake-broker.js';

/** A frame on topic `t` has 41 bytes and its payload. */
const OVERHEAD = 41;
const KIB = 1024;

describe('Outbox', () => {
  let broker: FakeBroker;
  let agent: Agent;
  let pressure: boolean[];

  async function start(window: number, options = {}): Promise<void> {
    broker = new FakeBroker({ window });
    agent = await broker.connect(options);
    pressure = [];
    agent.on('pressure', ({ active }) => pressure.push(active));
  }

  afterEach(() => agent.close());

  it('sends whole frames as far as the credit reaches, and the rest with the next credit', async () => {
    await start(3 * 100 + 99);
    for (let i = 0; i < 5; i++) agent.publish('t', new Uint8Array(100 - OVERHEAD).fill(48 + i));
    await settle();
    assert.equal(broker.last.published.length, 3);
    broker.last.credit(399);
    broker.last.credit(100);
    await settle();
    assert.equal(broker.last.published.length, 3);
    broker.last.credit(400);
    assert.equal(broker.last.published.length, 4);
    broker.last.credit(500);
    assert.equal(broker.last.published.length, 5);
    assert.deepEqual(
      broker.last.published.map(({ text, sequence }) => `${text[0]}${sequence}`),
      ['01', '12', '23', '34', '45'],
    );
    assert.equal(agent.counts.waitingBytes, 0);
  });

  it('lets urgent lanes go 65,536 bytes further', async () => {
    await start(0);
    agent.publish('t', 'bulk');
    agent.publish('t', 'high', { priority: 'high' });
    agent.publish('t', new Uint8Array(60_000), { priority: 'critical' });
    agent.publish('t', new Uint8Array(6_000), { priority: 'critical' });
    await settle();
    assert.deepEqual(
      broker.last.published.map(({ size }) => size),
      [OVERHEAD + 4, 60_000 + OVERHEAD],
    );
    broker.last.credit(10_000);
    assert.equal(broker.last.published.length, 3);
    broker.last.credit(100_000);
    assert.equal(broker.last.texts()[3], 'bulk');
  });

  it('without credit asks to slow down from 256 KiB on, and says when it may go on', async () => {
    await start(0);
    const payload = new Uint8Array(KIB - OVERHEAD);
    let taken = 0;
    while (agent.publish('t', payload)) taken++;
    // It notices that nothing goes out when the first batch is full.
    assert.equal(taken, 256);
    await settle();
    assert.deepEqual(pressure, [true]);
    let drained = false;
    const waiting = agent.drained().then(() => {
      drained = true;
    });
    broker.last.credit(50 * KIB);
    await settle();
    assert.equal(drained, false);
    broker.last.credit(110 * KIB);
    await waiting;
    assert.deepEqual(pressure, [true, false]);
    await agent.drained();
  });

  it('throws BUFFER_FULL at maxBuffered, and takes nothing then', async () => {
    await start(0, { maxBuffered: 256 * KIB });
    const payload = new Uint8Array(KIB - OVERHEAD);
    for (let i = 0; i < 256; i++) agent.publish('t', payload);
    assert.throws(() => agent.publish('t', payload), { code: 'BUFFER_FULL' });
    assert.equal(agent.counts.waitingBytes, 256 * KIB);
    broker.last.credit(1024 * KIB);
    assert.equal(broker.last.published.length, 256);
    assert.equal(agent.publish('t', payload), true);
  });

  it('fills batches while nothing can be sent, so that little memory holds much', async () => {
    await start(0);
    for (let i = 0; i < 100; i++) {
      agent.publish('t', 'x');
      await settle();
    }
    const before = broker.last.batches.length;
    broker.last.credit(1_000_000);
    assert.equal(broker.last.batches.length - before, 1);
    assert.equal(broker.last.batches.at(-1)?.length, 100);
  });

  it('never gives the transport more than a batch beyond 1 MiB', async () => {
    await start(10_000_000);
    broker.last.bufferedAmount = 1024 * KIB + 1;
    agent.publish('t', 'x');
    await settle();
    assert.equal(broker.last.published.length, 0);
    broker.last.bufferedAmount = 0;
    broker.last.writable();
    assert.equal(broker.last.published.length, 1);
  });

  it('rejects drained() when the agent ends', async () => {
    await start(0);
    const payload = new Uint8Array(KIB);
    while (agent.publish('t', payload)) {}
    const rejected = assert.rejects(agent.drained(), { code: 'CLOSED' });
    await agent.close();
    await rejected;
    await assert.rejects(agent.drained(), { code: 'CLOSED' });
  });

  it('property: whatever is published, in whatever steps credit comes, arrives once, in order within its lane', async () => {
    const step = fc.oneof(
      fc.record({
        size: fc.integer({ min: 0, max: 9000 }),
        lane: fc.constantFrom(...LANES),
        topic: fc.integer({ min: 0, max: 3 }),
      }),
      fc.record({ credit: fc.integer({ min: 0, max: 30_000 }) }),
      fc.constant('tick' as const),
      fc.record({ announce: fc.integer({ min: 0, max: 3 }) }),
      fc.constant('break' as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const fake = new FakeBroker({ window: 5000, resumed: true });
        const publisher = await fake.connect({ reconnect: { minDelay: 1, maxDelay: 1 } });
        let count = 0;
        let granted = 5000;
        const sent = LANES.map((): string[] => []);
        for (const what of steps) {
          if (what === 'tick') await settle();
          else if (what === 'break') {
            const before = fake.connections.length;
            fake.last.end();
            await until('back', () => fake.connections.length > before && publisher.connected);
            granted = 5000;
          } else if ('credit' in what) {
            granted += what.credit;
            fake.last.credit(granted);
          } else if ('announce' in what) fake.last.announceTopic(100 + what.announce, `t.${what.announce}`);
          else {
            const text = `${count++}:`.padEnd(what.size, '.');
            publisher.publish(`t.${what.topic}`, text, { priority: what.lane });
            sent[LANES.indexOf(what.lane)].push(text);
          }
          let size = 0;
          let urgent = 0;
          for (const frame of fake.last.published) {
            size += frame.size;
            if (frame.lane >= 2) assert.ok(size <= granted, 'past the credit');
            else urgent = size;
          }
          assert.ok(urgent <= granted + 65_536, 'past the allowance');
        }
        fake.last.credit(10_000_000);
        await settle();
        const all = fake.connections.flatMap(({ published }) => published);
        LANES.forEach((_, lane) => {
          assert.deepEqual(
            all.filter((frame) => frame.lane === lane).map(({ text }) => text),
            sent[lane],
          );
        });
        const numbers = new Map<string, number>();
        for (const { topic, lane, sequence } of all) {
          const key = `${topic} ${lane}`;
          assert.equal(sequence, (numbers.get(key) ?? 0) + 1);
          numbers.set(key, sequence);
        }
        await publisher.close();
      }),
      { numRuns: 60 },
    );
  });
});
