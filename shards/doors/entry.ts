/** Messages that enter without a frame of their own, from the JSON door or HTTP: a frame is made, and goes the way of all. */
import { type ErrorCode, FlowbusError } from '../../lib/errors.js';
import { REPLY_PREFIX } from '../../lib/topics/topic.js';
import { extensionFlags, type OutgoingExtensions } from '../../lib/wire/extensions.js';
import type { Encoding } from '../../lib/wire/frame.js';
import { FrameWriter } from '../../lib/wire/writer.js';
import type { OnStored } from '../assured.js';
import { publishProblem } from '../publishing.js';
import type { SenderId } from '../sender-ids.js';
import type { Session } from '../session.js';
import type { DoorContext } from './context.js';
import { quoted } from './hello.js';

export interface Entering {
  topic: string;
  lane: number;
  encoding: Encoding;
  payload: Uint8Array;
  sequence: number;
  extensions: OutgoingExtensions;
  retain?: boolean;
}

export interface Entered {
  code: ErrorCode | null;
  message: string | null;
  /** Bytes of the frame; 0 when there was none. */
  bytes: number;
}

export class Entry {
  readonly #context: DoorContext;
  readonly #writer: FrameWriter;

  constructor(context: DoorContext) {
    this.#context = context;
    this.#writer = new FrameWriter(context.maxPayload);
  }

  /**
   * Into every mailbox that takes the topic; the extensions have a message id. Returns the bytes of the frame. Throws why it is
   * refused at once, as `publish` does too; `onStored` hears what has become of it.
   */
  store(session: Session, message: Entering, onStored: OnStored): number {
    const { exchange, publishing } = this.#context;
    const problem = publishProblem(message.topic);
    if (problem !== null)
      throw new FlowbusError(problem.code, `Topic ${quoted(message.topic)}: ${problem.message}`);
    const { sender } = session;
    const { topic } = message;
    const frame = this.#writer.publish({
      ...message,
      sender: sender.number,
      from: sender.text,
      assured: true,
    });
    exchange.tick();
    const refused =
      message.retain === true ? publishing.retainProblem(sender, topic, frame, 0, frame.length) : null;
    if (refused !== null) throw new FlowbusError(refused);
    publishing.store(session, exchange.topics.get(topic) ?? null, topic, frame, onStored);
    if (message.retain === true) publishing.retain(sender, topic, frame, 0, frame.length);
    return frame.length;
  }

  /** Throws PAYLOAD_TOO_LARGE, and BAD_OPTION for extensions that cannot be written. */
  publish(sender: SenderId, message: Entering): Entered {
    const { exchange, publishing } = this.#context;
    const known = exchange.topics.get(message.topic);
    const problem = publishProblem(message.topic);
    if (problem !== null)
      return { code: problem.code, message: `Topic ${quoted(message.topic)}: ${problem.message}`, bytes: 0 };
    const frame = this.#writer.publish({ ...message, sender: sender.number, from: sender.text });
    exchange.tick();
    const refused =
      message.retain === true ? publishing.retain(sender, message.topic, frame, 0, frame.length) : null;
    if (refused !== null) return { code: refused, message: null, bytes: 0 };
    const topic = message.topic.startsWith(REPLY_PREFIX)
      ? null
      : (known ?? exchange.topics.add(message.topic));
    const code = publishing.send(
      sender,
      topic,
      message.topic,
      null,
      frame,
      0,
      frame.length,
      1,
      message.lane,
      extensionFlags(message.extensions),
    );
    return { code, message: null, bytes: frame.length };
  }
}
