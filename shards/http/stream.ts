/** Event streams (server-sent events): the subscriptions of the HTTP door. */
import type { ServerResponse } from 'node:http';
import { FlowbusError } from '../../lib/errors.js';
import type { StreamEvent, StreamHandle, StreamSink } from './port.js';

/** Unsent bytes from which on a stream takes nothing more: as much as lies unsent in the socket of an agent. */
const MOST_UNSENT = 64 * 1024;
/** Milliseconds after which a browser connects again. */
const RETRY = 1000;
/** A full stream whose reader takes less than 64 KiB in so many heartbeats is closed: at 15 s each, about 1 KiB a second. */
const STALLED_BEATS = 4;

const LINE_END = /\r\n|\r|\n/;

class EventStream implements StreamSink {
  onDrain: (() => void) | null = null;
  closed = false;
  readonly #res: ServerResponse;
  readonly #begun: (status: number) => void;
  #handle: StreamHandle | null = null;
  #full = false;
  /** Heartbeats since it is full, or has ended, and not everything has gone. */
  #beatsStalled = 0;

  constructor(res: ServerResponse, begun: (status: number) => void) {
    this.#res = res;
    this.#begun = begun;
    res.on('drain', () => this.#drained());
  }

  /** The headers, if they are not sent yet: the first event may come before the subscription is complete. */
  begin(): void {
    const res = this.#res;
    if (res.headersSent || this.closed) return;
    res.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      // Proxies of the nginx family would hold events back until a buffer is full.
      'X-Accel-Buffering': 'no',
    });
    this.#begun(200);
    res.write(`retry: ${RETRY}\n\n`);
  }

  /** The shard's end, known once it has subscribed. */
  bind(handle: StreamHandle): void {
    if (this.closed) handle.close();
    else this.#handle = handle;
  }

  write(jsonText: string, event: StreamEvent, id: string | null): boolean {
    if (this.closed) return false;
    const res = this.#res;
    if (res.writableLength >= MOST_UNSENT) {
      this.#full = true;
      return false;
    }
    this.begin();
    const idLine = id === null ? '' : `id: ${id}\n`;
    if (event === 'place') {
      res.write(`${idLine}\n`);
      return true;
    }
    // A JSON payload travels as its publisher laid it out, and may have several lines.
    const data = LINE_END.test(jsonText) ? jsonText.split(LINE_END).join('\ndata: ') : jsonText;
    res.write(`event: ${event}\n${idLine}data: ${data}\n\n`);
    return true;
  }

  end(): void {
    if (this.closed) return;
    this.begin();
    this.#res.end();
    this.close();
  }

  /** Both ends let go. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.onDrain = null;
    this.#handle?.close();
    this.#handle = null;
  }

  /** A sign of life, through which a dead connection is noticed; and the reader's place, since time passes also where nothing comes. */
  beat(): void {
    if (this.#full || this.closed) {
      if (++this.#beatsStalled >= STALLED_BEATS) this.#res.destroy();
    } else if (this.#res.headersSent) {
      const id = this.#handle?.position() ?? null;
      this.#res.write(id === null ? ':\n\n' : `id: ${id}\n\n`);
    }
  }

  #drained(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#beatsStalled = 0;
    this.onDrain?.();
  }
}

/** The event streams of one shard. */
export class EventStreams {
  /** At most `most`. */
  readonly #streams = new Set<EventStream>();
  readonly #most: number;
  readonly #heartbeat: number;
  #timer: NodeJS.Timeout | null = null;

  /**
   * @param most streams at a time
   * @param heartbeat milliseconds between two comments
   */
  constructor(most: number, heartbeat: number) {
    this.#most = most;
    this.#heartbeat = heartbeat;
  }

  /**
   * Makes the answer a stream and keeps it until either side ends it. `subscribe` hands the sink to the shard; when it
   * fails before anything was sent, so does this, and the answer is still to be given.
   * Rejects with FlowbusError LIMIT_REACHED when there are too many.
   */
  async open(
    res: ServerResponse,
    begun: (status: number) => void,
    subscribe: (sink: StreamSink) => StreamHandle | Promise<StreamHandle>,
  ): Promise<void> {
    if (this.#streams.size >= this.#most) {
      throw new FlowbusError('LIMIT_REACHED', `This shard has ${this.#most} event streams, the most it may.`);
    }
    const stream = new EventStream(res, begun);
    this.#streams.add(stream);
    this.#timer ??= setInterval(() => this.#beat(), this.#heartbeat).unref();
    res.once('close', () => {
      stream.close();
      this.#forget(stream);
    });
    try {
      stream.bind(await subscribe(stream));
    } catch (error) {
      stream.close();
      this.#forget(stream);
      if (res.headersSent) res.end();
      throw error;
    }
    stream.begin();
  }

  #forget(stream: EventStream): void {
    this.#streams.delete(stream);
    if (this.#streams.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #beat(): void {
    for (const stream of this.#streams) stream.beat();
  }
}
