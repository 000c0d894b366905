import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpServer } from '../../../../shards/http/server.js';
import { DoorServer, FakePort, readAll } from './fake-port.js';

const IDLE = 200;
const POLL = 5;

describe('HTTP server of a shard', () => {
  let port: FakePort;
  let server: DoorServer;

  beforeEach(async () => {
    port = new FakePort();
    server = await DoorServer.open(port, { heartbeat: 50 }, { idle: IDLE });
  });

  afterEach(() => server.close());

  const late = /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*\r\n\r\n\{"code":"UPGRADE_TIMEOUT",/;

  it('refuses a connection that says nothing', async () => {
    const socket = server.connect();
    assert.match(await readAll(socket), late);
  });

  it('does nothing any more about a request that is whole just behind its time', async () => {
    const socket = server.connect(true);
    socket.on('error', () => {});
    socket.write('POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n');
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), late);
    socket.write('\r\n');
    while (server.connections > 0) await sleep(POLL);
    assert.deepEqual(port.statuses, []);
    assert.deepEqual(port.published, []);
    socket.destroy();
  });

  it('refuses a connection whose request drips in', async () => {
    const socket = server.connect();
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', () => {});
    const begun = performance.now();
    socket.write('GET /healthz HTTP/1.1\r\n');
    const dripping = setInterval(() => socket.write('a: b\r\n'), 20);
    await once(socket, 'close');
    clearInterval(dripping);
    assert.ok(performance.now() - begun >= IDLE);
    assert.match(text, late);
    assert.deepEqual(port.statuses, []);
  });

  it('closes a connection that asks nothing more', async () => {
    const socket = server.connect();
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
    assert.match(await readAll(socket), /^HTTP\/1\.1 200 /);
  });

  it('leaves a stream alone, however long it lasts', async () => {
    const socket = server.connect();
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.write('GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const begun = performance.now();
    while (performance.now() - begun < 3 * IDLE) await sleep(POLL);
    assert.equal(socket.closed, false);
    assert.equal(port.streams[0].closes, 0);
    assert.ok(text.includes(':\n\n'));
    socket.destroy();
  });

  it('hands an upgrade on and does not watch it any more', async () => {
    const socket = server.connect();
    socket.write(
      'GET /?agentId=a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    const begun = performance.now();
    while (performance.now() - begun < 3 * IDLE) await sleep(POLL);
    assert.deepEqual(server.upgraded, ['/?agentId=a']);
    assert.equal(socket.closed, false);
    socket.destroy();
  });

  it('ends a connection that asks for an upgrade while an answer is still to come', async () => {
    const socket = server.connect();
    socket.on('error', () => {});
    socket.write(
      'GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: x\r\n\r\n' +
        'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    await once(socket, 'close');
    assert.doesNotMatch(text, /101 Switching/);
    assert.deepEqual(server.upgraded, []);
  });

  it('refuses headers of more than 8 KiB', async () => {
    const socket = server.connect();
    socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ${'a'.repeat(9000)}\r\n\r\n`);
    assert.match(await readAll(socket), /^HTTP\/1\.1 431 /);
  });
});

describe('what the HTTP server keeps with a connection', () => {
  let server: Server;
  let port: number;

  async function accepted(request: string): Promise<{ client: Socket; socket: Socket }> {
    const connection = once(server, 'connection');
    const client = connect(port, '127.0.0.1');
    client.on('error', () => {});
    client.write(request);
    return { client, socket: (await connection)[0] as Socket };
  }

  beforeEach(async () => {
    server = createHttpServer(
      () => {},
      (_request, socket) => socket.write('upgraded'),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });

  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  it('is a bound on silence while a request is open', async () => {
    const { client, socket } = await accepted('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(server, 'request');
    assert.equal(socket.timeout, 30_000);
    client.destroy();
  });

  it('is nothing once it is a WebSocket', async () => {
    const before = new Socket().listenerCount('close');
    const { client, socket } = await accepted(
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    await once(client, 'data');
    assert.equal(socket.timeout ?? 0, 0);
    assert.equal(socket.listenerCount('close'), before);
    client.destroy();
    socket.destroy();
  });
});
