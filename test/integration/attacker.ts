/** A client without the SDK: it sends any bytes it is told to, and keeps whatever the broker says to them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { ErrorCode } from '../../lib/errors.js';
import { avroControl } from '../../lib/wire/avro.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { checksumSeed, sealFrame } from '../../lib/wire/checksum.js';
import {
  type ControlCodec,
  type ErrorPayload,
  type Goaway,
  type Hello,
  jsonControl,
  type Welcome,
} from '../../lib/wire/control.js';
import { Encoding, FrameType } from '../../lib/wire/frame.js';
import { controlFrame, encodeControl, FrameWriter, type MessageFields } from '../../lib/wire/writer.js';
import { HELLO } from './bad-frames.js';
import { Changes } from './changes.js';

/** Past every limit of the broker: what is too large must be refused there. */
const writer = new FrameWriter(1 << 20);

export interface Close {
  code: number;
  reason: string;
}

export interface WireError extends ErrorPayload {
  reference: number;
}

interface Delivered {
  topic: string;
  text: string;
}

const open: Set<WebSocket> = new Set();

/** Ends all attackers at once, for an `afterEach`. */
export function endAttackers(): void {
  for (const ws of open) ws.terminate();
  open.clear();
}

export class Attacker {
  readonly ws: WebSocket;
  readonly errors: WireError[] = [];
  readonly delivered: Delivered[] = [];
  readonly pongs: number[] = [];
  readonly acks: number[] = [];
  /** Announced on this connection. */
  readonly topicIds = new Map<string, number>();
  /** The sum of all gaps. */
  missed = 0;
  welcome: Welcome | null = null;
  goaway: Goaway | null = null;
  close: Close | null = null;
  #agentId = '';
  #codec: ControlCodec = avroControl;
  #reference = 1000;
  #sequence = 0;
  readonly #changes = new Changes();
  readonly #reader = new BatchReader();
  readonly #topics = new Map<number, string>();

  private constructor(ws: WebSocket) {
    this.ws = ws;
    open.add(ws);
    ws.on('message', (data: Buffer, binary) => {
      if (binary) this.#read(data);
      this.#changes.happened();
    });
    ws.on('error', () => {});
    ws.on('close', (code, reason) => {
      open.delete(ws);
      this.close = { code, reason: reason.toString() };
      this.#changes.happened();
    });
  }

  /** A WebSocket that has said nothing. */
  static async reach(url: string): Promise<Attacker> {
    const attacker = new Attacker(new WebSocket(url, 'agent-protocol-v1', { perMessageDeflate: false }));
    await once(attacker.ws, 'open');
    return attacker;
  }

