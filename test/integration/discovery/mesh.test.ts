import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHost, GOSSIP_TOPIC } from '../../../discovery/host.js';
import { loadIdentity } from '../../../discovery/identity.js';
import { MESH_TIMING } from '../../../discovery/mesh.js';
import { MeshNode } from '../../../discovery/node.js';
import { FlowbusError } from '../../../lib/errors.js';
import { MAX_NODE_RECORD } from '../../../lib/mesh.js';
import { until } from '../broker/node.js';
import { TcpProxy } from '../broker/proxy.js';
import {
  freePorts,
  isWhole,
  type Member,
  Numbers,
  PATIENT,
  startMember,
  stopMember,
  stopMembers,
} from './member.js';

const isCode = (code: string) => (error: unknown) => error instanceof FlowbusError && error.code === code;

function assertNothingWrong(all: readonly Member[]): void {
  for (const { name, gateway } of all) assert.deepEqual(gateway.wrong, [], name);
}

/** Whether a datagram to a group comes back. */
async function hasMulticast(): Promise<boolean> {
  const group = '224.0.0.251';
  const socket = createSocket({ type: 'udp4', reuseAddr: true }).bind(0);
  try {
    await once(socket, 'listening');
    socket.addMembership(group);
    socket.send('hello', socket.address().port, group);
    await once(socket, 'message', { signal: AbortSignal.timeout(1000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}

/** Each sends some numbers to every other, and all come. */
async function exchange(all: readonly Member[], count = 20): Promise<void> {
  const expected = new Map<Member, number[]>();
  for (const member of all) {
    const others = all.filter((other) => other !== member);
    expected.set(
      member,
      others.map((other) => (other.gateway.life(member.name)?.sent ?? 0) + count),
    );
  }
  for (let i = 0; i < count; i++)
    for (const { gateway } of all) for (const other of all) gateway.send(other.name, 100);
  await until('numbers arrive', () =>
    all.every((member) => {
      const others = all.filter((other) => other !== member);
      return others.every(({ name }, i) => member.gateway.life(name)?.received === expected.get(member)?.[i]);
    }),
  );
  assertNothingWrong(all);
}

describe('mesh', function () {
  // The machine may be busy with other things.
  this.timeout(60_000);
  const dirs: string[] = [];
  const proxies: TcpProxy[] = [];

  function identityDir(): string {
    const dir = mkdtempSync(join(tmpdir(), 'flowbus-mesh-'));
    dirs.push(dir);
    return dir;
  }

  /** A member whom others reach only through a proxy. */
  async function startBehind(name: string, joins: string[]): Promise<{ member: Member; proxy: TcpProxy }> {
    const [port] = await freePorts(1);
    const proxy = await TcpProxy.open(port);
    proxies.push(proxy);
    const announce = [proxy.url.replace('ws://', '')];
    return { member: await startMember(name, { port, announce, join: joins, timing: PATIENT }), proxy };
  }

  afterEach(async () => {
    await stopMembers();
    for (const proxy of proxies.splice(0)) proxy.close();
    for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
  });

  it('five nodes that each know one other, and start at the same time, become one mesh', async () => {
    const ports = await freePorts(5);
    const all = await Promise.all(
      ports.map((port, i) => startMember(`n${i}`, { port, join: [`127.0.0.1:${ports[(i + 1) % 5]}`] })),
    );
    await until('all know each other', () => isWhole(all), 30_000);
    await exchange(all);
    all[3].mesh.write('later', Buffer.from('news'));
    all[4].mesh.write('record', null);
    await until('changes are everywhere', () =>
      all
        .slice(0, 3)
        .every(({ gateway: { records } }) => records.get('n3 later') === 'news' && !records.has('n4 record')),
    );
    const nodes = all[1].mesh.nodes();
    assert.deepEqual(
      nodes.map(({ node, state, agents }) => [node, state, agents]),
      [
        ['n1', 'alive', 1],
        ['n0', 'alive', 1],
        ['n2', 'alive', 1],
        ['n3', 'alive', 2],
        ['n4', 'alive', 0],
      ],
    );
    await until('round trips are measured', () =>
      all[1].mesh.nodes().every(({ node, roundTrip }) => node === 'n1' || (roundTrip ?? 0) > 0),
    );
    for (const { node, bytesIn, bytesOut, addresses } of all[1].mesh.nodes().slice(1)) {
      assert.ok(bytesIn > 2000 && bytesOut > 2000, node);
      assert.deepEqual(addresses, all.find(({ name }) => name === node)?.mesh.addresses);
    }
  });

  it('a seed that is down is tried again, without noise, until it is there', async () => {
    const [port] = await freePorts(1);
    const one = await startMember('one', { join: [`127.0.0.1:${port}`] });
    const address = `/ip4/127.0.0.1/tcp/${port}`;
    await until('the first attempt has failed', () =>
      one.lines.some((line) => line.includes('cannot be reached')),
    );
    assert.deepEqual(
      one.mesh.nodes().map(({ node, state }) => [node, state]),
      [
        ['one', 'alive'],
        [address, 'joining'],
      ],
    );
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.equal(one.lines.length, 2, one.lines.join('\n'));
    const seed = await startMember('seed', { port });
    await until('they have met', () => isWhole([one, seed]));
    await until('it is no longer joining', () => one.mesh.nodes().length === 2);
  });

  it('connections that break lose and repeat nothing', async () => {
    const { member: a, proxy: first } = await startBehind('a', []);
    const { member: b, proxy: second } = await startBehind('b', [a.mesh.addresses[0]]);
    const both = [a, b];
    await until('they are linked', () => isWhole(both));
    let isSending = true;
    const senders = both.map(async ({ gateway, name }) => {
      for (let i = 0; isSending; i++) {
        while (gateway.send(name === 'a' ? 'b' : 'a', i % 10 === 0 ? 60_000 : 200) && i % 100 !== 0) i++;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    for (let cut = 0; cut < 4; cut++) {
      const before = both.map(
        ({ gateway }) => gateway.life(gateway === a.gateway ? 'b' : 'a')?.received ?? 0,
      );
      await until('numbers come both ways', () =>
        both.every(({ gateway }, i) => (gateway.life(i === 0 ? 'b' : 'a')?.received ?? 0) > before[i] + 500),
      );
      for (const proxy of [first, second]) proxy.cut();
      for (const proxy of [first, second]) proxy.release();
    }
    isSending = false;
    await Promise.all(senders);
    await until('everything has come', () =>
      both.every(
        ({ gateway }, i) =>
          gateway.life(i === 0 ? 'b' : 'a')?.received === both[1 - i].gateway.life(i === 0 ? 'a' : 'b')?.sent,
      ),
    );
    assertNothingWrong(both);
    assert.deepEqual([a.gateway.lives.get('b')?.length, b.gateway.lives.get('a')?.length], [1, 1]);
  });

  it('a connection that leads nowhere is noticed, and made anew', async () => {
    const { member: a, proxy: first } = await startBehind('a', []);
    const { member: b, proxy: second } = await startBehind('b', [a.mesh.addresses[0]]);
    await until('they are linked', () => isWhole([a, b]));
    await exchange([a, b]);
    for (const proxy of [first, second]) proxy.swallow();
    for (let i = 0; i < 10; i++)
      for (const { gateway } of [a, b]) gateway.send(gateway === a.gateway ? 'b' : 'a');
    await exchange([a, b]);
    assert.equal(a.gateway.lives.get('b')?.length, 1);
  });

  it('a node that leaves is gone at once, and is itself again when it comes back', async () => {
    const options = { identityDir: identityDir() };
    const a = await startMember('a');
    const b = await startMember('b', { ...options, join: [a.mesh.addresses[0]] });
    await until('they are linked', () => isWhole([a, b]));
    const { peerId } = b.mesh;
    const [, before] = a.mesh.nodes();
    b.gateway.send('a');
    await stopMember(b);
    await until('it has left', () => a.gateway.states.get('b') === 'left' && a.gateway.linked === 0);
    assert.equal(a.gateway.records.has('b record'), false);
    assert.deepEqual(a.gateway.lives.get('b')?.at(-1)?.received, 1);
    // It knows where the other was: nobody tells it.
    const again = await startMember('b', options);
    await until('it is back', () => isWhole([a, again]));
    assert.equal(again.mesh.peerId, peerId);
    assert.equal(a.mesh.nodes()[1].incarnation, before.incarnation + 1);
    await exchange([a, again]);
  });

  it('refuses peers with another secret, peers that are not allowed, and bytes that mean nothing', async () => {
    const secret = 'a text that only nodes know';
    const a = await startMember('a', { secret });
    const target = [a.mesh.addresses[0]];
    const wrong = await startMember('wrong', { secret: 'another text', join: target });
    const none = await startMember('none', { join: target });
    await until('they were refused', () =>
      [wrong, none].every(({ lines }) => lines.some((line) => line.includes('cannot be reached'))),
    );
    const port = Number(target[0].split('/').at(-1));
    for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(100_000, 7)]) {
      const socket = createConnection({ port, host: '127.0.0.1' });
      socket.on('error', () => {});
      socket.resume().end(bytes);
      await new Promise((resolve) => socket.once('close', resolve));
    }
    const b = await startMember('b', { secret, join: target });
    await until('the one with the secret is there', () => isWhole([a, b]));
    const closed = await startMember('closed', { secret, allow: [a.mesh.peerId] });
    const c = await startMember('c', { secret, join: [closed.mesh.addresses[0]] });
    await exchange([a, b]);
    assert.deepEqual(
      [wrong, none, closed, c].map(({ gateway }) => gateway.linked),
      [0, 0, 0, 0],
    );
    assert.equal(a.gateway.linked, 1);
  });

  it('refuses a second node of the same name, and both say why', async () => {
    const a = await startMember('a');
    const b = await startMember('b', { join: [a.mesh.addresses[0]] });
    await until('they are linked', () => isWhole([a, b]));
    const timing = { ...MESH_TIMING, dialer: { ...MESH_TIMING.dialer, refused: 1000 } };
    const twin = await startMember('b', { join: [a.mesh.addresses[0]], timing });
    const says = ({ lines }: Member) => lines.filter((line) => line.startsWith('NODE_NAME_TAKEN')).length;
    await until('both have said it', () => says(a) === 1 && says(twin) === 1);
    await exchange([a, b]);
    assert.equal(twin.gateway.linked, 0);
    assert.equal(a.gateway.records.get('b record'), 'of b');
    // The name is free again when the first one has gone.
    await stopMember(b);
    await until('the twin has its place', () => isWhole([a, twin]), 30_000);
  });

  it('gossip that has fallen silent on a live connection is cured', async () => {
    const a = await startMember('a');
    const lines: string[] = [];
    const log = {
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (_: object, line: string) => lines.push(line),
    };
    const identity = await loadIdentity(null);
    const host = await createHost({
      key: identity.key,
      listen: '/ip4/127.0.0.1/tcp/0',
      announce: [],
      mdns: false,
    });
    const gateway = new Numbers();
    const node = new MeshNode('b', host, identity, gateway, MESH_TIMING, log, randomInt);
    await node.start(a.mesh.addresses, false);
    try {
      const { streamsOutbound } = host.services.gossip as unknown as {
        streamsOutbound: Map<string, { rawStream: { abort(reason: Error): void } }>;
      };
      const subscribers = () => host.services.gossip.getSubscribers(GOSSIP_TOPIC).length;
      await until('gossip has begun', () => streamsOutbound.has(a.mesh.peerId) && subscribers() === 1);
      const [connection] = host.getConnections();
      streamsOutbound.get(a.mesh.peerId)?.rawStream.abort(new Error('by the test'));
      assert.equal(streamsOutbound.has(a.mesh.peerId), false);
      await until('gossip has begun again', () => streamsOutbound.has(a.mesh.peerId) && subscribers() === 1);
      assert.notEqual(host.getConnections()[0], connection);
      await until('the link is there', () => node.nodes()[1].roundTrip !== null);
      assert.equal(gateway.lives.get('a')?.length, 1);
      assert.deepEqual(lines, []);
    } finally {
      await node.close();
    }
  });

  it('nodes on one LAN find each other by mDNS', async function () {
    if (!(await hasMulticast())) {
      console.log('      skipped: no multicast on this machine');
      this.skip();
    }
    const secret = randomBytes(16).toString('hex');
    const both = [
      await startMember('a', { mdns: true, secret }),
      await startMember('b', { mdns: true, secret }),
    ];
    await until('they have met', () => isWhole(both));
  });

  it('says what is wrong with its own options', async () => {
    await assert.rejects(startMember('a', { join: ['nowhere'] }), isCode('BAD_NODE_ADDRESS'));
    const a = await startMember('a');
    const port = Number(a.mesh.addresses[0].split('/').at(-1));
    await assert.rejects(startMember('b', { port }), isCode('MESH_LISTEN_FAILED'));
    const dir = identityDir();
    writeFileSync(join(dir, 'mesh.key'), 'no key');
    await assert.rejects(startMember('c', { identityDir: dir }), isCode('BAD_IDENTITY'));
    await assert.rejects(startMember('d', { secret: '' }), isCode('BAD_CONFIG'));
    assert.throws(() => a.mesh.write('', Buffer.from('x')), RangeError);
    assert.throws(() => a.mesh.write('large', Buffer.alloc(MAX_NODE_RECORD)), RangeError);
  });
});
