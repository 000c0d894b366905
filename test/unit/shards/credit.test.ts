/** What keeps publishers from sending more than their takers can take, at each door. */
import assert from 'node:assert/strict';
import type { TelemetryReader } from '../../../lib/telemetry/block.js';
import { Encoding } from '../../../lib/wire/frame.js';
import { FrameWriter } from '../../../lib/wire/writer.js';
import type { DoorContext } from '../../../shards/doors/context.js';
import { HttpPort } from '../../../shards/doors/http-port.js';
import type { Session } from '../../../shards/session.js';
import { aloneShard, FakeClient, turn } from './fake-client.js';

const KIB = 1024;
const SIZE = 16 * KIB;
/** More messages than any publisher has credit for. */
const MANY = 1000;
/** What urgent messages may go further; see PROTOCOL.md. */
const ALLOWANCE = 64 * KIB;

function sessionOf(context: DoorContext, agentId: string): Session {
  for (const session of context.sessions.all()) if (session.agent.agentId === agentId) return session;
  return assert.fail(`no session of ${agentId}`);
}

describe('credit to publish', () => {
  const doors = {
    binary: async (context: DoorContext) => {
      const client = await FakeClient.join(context, 'publisher');
      const frame = new FrameWriter(65_536).publish({
        topic: 'x',
        sender: client.welcome?.sender ?? 0,
        from: 'publisher',
        lane: 2,
        encoding: Encoding.bytes,
        payload: new Uint8Array(SIZE),
      });
      return { client, publish: () => client.receive(frame) };
    },
    json: async (context: DoorContext) => {
      const client = FakeClient.json(context);
      client.receive(Buffer.from('{"op":"hello","agentId":"publisher"}'), false);
      await turn();
      const text = Buffer.from(JSON.stringify({ op: 'publish', topic: 'x', data: 'x'.repeat(SIZE) }));
      return { client, publish: () => client.receive(text, false) };
    },
  };

  for (const [door, enter] of Object.entries(doors)) {
    it(`is renewed while nobody holds the publisher (${door})`, async () => {
      const { context } = aloneShard();
      const { client, publish } = await enter(context);
      for (let i = 0; i < MANY; i++) {
        publish();
        assert.equal(client.paused, false);
      }
    });

    it(`ends while somebody does: who sends all the same is not read, until let go (${door})`, async () => {
      const { context } = aloneShard();
      const { client, publish } = await enter(context);
      const session = sessionOf(context, 'publisher');
      context.exchange.hold(session.sender.number);
      const { limit } = session;
      for (let i = 0; i < MANY && !client.paused; i++) publish();
      assert.equal(client.paused, true);
      assert.equal(session.limit, limit);
      assert.ok(session.published > limit + ALLOWANCE);
      assert.ok(session.published <= limit + ALLOWANCE + 2 * SIZE);
      context.exchange.unhold(session.sender.number);
      assert.equal(client.paused, false);
      assert.ok(session.limit > session.published);
    });
  }

  it('is that of all who publish over HTTP together: OVERLOADED while a taker holds them', async () => {
    const { context } = aloneShard();
    const port = new HttpPort(
      context,
      {} as TelemetryReader,
      () => [],
      () => {},
    );
    await FakeClient.join(context, 'taker', ['x']);
    const taker = sessionOf(context, 'taker');
    const { sink } = taker;
    const publish = () =>
      port.publish(undefined, 'x', new Uint8Array(SIZE), Encoding.bytes, {
        lane: 2,
        ttl: null,
        key: null,
        delay: null,
        retry: null,
        retain: false,
      });
    // Without it all waits, as for a socket that takes nothing.
    taker.sink = null;
    let taken = 0;
    while (taken < MANY && publish() === 'ok') taken++;
    assert.ok(taken < MANY);
    assert.equal(publish(), 'OVERLOADED');
    assert.equal(taker.missed, 0);
    taker.sink = sink;
    for (let i = 0; i < MANY && !taker.lanes.empty; i++) {
      taker.touch();
      context.exchange.endTurn();
    }
    assert.equal(publish(), 'ok');
  });
});
