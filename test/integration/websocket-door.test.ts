/** The WebSocket door of a real node: what its connections are like, whatever they carry. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { RunningNode } from '../../shards/primary.js';
import { startBroker, until } from './broker/node.js';

/** Node's own object behind a TCP socket. */
interface Handle {
  setNoDelay(on: boolean): number;
}

describe('WebSocket door of a node', function () {
  this.timeout(20_000);
  let node: RunningNode;
  const sockets: (Socket | WebSocket)[] = [];

  before(async () => {
    node = await startBroker();
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) {
      if (socket instanceof WebSocket) socket.terminate();
      else socket.destroy();
    }
  });
  after(() => node.stop());

  async function dial(): Promise<Socket> {
    const socket = connect(node.address.port, node.address.host);
    sockets.push(socket);
    await once(socket, 'connect');
    return socket;
  }

  for (const offered of [['agent-protocol-v1'], ['other', 'agent-protocol-v1'], []]) {
    it(`agrees on no compression, with the protocols offered: ${offered.join() || 'none'}`, async () => {
      const socket = new WebSocket(node.url, offered, { perMessageDeflate: { threshold: 0 } });
      sockets.push(socket);
      const [[response]] = (await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])) as [
        [IncomingMessage],
        unknown,
      ];
      assert.equal(response.headers['sec-websocket-extensions'], undefined);
      assert.equal(socket.protocol, offered.at(-1) ?? '');
    });
  }

  it('sends without delay: TCP gathers nothing', async () => {
    // Connections are accepted in this process; what is set then stays with a socket that is handed to its shard.
    const { _handle } = (await dial()) as unknown as { _handle: Handle };
    const prototype = Object.getPrototypeOf(_handle) as Handle;
    const original = prototype.setNoDelay;
    const set: boolean[] = [];
    prototype.setNoDelay = function (on) {
      set.push(on);
      return original.call(this, on);
    };
    try {
      await dial();
      await until('the option', () => set.length > 0);
      assert.deepEqual(set, [true]);
    } finally {
      prototype.setNoDelay = original;
    }
  });
});
