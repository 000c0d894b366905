import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { connect } from '../../../../lib/client/browser.js';
import type { OpenTransport, Transport, TransportReader } from '../../../../lib/client/transport.js';
import { openNative } from '../../../../lib/client/transport-native.js';
import { openWs } from '../../../../lib/client/transport-ws.js';
import { until } from './fake-broker.js';

class Reader implements TransportReader {
  opened = false;
  writable = 0;
  readonly messages: Uint8Array[] = [];
  readonly closes: [number, string][] = [];

  onOpen(): void {
    this.opened = true;
  }

  onMessage(bytes: Uint8Array): void {
    this.messages.push(bytes);
  }

  onWritable(): void {
    this.writable++;
  }

  onClose(code: number, reason: string): void {
    this.closes.push([code, reason]);
  }
}

function suite(name: string, open: OpenTransport, pauses: boolean): void {
  describe(name, () => {
    let server: WebSocketServer;
    let url: string;
    let peers: WebSocket[];
    let received: Uint8Array[];
    let transport: Transport | null;
    let reader: Reader;

    async function connected(): Promise<Transport> {
      transport = open(url, reader);
      assert.equal(reader.opened, false);
      await until('open', () => reader.opened && peers.length === 1);
      return transport;
    }

    beforeEach(async () => {
      peers = [];
      received = [];
      reader = new Reader();
      transport = null;
      server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
      await once(server, 'listening');
      server.on('connection', (peer) => {
        peers.push(peer);
        peer.on('message', (data: Buffer) => received.push(new Uint8Array(data)));
      });
      url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/?agentId=x`;
    });

    afterEach((done) => {
      transport?.abort();
      for (const peer of peers) peer.terminate();
      server.close(() => done());
    });

    it('carries messages both ways', async () => {
      const sent = await connected();
      assert.equal(peers[0].protocol, 'agent-protocol-v1');
      let done = 0;
      sent.send(Uint8Array.of(1, 2, 3), () => done++);
      sent.send(Uint8Array.of(4), null);
      await until('received', () => received.length === 2 && done === 1);
      assert.deepEqual(received, [Uint8Array.of(1, 2, 3), Uint8Array.of(4)]);
      peers[0].send(Buffer.from([5, 6]));
      peers[0].send('text');
      await until('answered', () => reader.messages.length === 2);
      assert.deepEqual(reader.messages[0], Uint8Array.of(5, 6));
      assert.equal(reader.messages[0].constructor, Uint8Array);
      assert.equal(new TextDecoder().decode(reader.messages[1]), 'text');
    });

    it('says that it can take more after it was full', async () => {
      const sent = await connected();
      for (let i = 0; i < 100; i++) sent.send(new Uint8Array(64 * 1024), null);
      await until('full', () => sent.bufferedAmount > 1024 * 1024);
      await until('writable', () => reader.writable === 1 && received.length === 100);
    });

    it('reports how the other side closed', async () => {
      await connected();
      peers[0].close(1008, 'UNAUTHORIZED');
      await until('closed', () => reader.closes.length === 1);
      assert.deepEqual(reader.closes, [[1008, 'UNAUTHORIZED']]);
    });

    it('closes in good order, after what was sent', async () => {
      const sent = await connected();
      let code = 0;
      peers[0].on('close', (with_) => {
        code = with_;
      });
      sent.send(Uint8Array.of(1), null);
      sent.close();
      await until('closed', () => reader.closes.length === 1 && code !== 0);
      assert.equal(code, 1000);
      assert.equal(received.length, 1);
    });

    it('aborts at once, and not with a code that means farewell', async () => {
      const sent = await connected();
      let code = 0;
      peers[0].on('close', (with_) => {
        code = with_;
      });
      assert.equal(sent.bufferedAmount, 0);
      sent.abort();
      sent.abort();
      assert.equal(sent.bufferedAmount, Number.POSITIVE_INFINITY);
      await until('closed', () => reader.closes.length === 1 && code !== 0);
      assert.ok(code !== 1000 && code !== 1001);
    });

    it('reports that nobody listens', async () => {
      const refused = open('ws://127.0.0.1:1/', reader);
      assert.equal(reader.closes.length, 0);
      await until('closed', () => reader.closes.length === 1);
      assert.equal(reader.opened, false);
      refused.abort();
    });

    it('reports a URL that the platform refuses', async () => {
      const refused = open('ws://127.0.0.1:1/#fragment', reader);
      assert.equal(reader.closes.length, 0);
      await until('closed', () => reader.closes.length === 1);
      let done = 0;
      refused.send(Uint8Array.of(1), () => done++);
      refused.close();
      refused.abort();
      refused.resume();
      assert.equal(refused.pause(), false);
      assert.equal(done, 1);
    });

    it(pauses ? 'pauses' : 'cannot pause', async () => {
      const sent = await connected();
      assert.equal(sent.pause(), pauses);
      peers[0].send(Buffer.from([1]));
      if (pauses) {
        // What the server wrote is in the client's kernel buffer once the server's own write is out.
        await until('written', () => peers[0].bufferedAmount === 0);
        assert.equal(reader.messages.length, 0);
      }
      sent.resume();
      await until('read', () => reader.messages.length === 1);
    });
  });
}

suite('the transport of Node', openWs, true);

/** The same interface as in browsers, where an error without a listener is no exception. Node has its own from 22 on. */
class PlatformSocket extends WebSocket {
  constructor(url: string, protocol: string) {
    super(url, protocol);
    this.on('error', () => undefined);
  }
}

describe('the transport of browsers', () => {
  const own = globalThis.WebSocket;

  before(() => {
    globalThis.WebSocket = PlatformSocket as unknown as typeof globalThis.WebSocket;
  });

  after(() => {
    globalThis.WebSocket = own;
  });

  suite('over the platform’s WebSocket', openNative, false);

  it('says at once where the platform has none', async () => {
    const { WebSocket: platform } = globalThis;
    Reflect.deleteProperty(globalThis, 'WebSocket');
    try {
      await assert.rejects(connect('ws://127.0.0.1:1'), {
        code: 'NO_WEBSOCKET',
        message: /Import 'flowbus'/,
      });
    } finally {
      globalThis.WebSocket = platform;
    }
  });
});
