/** A stream of libp2p, as a conversation needs it. */
import type { Connection, Stream } from '@libp2p/interface';
import type { Conversation, PeerStream } from './link/conversation.js';

export class LinkStream implements PeerStream {
  readonly peer: string;
  readonly connection: Connection;
  readonly #stream: Stream;

  constructor(stream: Stream, connection: Connection) {
    this.peer = connection.remotePeer.toString();
    this.connection = connection;
    this.#stream = stream;
  }

  get isFull(): boolean {
    return this.#stream.writableNeedsDrain;
  }

  write(bytes: Uint8Array): void {
    try {
      this.#stream.send(bytes);
    } catch {
      // It has broken, and says so by an event of its own.
    }
  }

  end(): void {
    this.#stream.close().catch(() => this.connection.abort(new Error('The stream does not end.')));
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
    this.connection.abort(reason);
  }

  /** From now on the conversation hears what happens on the stream. No listener throws: that would end the process. */
  carry(conversation: Conversation): void {
    const stream = this.#stream;
    stream.addEventListener('message', ({ data }) => {
      if (data instanceof Uint8Array) conversation.read(data);
      else for (const chunk of data) conversation.read(chunk);
    });
    // libp2p first writes what it holds itself, in a microtask that its own listener has queued before this one.
    stream.addEventListener('drain', () => queueMicrotask(() => conversation.writable()));
    stream.addEventListener('remoteCloseWrite', () =>
      conversation.fail(new Error('The other side has ended it.')),
    );
    stream.addEventListener('close', ({ error }) => conversation.closed(error ?? null));
  }
}
