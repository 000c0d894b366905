/** What was sent out and has an answer coming: requests, and assured publishes. */
import { FlowbusError } from '../errors.js';
import { ERROR_HEADER, type Extensions } from '../wire/extensions.js';
import { readU32, writeU32 } from '../wire/frame.js';
import { toHex, utf8 } from '../wire/text.js';
import type { Message } from './message.js';
import { PendingTable } from './pending.js';

/** Requests, and assured publishes, that may be pending at a time. */
export const MAX_PENDING = 65_536;

/** What the ack of an assured publish says. */
export interface Stored {
  /** How many mailboxes have journaled the message. */
  stored: number;
}

// Correlations: 4 random bytes of this agent object, 4 that count. Message ids: 8 random bytes, because they must
// differ from everybody else's, and 4 that count.
const CORRELATION_SIZE = 8;
const MESSAGE_ID_SIZE = 12;
/** Where the count stands in it. */
const COUNT = 8;

/** An assured publish: what its id counts, where the SDK has made the id, else the id as hexadecimal text. */
type AckKey = number | string;

export class Requests {
  /** For the next frame: valid until the following `open…`. */
  readonly correlation: Uint8Array;
  readonly messageId: Uint8Array;
  private readonly replies: PendingTable<number, Message>;
  private readonly acks: PendingTable<AckKey, Stored>;
  private readonly nonce: number;
  private count: number;

  constructor() {
    this.correlation = crypto.getRandomValues(new Uint8Array(CORRELATION_SIZE));
    this.messageId = crypto.getRandomValues(new Uint8Array(MESSAGE_ID_SIZE));
    this.replies = new PendingTable('requests', MAX_PENDING);
    this.acks = new PendingTable('assured publishes', MAX_PENDING);
    this.nonce = readU32(this.correlation, 0);
    this.count = 0;
  }

  get size(): number {
    return this.replies.size + this.acks.size;
  }

  /** Waits for the reply to the frame that will bear `correlation`. Throws LIMIT_REACHED. */
  openRequest(timeout: number): { key: number; reply: Promise<Message> } {
    const key = this.nextCount();
    const reply = this.replies.open(key, timeout);
    writeU32(this.correlation, 4, key);
    return { key, reply };
  }

  /** Waits for the ack of the frame that will bear the message id, its own or `id` (1 to 64 bytes). */
  openAssured(timeout: number, id: string | Uint8Array | undefined): { key: AckKey; ack: Promise<Stored> } {
    if (id === undefined) {
      const count = this.nextCount();
      writeU32(this.messageId, COUNT, count);
      return { key: count, ack: this.acks.open(count, timeout) };
    }
    const bytes = typeof id === 'string' ? utf8(id) : id;
    const key = this.ackKey(bytes, 0, bytes.length);
    if (this.acks.has(key)) {
      throw new FlowbusError(
        'BAD_OPTION',
        `A message with the messageId ${String(id)} is on its way already.`,
      );
    }
    return { key, ack: this.acks.open(key, timeout) };
  }

  failRequest(key: number, error: FlowbusError): void {
    this.replies.fail(key, error);
  }

  failAssured(key: AckKey, error: FlowbusError): void {
    this.acks.fail(key, error);
  }

  /** A message came to a reply address of ours. False: nobody waits for it (any more). */
  settle(message: Message): boolean {
    const key = this.keyOf(message.correlation);
    if (key === null) return false;
    const failure = message.headers[ERROR_HEADER];
    if (failure === undefined) return this.replies.settle(key, message);
    return this.replies.fail(key, new FlowbusError('HANDLER_FAILED', `${message.from}: ${failure}`));
  }

  /** The broker has stored the message with the id `b[start, end)` in `count` mailboxes. */
  stored(b: Uint8Array, start: number, end: number, count: number): boolean {
    return this.acks.settle(this.ackKey(b, start, end), { stored: count });
  }

  /** The broker refused the frame of this correlation, or of this message id. False: it was none of these. */
  refused(correlation: Uint8Array, error: FlowbusError): boolean {
    const key = this.keyOf(correlation);
    if (key !== null && this.replies.fail(key, error)) return true;
    return this.acks.fail(this.ackKey(correlation, 0, correlation.length), error);
  }

  /** The connection broke: fails all whose frames may have been sent. `unsent`: the extensions of those that wait. */
  disconnected(error: FlowbusError, unsent: Unsent): void {
    this.replies.failAll(error, unsent.requests);
    this.acks.failAll(error, unsent.assured);
  }

  /** Resolves when nothing is pending. */
  async empty(): Promise<void> {
    await this.replies.empty();
    await this.acks.empty();
  }

  failAll(error: FlowbusError): void {
    this.replies.failAll(error);
    this.acks.failAll(error);
  }

  /** Notes a frame that waits to be sent. */
  note(extensions: Extensions, unsent: Unsent): void {
    const key = this.keyOf(extensions.correlation);
    if (key !== null) unsent.requests.add(key);
    const id = extensions.messageId;
    if (id !== null) unsent.assured.add(this.ackKey(id, 0, id.length));
  }

  private ackKey(b: Uint8Array, start: number, end: number): AckKey {
    const own = this.messageId;
    if (end - start !== MESSAGE_ID_SIZE) return toHex(b, start, end);
    for (let i = 0; i < COUNT; i++) if (b[start + i] !== own[i]) return toHex(b, start, end);
    return readU32(b, start + COUNT);
  }

  private keyOf(correlation: Uint8Array | null): number | null {
    if (correlation === null || correlation.length !== CORRELATION_SIZE) return null;
    return readU32(correlation, 0) === this.nonce ? readU32(correlation, 4) : null;
  }

  private nextCount(): number {
    this.count = (this.count + 1) >>> 0;
    return this.count;
  }
}

/** Keys of requests and assured publishes whose frames have not been sent. */
export class Unsent {
  readonly requests: Set<number>;
  readonly assured: Set<AckKey>;

  constructor() {
    this.requests = new Set();
    this.assured = new Set();
  }
}
