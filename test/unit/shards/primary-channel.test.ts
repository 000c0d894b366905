import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { adoptConnection } from '../../../shards/primary-channel.js';

/** Node's own object behind a TCP socket. */
interface Handle {
  setNoDelay(on: boolean): number;
}

describe('a connection that a shard adopts', () => {
  it('sends without delay, and begins with what the primary had read', async () => {
    const server = createServer({ pauseOnConnect: true });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = connect(server.address() as { port: number });
    const [accepted] = (await once(server, 'connection')) as [Socket];
    const { _handle: handle } = accepted as unknown as { _handle: Handle };
    const set: boolean[] = [];
    const original = handle.setNoDelay;
    handle.setNoDelay = function (on) {
      set.push(on);
      return original.call(this, on);
    };
    const adopted = await new Promise<Socket>((resolve) =>
      adoptConnection({ type: 'connection', serial: 1, head: Buffer.from('GET ') }, handle, resolve),
    );
    try {
      assert.deepEqual(set, [true]);
      const [bytes] = (await once(adopted, 'data')) as [Buffer];
      assert.equal(bytes.toString(), 'GET ');
    } finally {
      // Two sockets of one handle: the server counts the first of them.
      for (const socket of [client, adopted, accepted]) socket.destroy();
      server.close();
    }
  });
});
