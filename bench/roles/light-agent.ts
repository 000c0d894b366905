/**
 * An agent with nothing but a socket, so that ten thousand fit beside the broker that is measured. It says hello as
 * the SDK does, answers pings, and counts what it is sent. Checksums of what comes in are not looked at.
 */
import { connect, type Socket } from 'node:net';
import { avroControl } from '../../lib/wire/avro.js';
import { BatchReader, Step } from '../../lib/wire/batch.js';
import { DEFAULT_MAX_PAYLOAD, Encoding, FrameType } from '../../lib/wire/frame.js';
import { controlFrame, encodeControl } from '../../lib/wire/writer.js';

const SUBPROTOCOL = 'agent-protocol-v1';

/** So long that agents which are only connected send nothing while the broker is measured (ms). */
const HEARTBEAT_INTERVAL = 600_000;

/** RFC 6455, 5.2. */
const FIN = 0x80;
const MASKED = 0x80;
const Opcode = { binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Bytes of the first part of a header that tell that a size of 16 or 64 bits follows. */
const SIZE_16 = 126;
const SIZE_64 = 127;
/** Of the upgrade's answer. */
const MAX_HEAD = 4096;

/** Whatever it is, the broker has to hash it: only proxies would need it to be fresh. */
const KEY = Buffer.from('a key of 16 byte').toString('base64');

/** Close code 1000, big-endian: it leaves on purpose. */
const NORMAL = Buffer.from([0x03, 0xe8]);

/** A client's message, masked with a key of zero, as the SDK does. */
function clientMessage(opcode: number, payload: Uint8Array): Buffer {
  const size = payload.length;
  const head =
    size < SIZE_16
      ? [FIN | opcode, MASKED | size]
      : [FIN | opcode, MASKED | SIZE_16, (size >> 8) & 255, size & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

function helloFrame(agentId: string, subscriptions: string[]): Uint8Array {
  return encodeControl(avroControl, 'hello', 1, {
    agentId,
    agentType: 'light',
    capabilities: [],
    subscriptions,
    priority: 2,
    heartbeatInterval: HEARTBEAT_INTERVAL,
    metadata: '{}',
    token: null,
    resume: null,
  });
}

/** What the SDK sends after an interval in which nothing was said. */
const PING = clientMessage(Opcode.binary, controlFrame(FrameType.ping, 1, Encoding.bytes, new Uint8Array(0)));

/** Batches are read to their end in one turn: all agents of the process share a reader. */
const reader = new BatchReader();

const NOTHING = Buffer.alloc(0);
const State = { upgrading: 0, greeting: 1, live: 2, closing: 3, ended: 4 } as const;
type State = (typeof State)[keyof typeof State];

export interface Address {
  host: string;
  port: number;
  /** Where the connection comes from; undefined leaves it to the system. */
  localAddress?: string | undefined;
}

export interface LightAgentOwner {
  onMessage(agent: LightAgent, payload: Uint8Array): void;
  /** Its heartbeat was answered. */
  onPong(agent: LightAgent): void;
  /** A connection that was live has ended, and not because it was closed from here. */
  onLost(agent: LightAgent, why: string): void;
}

export class LightAgent {
  readonly agentId: string;
  readonly #socket: Socket;
  readonly #owner: LightAgentOwner;
  readonly #subscriptions: string[];
  #state: State;
  /** What has come of a message that is not complete. */
  #pending: Buffer;
  #resolve: () => void;
  #reject: (error: Error) => void;

  private constructor(address: Address, agentId: string, subscriptions: string[], owner: LightAgentOwner) {
    this.agentId = agentId;
    this.#owner = owner;
    this.#subscriptions = subscriptions;
    this.#state = State.upgrading;
    this.#pending = NOTHING;
    this.#resolve = () => {};
    this.#reject = () => {};
    this.#socket = connect({ ...address, noDelay: true });
    this.#socket.on('connect', () => this.#upgrade(address));
    this.#socket.on('data', (bytes: Buffer) => this.#read(bytes));
    this.#socket.on('error', (error) => this.#end(error.message));
    this.#socket.on('close', () => this.#end('the broker closed it'));
  }

  /** Resolves when it has had its welcome. */
  static connect(
    address: Address,
    agentId: string,
    subscriptions: string[],
    owner: LightAgentOwner,
  ): Promise<LightAgent> {
    return new Promise((resolve, reject) => {
      const agent = new LightAgent(address, agentId, subscriptions, owner);
      agent.#resolve = () => resolve(agent);
      agent.#reject = reject;
    });
  }

  /** One heartbeat. */
  ping(): void {
    this.#socket.write(PING);
  }

  /** Leaves on purpose. Resolves when the connection is gone. */
  close(): Promise<void> {
    if (this.#state === State.ended) return Promise.resolve();
    this.#state = State.closing;
    return new Promise((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.end(clientMessage(Opcode.close, NORMAL));
    });
  }

  #upgrade({ host, port }: Address): void {
    this.#socket.write(
      `GET /?agentId=${this.agentId} HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: Upgrade\r\n` +
        `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n` +
        `Sec-WebSocket-Key: ${KEY}\r\n\r\n`,
    );
  }

  #read(bytes: Buffer): void {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    let at = this.#state === State.upgrading ? this.#readHead(all) : 0;
    while (at < all.length && this.#state !== State.ended) {
      const next = this.#readMessage(all, at);
      if (next < 0) break;
      at = next;
    }
    // A copy: a view would keep the whole chunk, and with it the next.
    this.#pending = at === all.length ? NOTHING : Buffer.from(all.subarray(at));
  }

  /** Returns where the WebSocket messages begin, or the end when the head is not complete. */
  #readHead(all: Buffer): number {
    const end = all.indexOf('\r\n\r\n');
    if (end < 0 && all.length < MAX_HEAD) return 0;
    const status = all.toString('latin1', 0, Math.max(0, all.indexOf('\r\n')));
    if (!status.startsWith('HTTP/1.1 101 ')) {
      this.#end(`the upgrade was answered with "${status}"`);
      return all.length;
    }
    this.#state = State.greeting;
    this.#socket.write(clientMessage(Opcode.binary, helloFrame(this.agentId, this.#subscriptions)));
    return end + 4;
  }

  /** Returns where the next message begins; -1 when this one is not complete. */
  #readMessage(all: Buffer, at: number): number {
    if (this.#state === State.upgrading || all.length < at + 2) return -1;
    const opcode = all[at] & 15;
    let size = all[at + 1];
    let start = at + 2;
    if (size === SIZE_16) {
      if (all.length < at + 4) return -1;
      size = all.readUInt16BE(at + 2);
      start = at + 4;
    } else if (size === SIZE_64) {
      if (all.length < at + 10) return -1;
      size = Number(all.readBigUInt64BE(at + 2));
      start = at + 10;
    }
    const end = start + size;
    if (all.length < end) return -1;
    if (opcode === Opcode.binary) this.#readBatch(all, start, end);
    else if (opcode === Opcode.ping) this.#socket.write(clientMessage(Opcode.pong, all.subarray(start, end)));
    else if (opcode === Opcode.close)
      this.#end(`closed with ${all.toString('utf8', Math.min(end, start + 2), end)}`);
    return end;
  }

  #readBatch(all: Buffer, start: number, end: number): void {
    reader.open(all, start, end, DEFAULT_MAX_PAYLOAD);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      if (step !== Step.frame) {
        this.#end(`a batch that cannot be read: ${reader.error}`);
        return;
      }
      const { type } = reader;
      if (type === FrameType.publish)
        this.#owner.onMessage(this, all.subarray(reader.payloadStart, reader.end));
      else if (type === FrameType.pong) this.#owner.onPong(this);
      else if (type === FrameType.welcome) {
        this.#state = State.live;
        this.#resolve();
      } else if (type === FrameType.error || type === FrameType.goaway || type === FrameType.gap) {
        const kind = type === FrameType.gap ? 'gap' : type === FrameType.error ? 'error' : 'goaway';
        const said = avroControl.decode(kind, all, reader.payloadStart, reader.end);
        this.#end(`the broker sent ${kind} ${JSON.stringify(said)}`);
        return;
      }
    }
  }

  #end(why: string): void {
    const before = this.#state;
    if (before === State.ended) return;
    this.#state = State.ended;
    this.#socket.destroy();
    if (before === State.live) this.#owner.onLost(this, why);
    else if (before !== State.closing) this.#reject(new Error(`${this.agentId}: ${why}`));
  }
}
