import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlowbusError } from '../../../../lib/errors.js';
import type { StreamSink } from '../../../../shards/http/port.js';
import { DoorServer, FakePort, readAll } from './fake-port.js';

const POLL = 5;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(POLL);
}

/** The lines of an event stream, as they come. */
class Reader {
  text = '';
  readonly response: Response;
  readonly #abort: AbortController;

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
  }

  static async open(url: string): Promise<Reader> {
    const abort = new AbortController();
    const reader = new Reader(await fetch(url, { signal: abort.signal }), abort);
    reader.#read().catch(() => {});
    return reader;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.response.body ?? []) this.text += decoder.decode(chunk, { stream: true });
  }

  leave(): void {
    this.#abort.abort();
  }
}

describe('event stream', () => {
  let port: FakePort;
  let server: DoorServer;

  beforeEach(() => {
    port = new FakePort();
  });

  afterEach(() => server.close());

  async function opened(query = 'pattern=a'): Promise<[Reader, StreamSink]> {
    const reader = await Reader.open(server.url(`/v1/subscribe?${query}`));
    return [reader, port.streams[port.streams.length - 1].sink];
  }

  describe('with the usual heartbeat', () => {
    beforeEach(async () => {
      server = await DoorServer.open(port, { maxStreams: 2 });
    });

    it('subscribes to each pattern once', async () => {
      const [reader] = await opened('pattern=agent.*.task&pattern=**&pattern=**');
      assert.equal(reader.response.status, 200);
      assert.equal(reader.response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
      assert.deepEqual(port.streams[0].patterns, ['agent.*.task', '**']);
      assert.deepEqual(port.statuses, [200]);
    });

    it('sends events with the ids that the shard gives them, and ids alone', async () => {
      const [reader, sink] = await opened();
      assert.ok(sink.write('{"op":"message","data":1}', 'message', '1'));
      assert.ok(sink.write('{"op":"gap","missed":2}', 'gap', null));
      assert.ok(sink.write('{"data":\n "b",\r\n "c":0}', 'message', 'x.y'));
      assert.ok(sink.write('', 'place', 'x.z'));
      const wanted =
        'retry: 1000\n\n' +
        'event: message\nid: 1\ndata: {"op":"message","data":1}\n\n' +
        'event: gap\ndata: {"op":"gap","missed":2}\n\n' +
        'event: message\nid: x.y\ndata: {"data":\ndata:  "b",\ndata:  "c":0}\n\n' +
        'id: x.z\n\n';
      await until(() => reader.text.length >= wanted.length);
      assert.equal(reader.text, wanted);
    });

    it('says where it is to begin, and what a client has that comes back', async () => {
      await opened();
      await opened('pattern=a&replay=0');
      assert.deepEqual(
        port.streams.map(({ start }) => start),
        [null, { last: 0, age: null, after: null }],
      );
      const head = { method: 'HEAD', headers: { 'last-event-id': 'x.y' } };
      assert.equal((await fetch(server.url('/v1/subscribe?pattern=a&since=5'), head)).status, 200);
      port.streams[0].sink.end();
      await until(() => port.streams[0].closes === 1);
      const abort = new AbortController();
      const headers = { 'last-event-id': 'x.y' };
      await fetch(server.url('/v1/subscribe?pattern=a&since=5'), { headers, signal: abort.signal });
      assert.deepEqual(port.streams[2].start, { last: null, age: 5, after: 'x.y' });
      abort.abort();
    });

    it('takes events before the subscription is complete', async () => {
      port.onOpen = (sink) => assert.ok(sink.write('{}', 'message', '1'));
      const [reader] = await opened();
      await until(() => reader.text.includes('id: 1\ndata: {}\n\n'));
      assert.ok(reader.text.startsWith('retry:'));
    });

    it('tells the shard once when the reader leaves, and takes nothing more', async () => {
      const [reader, sink] = await opened();
      reader.leave();
      await until(() => port.streams[0].closes > 0);
      assert.ok(sink.closed);
      assert.equal(sink.write('{}', 'message', '1'), false);
      sink.end();
      assert.equal(port.streams[0].closes, 1);
    });

    it('tells the shard also when the reader left while it subscribed', async () => {
      let subscribed = (): void => {};
      port.subscribing = new Promise((resolve) => {
        subscribed = resolve;
      });
      const socket = server.connect();
      socket.write('GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await until(() => port.streams.length === 1);
      socket.destroy();
      await until(() => port.streams[0].sink.closed);
      assert.equal(port.streams[0].closes, 0);
      subscribed();
      await until(() => port.streams[0].closes === 1);
    });

    it('ends when the shard ends it', async () => {
      const socket = server.connect();
      socket.write('GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      await until(() => port.streams.length === 1);
      const { sink } = port.streams[0];
      sink.write('{"op":"goaway"}', 'goaway', null);
      sink.end();
      assert.ok(sink.closed);
      assert.match(await readAll(socket), /event: goaway\ndata: \{"op":"goaway"\}\n\n/);
      assert.equal(port.streams[0].closes, 1);
    });

    it('refuses bad patterns, too many of them, and what it does not know', async () => {
      const many = Array.from({ length: 65 }, (_, i) => `pattern=p${i}`).join('&');
      for (const [query, status, code] of [
        ['', 400, 'BAD_PATTERN'],
        ['pattern=', 400, 'BAD_PATTERN'],
        ['pattern=a&pattern=b*', 400, 'BAD_PATTERN'],
        ['pattern=a&group=g', 400, 'BAD_OPTION'],
        ['pattern=a&replay=5&since=5', 400, 'BAD_OPTION'],
        ['pattern=a&replay=5&replay=5', 400, 'BAD_OPTION'],
        ['pattern=a&replay=-1', 400, 'BAD_OPTION'],
        ['pattern=a&replay=', 400, 'BAD_OPTION'],
        ['pattern=a&replay=2147483648', 400, 'BAD_OPTION'],
        ['pattern=a&since=1h', 400, 'BAD_OPTION'],
        [many, 429, 'LIMIT_REACHED'],
      ]) {
        const response = await fetch(server.url(`/v1/subscribe?${query}`));
        assert.equal(response.status, status);
        assert.equal((await response.json()).code, code);
      }
      assert.equal(port.streams.length, 0);
    });

    it('passes on that the shard refuses', async () => {
      port.failure = new FlowbusError('FORBIDDEN_TOPIC');
      const response = await fetch(server.url('/v1/subscribe?pattern=_x'));
      assert.equal(response.status, 403);
      assert.equal((await response.json()).code, 'FORBIDDEN_TOPIC');
      assert.deepEqual(port.statuses, [403]);
      assert.deepEqual(port.failures, []);
    });

    it('is one of a bounded number', async () => {
      const [first] = await opened();
      await opened();
      const response = await fetch(server.url('/v1/subscribe?pattern=a'));
      assert.equal(response.status, 429);
      assert.equal((await response.json()).code, 'LIMIT_REACHED');
      first.leave();
      await until(() => port.streams[0].closes === 1);
      const [third] = await opened();
      assert.equal(third.response.status, 200);
    });
  });

  describe('of a reader that does not read', () => {
    const EVENT = JSON.stringify('x'.repeat(1000));
    /** More than the kernel takes for the two ends of a loopback connection. */
    const PATIENCE = 64 * 1024;
    let socket: Socket;

    async function stalled(heartbeat: number): Promise<StreamSink> {
      server = await DoorServer.open(port, { heartbeat });
      socket = server.connect();
      socket.on('error', () => {});
      socket.write('GET /v1/subscribe?pattern=a HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await until(() => port.streams.length === 1);
      const { sink } = port.streams[0];
      socket.pause();
      for (let i = 0; i < PATIENCE; i++) {
        if (sink.write(EVENT, 'message', null)) continue;
        // The kernel may still take what lies unsent.
        let room = false;
        sink.onDrain = () => {
          room = true;
        };
        const deadline = performance.now() + 100;
        while (!room && performance.now() < deadline) await sleep(POLL);
        if (!room) return sink;
      }
      throw new Error('the stream never filled up');
    }

    afterEach(() => socket.destroy());

    it('takes nothing more, until it reads', async () => {
      const sink = await stalled(60_000);
      assert.equal(sink.closed, false);
      let drains = 0;
      sink.onDrain = () => {
        drains++;
      };
      socket.resume();
      await until(() => drains === 1);
      assert.ok(sink.write(EVENT, 'message', null));
    });

    it('is closed after some heartbeats', async () => {
      await stalled(60);
      await until(() => port.streams[0].closes === 1);
      assert.ok(port.streams[0].sink.closed);
    });

    it('is closed after some heartbeats, also when the shard has ended it', async () => {
      const sink = await stalled(150);
      sink.end();
      assert.equal(server.connections, 1);
      await until(() => server.connections === 0);
      assert.equal(port.streams[0].closes, 1);
    });
  });

  it('bears a sign of life', async () => {
    server = await DoorServer.open(port, { heartbeat: 10 });
    const [reader] = await opened();
    await until(() => reader.text.includes(':\n\n:\n\n'));
    // One that can be resumed says how far it has come.
    port.position = 'x.y';
    await until(() => reader.text.includes('id: x.y\n\nid: x.y\n\n'));
  });
});
