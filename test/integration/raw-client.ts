import { connect, type Socket } from 'node:net';

const UPGRADE = (target: string) =>
  `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** A client's binary message of at most 125 bytes: masked, with a key of zero. */
function clientMessage(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x82, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

function serverMessage(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x82, payload.length]), payload]);
}

/** All that is received until `done` says so, or the connection ends. Rejects when it breaks. */
export function receive(socket: Socket, done: (bytes: Buffer) => boolean = () => false): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (done(bytes)) resolve(bytes);
    });
    socket.once('end', () => resolve(Buffer.concat(chunks)));
    socket.once('error', reject);
  });
}

/** Sends the pieces one by one, each in a turn of the event loop of its own. */
export async function sendPieces(socket: Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    if (piece.length === 0) continue;
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * One WebSocket that sends `messages` right behind the upgrade request, without awaiting the answer, cut at `cuts`.
 * All but the first piece waits for `between`. Resolves with null when the echo is complete and right, otherwise with what
 * was wrong.
 */
export async function echoBehindUpgrade(
  port: number,
  target: string,
  messages: readonly Buffer[],
  cuts: readonly number[],
  between: Promise<void> = Promise.resolve(),
): Promise<string | null> {
  const bytes = Buffer.concat([Buffer.from(UPGRADE(target)), ...messages.map(clientMessage)]);
  const expected = Buffer.concat(messages.map(serverMessage));
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  try {
    const received = receive(socket, (soFar) => {
      const end = soFar.indexOf('\r\n\r\n');
      return end >= 0 && soFar.length >= end + 4 + expected.length;
    });
    const edges = [0, ...cuts.map((at) => at % bytes.length).sort((a, b) => a - b), bytes.length];
    const [first, ...rest] = edges.slice(1).map((end, index) => bytes.subarray(edges[index], end));
    await sendPieces(socket, [first]);
    await between;
    await sendPieces(socket, rest);
    const timeout = new Promise<Buffer>((_, reject) => {
      setTimeout(() => reject(new Error('no whole echo within 5 s')), 5000).unref();
    });
    const answer = await Promise.race([received, timeout]);
    const echo = answer.subarray(answer.indexOf('\r\n\r\n') + 4);
    return echo.equals(expected) ? null : `${echo.length} bytes of ${expected.length}, or others`;
  } catch (error) {
    return String(error);
  } finally {
    socket.destroy();
  }
}

/** One request on a connection of its own; the whole response as text. */
export async function request(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.write(text);
  const response = await receive(socket);
  socket.destroy();
  return response.toString();
}
