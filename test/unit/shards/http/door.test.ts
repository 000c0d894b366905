import assert from 'node:assert/strict';
import { Encoding, HEADER_SIZE } from '../../../../lib/wire/frame.js';
import { Gate } from '../../../../shards/http/gate.js';
import { DoorServer, FakePort, RECORD, readAll } from './fake-port.js';

const LIVE = { lane: 2, ttl: null, key: null, delay: null, retry: null, retain: false };

describe('HTTP door', () => {
  let port: FakePort;
  let server: DoorServer;

  beforeEach(async () => {
    port = new FakePort();
    server = await DoorServer.open(port, { bodyTime: 100, maxBodies: 2 });
  });

  afterEach(() => server.close());

  const get = (path: string, init?: RequestInit): Promise<Response> => fetch(server.url(path), init);
  const post = (path: string, body: BodyInit, headers: HeadersInit = {}): Promise<Response> =>
    fetch(server.url(path), { method: 'POST', body, headers });

  async function errorOf(response: Response): Promise<[number, string]> {
    assert.equal(response.headers.get('content-type'), 'application/json');
    const { code, message, ...others } = await response.json();
    assert.deepEqual(others, {});
    assert.ok(message.length > 10);
    return [response.status, code];
  }

  describe('publish', () => {
    it('takes JSON, text and bytes', async () => {
      const types: [string, string, Encoding][] = [
        ['application/json', '{"a": [1]}', Encoding.json],
        ['application/cloudevents+json; charset=utf-8', 'null', Encoding.json],
        ['text/plain; charset=utf-8', 'hello', Encoding.text],
        ['application/x-www-form-urlencoded', 'a=1&b', Encoding.text],
        ['application/x-www-form-urlencoded; charset=utf-8', '\xc3\x28', Encoding.bytes],
        ['application/octet-stream', '\x00\x01', Encoding.bytes],
      ];
      for (const [type, body, encoding] of types) {
        const response = await post('/v1/publish/agent.x', Buffer.from(body, 'latin1'), {
          'content-type': type,
        });
        assert.equal(response.status, 202);
        assert.deepEqual(await response.json(), { accepted: true });
        assert.deepEqual(port.published.pop(), {
          caller: 'anybody',
          topic: 'agent.x',
          payload: body,
          encoding,
          options: LIVE,
        });
      }
    });

    it('takes a body without type, and none at all, as bytes', async () => {
      assert.equal((await post('/v1/publish/a', new Uint8Array([255]))).status, 202);
      assert.equal(port.published[0].encoding, Encoding.bytes);
      assert.equal((await get('/v1/publish/a', { method: 'POST' })).status, 202);
      assert.equal(port.published[1].payload, '');
    });

    it('hands priority, time to live and key on', async () => {
      const headers = {
        'flowbus-priority': 'high',
        'flowbus-ttl': '500',
        'flowbus-key': Buffer.from('Schlüssel').toString('latin1'),
      };
      assert.equal((await post('/v1/publish/a', 'x', headers)).status, 202);
      assert.deepEqual(port.published[0].options, { ...LIVE, lane: 1, ttl: 500, key: 'Schlüssel' });
    });

    it('takes them as parameters too', async () => {
      const path = '/v1/publish/a?priority=low&ttl=86400000&key=Schl%C3%BCssel+1';
      assert.equal((await post(path, 'x')).status, 202);
      assert.deepEqual(port.published[0].options, {
        ...LIVE,
        lane: 3,
        ttl: 86_400_000,
        key: 'Schlüssel 1',
      });
      assert.equal((await post('/v1/publish/a?ttl=5', 'x', { 'flowbus-key': 'k' })).status, 202);
      assert.deepEqual(port.published[1].options, { ...LIVE, ttl: 5, key: 'k' });
    });

    it('hands on what only mailboxes do, and that it is the last value', async () => {
      const path = '/v1/publish/a?assured=true&delay=5&maxAttempts=3&retryBase=500&retryCap=5000&retain=true';
      assert.equal((await post(path, 'x')).status, 200);
      const retry = { maxAttempts: 3, base: 500, cap: 5000 };
      assert.deepEqual(port.published[0].options, { ...LIVE, delay: 5, retry, retain: true });
      const headers = {
        'flowbus-assured': 'true',
        'flowbus-maxAttempts': '65535',
        'flowbus-retain': 'false',
      };
      assert.equal((await post('/v1/publish/a', 'x', headers)).status, 200);
      const once = { maxAttempts: 65_535, base: undefined, cap: undefined };
      assert.deepEqual(port.published[1].options, { ...LIVE, retry: once });
    });

    it('decodes the topic', async () => {
      assert.equal((await post('/v1/publish/agent.%C3%BC%2F.x', 'x')).status, 202);
      assert.equal(port.published[0].topic, 'agent.ü/.x');
    });

    it('refuses what is wrong before it publishes', async () => {
      const json = { 'content-type': 'application/json' };
      const cases: [string, BodyInit, HeadersInit, number, string][] = [
        ['', 'x', {}, 400, 'BAD_TOPIC'],
        ['a..b', 'x', {}, 400, 'BAD_TOPIC'],
        ['a.*', 'x', {}, 400, 'BAD_TOPIC'],
        ['a.%FF', 'x', {}, 400, 'BAD_TOPIC'],
        ['a%20b', 'x', {}, 400, 'BAD_TOPIC'],
        ['a', '{"a":', json, 400, 'BAD_JSON'],
        ['a', '', json, 400, 'BAD_JSON'],
        ['a', new Uint8Array([0x22, 0xff, 0x22]), json, 400, 'BAD_UTF8'],
        ['a', new Uint8Array([0xff]), { 'content-type': 'text/plain' }, 400, 'BAD_UTF8'],
        ['a', 'x', { 'flowbus-priority': 'urgent' }, 400, 'BAD_OPTION'],
        ['a', 'x', { 'flowbus-ttl': '0' }, 400, 'BAD_OPTION'],
        ['a', 'x', { 'flowbus-ttl': '86400001' }, 400, 'BAD_OPTION'],
        ['a', 'x', { 'flowbus-ttl': '1.5' }, 400, 'BAD_OPTION'],
        ['a', 'x', { 'flowbus-key': 'k'.repeat(256) }, 400, 'BAD_OPTION'],
        ['a?priorty=high', 'x', {}, 400, 'BAD_OPTION'],
        ['a?priority=urgent', 'x', {}, 400, 'BAD_OPTION'],
        ['a?delay=5', 'x', {}, 400, 'BAD_OPTION'],
        ['a?assured=true&delay=604800001', 'x', {}, 400, 'BAD_OPTION'],
        ['a?assured=true&delay=5&ttl=5', 'x', {}, 400, 'BAD_OPTION'],
        ['a?retryBase=5', 'x', {}, 400, 'BAD_OPTION'],
        ['a?assured=true&retryBase=3600001', 'x', {}, 400, 'BAD_OPTION'],
        ['a?assured=true&maxAttempts=0', 'x', {}, 400, 'BAD_OPTION'],
        ['a?assured=true&retryCap=1s', 'x', {}, 400, 'BAD_OPTION'],
        ['a?retain=yes', 'x', {}, 400, 'BAD_OPTION'],
        ['a?ttl=0', 'x', {}, 400, 'BAD_OPTION'],
        ['a?ttl=1s', 'x', {}, 400, 'BAD_OPTION'],
        ['a?key=', 'x', {}, 400, 'BAD_OPTION'],
        ['a?key=a&key=b', 'x', {}, 400, 'BAD_OPTION'],
        ['a?ttl=5', 'x', { 'flowbus-ttl': '5' }, 400, 'BAD_OPTION'],
        ['a?access_token=x', 'x', {}, 400, 'BAD_OPTION'],
        ['a', 'x'.repeat(984), {}, 413, 'PAYLOAD_TOO_LARGE'],
      ];
      for (const [topic, body, headers, status, code] of cases) {
        assert.deepEqual(
          await errorOf(await post(`/v1/publish/${topic}`, body, headers)),
          [status, code],
          topic,
        );
      }
      assert.equal(port.published.length, 0);
    });

    it('takes a body that fills the frame, and says how much that is', async () => {
      for (const [query, extensions] of [
        ['', 0],
        ['?ttl=5&key=k', 7 + 4],
        ['?assured=true&maxAttempts=1&delay=5', 13 + 7],
      ] as const) {
        const room = 1024 - HEADER_SIZE - 1 - extensions;
        assert.ok((await post(`/v1/publish/a${query}`, 'x'.repeat(room))).ok);
        const { message } = await (await post(`/v1/publish/a${query}`, 'x'.repeat(room + 1))).json();
        assert.match(message, new RegExp(` ${room} bytes at most`));
      }
    });

    it('says so when publishers are held, and when to come again', async () => {
      port.verdict = 'OVERLOADED';
      const response = await post('/v1/publish/a', 'x');
      assert.deepEqual(await errorOf(response), [503, 'OVERLOADED']);
      assert.equal(response.headers.get('retry-after'), '1');
      port.verdict = 'FORBIDDEN_TOPIC';
      assert.deepEqual(await errorOf(await post('/v1/publish/a', 'x')), [403, 'FORBIDDEN_TOPIC']);
    });

    it('answers a body that is much too long before it has come', async () => {
      const socket = server.connect();
      socket.write('POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n');
      socket.write(Buffer.alloc(300_000));
      socket.end();
      const text = await readAll(socket);
      assert.match(text, /^HTTP\/1\.1 413 /);
      assert.match(text, /\r\nConnection: close\r\n/);
      assert.match(text, /"PAYLOAD_TOO_LARGE"/);
    });

    it('answers a chunked body as soon as it is too long', async () => {
      const socket = server.connect();
      socket.write('POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n');
      socket.write(`800\r\n${'x'.repeat(0x800)}\r\n`);
      assert.match(await readAll(socket), /^HTTP\/1\.1 413 .*"PAYLOAD_TOO_LARGE"/s);
    });

    it('puts a body together from many pieces', async () => {
      const socket = server.connect();
      socket.setNoDelay(true);
      socket.write(
        'POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 6\r\n\r\n',
      );
      for (const piece of ['ab', 'cd', 'ef']) {
        await new Promise((resolve) => socket.write(piece, resolve));
      }
      assert.match(await readAll(socket), /^HTTP\/1\.1 202 /);
      assert.equal(port.published[0].payload, 'abcdef');
    });

    it('puts a body together from thousands of crumbs', async () => {
      port.maxPayload = 5100;
      const socket = server.connect();
      socket.write('POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n');
      socket.write(`Transfer-Encoding: chunked\r\n\r\n${'1\r\na\r\n1\r\nb\r\n'.repeat(2500)}0\r\n\r\n`);
      assert.match(await readAll(socket), /^HTTP\/1\.1 202 /);
      assert.equal(port.published[0].payload, 'ab'.repeat(2500));
    });

    it('gives a slow body up after its time', async () => {
      const socket = server.connect();
      socket.write('POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx');
      const text = await readAll(socket);
      assert.match(text, /^HTTP\/1\.1 408 .*"TIMEOUT"/s);
      assert.equal(port.published.length, 0);
    });

    it('reads a bounded number of bodies at a time, and forgets those whose client has gone', async () => {
      const head = 'POST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx';
      const slow = [server.connect(), server.connect()];
      for (const socket of slow) socket.on('error', () => {}).write(head);
      let response = await post('/v1/publish/a', 'x');
      while (response.status !== 503) response = await post('/v1/publish/a', 'x');
      assert.deepEqual(await errorOf(response), [503, 'OVERLOADED']);
      for (const socket of slow) socket.destroy();
      while (response.status !== 202) response = await post('/v1/publish/a', 'x');
    });
  });

  describe('agents', () => {
    it('shows a page', async () => {
      const response = await get('/v1/agents');
      assert.equal(response.status, 200);
      assert.deepEqual(await response.json(), { records: [RECORD], cursor: 'planner-1' });
      assert.deepEqual(port.queries, [[{ id: null, type: null, capability: null, online: null }, null, 100]]);
    });

    it('hands the conditions on; an empty one asks nothing', async () => {
      await get('/v1/agents?type=planner&capability=plan%20it&id=&online=false&cursor=a&limit=500');
      assert.deepEqual(port.queries, [
        [{ id: null, type: 'planner', capability: 'plan it', online: false }, 'a', 500],
      ]);
    });

    it('refuses what it does not understand', async () => {
      for (const query of ['capabilty=x', 'type=a&type=b', 'online=yes', 'limit=0', 'limit=501', 'limit=x']) {
        assert.deepEqual(await errorOf(await get(`/v1/agents?${query}`)), [400, 'BAD_OPTION'], query);
      }
    });
  });

  describe('the cluster', () => {
    it('is a list of nodes, for whoever has a token', async () => {
      assert.deepEqual(await errorOf(await get('/v1/cluster')), [501, 'MESH_OFF']);
      const node = { node: 'a', state: 'alive', since: 1, incarnation: 2, addresses: ['b:1'] } as const;
      port.nodes = [{ ...node, roundTrip: null, agents: 3, bytesIn: 4, bytesOut: 5 }];
      const response = await get('/v1/cluster');
      assert.deepEqual([response.status, await response.json()], [200, { nodes: port.nodes }]);
      assert.deepEqual(await errorOf(await get('/v1/cluster?node=a')), [400, 'BAD_OPTION']);
      assert.equal((await get('/v1/cluster', { method: 'POST' })).status, 405);
      port.token = 'secret';
      assert.deepEqual(await errorOf(await get('/v1/cluster')), [401, 'UNAUTHORIZED']);
    });
  });

  describe('dead letters', () => {
    const nothing = { mailbox: null, kind: null, pattern: null, since: null };
    const ask = async (method: string, path: string): Promise<[number, unknown]> => {
      const response = await get(path, { method });
      return [response.status, await response.json()];
    };

    it('are listed as the parameters say', async () => {
      const path =
        '/v1/dead-letters?mailbox=agent:a&kind=poison-message&topic=a.**&since=7&limit=3&cursor=9-1';
      const answer = { letters: [], cursor: null, missing: [] };
      assert.deepEqual(await ask('GET', path), [200, answer]);
      await ask('GET', '/v1/dead-letters?mailbox=');
      const filter = { mailbox: 'agent:a', kind: 'poison-message', pattern: 'a.**', since: 7 };
      assert.deepEqual(port.letterCalls, [
        ['list', filter, '9-1', 3],
        ['list', nothing, null, 100],
      ]);
    });

    it('are shown, replayed and purged, by id or by filter', async () => {
      assert.deepEqual(await errorOf(await get('/v1/dead-letters/0-7')), [404, 'NOT_FOUND']);
      const done = (n: number) => [200, { done: n, refused: [], more: false, missing: [] }];
      assert.deepEqual(await ask('POST', '/v1/dead-letters/replay?id=0-7'), done(1));
      assert.deepEqual(await ask('POST', '/v1/dead-letters/replay?topic=a.b'), done(1));
      assert.deepEqual(await ask('DELETE', '/v1/dead-letters/0-8'), done(2));
      assert.deepEqual(await ask('DELETE', '/v1/dead-letters?all=true'), done(2));
      assert.deepEqual(port.letterCalls, [
        ['show', '0-7'],
        ['replay', { id: '0-7' }],
        ['replay', { filter: { ...nothing, pattern: 'a.b' } }],
        ['purge', { id: '0-8' }],
        ['purge', { filter: nothing }],
      ]);
    });

    for (const [method, path, code] of [
      ['DELETE', '', 'BAD_OPTION'],
      ['DELETE', '?mailbox=', 'BAD_OPTION'],
      ['DELETE', '?id=1&all=true', 'BAD_OPTION'],
      ['DELETE', '?all=yes', 'BAD_OPTION'],
      ['POST', '/replay', 'BAD_OPTION'],
      ['POST', '/replay?everything=true', 'BAD_OPTION'],
      ['GET', '?kind=sudden', 'BAD_OPTION'],
      ['GET', '?since=yesterday', 'BAD_OPTION'],
      ['GET', '?topic=a..b', 'BAD_PATTERN'],
      ['GET', '?limit=501', 'BAD_OPTION'],
      ['GET', '/0-1?limit=1', 'BAD_OPTION'],
    ]) {
      it(`refuse ${method} ${path}: ${code}`, async () => {
        const response = await get(`/v1/dead-letters${path}`, { method });
        assert.deepEqual(await errorOf(response), [400, code]);
        assert.deepEqual(port.letterCalls, []);
      });
    }

    it('need a token where there are tokens, and the right method', async () => {
      for (const [method, path] of [
        ['GET', '/replay'],
        ['POST', ''],
        ['POST', '/0-1'],
      ])
        assert.equal((await get(`/v1/dead-letters${path}`, { method })).status, 405);
      port.token = 'secret';
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/0-1'],
        ['POST', '/replay?all=true'],
        ['DELETE', '?all=true'],
      ])
        assert.deepEqual(await errorOf(await get(`/v1/dead-letters${path}`, { method })), [
          401,
          'UNAUTHORIZED',
        ]);
      assert.deepEqual(port.letterCalls, []);
    });
  });

  describe('routes', () => {
    it('tell whether the shard lives and is ready', async () => {
      assert.deepEqual(await (await get('/healthz')).json(), { status: 'ok' });
      assert.deepEqual(await (await get('/readyz')).json(), { ready: true, reasons: [] });
      port.readiness = { ready: false, reasons: ['links are starting'] };
      const response = await get('/readyz');
      assert.equal(response.status, 503);
      assert.deepEqual(await response.json(), port.readiness);
      assert.equal((await get('/healthz')).status, 200);
    });

    it('say which shards still read their journals', async () => {
      const recovering = [{ shard: 1, messages: 412_000, share: 0.41 }];
      port.readiness = { ready: true, reasons: [], recovering };
      const response = await get('/readyz');
      assert.equal(response.status, 200);
      assert.deepEqual(await response.json(), port.readiness);
    });

    it('show the metrics', async () => {
      const response = await get('/metrics');
      assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
      assert.equal(await response.text(), 'flowbus_agents 1\n');
    });

    it('answer HEAD without a body', async () => {
      for (const path of ['/v1/agents', '/healthz', '/readyz', '/metrics', '/v1/subscribe?pattern=a']) {
        const response = await get(path, { method: 'HEAD' });
        assert.equal(response.status, 200, path);
        assert.equal(await response.text(), '');
      }
      assert.equal(port.streams.length, 0);
    });

    it('are not found, or say which methods they take', async () => {
      for (const path of ['/', '/v1', '/v1/publish', '/healthz/', '//', '/v1/agents/x']) {
        assert.deepEqual(await errorOf(await get(path)), [404, 'NOT_FOUND'], path);
      }
      for (const [path, method, allow] of [
        ['/v1/publish/a', 'GET', 'POST'],
        ['/v1/agents', 'POST', 'GET, HEAD'],
        ['/metrics', 'DELETE', 'GET, HEAD'],
      ]) {
        const response = await get(path, { method });
        assert.deepEqual(await errorOf(response), [405, 'METHOD_NOT_ALLOWED']);
        assert.equal(response.headers.get('allow'), allow);
      }
    });

    it('are never cached', async () => {
      for (const path of ['/healthz', '/nowhere', '/metrics']) {
        assert.equal((await get(path)).headers.get('cache-control'), 'no-store');
      }
    });

    it('count each answer once', async () => {
      await get('/healthz');
      await get('/nowhere');
      await post('/v1/publish/a', 'x');
      assert.deepEqual(port.statuses, [200, 404, 202]);
    });
  });

  describe('tokens', () => {
    it('are wanted everywhere but for health and readiness', async () => {
      port.token = 'secret';
      for (const path of ['/v1/agents', '/metrics', '/v1/subscribe?pattern=a']) {
        const response = await get(path);
        assert.deepEqual(await errorOf(response), [401, 'UNAUTHORIZED'], path);
        assert.equal(response.headers.get('www-authenticate'), 'Bearer');
      }
      assert.deepEqual(await errorOf(await post('/v1/publish/a', 'x')), [401, 'UNAUTHORIZED']);
      assert.equal((await get('/healthz')).status, 200);
      assert.equal((await get('/readyz')).status, 200);
      assert.equal(port.published.length + port.streams.length + port.queries.length, 0);
    });

    it('open the door, and what they say reaches the shard', async () => {
      port.token = 'secret';
      const headers = { authorization: 'Bearer secret' };
      assert.equal((await get('/metrics', { headers })).status, 200);
      assert.equal((await post('/v1/publish/a', 'x', headers)).status, 202);
      assert.equal(port.published[0].caller, 'secret');
    });

    it('may stand in the URL of an event stream, and nowhere else', async () => {
      port.token = 'secret';
      const stream = '/v1/subscribe?pattern=a&access_token=';
      assert.equal((await get(`${stream}secret`, { method: 'HEAD' })).status, 200);
      assert.deepEqual(await errorOf(await get(`${stream}wrong`)), [401, 'UNAUTHORIZED']);
      const headers = { authorization: 'Bearer secret' };
      assert.deepEqual(await errorOf(await get(`${stream}secret`, { headers })), [400, 'BAD_OPTION']);
      assert.deepEqual(await errorOf(await get(`${stream}secret&access_token=`)), [400, 'BAD_OPTION']);
      for (const path of ['/v1/agents', '/metrics']) {
        assert.deepEqual(await errorOf(await get(`${path}?access_token=secret`)), [401, 'UNAUTHORIZED']);
      }
    });
  });

  describe('web pages', () => {
    const PAGE = 'https://app.example';
    const PREFLIGHT = { 'access-control-request-method': 'POST' };

    beforeEach(() => {
      port.gate = new Gate({ host: '127.0.0.1', allowedOrigins: [PAGE], secured: false });
    });

    it('of allowed origins, and of this machine, may read the answers, errors included', async () => {
      for (const origin of [PAGE, 'http://localhost:3000']) {
        const headers = { origin };
        for (const response of [
          await post('/v1/publish/a', 'x', headers),
          await post('/v1/publish/a?x', 'x', headers),
          await get('/v1/agents', { headers }),
          await get('/v1/subscribe?pattern=a', { headers, method: 'HEAD' }),
        ]) {
          assert.equal(response.headers.get('access-control-allow-origin'), origin);
          assert.equal(response.headers.get('vary'), 'Origin');
        }
      }
      assert.equal((await get('/v1/agents')).headers.get('access-control-allow-origin'), null);
      const metrics = await get('/metrics', { headers: { origin: PAGE } });
      assert.equal(metrics.headers.get('access-control-allow-origin'), null);
    });

    it('may read event streams', async () => {
      const abort = new AbortController();
      const headers = { origin: PAGE };
      const response = await get('/v1/subscribe?pattern=a', { headers, signal: abort.signal });
      assert.equal(response.headers.get('access-control-allow-origin'), PAGE);
      abort.abort();
    });

    it('are told what they may ask, without a token', async () => {
      port.token = 'secret';
      for (const [path, methods] of [
        ['/v1/publish/a', 'POST'],
        ['/v1/subscribe?pattern=a', 'GET, HEAD'],
        ['/v1/agents', 'GET, HEAD'],
      ]) {
        const response = await get(path, { method: 'OPTIONS', headers: { origin: PAGE, ...PREFLIGHT } });
        assert.equal(response.status, 204);
        assert.equal(await response.text(), '');
        assert.equal(response.headers.get('access-control-allow-origin'), PAGE);
        assert.equal(response.headers.get('access-control-allow-methods'), methods);
        assert.match(
          response.headers.get('access-control-allow-headers') ?? '',
          /Authorization, .*Last-Event-ID, flowbus-priority, /,
        );
      }
      assert.deepEqual(port.statuses, [204, 204, 204]);
    });

    it('of other origins are refused, and so are other preflights', async () => {
      const headers = { origin: 'https://evil.example', ...PREFLIGHT };
      const response = await get('/v1/publish/a', { method: 'OPTIONS', headers });
      assert.equal(response.headers.get('access-control-allow-origin'), null);
      assert.deepEqual(await errorOf(response), [403, 'FORBIDDEN_ORIGIN']);
      const metrics = await get('/metrics', { method: 'OPTIONS', headers: { origin: PAGE, ...PREFLIGHT } });
      assert.deepEqual(await errorOf(metrics), [405, 'METHOD_NOT_ALLOWED']);
      assert.equal((await get('/v1/agents', { method: 'OPTIONS' })).status, 405);
    });
  });

  it('tells the log, and not the client, what failed', async () => {
    port.failure = new Error('with secrets');
    const response = await post('/v1/publish/a', 'x');
    assert.equal(response.status, 500);
    assert.ok(!(await response.text()).includes('secrets'));
    assert.deepEqual(port.failures, [port.failure]);
  });

  it('keeps the connection for further requests', async () => {
    const socket = server.connect();
    socket.write(
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /v1/publish/a HTTP/1.1\r\nHost: localhost\r\n',
    );
    socket.write(
      'Content-Length: 1\r\n\r\nxGET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    const text = await readAll(socket);
    assert.deepEqual(
      [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ['200', '202', '404'],
    );
  });
});