  /** One that has its welcome. `encoding` is that of its control payloads. */
  static async join(
    url: string,
    hello: Partial<Hello> = {},
    encoding: 'avro' | 'json' = 'avro',
  ): Promise<Attacker> {
    const agentId = hello.agentId ?? HELLO.agentId;
    const attacker = await Attacker.reach(`${url}/?agentId=${encodeURIComponent(agentId)}`);
    attacker.#codec = encoding === 'avro' ? avroControl : jsonControl;
    attacker.send(encodeControl(attacker.#codec, 'hello', 1, { ...HELLO, ...hello }));
    await attacker.until('a welcome', () => attacker.welcome !== null || attacker.close !== null);
    assert.notEqual(attacker.welcome, null, `no welcome but ${JSON.stringify(attacker.errors)}`);
    attacker.#agentId = agentId;
    return attacker;
  }

  /** All of `frames` as one binary message. */
  send(...frames: Uint8Array[]): void {
    this.ws.send(frames.length === 1 ? frames[0] : Buffer.concat(frames));
  }

  sendText(text: string): void {
    this.ws.send(text);
  }

  /** A publish frame, good unless `fields` make it bad: extensions included, it may be as long as it likes. */
  message(topic: string, payload = '', fields: Partial<MessageFields> = {}): Uint8Array {
    return writer.publish({
      topic,
      sender: this.welcome?.sender ?? 1,
      from: this.#agentId,
      lane: 2,
      encoding: Encoding.text,
      payload: Buffer.from(payload),
      sequence: ++this.#sequence,
      ...fields,
    });
  }

  /** The frame with the checksum of its bytes, as a message of this connection on `topic`. */
  sealed(frame: Uint8Array, topic: string): Uint8Array {
    sealFrame(frame, 0, frame.length, checksumSeed(this.#agentId, topic));
    return frame;
  }

  /** A control frame of this connection's encoding, with a fresh reference. */
  control(type: FrameType, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
    return controlFrame(type, ++this.#reference, this.#codec.encoding, payload);
  }

  subscribeFrame(patterns: string[]): Uint8Array {
    return encodeControl(this.#codec, 'subscribe', ++this.#reference, { patterns });
  }

  async subscribe(...patterns: string[]): Promise<void> {
    this.send(this.subscribeFrame(patterns));
    const reference = this.#reference;
    await this.until('an ack', () => this.acks.includes(reference));
  }

  /** Resolves when the broker has answered everything that was sent before: control frames keep their order. */
  async settle(): Promise<void> {
    const reference = ++this.#reference;
    this.send(controlFrame(FrameType.ping, reference, Encoding.bytes));
    await this.until('a pong', () => this.pongs.includes(reference));
  }

  /** Makes the broker announce an id for `topic`, and returns it. */
  async topicId(topic: string): Promise<number> {
    while (!this.topicIds.has(topic)) {
      this.send(this.message(topic), this.message(topic));
      await this.settle();
    }
    return this.topicIds.get(topic)!;
  }

  /** The connection goes on, and this code is all that it was told. */
  async refused(code: ErrorCode): Promise<WireError> {
    await this.settle();
    assert.deepEqual(
      this.errors.map((error) => [error.code, error.fatal]),
      [[code, false]],
    );
    return this.errors[0];
  }

  /** The connection ends with this code: first as an error frame, then as the reason of the close. */
  async cutOff(code: ErrorCode, closeCode = 1008): Promise<WireError> {
    assert.deepEqual(await this.closed(), { code: closeCode, reason: code });
    assert.deepEqual(
      this.errors.map((error) => [error.code, error.fatal]),
      [[code, true]],
    );
    return this.errors[0];
  }

  async closed(): Promise<Close> {
    await this.until('the close', () => this.close !== null);
    return this.close!;
  }

  /** Waits for what only comes with a message or the close, and fails at the close. */
  async until(what: string, condition: () => boolean): Promise<void> {
    await this.#changes.until(
      what,
      () => condition() || this.close !== null,
      () => this.#story(),
    );
    if (!condition()) assert.fail(`${what}: closed before; ${this.#story()}`);
  }

  #story(): string {
    return JSON.stringify({
      close: this.close,
      errors: this.errors.map(({ code, message }) => [code, message]),
    });
  }

  #read(data: Buffer): void {
    const reader = this.#reader;
    reader.open(data, 0, data.length, data.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      assert.equal(step, Step.frame, `the broker sent ${reader.error}`);
      const { bytes, payloadStart, end } = reader;
      switch (reader.type) {
        case FrameType.publish:
          this.delivered.push({ topic: this.#topicOf(data), text: data.toString('utf8', payloadStart, end) });
          break;
        case FrameType.topic: {
          const text = data.toString('utf8', reader.topicStart, reader.extensionsStart);
          this.#topics.set(reader.topicId, text);
          this.topicIds.set(text, reader.topicId);
          break;
        }
        case FrameType.welcome:
          this.welcome = this.#codec.decode('welcome', bytes, payloadStart, end);
          break;
        case FrameType.error: {
          const codec = reader.encoding === Encoding.json ? jsonControl : avroControl;
          this.errors.push({
            ...codec.decode('error', bytes, payloadStart, end),
            reference: reader.sequence,
          });
          break;
        }
        case FrameType.gap:
          this.missed += this.#codec.decode('gap', bytes, payloadStart, end).missed;
          break;
        case FrameType.goaway:
          this.goaway = this.#codec.decode('goaway', bytes, payloadStart, end);
          break;
        case FrameType.pong:
          this.pongs.push(reader.sequence);
          break;
        case FrameType.ack:
          this.acks.push(reader.sequence);
          break;
      }
    }
  }

  #topicOf(data: Buffer): string {
    const { topicId, topicStart, extensionsStart } = this.#reader;
    return topicId === 0
      ? data.toString('utf8', topicStart, extensionsStart)
      : (this.#topics.get(topicId) ?? `unknown id ${topicId}`);
  }
}
