import assert from 'node:assert/strict';
import { Gate, type GateOptions } from '../../../../shards/http/gate.js';
import { DoorServer, FakePort, readAll } from './fake-port.js';

function problem(host: string | undefined, options: Partial<GateOptions> = {}, origin?: string) {
  return new Gate({ host: '127.0.0.1', allowedOrigins: [], secured: false, ...options }).problem({
    host,
    origin,
  });
}

const FOREIGN = [
  undefined,
  '',
  'evil.example',
  'evil.example:8081',
  'localhost.evil.example',
  '127.0.0.1.evil.example',
  'localhost@evil.example',
  'evil.example#localhost',
  '192.168.0.7',
  '[fe80::1]',
  'x:port',
];

describe('Gate', () => {
  it('lets requests in that call the broker by an address of this machine', () => {
    for (const host of ['localhost', 'LOCALHOST:8081', '127.0.0.1:8081', '127.1.2.3', '[::1]:8081'])
      assert.equal(problem(host), null, host);
  });

  it('refuses every other host, and none at all', () => {
    for (const host of FOREIGN) assert.equal(problem(host), 'FORBIDDEN_HOST', host);
  });

  it('looks at each request, whatever it let in before', () => {
    const gate = new Gate({ host: '127.0.0.1', allowedOrigins: [], secured: false });
    for (let i = 0; i < 2; i++) {
      assert.equal(gate.problem({ host: 'localhost:8081' }), null);
      for (const host of FOREIGN) assert.equal(gate.problem({ host }), 'FORBIDDEN_HOST', host);
    }
    assert.equal(
      gate.problem({ host: 'localhost:8081', origin: 'https://evil.example' }),
      'FORBIDDEN_ORIGIN',
    );
  });

  it('answers to the host that the broker listens on', () => {
    assert.equal(problem('box.lan:8081', { host: 'Box.lan' }), null);
    assert.equal(problem('[fd00::7]:8081', { host: 'fd00:0::7' }), null);
    assert.equal(problem('other.lan', { host: 'box.lan' }), 'FORBIDDEN_HOST');
    for (const host of ['0.0.0.0', '::']) {
      assert.equal(problem('192.168.0.7:8081', { host }), null);
      assert.equal(problem('[fd00::7]', { host }), null);
      assert.equal(problem('evil.example', { host }), 'FORBIDDEN_HOST');
    }
  });

  it('answers to the hosts of allowed origins', () => {
    const allowedOrigins = ['https://app.example:8443'];
    assert.equal(problem('app.example', { allowedOrigins }), null);
    assert.equal(problem('evil.example', { allowedOrigins }), 'FORBIDDEN_HOST');
    assert.equal(problem('evil.example', { allowedOrigins: ['*'] }), null);
  });

  it('takes any host where tokens are asked for, but not any origin', () => {
    for (const host of FOREIGN) assert.equal(problem(host, { secured: true }), null, host);
    assert.equal(problem('localhost', { secured: true }, 'https://evil.example'), 'FORBIDDEN_ORIGIN');
  });

  it('keeps out what pages of other sites embed, and lets in who follows a link', () => {
    const gate = new Gate({ host: '127.0.0.1', allowedOrigins: [], secured: false });
    const from = (site: string, mode: string) =>
      gate.problem({ host: 'localhost', 'sec-fetch-site': site, 'sec-fetch-mode': mode });
    assert.equal(from('cross-site', 'no-cors'), 'FORBIDDEN_ORIGIN');
    assert.equal(from('cross-site', 'navigate'), null);
    assert.equal(from('same-origin', 'cors'), null);
  });

  it('stands before every route', async () => {
    const port = new FakePort();
    const server = await DoorServer.open(port);
    for (const request of [
      'GET /healthz HTTP/1.0\r\n',
      'GET /metrics HTTP/1.1\r\nHost: evil.example\r\n',
      'GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: evil.example\r\n',
      'POST /v1/publish/a HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n',
    ]) {
      const socket = server.connect();
      socket.write(`${request}Connection: close\r\n\r\n`);
      assert.match(await readAll(socket), /^HTTP\/1\.1 403 .*"FORBIDDEN_HOST"/s);
    }
    assert.equal(port.published.length + port.streams.length, 0);
    await server.close();
  });
});
