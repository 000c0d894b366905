import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FrameType, frameOf } from '../../../../discovery/link/frame.js';
import { encodeGreeting } from '../../../../discovery/link/greeting.js';
import { LINK_TIMING } from '../../../../discovery/link/links.js';
import { MAX_NODE_BATCH, MAX_NODE_UNSENT } from '../../../../lib/mesh.js';
import { Cable, type Life, Side, type World } from './wires.js';

type Step =
  | { do: 'open' | 'cut' | 'settle' }
  | { do: 'send'; by: 0 | 1; size: number }
  | { do: 'deliver'; by: 0 | 1; count: number }
  | { do: 'giveUp' | 'restart'; by: 0 | 1 };

const side = fc.constantFrom<0 | 1>(0, 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('open' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('send' as const), by: side, size: fc.nat(2000) }) },
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('deliver' as const), by: side, count: fc.nat(3000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('giveUp' as const, 'restart' as const), by: side }),
  },
);

/** Nothing came twice or in another order, and what did not come is known to whoever sent it. */
function assertKept(sender: Life, received: readonly string[]): void {
  assert.deepEqual(received, sender.sent.slice(0, received.length));
  if (sender.crashed) return;
  const known = sender.sent.length - (sender.unacknowledged?.length ?? 0);
  assert.ok(known <= received.length, `${known} were acknowledged, ${received.length} came`);
  assert.deepEqual(sender.unacknowledged ?? [], sender.sent.slice(known));
}

