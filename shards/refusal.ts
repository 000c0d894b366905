/** HTTP answers of the primary to connections that never reach a shard. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, errorEntry } from '../lib/errors.js';
import { handleOf } from './arrival.js';

/** How long, and for how many bytes, a refused connection is read to its end. */
const LINGER = 1000;
const LINGER_BYTES = 256 * 1024;
/** Connections that linger at a time; further ones are closed at once. */
const MAX_LINGERING = 1024;
/** Seconds, for codes that are worth a second attempt. */
const RETRY_AFTER = 1;

function response(code: ErrorCode, message: string): string {
  const entry = errorEntry(code);
  const status = entry.httpStatus ?? 500;
  const body = `${JSON.stringify({ code, message })}\n`;
  const retry = status === 503 ? `Retry-After: ${RETRY_AFTER}\r\n` : '';
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
    'Content-Type: application/json\r\n' +
    `Content-Length: ${Buffer.byteLength(body)}\r\n` +
    `${retry}Connection: close\r\n\r\n${body}`
  );
}

export class Refusals {
  #lingering = 0;

  /** Answers with the HTTP status of `code` and a JSON body { code, message }, then closes the connection. */
  refuse(socket: Socket, code: ErrorCode, message: string): void {
    if (socket.destroyed) return;
    socket.end(response(code, message));
    if (this.#lingering >= MAX_LINGERING) {
      socket.destroySoon();
      return;
    }
    // Closing with bytes unread makes the kernel send a reset, which can overtake the answer: read on for a while.
    this.#lingering++;
    let left = LINGER_BYTES;
    const timer = setTimeout(() => socket.destroy(), LINGER);
    socket.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) socket.destroy();
    });
    socket.once('end', () => socket.destroySoon());
    // It may have been stopped for its hand-over.
    handleOf(socket)?.readStart?.();
    socket.resume();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#lingering--;
    });
  }
}
