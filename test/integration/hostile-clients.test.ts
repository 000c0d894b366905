/** Clients that break no frame but everything else: slow, silent, deaf, or without manners. */
import assert from 'node:assert/strict';
import { setImmediate as immediate, setTimeout as pause } from 'node:timers/promises';
import { Encoding, FrameType } from '../../lib/wire/frame.js';
import { controlFrame } from '../../lib/wire/writer.js';
import { Attacker } from './attacker.js';
import { changed, helloFrame } from './bad-frames.js';
import { closeAgents, join, metric, nameOn, until } from './broker/node.js';
import { clientMessage, Opcode, RawSocket } from './raw-socket.js';
import { Siege } from './siege.js';

const MIB = 1024 * 1024;
/** In one test, of all shards together: mostly garbage. What would be held without a bound is a multiple. */
const MEMORY_GROWTH = 96 * MIB;
const UPGRADE_TIMEOUT = 300;
const HELLO_TIMEOUT = 300;
const STALL_LIMIT = 200;
/** Messages of 16 KiB: 256 MiB. */
const FLOOD = 16_384;

describe('hostile clients', function () {
  this.timeout(30_000);
  const siege = new Siege({
    upgradeTimeout: UPGRADE_TIMEOUT,
    helloTimeout: HELLO_TIMEOUT,
    stallLimit: STALL_LIMIT,
    backlog: MIB,
  });
  const sockets: RawSocket[] = [];
  let measured = 0;

  afterEach(async () => {
    for (const raw of sockets.splice(0)) raw.end();
    await closeAgents();
  });

  function reach(): RawSocket {
    const raw = new RawSocket(siege.node);
    sockets.push(raw);
    return raw;
  }

  async function upgraded(): Promise<RawSocket> {
    const raw = await RawSocket.upgraded(siege.node);
    sockets.push(raw);
    return raw;
  }

  /** One byte at a time, until the broker has had enough. */
  async function drip(raw: RawSocket, text: string): Promise<void> {
    for (const byte of Buffer.from(text)) {
      if (raw.closed || raw.received.length > 0) return;
      await raw.write(Buffer.of(byte));
      await pause(UPGRADE_TIMEOUT / 20);
    }
  }

  /** Bytes of all shards, measured from now on: each measures itself once a second, and its processor time with it. */
  async function residents(): Promise<number> {
    for (let slot = 0; slot < siege.node.shards; slot++) {
      const cpu = (): Promise<number> => metric(siege.node, 'flowbus_cpu_seconds_total', `worker="${slot}"`);
      const before = await cpu();
      await until('a measurement', async () => (await cpu()) > before);
    }
    return metric(siege.node, 'flowbus_resident_memory_bytes');
  }

  /** Since the last measurement. */
  async function bounded(): Promise<void> {
    const before = measured;
    measured = await residents();
    assert.ok(measured - before < MEMORY_GROWTH, `the shards grew by ${measured - before} bytes`);
  }

  before(async () => {
    measured = await residents();
  });

  describe('at the upgrade', () => {
    const timedOut = /^HTTP\/1\.1 408 [\s\S]*"UPGRADE_TIMEOUT"/;

    it('408 for a connection that says nothing', async () => {
      const raw = reach();
      await raw.ended();
      assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });

    it('408 for a request line that does not end', async () => {
      const raw = reach();
      await raw.write(Buffer.from('GET /?agentId=x'));
      await raw.ended();
      assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });

    it('408 for a request line that comes byte by byte', async () => {
      const raw = reach();
      await drip(raw, `GET /${'x'.repeat(1000)}`);
      await raw.ended();
      assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });

    it('408 for headers that do not end', async () => {
      const raw = reach();
      await raw.write(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n'));
      await raw.ended();
      assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });

    it('408 for headers that come byte by byte', async () => {
      const raw = reach();
      await raw.write(Buffer.from('GET / HTTP/1.1\r\n'));
      await drip(raw, `X: ${'x'.repeat(1000)}`);
      await raw.ended();
      assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });

    it('500 of them at once keep nobody out', async () => {
      const raws = Array.from({ length: 500 }, reach);
      for (const raw of raws) raw.socket.write('GET ');
      await join(siege.url, 'in-spite-of-them');
      await siege.unharmed();
      await Promise.all(raws.map((raw) => raw.ended()));
      for (const raw of raws) assert.match(raw.received.toString(), timedOut);
      await siege.unharmed();
    });
  });

  describe('at the WebSocket', () => {
    const hello = clientMessage(Opcode.binary, helloFrame({ agentId: 'hostile' }));
    const ping = clientMessage(Opcode.ping, 'x');

    for (const [title, bytes] of [
      ['a message that is not masked', Buffer.from([0x82, 1, 0])],
      ['a reserved bit', changed(ping, 0, 0xc9)],
      ['a reserved operation', changed(ping, 0, 0x83)],
      ['a continuation of nothing', changed(ping, 0, 0x80)],
      ['a ping in fragments', changed(ping, 0, 0x09)],
      ['a ping of 126 bytes', clientMessage(Opcode.ping, new Uint8Array(126))],
      ['a close of one byte', clientMessage(Opcode.close, 'x')],
      ['a close with a code that is none', clientMessage(Opcode.close, Uint8Array.of(0, 7))],
      ['a length of 2^63', Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
      ['a length of 2^53', Buffer.from([0x82, 0xff, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    ] as const) {
      it(`ends a connection for ${title}`, async () => {
        const raw = await upgraded();
        await raw.write(hello);
        await raw.until('the welcome', () => raw.received.length > 40);
        await raw.write(bytes);
        await raw.ended();
        await siege.unharmed();
      });
    }

    it('says nothing behind its close, whatever still comes', async () => {
      const raw = await upgraded();
      const bad = clientMessage(Opcode.binary, changed(helloFrame(), 0, 0));
      await raw.write(Buffer.concat(new Array(50).fill(bad)));
      await raw.until('the close', () => raw.received.includes('BAD_MAGIC', -9));
      await raw.write(Buffer.concat(new Array(50).fill(bad)));
      await raw.ended();
      const close = raw.received.subarray(-13);
      assert.deepEqual(close, Buffer.from('\x88\x0b\x03\xf0BAD_MAGIC', 'latin1'));
      assert.equal(raw.received.toString('latin1').split('FLOW\x01\x0c').length - 1, 1, 'one error frame');
      await siege.unharmed();
    });

    it('lets nobody in whose hello comes behind HELLO_TIMEOUT', async () => {
      const seen: string[] = [];
      const presence = await siege.bystanders
        .on(0)
        .subscribe('system.agent.*.online', (message) => seen.push(message.topic));
      const raw = await upgraded();
      await raw.until('the close', () => raw.received.includes('HELLO_TIMEOUT'));
      const size = raw.received.length;
      await raw.write(clientMessage(Opcode.binary, helloFrame({ agentId: 'too-late' })));
      // The broker waits for the answer to its close for a while.
      await raw.ended();
      assert.equal(raw.received.length, size);
      await join(siege.url, 'in-time');
      await until('the presence of another', () => seen.includes('system.agent.in-time.online'));
      assert.ok(!seen.includes('system.agent.too-late.online'));
      await presence.unsubscribe();
      await siege.unharmed();
    });

    it('ends a flood of WebSocket pings whose pongs nobody reads', async () => {
      const raw = await upgraded();
      await raw.write(hello);
      await raw.until('the welcome', () => raw.received.length > 40);
      raw.socket.pause();
      const flood = Buffer.concat(new Array(1000).fill(clientMessage(Opcode.ping, new Uint8Array(125))));
      for (let sent = 0; sent < 64 * MIB && !raw.closed; sent += flood.length) await raw.write(flood);
      await until('the end', () => raw.closed);
      await bounded();
      await siege.unharmed();
    });
  });

  describe('that do not read', () => {
    /** Runs `flood` until the broker has declared the agent offline. */
    async function floodUntilOffline(agentId: string, flood: () => Promise<void>): Promise<void> {
      let offline = false;
      const presence = await siege.bystanders.on(0).subscribe(`system.agent.${agentId}.offline`, () => {
        offline = true;
      });
      while (!offline) {
        await flood();
        // Where the connection is gone, sending fails at once, and would leave no room for the news.
        await immediate();
      }
      await presence.unsubscribe();
    }

    function sent(attacker: Attacker, data: string | Uint8Array): Promise<void> {
      return new Promise((resolve) => attacker.ws.send(data, () => resolve()));
    }

    it('are cut off with SLOW_READER when they ping and ping', async () => {
      const agentId = nameOn(1, 'pinger');
      const attacker = await Attacker.join(siege.url, { agentId });
      attacker.ws.pause();
      const ping = controlFrame(FrameType.ping, 1, Encoding.bytes, new Uint8Array(125));
      const batch = Buffer.concat(new Array(300).fill(ping));
      await floodUntilOffline(agentId, () => sent(attacker, batch));
      attacker.ws.resume();
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: 'SLOW_READER' });
      assert.equal(attacker.goaway?.code, 'SLOW_READER');
      await bounded();
      await siege.unharmed();
    });

    it('are cut off with SLOW_READER when they make one mistake after the other', async () => {
      const agentId = nameOn(0, 'blunderer');
      const attacker = await Attacker.join(siege.url, { agentId });
      attacker.ws.pause();
      const batch = Buffer.concat(new Array(300).fill(attacker.message('_foo')));
      await floodUntilOffline(agentId, () => sent(attacker, batch));
      attacker.ws.resume();
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: 'SLOW_READER' });
      await siege.unharmed();
    });

    it('are cut off with SLOW_READER when they speak JSON', async () => {
      const agentId = nameOn(1, 'json-pinger');
      const attacker = await Attacker.reach(`${siege.url}/?agentId=${agentId}`);
      const texts: string[] = [];
      attacker.ws.on('message', (data: Buffer) => texts.push(data.toString()));
      attacker.sendText(JSON.stringify({ op: 'hello', agentId, metadata: { note: 'x'.repeat(4000) } }));
      await until('the welcome', () => texts.length > 0);
      attacker.ws.pause();
      const ask = JSON.stringify({ op: 'agents', id: agentId });
      await floodUntilOffline(agentId, async () => {
        for (let i = 0; i < 50; i++) attacker.sendText(ask);
        await sent(attacker, ask);
      });
      attacker.ws.resume();
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: 'SLOW_READER' });
      assert.match(texts.at(-1)!, /"op":"goaway","code":"SLOW_READER"/);
      await bounded();
      await siege.unharmed();
    });

    it('shed what they are subscribed to, in bounded memory, and slow nobody for long', async () => {
      const deaf = await Attacker.join(siege.url, { agentId: nameOn(0, 'deaf') });
      await deaf.subscribe('flood.*');
      const publisher = await join(siege.url, nameOn(0, 'publisher'));
      deaf.ws.pause();
      const payload = new Uint8Array(16 * 1024);
      // More than the backlog and what the kernel holds for a socket together.
      for (let i = 0; i < FLOOD; i++) if (!publisher.publish('flood.x', payload)) await publisher.drained();
      await bounded();
      await siege.unharmed();
      deaf.ws.resume();
      await deaf.until('the gap', () => deaf.missed > 0);
      publisher.publish('flood.last', 'the last');
      await deaf.until('the last', () => deaf.delivered.at(-1)?.text === 'the last');
      assert.equal(deaf.delivered.length + deaf.missed, FLOOD + 1);
      await siege.unharmed();
    });
  });
});
