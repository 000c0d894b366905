/** Answers to the messages that want one. */
import { describe, FlowbusError } from '../errors.js';
import { ERROR_HEADER, type OutgoingExtensions } from '../wire/extensions.js';
import { utf8 } from '../wire/text.js';
import type { Emitter } from './events.js';
import type { Message, MessageOrigin, ReplyOptions } from './message.js';
import { checkCallOptions, laneOf } from './options.js';
import type { Outbox } from './outbox.js';
import type { OutgoingTopics } from './outgoing-topics.js';
import type { Payload } from './payload.js';

/** So much of an error's message goes back to the requester (UTF-16 units). */
const MAX_REASON = 1024;

const OPTIONS: readonly (keyof ReplyOptions)[] = ['priority', 'ttl', 'headers'];

const decoder = new TextDecoder();

export class Replies implements MessageOrigin {
  private readonly topics: OutgoingTopics;
  private readonly outbox: Outbox;
  private readonly events: Emitter;

  constructor(topics: OutgoingTopics, outbox: Outbox, events: Emitter) {
    this.topics = topics;
    this.outbox = outbox;
    this.events = events;
  }

  reply(message: Message, payload: Payload, options: ReplyOptions | undefined): boolean {
    const to = message.replyTo;
    if (to === null) {
      throw new FlowbusError(
        'BAD_OPTION',
        `${message.from} awaits no reply to its message on ${message.topic}.`,
      );
    }
    if (options !== undefined) checkCallOptions(options, OPTIONS);
    const lane = options?.priority === undefined ? message.lane : laneOf(options.priority);
    const extensions: OutgoingExtensions = {
      correlation: message.correlation ?? undefined,
      ttl: options?.ttl,
      headers: options?.headers,
    };
    return this.outbox.write(this.topics.get(to), payload, lane, 0, extensions);
  }

  /** What a handler returned; that it cannot be sent is an `error` event. */
  answer(message: Message, value: unknown): void {
    try {
      this.reply(message, value as Payload, undefined);
    } catch (cause) {
      this.report(message, cause);
      // Rather than let the requester wait for its timeout.
      if (
        cause instanceof FlowbusError &&
        (cause.code === 'BAD_OPTION' || cause.code === 'PAYLOAD_TOO_LARGE')
      ) {
        this.refuse(message, cause.message);
      }
    }
  }

  refuse(message: Message, reason: string): void {
    // Through UTF-8 and back: a header cannot bear lone surrogates.
    const text = decoder.decode(utf8(reason.slice(0, MAX_REASON)));
    try {
      this.reply(message, '', { headers: { [ERROR_HEADER]: text } });
    } catch (cause) {
      this.report(message, cause);
    }
  }

  private report(message: Message, cause: unknown): void {
    const error =
      cause instanceof FlowbusError ? cause : new FlowbusError('HANDLER_FAILED', describe(cause), { cause });
    // After the end of the agent nobody can do anything about it.
    if (error.code === 'CLOSED') return;
    this.events.error(
      new FlowbusError(error.code, `The reply to ${message.from} could not be sent: ${error.message}`, {
        cause,
      }),
    );
  }
}
