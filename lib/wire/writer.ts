/** Makes single frames where speed is not the point: control frames, and messages that enter by another door. */

import { FlowbusError } from '../errors.js';
import { checksumSeed, sealFrame } from './checksum.js';
import type { ControlCodec, ControlKind, ControlPayloads } from './control.js';
import { extensionFlags, extensionsSize, type OutgoingExtensions, writeExtensions } from './extensions.js';
import { type Encoding, Flag, FrameType, HEADER_SIZE, viewOf, writeHeader } from './frame.js';

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

export interface MessageFields {
  /** Valid, and spelled out in the frame. */
  topic: string;
  /** Sender number, and the agentId that it stands for. */
  sender: number;
  from: string;
  lane: number;
  encoding: Encoding;
  payload: Uint8Array;
  sequence?: number;
  extensions?: OutgoingExtensions;
  /** For mailboxes; has a message id among its extensions. */
  assured?: boolean;
  /** Keep it as the last value of its topic. */
  retain?: boolean;
}

export class FrameWriter {
  readonly #maxPayload: number;

  /** `maxPayload`: the most bytes of a frame. */
  constructor(maxPayload: number) {
    this.#maxPayload = maxPayload;
  }

  /** A publish frame. Throws PAYLOAD_TOO_LARGE, and BAD_OPTION for extensions that cannot be written. */
  publish(message: MessageFields): Uint8Array {
    const topic = encoder.encode(message.topic);
    const extensions = message.extensions;
    const extra = extensions === undefined ? 0 : extensionsSize(extensions);
    const total = HEADER_SIZE + topic.length + extra + message.payload.length;
    if (total > this.#maxPayload)
      throw new FlowbusError(
        'PAYLOAD_TOO_LARGE',
        `The frame would have ${total} bytes; ${this.#maxPayload} are allowed.`,
      );
    const flags =
      (extensions === undefined ? 0 : extensionFlags(extensions)) |
      (message.assured ? Flag.assured : 0) |
      (message.retain ? Flag.retain : 0);
    const frame = new Uint8Array(total);
    writeHeader(
      viewOf(frame),
      0,
      FrameType.publish,
      flags,
      message.lane,
      message.encoding,
      total,
      message.payload.length,
      Date.now() * 1000,
      message.sequence ?? 0,
      0,
      topic.length,
      message.sender,
    );
    frame.set(topic, HEADER_SIZE);
    if (extensions !== undefined && extra > 0) writeExtensions(frame, HEADER_SIZE + topic.length, extensions);
    frame.set(message.payload, total - message.payload.length);
    sealFrame(frame, 0, total, checksumSeed(message.from, message.topic));
    return frame;
  }
}

/** A control frame. `reference`: that of the request it answers, or its own; 0 for none. */
export function controlFrame(
  type: FrameType,
  reference: number,
  encoding: Encoding,
  payload: Uint8Array = NOTHING,
): Uint8Array {
  const total = HEADER_SIZE + payload.length;
  const frame = new Uint8Array(total);
  writeHeader(
    viewOf(frame),
    0,
    type,
    0,
    0,
    encoding,
    total,
    payload.length,
    Date.now() * 1000,
    reference,
    0,
    0,
    0,
  );
  frame.set(payload, HEADER_SIZE);
  sealFrame(frame, 0, total, 0);
  return frame;
}

/** A control frame with a structured payload. */
export function encodeControl<K extends ControlKind>(
  codec: ControlCodec,
  kind: K,
  reference: number,
  value: ControlPayloads[K],
): Uint8Array {
  return controlFrame(FrameType[kind], reference, codec.encoding, codec.encode(kind, value));
}
