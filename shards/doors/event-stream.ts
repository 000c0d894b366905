/** What a session has for a reader of server-sent events. */
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import type { Chunk } from '../../lib/queues/chunks.js';
import { C } from '../../lib/telemetry/counters.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { FrameType } from '../../lib/wire/frame.js';
import type { StreamEvent, StreamSink, StreamStart } from '../http/port.js';
import type { Session, Sink } from '../session.js';
import type { DoorContext } from './context.js';
import { type EventId, readEventId } from './event-id.js';
import { messageOf, pastMessageOf, pastOf } from './json-message.js';
import { STREAM, StreamReplay } from './stream-replay.js';

interface Held {
  text: string;
  event: StreamEvent;
  id: string | null;
}

export class EventStream implements Sink {
  readonly announces = false;
  session: Session | null;
  readonly #context: DoorContext;
  readonly #sink: StreamSink;
  readonly #reader: BatchReader;
  /** Events that the stream had no room for: what one chunk holds at most, and gaps. */
  #held: Held[];
  /** Null: it began with what is live, and counts its messages. */
  #replay: StreamReplay | null;
  #messages: number;

  constructor(context: DoorContext, sink: StreamSink) {
    this.session = null;
    this.#context = context;
    this.#sink = sink;
    this.#reader = new BatchReader();
    this.#held = [];
    this.#replay = null;
    this.#messages = 0;
    sink.onDrain = () => this.#onDrain();
  }

  /** Resolves when every live shard knows of the patterns, which the session has; the last values of their topics are under way by then. */
  async subscribed(patterns: readonly string[]): Promise<void> {
    const { interest, exchange, retained } = this.#context;
    await interest.settled();
    const { session } = this;
    if (session === null || session.ended) return;
    exchange.tick();
    retained.give(exchange, session, patterns);
  }

  /** Begins in the past. Resolves when every live shard knows of the patterns. Rejects with BAD_OPTION, HISTORY_UNAVAILABLE, LIMIT_REACHED. */
  async replay(patterns: readonly string[], { last, age, after }: StreamStart): Promise<void> {
    const { exchange, replays } = this.#context;
    const from = after === null ? null : readEventId(after);
    if (after !== null && from === null)
      throw new FlowbusError('BAD_OPTION', 'Last-Event-ID is none of a stream with replay or since.');
    const ours = from !== null && replays.history.isNamed(from.cursor) ? from : null;
    this.#replay = new StreamReplay(ours);
    const wish = from === null ? { last, age, cursor: null } : this.#wishBehind(from, ours);
    exchange.tick();
    await replays.begin(this.session!, { patterns, stream: STREAM, ...wish }, () => {});
  }

  /** Of another history, which another node or run of this one had, its reader has nothing. */
  #wishBehind({ cursor }: EventId, ours: EventId | null) {
    const age = ours === null ? null : Math.max(0, Math.ceil(this.#context.exchange.clock - ours.at));
    return { last: null, age, cursor };
  }

  position(): string | null {
    return this.#replay === null ? null : this.#replay.idAt(this.#context.exchange.clock);
  }

  /** While something is held there is room for nothing. */
  get unsent(): number {
    return this.#held.length === 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  send(chunk: Chunk): void {
    const { exchange } = this.#context;
    const reader = this.#reader;
    reader.open(chunk.bytes, chunk.start, chunk.end, chunk.size);
    for (let step = reader.next(); step === Step.frame; step = reader.next()) {
      if (reader.type === FrameType.publish) {
        const takes = this.#replay?.takes(reader.lane) ?? true;
        const message = takes ? messageOf(exchange, reader) : null;
        if (message !== null) this.#message(message);
      } else if (reader.type === FrameType.past) {
        const past = pastOf(reader);
        if (past !== null) this.#replay?.onPast(past);
        const message = pastMessageOf(reader.bytes, past);
        if (message !== null) this.#message(message);
      } else if (reader.type === FrameType.place) this.#replay?.onPlace(reader);
      else if (reader.type === FrameType.replaying) {
        this.#replay?.onStage(reader);
        this.#write('', 'place', this.position());
      }
    }
    exchange.pool.give(chunk);
  }

  credit(): void {}

  gap(missed: number, reason: string): void {
    const { counters } = this.#context.exchange;
    counters[C.gapFrames]++;
    counters[C.gapMessages] += Math.max(0, missed);
    this.#write(JSON.stringify({ op: 'gap', missed, reason }), 'gap', null);
  }

  pause(): void {}

  resume(): void {}

  probe(): void {}

  close(code: ErrorCode | null, message: string, reconnect: boolean): void {
    if (code !== null)
      this.#sink.write(JSON.stringify({ op: 'goaway', code, message, reconnect }), 'goaway', null);
    this.#sink.end();
  }

  #message(message: object): void {
    const id = this.#replay === null ? String(++this.#messages) : this.position();
    this.#write(JSON.stringify(message), 'message', id);
  }

  #write(text: string, event: StreamEvent, id: string | null): void {
    if (this.#held.length > 0 || !this.#sink.write(text, event, id)) this.#held.push({ text, event, id });
  }

  #onDrain(): void {
    let taken = 0;
    for (const { text, event, id } of this.#held) {
      if (!this.#sink.write(text, event, id)) break;
      taken++;
    }
    this.#held.splice(0, taken);
    if (this.#held.length > 0 || this.session === null) return;
    this.#context.exchange.tick();
    this.session.touch();
  }
}
