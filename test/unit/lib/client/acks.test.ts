import assert from 'node:assert/strict';
import { Acks } from '../../../../lib/client/acks.js';
import { ACK_SIZE } from '../../../../lib/wire/delivery.js';
import { FrameType, readU32, readU64 } from '../../../../lib/wire/frame.js';

/** `turn`: how many turns of the event loop ended before it was sent. */
interface Sent {
  type: FrameType;
  runs: string[];
  turn: number;
}

describe('Acks', () => {
  let sent: Sent[];
  let turn: number;
  let arrived: () => void;
  let acks: Acks;
  let counting: boolean;

  beforeEach(() => {
    sent = [];
    turn = 0;
    arrived = () => {};
    counting = true;
    const count = (): void => {
      turn++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    acks = new Acks(
      (type, payload) => {
        const runs: string[] = [];
        if (type === FrameType.ack)
          for (let o = 0; o < payload.length; o += ACK_SIZE)
            runs.push(`${readU32(payload, o)}: ${readU64(payload, o + 4)} + ${readU32(payload, o + 12)}`);
        sent.push({ type, runs, turn });
        arrived();
      },
      (mailbox) => (mailbox === 1 ? 100 : 1),
    );
  });
  afterEach(() => {
    counting = false;
  });

  function next(): Promise<void> {
    return new Promise((resolve) => {
      arrived = resolve;
    });
  }

  it('leave together, as runs, and by themselves', async () => {
    for (const offset of [5, 6, 7, 9]) acks.ack(1, offset, false);
    assert.equal(sent.length, 0);
    await next();
    assert.deepEqual(
      sent.map(({ runs }) => runs),
      [['1: 5 + 3', '1: 9 + 1']],
    );
    acks.ack(1, 10, false);
    await next();
    assert.deepEqual(sent[1].runs, ['1: 10 + 1']);
  });

  for (const [why, give] of [
    ['a quarter of prefetch waits', () => Array.from({ length: 25 }, (_, i) => acks.ack(1, i, false))],
    ['no other message may be in hand', () => acks.ack(2, 1, false)],
    ['others with the key wait', () => acks.ack(1, 1, true)],
  ] as const)
    it(`leave in the turn in which they are given when ${why}`, async () => {
      acks.ack(1, 1000, false);
      give();
      await next();
      assert.ok(sent[0].turn <= 1, `after ${sent[0].turn} turns`);
    });

  it('go ahead of a nack, and are sent once', async () => {
    acks.ack(1, 1, false);
    acks.nack(1, 2, 'no');
    assert.deepEqual(
      sent.map(({ type }) => type),
      [FrameType.ack, FrameType.nack],
    );
    acks.ack(1, 3, false);
    await next();
    assert.deepEqual(sent[2].runs, ['1: 3 + 1']);
    assert.equal(sent.length, 3);
  });
});
