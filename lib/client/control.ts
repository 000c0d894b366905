/** What the broker says beside messages: one case for each frame type that may come. */
import { FlowbusError, isErrorCode } from '../errors.js';
import type { BatchReader } from '../wire/batch.js';
import type { ControlCodec, ErrorPayload, Welcome } from '../wire/control.js';
import { Encoding, FrameType, readU64 } from '../wire/frame.js';
import { readReplaying } from '../wire/past.js';
import { readStored } from '../wire/stored.js';
import type { Calls } from './calls.js';
import type { Connection } from './connection.js';
import type { Emitter } from './events.js';
import type { Outbox } from './outbox.js';
import type { PressedMailboxes } from './pressed.js';
import type { Requests } from './requests.js';
import type { Subscriptions } from './subscriptions.js';

/** Whom the frames concern. */
export interface ControlOffice {
  readonly events: Emitter;
  readonly outbox: Outbox;
  readonly calls: Calls;
  readonly requests: Requests;
  readonly pressed: PressedMailboxes;
  readonly subscriptions: Subscriptions;
  welcome(welcome: Welcome): void;
  /** The broker does not know a topic id that it announced before. */
  forgetTopicIds(): void;
}

/** Throws BAD_CONTROL, BAD_TYPE for what is malformed or out of place. */
export function readControl(
  frame: BatchReader,
  codec: ControlCodec,
  connection: Connection,
  office: ControlOffice,
): void {
  const { bytes, payloadStart, end } = frame;
  switch (frame.type) {
    case FrameType.welcome:
      if (connection.isGreeted) throw new FlowbusError('BAD_TYPE', 'The broker sent a second welcome.');
      office.welcome(codec.decode('welcome', bytes, payloadStart, end));
      return;
    case FrameType.error:
      readError(codec.decode('error', bytes, payloadStart, end), frame.sequence, connection, office);
      return;
    case FrameType.goaway: {
      const { code, message, reconnect } = codec.decode('goaway', bytes, payloadStart, end);
      connection.farewell(code, message, reconnect);
      connection.close();
      return;
    }
    case FrameType.ping:
      connection.sendFrame(FrameType.pong, Encoding.bytes, bytes.slice(payloadStart, end), frame.sequence);
      return;
    case FrameType.pong:
      return;
  }
  if (!connection.isGreeted)
    throw new FlowbusError('BAD_TYPE', `The broker sent type ${frame.type} before welcome.`);
  switch (frame.type) {
    case FrameType.credit:
      if (frame.payloadSize !== 8) throw new FlowbusError('BAD_CONTROL', 'A credit frame must have 8 bytes.');
      office.outbox.grant(readU64(bytes, payloadStart));
      return;
    case FrameType.ack:
      readAck(frame, office);
      return;
    case FrameType.result:
      office.calls.settle(frame.sequence, codec.decode('result', bytes, payloadStart, end));
      return;
    case FrameType.consuming:
      office.calls.settle(frame.sequence, codec.decode('consuming', bytes, payloadStart, end));
      return;
    case FrameType.breaker: {
      const { name, state, reason, coolDown } = codec.decode('breaker', bytes, payloadStart, end);
      office.events.breaker({ mailbox: name, state, reason, coolDown });
      return;
    }
    case FrameType.pressure: {
      const { mailbox, active } = codec.decode('pressure', bytes, payloadStart, end);
      office.pressed.heard(mailbox, active);
      return;
    }
    case FrameType.replaying: {
      const notice = readReplaying(bytes, payloadStart, end);
      if (notice === null) throw new FlowbusError('BAD_CONTROL', 'A replaying frame that is none.');
      office.subscriptions.ofStream(notice.stream)?.replaying?.onStage(notice);
      return;
    }
    case FrameType.gap: {
      const { missed, reason } = codec.decode('gap', bytes, payloadStart, end);
      office.events.gap({ missed: missed < 0 ? undefined : missed, reason });
      return;
    }
    default:
      throw new FlowbusError(
        'BAD_TYPE',
        `The broker sent a frame of type ${frame.type}, which no client takes.`,
      );
  }
}

/** The ack of a call bears its reference; those of assured publishes their message ids, and how many mailboxes hold each. */
function readAck(frame: BatchReader, office: ControlOffice): void {
  if (frame.sequence !== 0) {
    office.calls.settle(frame.sequence, null);
    return;
  }
  const { requests } = office;
  const whole = readStored(frame.bytes, frame.payloadStart, frame.end, (id, from, to, stored) =>
    requests.stored(id, from, to, stored),
  );
  if (!whole || frame.payloadSize === 0) {
    throw new FlowbusError('BAD_CONTROL', 'An ack must bear a reference, or message ids and counts.');
  }
}

/** An error goes to whoever awaits an answer of that reference or correlation, else it is an event. */
function readError(error: ErrorPayload, ref: number, connection: Connection, office: ControlOffice): void {
  const text = error.topic === null ? error.message : `${error.message} (topic ${error.topic})`;
  const known = isErrorCode(error.code);
  const thrown = new FlowbusError(
    isErrorCode(error.code) ? error.code : 'BAD_CONTROL',
    known ? text : `${error.code}: ${text}`,
  );
  if (error.fatal) connection.farewell(error.code, error.message, true);
  if (!connection.isGreeted) return;
  // It says for which id only in prose. Topics that are spelled out are always understood, and get new ids.
  if (error.code === 'UNKNOWN_TOPIC_ID') office.forgetTopicIds();
  if (ref !== 0 && office.calls.fail(ref, thrown)) return;
  if (error.correlation !== null && office.requests.refused(error.correlation, thrown)) return;
  // What ends the connection is told by the event 'disconnect'.
  if (!error.fatal) office.events.error(thrown);
}