describe('Links', () => {
  let world: World;
  let a: Side;
  let b: Side;
  let cable: Cable;

  beforeEach(() => {
    world = { now: 1 };
    a = new Side('a', world, 100);
    b = new Side('b', world, 500);
    cable = new Cable(a, b);
  });

  it('carries batches in order, each once, wherever the stream breaks, whoever gives up or starts anew', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        world = { now: 1 };
        const sides = [new Side('a', world, 100), new Side('b', world, 500)] as const;
        const wire = new Cable(...sides);
        let count = 0;
        for (const at of steps) {
          world.now++;
          if (at.do === 'open') wire.open();
          else if (at.do === 'cut') wire.cut();
          else if (at.do === 'settle') for (const each of sides) each.links.settle();
          else if (at.do === 'send') sides[at.by].send(`${count++}`.padEnd(at.size, '.'));
          else if (at.do === 'deliver') wire.deliver(at.by, at.count);
          else if (at.do === 'restart') {
            wire.cut();
            sides[at.by].restart();
          } else if (at.do === 'giveUp') sides[at.by].links.giveUp(sides[1 - at.by].name);
        }
        // In the end everything of the last life has come.
        wire.open();
        wire.flow();
        for (const each of sides) {
          assert.equal(each.links.isBusy, false);
          assert.equal(each.life.unacknowledged, null);
          assert.deepEqual(each.wrong, []);
        }
        assert.deepEqual(sides[0].life.received, sides[1].life.sent);
        assert.deepEqual(sides[1].life.received, sides[0].life.sent);
        for (const [sender, receiver] of [sides, [...sides].reverse()]) {
          // Lives of which the other side knew nothing have received nothing, and sent what nobody has.
          const lives = receiver.lives.filter(({ received }) => received.length > 0);
          let from = 0;
          for (const life of sender.lives) {
            const to = lives.findIndex(({ received }, i) => i >= from && received[0] === life.sent[0]);
            assertKept(life, to < 0 ? [] : lives[to].received);
            if (to >= 0) from = to + 1;
          }
          assert.equal(from, lives.length);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('goes on with the same link after a cut, and tells the gateway nothing of it', () => {
    cable.open();
    cable.flow();
    for (let i = 0; i < 100; i++) {
      a.send(`${i}`);
      if (i % 10 === 5) {
        cable.deliver(0, 30);
        cable.cut();
      } else if (i % 10 === 7) {
        cable.open();
        cable.flow();
      }
    }
    cable.open();
    cable.flow();
    assert.deepEqual([a.lives.length, b.lives.length], [1, 1]);
    assert.deepEqual(
      b.life.received,
      Array.from({ length: 100 }, (_, i) => `${i}`),
    );
  });

  it('begins a new link with a process that has started anew, and hands back what was not acknowledged', () => {
    cable.open();
    cable.flow();
    a.send('arrives');
    cable.flow();
    a.send('is lost');
    cable.cut();
    a.send('waits');
    b.restart();
    cable.open();
    cable.flow();
    assert.deepEqual(a.lives[0].unacknowledged, ['is lost', 'waits']);
    a.send('new');
    cable.flow();
    assert.deepEqual(b.life.received, ['new']);
  });

  it('begins anew on both sides, when one has begun with the new process and the other has not heard of it yet', () => {
    cable.open();
    cable.flow();
    for (const text of ['one', 'two']) a.send(text);
    cable.flow();
    cable.cut();
    b.restart();
    cable.open();
    cable.deliver(0, 1 << 20);
    assert.equal(b.lives.length, 2);
    assert.equal(a.lives.length, 1);
    cable.open();
    cable.flow();
    a.send('three');
    b.send('four');
    cable.flow();
    assert.deepEqual([a.life.received, b.life.received], [['four'], ['three']]);
    assert.deepEqual([a.wrong, b.wrong], [[], []]);
  });

  it('a stream takes the place of the one before, and none goes on with a link that was given up', () => {
    for (let i = 0; i < 2; i++) {
      cable.open();
      cable.flow();
    }
    assert.deepEqual(a.states, ['attached', 'detached', 'attached']);
    cable.open();
    // It has greeted with the link that is now given up.
    a.links.giveUp('b');
    assert.equal(a.links.has('b'), false);
    cable.open();
    cable.flow();
    assert.deepEqual([a.lives.length, b.lives.length], [2, 2]);
  });

  it('refuses a second peer of the same name as long as the first is there, and says so to both', () => {
    cable.open();
    cable.flow();
    const other = new Side('c', world, 900, 'b');
    const second = new Cable(a, other);
    second.open();
    second.flow();
    assert.deepEqual(a.refused, ['b NODE_NAME_TAKEN by us']);
    assert.deepEqual(other.refused, ['b NODE_NAME_TAKEN by them']);
    assert.equal(other.link, null);
    a.send('to the first');
    cable.flow();
    assert.deepEqual(b.life.received, ['to the first']);
    cable.cut();
    second.open();
    second.flow();
    assert.deepEqual(a.lives[0].unacknowledged, []);
    a.send('to the second');
    second.flow();
    assert.deepEqual(other.life.received, ['to the second']);
  });

  it('refuses a peer that bears its own name', () => {
    const twin = new Side('t', world, 900, 'a');
    const wire = new Cable(a, twin);
    wire.open();
    wire.flow();
    assert.deepEqual([a.lives.length, twin.lives.length], [0, 0]);
    assert.ok(a.refused.includes('a NODE_NAME_TAKEN by us'));
  });

  it('breaks a stream that is silent or does not greet, but not because it was held up itself', () => {
    const tick = (time: number) => {
      world.now += time;
      a.links.tick();
    };
    cable.open();
    tick(LINK_TIMING.greeting / 2);
    tick(LINK_TIMING.greeting / 2 - 1);
    assert.equal(a.links.has('b'), true);
    tick(1000);
    assert.equal(a.links.has('b'), false);
    cable.open();
    cable.flow();
    tick(60_000);
    assert.equal(a.links.isAttached('b'), true);
    for (let silent = 0; silent <= LINK_TIMING.silence; silent += 250) tick(250);
    assert.equal(a.links.isAttached('b'), false);
    assert.deepEqual(a.states, ['attached', 'detached']);
    assert.equal(a.life.unacknowledged, null);
    for (let waited = 0; waited <= LINK_TIMING.patience; waited += 1000) tick(1000);
    assert.deepEqual(a.life.unacknowledged, []);
  });

  it('measures the way there and back, and counts what goes over it', () => {
    cable.open();
    cable.flow();
    world.now += 1000;
    a.links.tick();
    world.now += 7;
    cable.flow();
    assert.equal(a.links.roundTrip('b'), 7);
    const before = a.links.traffic('b').bytesOut;
    a.send('12345');
    cable.flow();
    assert.equal(a.links.traffic('b').bytesOut - before, 15);
    cable.cut();
    assert.equal(a.links.roundTrip('b'), null);
    assert.ok(a.links.traffic('b').bytesOut > before);
  });

  it('keeps a bounded number of bytes for a node that does not read, and refuses more', () => {
    cable.open();
    cable.flow();
    const batch = new Uint8Array(MAX_NODE_BATCH);
    const { link } = a;
    assert.ok(link !== null);
    let sent = 0;
    for (; link.unsent + batch.length <= MAX_NODE_UNSENT; sent++) link.send(batch, 0, batch.length);
    assert.ok(sent * batch.length < 13 << 20);
    assert.throws(() => link.send(batch, 0, batch.length), RangeError);
    assert.throws(() => link.send(new Uint8Array(MAX_NODE_BATCH + 1), 0, MAX_NODE_BATCH + 1), RangeError);
    cable.flow();
    assert.equal(b.life.received.length, sent);
    assert.equal(link.unsent, 0);
  });

  it('breaks a stream whose other side does not keep to the numbers', () => {
    for (const frame of [
      frameOf(FrameType.batch, 2, Buffer.from('the first is missing')),
      frameOf(FrameType.ack, 1),
      frameOf(FrameType.greeting, 0, encodeGreeting({ node: 'b', session: 1, peerSession: 0, received: 0 })),
      Buffer.from('no frame at all'),
    ]) {
      cable.open();
      cable.flow();
      cable.inject(0, frame);
      assert.equal(b.links.has('a'), false);
    }
    cable.open();
    cable.inject(0, frameOf(FrameType.batch, 1, Buffer.from('before the greeting')));
    assert.equal(b.links.has('a'), false);
    assert.deepEqual(b.life.received, []);
  });

  it('says no to messages of the directory while the stream is full, and carries them otherwise', () => {
    cable.open();
    assert.equal(a.links.sendDirectory('b', Buffer.from('too early')), false);
    cable.flow();
    assert.equal(a.links.sendDirectory('b', Buffer.from('hear')), true);
    a.send('.'.repeat(5000));
    assert.equal(a.links.sendDirectory('b', Buffer.from('full')), false);
    cable.flow();
    assert.deepEqual(b.directory, ['hear']);
  });
});
