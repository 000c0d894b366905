/** Bad input on the doors that speak text: JSON over WebSocket, and HTTP. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { WebSocket } from 'ws';
import { ERRORS, type ErrorCode } from '../../lib/errors.js';
import type { Close } from './attacker.js';
import { nameOn } from './broker/node.js';
import { Changes } from './changes.js';
import { receive, request } from './raw-client.js';
import { provoked, Siege } from './siege.js';

type Answer = Record<string, unknown>;

const MAX_SUBSCRIPTIONS = 50;
const MAX_PAYLOAD = 32 * 1024;

class JsonAttacker {
  readonly answers: Answer[] = [];
  readonly #ws: WebSocket;
  readonly #changes = new Changes();
  #reference = 1000;
  #close: Close | null = null;

  private constructor(ws: WebSocket) {
    this.#ws = ws;
    ws.on('message', (data: Buffer) => {
      this.answers.push(JSON.parse(data.toString()) as Answer);
      this.#changes.happened();
    });
    ws.on('error', () => {});
    ws.on('close', (code, reason) => {
      this.#close = { code, reason: reason.toString() };
      this.#changes.happened();
    });
  }

  static async reach(url: string): Promise<JsonAttacker> {
    const ws = new WebSocket(url, { perMessageDeflate: false });
    const attacker = new JsonAttacker(ws);
    await once(ws, 'open');
    return attacker;
  }

  static async join(url: string, agentId: string): Promise<JsonAttacker> {
    const attacker = await JsonAttacker.reach(`${url}/?agentId=${agentId}`);
    attacker.send({ op: 'hello', agentId });
    await attacker.next('welcome');
    return attacker;
  }

  send(message: object | string | Buffer, binary = false): void {
    const data = typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message);
    this.#ws.send(data, { binary });
  }

  get errors(): [unknown, unknown][] {
    return this.answers.filter(({ op }) => op === 'error').map(({ code, fatal }) => [code, fatal]);
  }

  async settle(): Promise<void> {
    const ref = ++this.#reference;
    this.send({ op: 'ping', ref });
    await this.next('pong', ref);
  }

  async closed(): Promise<Close> {
    await this.#changes.until(
      'the close',
      () => this.#close !== null,
      () => this.#story(),
    );
    return this.#close!;
  }

  end(): void {
    this.#ws.terminate();
  }

  /** Waits for an answer; fails at the close. */
  async next(op: string, ref?: number): Promise<Answer> {
    const find = (): Answer | undefined =>
      this.answers.find((answer) => answer.op === op && (ref === undefined || answer.ref === ref));
    await this.#changes.until(
      op,
      () => find() !== undefined || this.#close !== null,
      () => this.#story(),
    );
    return find() ?? assert.fail(`closed before ${op}: ${this.#story()}`);
  }

  #story(): string {
    return JSON.stringify([this.answers, this.#close]);
  }
}

