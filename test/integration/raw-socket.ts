/** A WebSocket client that minds no rule of RFC 6455: a TCP connection, and messages made by hand. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import type { RunningNode } from '../../shards/primary.js';
import { Changes } from './changes.js';

export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const FIN = 0x80;
const MASKED = 0x80;

/** One message of a client, masked with a key of zero; at most 65,535 bytes. */
export function clientMessage(opcode: number, payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload);
  const size =
    bytes.length < 126 ? [MASKED | bytes.length] : [MASKED | 126, bytes.length >>> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from([FIN | opcode, ...size, 0, 0, 0, 0]), bytes]);
}

export class RawSocket {
  readonly socket: Socket;
  /** All that came, in the order in which it came. */
  received: Buffer = Buffer.alloc(0);
  closed = false;
  readonly #changes = new Changes();

  constructor(node: RunningNode) {
    this.socket = connect({ port: node.address.port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.#changes.happened();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      this.#changes.happened();
    });
  }

  /** One that has been upgraded. */
  static async upgraded(node: RunningNode): Promise<RawSocket> {
    const raw = new RawSocket(node);
    raw.socket.write(UPGRADE);
    await raw.until('the upgrade', () => raw.received.includes('\r\n\r\n'));
    raw.received = raw.received.subarray(raw.received.indexOf('\r\n\r\n') + 4);
    return raw;
  }

  /** Resolves when the bytes have left this process. Where nobody reads them, that may be never: see `closed`. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(bytes, () => resolve());
    });
  }

  /** Waits for what only comes with bytes or the end, and fails at the end. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const why = (): string => `received ${this.received.toString('latin1')}`;
    await this.#changes.until(what, () => condition() || this.closed, why);
    if (!condition()) assert.fail(`${what}: ended before; ${why()}`);
  }

  async ended(): Promise<void> {
    await this.until('the end', () => this.closed);
  }

  end(): void {
    this.socket.destroy();
  }
}
