import assert from 'node:assert/strict';
import { C } from '../../../lib/telemetry/counters.js';
import { Taker, twoShards } from './two-shards.js';
import { publish } from './wires.js';

describe('nearly full mailboxes of two shards', () => {
  const { lose, run, open, groupOn, assured, ack, shards } = twoShards();

  for (const home of [0, 1]) {
    it(`on shard ${home} under pressure tell assured publishers, hold live ones, and in an emergency take nothing from those`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(1, 'c');
      const limits = { maxMessages: 20, lease: 60_000 };
      const { group, mailbox } = await groupOn(home, 1, consumer.session, limits);
      const name = `group:${group}:work.*`;
      const { counters } = shards[home].exchange;
      const fill = (to: number): void => {
        for (let i = teller.taker.stored.length; i < to; i++) {
          assured(0, teller.session, 'work.x', `m${i}`);
          run();
        }
      };
      const liven = (): void => {
        publish(shards[0], live.session, 'work.x', 2);
        run();
      };
      const look = (): number[] => {
        shards[home].mailboxes.check();
        return [counters[C.mailboxesPressed], counters[C.mailboxesEmergency], counters[C.mailboxMessages]];
      };
      fill(15);
      liven();
      assert.deepEqual(look(), [1, 0, 16], '80 % full');
      assert.deepEqual([teller.taker.changes, live.session.holds], [[], 0], 'nobody has published since');
      fill(16);
      liven();
      assert.deepEqual([teller.taker.changes, live.session.holds], [[`${name} true`], 1]);
      assert.equal(live.taker.changes.length, 0);
      liven();
      assert.deepEqual(look(), [0, 1, 19], '95 % full');
      const dropped = counters[C.shedsCritical + 2];
      liven();
      assert.equal(counters[C.shedsCritical + 2], dropped + 1, 'live ones are dropped, and counted');
      fill(17);
      assured(0, teller.session, 'work.x', 'too much');
      run();
      assert.deepEqual(teller.taker.refused, ['too much: MAILBOX_FULL']);
      let acked = 0;
      const done = (messages: number): void => {
        for (; messages > 0; messages--)
          ack(1, consumer.session, mailbox, consumer.taker.got[acked++].offset);
      };
      done(4);
      liven();
      assert.deepEqual(look(), [0, 1, 16], 'until it is below 80 %');
      done(1);
      assert.deepEqual(look(), [1, 0, 15]);
      liven();
      assert.deepEqual(look(), [1, 0, 16]);
      done(3);
      assert.deepEqual([teller.taker.changes.length, live.session.holds], [1, 1]);
      done(1);
      assert.deepEqual(look(), [0, 0, 12], '60 % full');
      assert.deepEqual(teller.taker.changes, [`${name} true`, `${name} false`]);
      assert.equal(live.session.holds, 0);
    });

    it(`on shard ${home} let live publishers go when their consumers do nothing, or their shard is gone`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(0, 'c');
      await groupOn(home, 0, consumer.session, { maxMessages: 20, lease: 60_000 });
      const press = (): void => {
        for (let i = 0; i < 16; i++) publish(shards[0], live.session, 'work.x', 2);
        run();
        publish(shards[0], live.session, 'work.x', 2);
        run();
      };
      press();
      assert.equal(live.session.holds, 1);
      shards[home].exchange.now += 5000;
      shards[home].mailboxes.check();
      run();
      assert.equal(live.session.holds, 0);
      publish(shards[0], live.session, 'work.x', 2);
      assured(0, teller.session, 'work.x', 'a');
      run();
      assert.equal(live.session.holds, 0, 'and does not hold them again');
      assert.equal(teller.taker.changes.length, 1);
      if (home === 0) return;
      lose(1);
      assert.equal(teller.taker.changes.length, 2, 'of a shard that is gone there is nothing to wait for');
    });

    it(`on shard ${home} under pressure hold nobody whose connection is gone, and forget whom they told`, async () => {
      const [teller, live] = [open(0, 'p'), open(0, 'l')];
      const consumer = open(0, 'c');
      const { mailbox } = await groupOn(home, 0, consumer.session, { maxMessages: 20, lease: 60_000 });
      for (let i = 0; i < 17; i++) {
        publish(shards[0], live.session, 'work.x', 2);
        run();
      }
      assured(0, teller.session, 'work.x', 'a');
      run();
      const pressed = shards[0].table.find(mailbox)!.pressed!;
      assert.deepEqual([live.session.holds, pressed.held.size, pressed.told.size], [1, 1, 1]);
      shards[0].sessions.lost(live.session, true);
      shards[0].sessions.end(teller.session, null, '');
      assert.deepEqual([live.session.holds, pressed.held.size, pressed.told.size], [0, 0, 0]);
      shards[0].sessions.attach(live.session, new Taker());
      publish(shards[0], live.session, 'work.x', 2);
      run();
      assert.deepEqual([live.session.holds, pressed.held.size], [1, 1], 'it came back, and goes on');
    });
  }
});