describe('bad input as text', function () {
  this.timeout(20_000);
  const siege = new Siege({ maxSubscriptions: MAX_SUBSCRIPTIONS, maxPayload: MAX_PAYLOAD });
  let attacker: JsonAttacker;
  let serial = 0;

  afterEach(() => attacker?.end());

  async function join(): Promise<void> {
    attacker = await JsonAttacker.join(siege.url, nameOn(serial++ % 2, 'json-attacker'));
  }

  /** This message is answered with just this error, and the connection goes on. */
  function refuses(code: ErrorCode, title: string, message: object | string | Buffer, binary = false): void {
    provoked.add(code);
    it(`${code}: ${title}`, async () => {
      await join();
      attacker.send(message, binary);
      await attacker.settle();
      assert.deepEqual(attacker.errors, [[code, false]]);
      const text = siege.proof();
      attacker.send({ op: 'publish', topic: 'proof.json', data: text });
      await siege.proven(text);
      await siege.unharmed();
    });
  }

  /** This first message ends the connection. */
  function unwelcome(code: ErrorCode, title: string, message: object | string): void {
    provoked.add(code);
    it(`${code}: ${title}`, async () => {
      attacker = await JsonAttacker.reach(siege.url);
      attacker.send(message);
      assert.deepEqual(await attacker.closed(), { code: 1008, reason: code });
      assert.deepEqual(attacker.errors, [[code, true]]);
      await siege.unharmed();
    });
  }

  describe('JSON before the welcome', () => {
    unwelcome('BAD_JSON', 'no JSON', 'hello?');
    unwelcome('BAD_JSON', 'an empty message', '');
    unwelcome('BAD_JSON', 'an unknown operation', { op: 'halo' });
    unwelcome('BAD_JSON', 'an agentId that is a number', { op: 'hello', agentId: 7 });
    unwelcome('BAD_JSON', 'metadata that is text', { op: 'hello', metadata: 'x' });
    unwelcome('BAD_JSON', 'metadata of 5000 bytes', { op: 'hello', metadata: { x: 'x'.repeat(5000) } });
    unwelcome('BAD_HELLO', 'a reserved agentId', { op: 'hello', agentId: 'http' });
    unwelcome('BAD_HELLO', 'an agentId of two levels', { op: 'hello', agentId: 'a.b' });
    unwelcome('BAD_PATTERN', 'a bad pattern', { op: 'hello', subscriptions: ['a*'] });
    unwelcome('FORBIDDEN_TOPIC', 'a reserved pattern', { op: 'hello', subscriptions: ['_agent.x'] });
    unwelcome('HELLO_REQUIRED', 'a publish', { op: 'publish', topic: 'open.x', data: 1 });
  });

  describe('JSON', () => {
    const publish = { op: 'publish', topic: 'open.x', data: 1 };
    refuses('BAD_JSON', 'no JSON', '{"op":');
    refuses('BAD_JSON', 'an array', []);
    refuses('BAD_JSON', 'null', 'null');
    refuses('BAD_JSON', 'a number', '7');
    refuses('BAD_JSON', 'an unknown operation', { op: 'constructor' });
    refuses('BAD_JSON', 'a reference that is negative', { ...publish, ref: -1 });
    refuses('BAD_JSON', 'a reference that is no number', { ...publish, ref: '1' });
    refuses('BAD_JSON', 'a publish without data', { op: 'publish', topic: 'open.x' });
    refuses('BAD_JSON', 'a topic that is a number', { ...publish, topic: 7 });
    refuses('BAD_JSON', 'a topic of 256 bytes', { ...publish, topic: 'x'.repeat(256) });
    refuses('BAD_JSON', 'a topic with half a surrogate pair', '{"op":"publish","topic":"\\ud800","data":1}');
    refuses('BAD_JSON', 'an unknown priority', { ...publish, priority: 'urgent' });
    refuses('BAD_JSON', 'a time to live that is a fraction', { ...publish, ttl: 0.5 });
    refuses('BAD_JSON', 'a time to live of nothing', { ...publish, ttl: 0 });
    refuses('BAD_JSON', 'a time to live of more than a day', { ...publish, ttl: 86_400_001 });
    refuses('BAD_JSON', 'an unknown encoding', { ...publish, encoding: 'hex' });
    refuses('BAD_JSON', 'data that is no base64', { ...publish, data: '!', encoding: 'base64' });
    refuses('BAD_JSON', 'a correlation that is no hexadecimal', { ...publish, correlation: 'xy' });
    refuses('BAD_JSON', 'headers that are no texts', { ...publish, headers: { a: 1 } });
    refuses('BAD_JSON', '65 headers', {
      ...publish,
      headers: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, ''])),
    });
    refuses('BAD_JSON', 'data of 14,000 brackets', `{"op":"publish","topic":"x","data":${nested(14_000)}}`);
    refuses('BAD_JSON', 'a request without a reference', { op: 'request', to: 'x', data: 1 });
    refuses('BAD_JSON', 'a request that waits forever', {
      op: 'request',
      to: 'x',
      data: 1,
      ref: 1,
      timeout: 1e12,
    });
    refuses('BAD_JSON', 'both pattern and patterns', { op: 'subscribe', pattern: 'a', patterns: ['b'] });
    refuses('BAD_JSON', '1025 patterns', { op: 'subscribe', patterns: new Array(1025).fill('x') });
    refuses('BAD_JSON', 'a query of an unknown kind', { op: 'agents', kind: 'topics' });
    refuses('BAD_TYPE', 'a binary message', Buffer.from('FLOW'), true);
    refuses('HELLO_REPEATED', 'a second hello', { op: 'hello', agentId: 'another' });
    refuses('BAD_TOPIC', 'a wildcard', { ...publish, topic: 'open.*' });
    refuses('BAD_TOPIC', 'a blank', { ...publish, topic: 'open x' });
    refuses('BAD_TOPIC', 'an address of two levels', { op: 'send', to: 'a..b', data: 1 });
    refuses('BAD_PATTERN', 'a star inside a level', { op: 'subscribe', pattern: 'a*' });
    refuses('FORBIDDEN_TOPIC', 'a reserved pattern', { op: 'subscribe', patterns: ['open.x', '_agent.x'] });
    refuses('FORBIDDEN_TOPIC', 'presence', { ...publish, topic: 'system.agent.x.online' });
    refuses('FORBIDDEN_TOPIC', 'presence as a reply', {
      op: 'reply',
      replyTo: 'system.agent.x.online',
      data: 1,
    });
    refuses('FORBIDDEN_TOPIC', 'a reserved topic', { ...publish, topic: '_foo' });
    refuses('UNKNOWN_AGENT', 'the address of nobody', { op: 'send', to: 'nobody-at-all', data: 1 });
    refuses('UNKNOWN_AGENT', 'a request to nobody', { op: 'request', to: 'nobody-at-all', data: 1, ref: 5 });
    refuses('LIMIT_REACHED', 'too many subscriptions', {
      op: 'subscribe',
      patterns: Array.from({ length: MAX_SUBSCRIPTIONS + 1 }, (_, i) => `limit.${i}`),
    });
    refuses('PAYLOAD_TOO_LARGE', 'data that does not fit into a frame', {
      ...publish,
      data: 'x'.repeat(MAX_PAYLOAD - JSON.stringify({ ...publish, data: '' }).length),
    });

    it('answers with the reference of what it refuses', async () => {
      await join();
      attacker.send({ ...publish, topic: 'open.*', ref: 77 });
      await attacker.settle();
      assert.equal(attacker.answers.find(({ op }) => op === 'error')?.ref, 77);
    });

    it('answers with the reference of what it cannot read, if that much can be read', async () => {
      await join();
      const bad = ['halo', 'hello', 'subscribe', 'publish', 'send', 'request', 'reply', 'agents'];
      const fields = { metadata: 7, kind: 'topics', ref: 0 };
      for (const [i, op] of bad.entries()) {
        const ref = i + 1;
        attacker.send({ ...fields, op, ref });
        const { code } = await attacker.next('error', ref);
        assert.equal(code, 'BAD_JSON');
      }
      attacker.send({ op: 'ping', ref: 4_294_967_296 });
      attacker.send('{"op":"ping","ref":99');
      await attacker.settle();
      const last = attacker.answers.filter(({ op }) => op === 'error').slice(bad.length);
      assert.deepEqual(
        last.map(({ ref }) => ref),
        [undefined, undefined],
      );
    });

    it('answers a ping without a reference, and leaves the reference out', async () => {
      await join();
      attacker.send({ op: 'ping' });
      assert.deepEqual(await attacker.next('pong'), { op: 'pong' });
      attacker.send({ op: 'agents', id: 'nobody', ref: 0 });
      assert.deepEqual(await attacker.next('agents'), { op: 'agents', records: [], cursor: null });
    });

    it('takes names that objects inherit for nothing but names', async () => {
      await join();
      const headers = '{"__proto__":"a","constructor":"b","hasOwnProperty":"c"}';
      attacker.send({ op: 'subscribe', pattern: 'names.*', ref: 1 });
      await attacker.next('ack', 1);
      attacker.send(`{"op":"publish","topic":"names.__proto__","data":{"__proto__":1},"headers":${headers}}`);
      const message = await attacker.next('message');
      assert.equal(message.topic, 'names.__proto__');
      assert.equal(JSON.stringify(message.headers), headers);
      assert.equal(JSON.stringify(message.data), '{"__proto__":1}');
    });

    provoked.add('OVERSIZED');
    it('OVERSIZED: a message larger than maxPayload', async () => {
      await join();
      attacker.send('x'.repeat(MAX_PAYLOAD + 1));
      assert.deepEqual(await attacker.closed(), { code: 1009, reason: 'OVERSIZED' });
      assert.deepEqual(attacker.errors, [['OVERSIZED', true]]);
      await siege.unharmed();
    });

    it('ends a connection whose text is not UTF-8, as RFC 6455 has it', async () => {
      await join();
      attacker.send(Buffer.from([0x7b, 0xff, 0x7d]));
      assert.equal((await attacker.closed()).code, 1007);
      await siege.unharmed();
    });
  });

  describe('HTTP', () => {
    async function ask(head: string, headers: string[] = [], body = ''): Promise<[number, unknown]> {
      const response = await request(
        siege.node.address.port,
        [`${head} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers, '', body].join('\r\n'),
      );
      const status = Number(response.split(' ')[1]);
      const text = response.slice(response.indexOf('\r\n\r\n') + 4);
      return [status, text.startsWith('{') ? (JSON.parse(text) as { code: unknown }).code : text];
    }

    function answers(
      status: number,
      code: ErrorCode,
      title: string,
      head: string,
      type = '',
      body = '',
    ): void {
      it(`${status} ${code}: ${title}`, async () => {
        const headers = head.startsWith('POST')
          ? [`Content-Length: ${Buffer.byteLength(body)}`, `Content-Type: ${type}`]
          : [];
        assert.deepEqual(await ask(head, headers, body), [status, code]);
        assert.ok(status === (ERRORS[code] as { httpStatus?: number }).httpStatus || status === 400);
        await siege.unharmed();
      });
    }

    const json = 'application/json';
    answers(400, 'BAD_JSON', 'a body that is no JSON', 'POST /v1/publish/open.x', json, '{"a":');
    answers(
      413,
      'PAYLOAD_TOO_LARGE',
      'a large body',
      'POST /v1/publish/open.x',
      '',
      'x'.repeat(MAX_PAYLOAD + 1),
    );
    answers(
      413,
      'PAYLOAD_TOO_LARGE',
      'a frame too large',
      'POST /v1/publish/open.x',
      '',
      'x'.repeat(MAX_PAYLOAD),
    );
    answers(400, 'BAD_TOPIC', 'an empty level', 'POST /v1/publish/open..x');
    answers(400, 'BAD_TOPIC', 'a wildcard', 'POST /v1/publish/open.*');
    answers(400, 'BAD_TOPIC', 'a path that is not UTF-8', 'POST /v1/publish/%ff');
    answers(400, 'BAD_TOPIC', 'no topic', 'POST /v1/publish/');
    answers(403, 'FORBIDDEN_TOPIC', 'presence', 'POST /v1/publish/system.agent.x.online');
    answers(403, 'FORBIDDEN_TOPIC', 'a reserved topic', 'POST /v1/publish/_foo');
    answers(404, 'UNKNOWN_AGENT', 'the address of nobody', 'POST /v1/publish/_agent.nobody');
    answers(404, 'NOT_FOUND', 'another path', 'GET /v2/publish/open.x');
    answers(405, 'METHOD_NOT_ALLOWED', 'GET where POST belongs', 'GET /v1/publish/open.x');
    answers(405, 'METHOD_NOT_ALLOWED', 'POST where GET belongs', 'POST /v1/agents');
    answers(400, 'BAD_PATTERN', 'a bad pattern', 'GET /v1/subscribe?pattern=a*');
    answers(400, 'BAD_PATTERN', 'no pattern', 'GET /v1/subscribe');
    answers(403, 'FORBIDDEN_TOPIC', 'a reserved pattern', 'GET /v1/subscribe?pattern=_agent.x');
    answers(400, 'BAD_OPTION', 'an unknown parameter', 'GET /v1/agents?kind=planner');
    answers(400, 'BAD_OPTION', 'a limit of none', 'GET /v1/agents?limit=0');

    it('400 BAD_UTF8: a text that is not UTF-8', async () => {
      const socket = connect({ port: siege.node.address.port, host: '127.0.0.1' });
      const head =
        'POST /v1/publish/open.x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain';
      socket.write(Buffer.from(`${head}\r\nContent-Length: 1\r\n\r\n\xff`, 'latin1'));
      assert.match((await receive(socket)).toString(), /^HTTP\/1\.1 400 [\s\S]*"BAD_UTF8"/);
      socket.destroy();
      await siege.unharmed();
    });

    it('413 PAYLOAD_TOO_LARGE: chunks that do not end', async () => {
      const chunk = `1000\r\n${'x'.repeat(0x1000)}\r\n`;
      const answer = await ask('POST /v1/publish/open.x', ['Transfer-Encoding: chunked'], chunk.repeat(9));
      assert.deepEqual(answer, [413, 'PAYLOAD_TOO_LARGE']);
      await siege.unharmed();
    });

    it('431 UPGRADE_TOO_LARGE: a request line without an end', async () => {
      assert.deepEqual(await ask(`GET /${'x'.repeat(9000)}`), [431, 'UPGRADE_TOO_LARGE']);
      await siege.unharmed();
    });

    it('431: more headers than one request may have', async () => {
      assert.equal((await ask('GET /healthz', [`X: ${'x'.repeat(9000)}`]))[0], 431);
      await siege.unharmed();
    });

    it('403: a host or an origin that is none of ours, by HTTP and WebSocket', async () => {
      const upgrade = [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ];
      for (const [headers, code] of [
        [['Host: evil.example:8081'], 'FORBIDDEN_HOST'],
        [['Host: localhost', 'Origin: https://evil.example'], 'FORBIDDEN_ORIGIN'],
      ] as const) {
        for (const kind of [['Connection: close'], upgrade]) {
          const lines = ['GET /healthz HTTP/1.1', ...headers, ...kind, '', ''];
          const response = await request(siege.node.address.port, lines.join('\r\n'));
          assert.match(response, /^HTTP\/1\.1 403 Forbidden\r\n/);
          assert.equal((JSON.parse(response.split('\r\n\r\n')[1]) as { code: string }).code, code);
        }
      }
      await siege.unharmed();
    });

    it('400: what is no HTTP at all', async () => {
      assert.equal(
        Number((await request(siege.node.address.port, 'FLOW\u0001\u0005\r\n\r\n')).split(' ')[1]),
        400,
      );
      await siege.unharmed();
    });

    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
    for (const [title, headers] of [
      ['without a key', ['Upgrade: websocket', 'Sec-WebSocket-Version: 13']],
      ['of an old version', ['Upgrade: websocket', 'Sec-WebSocket-Version: 7', key]],
      ['to another protocol', ['Upgrade: h2c']],
    ] as const) {
      it(`400 BAD_UPGRADE: an upgrade ${title}`, async () => {
        const lines = ['GET / HTTP/1.1', 'Host: localhost', 'Connection: Upgrade', ...headers, '', ''];
        const response = await request(siege.node.address.port, lines.join('\r\n'));
        assert.match(response, /^HTTP\/1\.1 400 Bad Request\r\n/);
        const { code } = JSON.parse(response.split('\r\n\r\n')[1]) as { code: string };
        assert.equal(code, 'BAD_UPGRADE');
        await siege.unharmed();
      });
    }
  });
});

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth);
}
