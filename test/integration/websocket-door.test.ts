/** The WebSocket door of a real node: what its connections are like, whatever they carry. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import type { RunningNode } from '../../shards/primary.js';
import { startBroker } from './broker/node.js';

describe('WebSocket door of a node', function () {
  this.timeout(20_000);
  let node: RunningNode;
  const sockets: WebSocket[] = [];

  before(async () => {
    node = await startBroker();
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.terminate();
  });
  after(() => node.stop());

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
});
