import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  Announcements,
  IncomingTopic,
  MAX_ANNOUNCED,
  RouteKind,
  Sender,
} from '../../../../lib/client/announcements.js';
import { checksumSeed } from '../../../../lib/wire/checksum.js';
import { utf8 } from '../../../../lib/wire/text.js';
import { FakeBroker, message, until } from './fake-broker.js';

describe('Inbox', () => {
  it('property: no bytes whatever make it throw', async () => {
    const frame = message('a', 'other', 9, { payload: 'x', extensions: { key: 'k', headers: { a: 'b' } } });
    const damaged = fc
      .array(
        fc.record({
          at: fc.integer({ min: 4, max: frame.length - 1 }),
          to: fc.integer({ min: 0, max: 255 }),
        }),
        {
          minLength: 1,
          maxLength: 4,
        },
      )
      .map((changes) => {
        const bad = frame.slice();
        for (const { at, to } of changes) bad[at] = to;
        return bad;
      });
    const bytes = fc.oneof(damaged, fc.uint8Array({ maxLength: 100 }));
    await fc.assert(
      fc.asyncProperty(fc.array(bytes, { maxLength: 5 }), async (batches) => {
        const broker = new FakeBroker();
        const agent = await broker.connect({ reconnect: false });
        agent.on('error', () => undefined);
        await agent.subscribe('a', () => undefined);
        broker.last.announceSender(9, 'other');
        for (const batch of batches) broker.last.push(batch);
        await agent.close();
      }),
      { numRuns: 100 },
    );
  });

  it('stops in the middle of a batch when a handler closes the agent', async () => {
    const broker = new FakeBroker();
    const agent = await broker.connect();
    let heard = 0;
    await agent.subscribe('a', () => {
      heard++;
      void agent.close();
    });
    broker.last.announceSender(9, 'other');
    const frame = message('a', 'other', 9);
    await until('released', () => {
      if (heard === 0) broker.last.push(frame, frame, frame);
      return heard > 0;
    });
    await agent.close();
    assert.equal(agent.connected, false);
  });
});

describe('Announcements', () => {
  it('replaces, and forgets at reset', () => {
    const announcements = new Announcements('_agent.me');
    announcements.addTopic(7, 'a');
    announcements.addSender(3, 'x');
    assert.equal(announcements.topic(7)?.text, 'a');
    assert.equal(announcements.sender(3)?.text, 'x');
    announcements.addTopic(7, 'b');
    announcements.addSender(3, 'y');
    assert.equal(announcements.topic(7)?.text, 'b');
    assert.equal(announcements.sender(3)?.text, 'y');
    announcements.addSender(0, 'not the bus');
    assert.equal(announcements.sender(0)?.text, 'flowbus');
    announcements.reset();
    assert.equal(announcements.topic(7), null);
    assert.equal(announcements.sender(3), null);
    assert.equal(announcements.sender(0)?.text, 'flowbus');
  });

  it('is bounded', () => {
    const announcements = new Announcements('_agent.me');
    for (let i = 1; i <= MAX_ANNOUNCED; i++) {
      announcements.addTopic(i, 't');
      announcements.addSender(i, 's');
    }
    announcements.addTopic(1, 'another');
    announcements.addSender(1, 'another');
    assert.throws(() => announcements.addTopic(MAX_ANNOUNCED + 1, 't'), { code: 'LIMIT_REACHED' });
    assert.throws(() => announcements.addSender(MAX_ANNOUNCED + 1, 's'), { code: 'LIMIT_REACHED' });
  });

  it('knows where a topic belongs', () => {
    const announcements = new Announcements('_agent.me');
    const kind = (text: string): number | undefined =>
      announcements.spelledOut(utf8(text), 0, utf8(text).length)?.kind;
    assert.equal(kind('_agent.me'), RouteKind.own);
    assert.equal(kind('_agent.you'), RouteKind.subscriptions);
    assert.equal(kind('_reply.n.1.x'), RouteKind.reply);
    assert.equal(kind('a'), RouteKind.subscriptions);
    assert.equal(kind('a'), RouteKind.subscriptions);
    assert.equal(announcements.spelledOut(Uint8Array.of(0xff), 0, 1), null);
  });

  it('property: seeds are those of the protocol, whoever was asked about before', () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(name, fc.array(name, { minLength: 1, maxLength: 5 }), (text, senders) => {
        const topic = new IncomingTopic(text, RouteKind.subscriptions);
        const known = senders.map((sender, i) => new Sender(i + 1, sender));
        for (const sender of [...known, ...known.toReversed()]) {
          assert.equal(topic.seedOf(sender), checksumSeed(sender.text, text));
          assert.equal(topic.seedOf(sender), checksumSeed(sender.text, text));
        }
      }),
    );
  });
});
