import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
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
