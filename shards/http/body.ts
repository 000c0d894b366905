/** The body of a request, bounded in size and time. */
import type { IncomingMessage } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';

/** Reads are worth several packets; nobody needs to send a body as a thousand crumbs. */
const MAX_CHUNKS = 1024;

function tooLarge(limit: number): FlowbusError {
  return new FlowbusError(
    'PAYLOAD_TOO_LARGE',
    `The body may have ${limit} bytes at most: the message, with topic and options, is one frame.`,
  );
}

/**
 * The whole body, at most `limit` bytes, within `time` milliseconds from now.
 * Rejects with FlowbusError PAYLOAD_TOO_LARGE, TIMEOUT, or, when the client has gone, DISCONNECTED; the rest of the
 * body is then left unread.
 */
export function readBody(req: IncomingMessage, limit: number, time: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    if (Number(req.headers['content-length'] ?? 0) > limit) {
      reject(tooLarge(limit));
      return;
    }
    // It may have gone while somebody else was awaited, and then no event comes any more.
    if (req.destroyed) {
      reject(new FlowbusError('DISCONNECTED'));
      return;
    }
    let chunks: Uint8Array[] = [];
    let size = 0;

    const stop = (): void => {
      clearTimeout(timer);
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('close', onGone);
      req.off('error', onGone);
    };
    const refuse = (error: FlowbusError): void => {
      stop();
      req.pause();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limit) {
        refuse(tooLarge(limit));
        return;
      }
      chunks.push(chunk);
      if (chunks.length > MAX_CHUNKS) chunks = [Buffer.concat(chunks, size)];
    };
    const onEnd = (): void => {
      stop();
      resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size));
    };
    const onGone = (): void => refuse(new FlowbusError('DISCONNECTED'));
    const timer = setTimeout(() => {
      refuse(new FlowbusError('TIMEOUT', `The body did not arrive within ${time} ms. Send it at once.`));
    }, time);
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('close', onGone);
    req.on('error', onGone);
  });
}
