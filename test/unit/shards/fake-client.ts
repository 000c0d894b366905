/** A shard without processes, links or sockets, and clients that talk to its doors in memory. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { makeConfig } from '../../../lib/config/index.js';
import type { Links } from '../../../lib/links.js';
import { attachBlock, TELEMETRY_BYTES } from '../../../lib/telemetry/block.js';
import { avroControl } from '../../../lib/wire/avro.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import {
  type ControlCodec,
  type ErrorPayload,
  jsonControl,
  type Welcome,
} from '../../../lib/wire/control.js';
import { Encoding, FrameType } from '../../../lib/wire/frame.js';
import { encodeControl } from '../../../lib/wire/writer.js';
import { BinaryConnection } from '../../../shards/doors/binary.js';
import type { DoorContext } from '../../../shards/doors/context.js';
import { JsonConnection } from '../../../shards/doors/json.js';
import type { Connection } from '../../../shards/doors/websocket.js';
import { Gate } from '../../../shards/http/gate.js';
import { Shard } from '../../../shards/shard.js';

/** The only shard of its node links to nobody. */
const noLinks: Links = {
  kind: 'unix-socket',
  to: () => assert.fail('there is nobody to link to'),
  start: async () => {},
  drain: () => {},
  close: async () => {},
};

export function aloneShard(): { shard: Shard; context: DoorContext } {
  const config = makeConfig({ shards: 1, node: 'n', maxSubscriptions: 20 });
  const block = attachBlock(new ArrayBuffer(TELEMETRY_BYTES));
  const shard = new Shard(
    { slot: 0, workers: 1, incarnation: 1, clockOffset: 0, node: 'n', config },
    noLinks,
    block,
    () => {},
  );
  const context: DoorContext = {
    node: 'n',
    slot: 0,
    maxPayload: config.maxPayload,
    helloTimeout: config.helloTimeout,
    heartbeatInterval: config.heartbeatInterval,
    gate: new Gate({ host: config.host, allowedOrigins: [], secured: false }),
    exchange: shard.exchange,
    sessions: shard.sessions,
    interest: shard.interest,
    reach: shard.reach,
    publishing: shard.publishing,
    consuming: shard.consuming,
    desk: shard.desk,
    replays: shard.replays,
    retained: shard.retained,
    avro: avroControl,
    cluster: shard.cluster,
    authorise: null,
  };
  return { shard, context };
}

/** The other end of a connection: what it would see. Everything is written at once, as to a fast reader. */
export class FakeClient {
  readonly connection: Connection;
  readonly messages: Uint8Array[] = [];
  readonly errors: ErrorPayload[] = [];
  readonly texts: string[] = [];
  readonly topicIds = new Map<string, number>();
  welcome: Welcome | null = null;
  closeReason: string | null = null;
  /** Nothing is read from it. */
  paused = false;
  readonly #context: DoorContext;
  readonly #reader = new BatchReader();

  private constructor(context: DoorContext, kind: 'binary' | 'json') {
    this.#context = context;
    const ws = {
      close: (_code: number, reason = '') => {
        this.closeReason ??= reason;
      },
      terminate: () => {},
      once: () => {},
      ping: () => {},
      pause: () => {
        this.paused = true;
      },
      resume: () => {
        this.paused = false;
      },
      send: (text: string) => this.texts.push(text),
    } as unknown as WebSocket;
    const socket = {
      writableLength: 0,
      write: (bytes: Uint8Array, done: () => void) => {
        this.#read(bytes);
        done();
      },
    } as unknown as Socket;
    this.connection =
      kind === 'binary' ? new BinaryConnection(context, ws, socket) : new JsonConnection(context, ws, socket);
  }

  static binary(context: DoorContext): FakeClient {
    return new FakeClient(context, 'binary');
  }

  static json(context: DoorContext): FakeClient {
    return new FakeClient(context, 'json');
  }

  /** One with its welcome. */
  static async join(
    context: DoorContext,
    agentId: string,
    subscriptions: string[] = [],
  ): Promise<FakeClient> {
    const client = FakeClient.binary(context);
    const hello = { agentId, agentType: 'agent', capabilities: [], subscriptions, priority: 2 };
    const rest = { heartbeatInterval: 0, metadata: '{}', token: null, resume: null };
    client.receive(encodeControl(avroControl, 'hello', 1, { ...hello, ...rest }));
    await turn();
    assert.notEqual(client.welcome, null);
    return client;
  }

  /** A message of the client, and the end of the turn that it came in. The door reads nothing behind its close. */
  receive(bytes: Uint8Array, binary = true): void {
    if (this.closeReason !== null) return;
    this.connection.receive(Buffer.from(bytes), binary);
    this.#context.exchange.endTurn();
  }

  leave(): void {
    this.connection.closed(1000);
    this.#context.exchange.endTurn();
  }

  #read(message: Uint8Array): void {
    const head = message[1] < 126 ? 2 : message[1] === 126 ? 4 : 10;
    // The chunk goes back to its pool.
    const bytes = Uint8Array.from(message.subarray(head));
    const reader = this.#reader;
    reader.open(bytes, 0, bytes.length, bytes.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      assert.equal(step, Step.frame, `the shard sent ${reader.error}`);
      const { start, payloadStart, end } = reader;
      if (reader.type === FrameType.publish) this.messages.push(bytes.subarray(start, end));
      else if (reader.type === FrameType.error)
        this.errors.push(codecOf(reader.encoding).decode('error', bytes, payloadStart, end));
      else if (reader.type === FrameType.welcome)
        this.welcome = codecOf(reader.encoding).decode('welcome', bytes, payloadStart, end);
      else if (reader.type === FrameType.topic) {
        const text = Buffer.from(bytes.subarray(reader.topicStart, reader.extensionsStart)).toString();
        this.topicIds.set(text, reader.topicId);
      }
    }
  }
}

function codecOf(encoding: number): ControlCodec {
  return encoding === Encoding.json ? jsonControl : avroControl;
}

/** What is decided in promises is decided then. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
