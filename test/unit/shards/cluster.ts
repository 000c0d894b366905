/** Nodes without processes: shards and a gateway each, links and a mesh in the hands of the test. */
import assert from 'node:assert/strict';
import { type BrokerConfig, makeConfig } from '../../../lib/config/index.js';
import type { LinkOut, LinkReader, Links, RecordKind } from '../../../lib/links.js';
import { segmentBytes } from '../../../lib/memory/layout.js';
import type { AttachedSegment } from '../../../lib/memory/segment.js';
import type { ClusterNode, Mesh, NodeLink, NodeState } from '../../../lib/mesh.js';
import type { TelemetryBlock } from '../../../lib/telemetry/block.js';
import { BatchReader, Step } from '../../../lib/wire/batch.js';
import { checksumSeed, frameChecksum, sealFrame } from '../../../lib/wire/checksum.js';
import {
  Encoding,
  FrameType,
  HEADER_SIZE,
  OFFSET_CHECKSUM,
  readU32,
  viewOf,
  writeHeader,
} from '../../../lib/wire/frame.js';
import { HISTORY_NAME, readPast } from '../../../lib/wire/past.js';
import { Gateway } from '../../../shards/gateway.js';
import { History } from '../../../shards/history.js';
import type { Session, Sink } from '../../../shards/session.js';
import { Shard } from '../../../shards/shard.js';
import { HELLO, makeBlock } from './wires.js';

interface Item {
  from: number;
  urgent: boolean;
  kind: RecordKind;
  stamp: number;
  bytes: Uint8Array;
}

/** Links of the workers of one node. */
class NodeWires {
  readonly readers: (LinkReader | null)[];
  /** By receiver. */
  readonly queues: Item[][];
  /** By receiver: how often it was told that there is something. */
  readonly flushes: number[];
  /** Workers whose rings are full. */
  readonly full = new Set<number>();
  /** By slot: the process that has the links. */
  readonly #processes: { lives: boolean }[] = [];

  constructor(workers: number) {
    this.readers = Array.from({ length: workers }, () => null);
    this.queues = Array.from({ length: workers }, () => []);
    this.flushes = Array.from({ length: workers }, () => 0);
  }

  /** The process of `slot` is gone: it says nothing any more. */
  kill(slot: number): void {
    this.#processes[slot].lives = false;
    this.readers[slot] = null;
  }

  linksOf(slot: number): Links {
    const process = { lives: true };
    this.#processes[slot] = process;
    const outs: LinkOut[] = this.queues.map((queue, to) => ({
      write: (urgent, kind, stamp, src, start, end) => {
        if (this.full.has(to)) return false;
        if (!process.lives) return true;
        const bytes = Uint8Array.prototype.slice.call(src, start, end);
        queue.push({ from: slot, urgent, kind, stamp, bytes });
        return true;
      },
      flush: () => {
        this.flushes[to]++;
      },
    }));
    return {
      kind: 'shared-memory',
      to: (peer) => outs[peer],
      start: async (reader) => {
        this.readers[slot] = reader;
      },
      drain: () => {},
      close: async () => {},
    };
  }

  /** Delivers all that waits, once; false when nothing did. */
  deliver(): boolean {
    let some = false;
    for (const [slot, reader] of this.readers.entries()) {
      if (reader === null) continue;
      for (const { from, urgent, kind, stamp, bytes } of this.queues[slot].splice(0)) {
        some = true;
        reader.onRecord(from, urgent, kind, stamp, bytes, 0, bytes.length);
      }
      reader.onBatchEnd();
    }
    return some;
  }
}

/** One direction of the way between two nodes. */
export class FakeNodeLink implements NodeLink {
  readonly node: string;
  /** Batches on their way to the other node. */
  readonly sent: Uint8Array[] = [];
  unsent = 0;
  /** Nothing leaves: what is handed over stays unsent. */
  stuck = false;

  constructor(node: string) {
    this.node = node;
  }

  send(src: Uint8Array, start: number, end: number): void {
    this.sent.push(Uint8Array.prototype.slice.call(src, start, end));
    this.unsent += end - start;
  }
}

/** A message that a sink got, and whether its checksum holds from end to end. */
export interface Got {
  topic: string;
  from: string;
  payload: string;
  whole: boolean;
}

/** Reads what it is given as an agent would: ids as they were announced. */
export class Reader implements Sink {
  readonly announces = true;
  unsent = 0;
  closed: string | null = null;
  missed = 0;
  readonly got: Got[] = [];
  /** Of the past: who published what. */
  readonly past: string[] = [];
  readonly #topics = new Map<number, string>();
  readonly #senders = new Map<number, string>([[0, 'flowbus']]);
  readonly #reader = new BatchReader();

  send(chunk: { bytes: Uint8Array; start: number; end: number }): void {
    const bytes = Uint8Array.prototype.slice.call(chunk.bytes, chunk.start, chunk.end);
    const reader = this.#reader;
    reader.open(bytes, 0, bytes.length, bytes.length);
    for (let step = reader.next(); step !== Step.end; step = reader.next()) {
      if (step !== Step.frame) throw new Error(`the shard sent ${reader.error}`);
      const { start, end, payloadStart, topicStart, extensionsStart } = reader;
      if (reader.type === FrameType.topic)
        this.#topics.set(reader.topicId, text(bytes, topicStart, extensionsStart));
      else if (reader.type === FrameType.sender)
        this.#senders.set(reader.sender, text(bytes, payloadStart, end));
      else if (reader.type === FrameType.past) {
        const past = readPast(bytes, payloadStart, end)!;
        this.past.push(`${past.topic} ${past.from} ${text(bytes, past.start + HEADER_SIZE, past.end)}`);
      } else if (reader.type === FrameType.publish) {
        const topic =
          reader.topicId === 0 ? text(bytes, topicStart, extensionsStart) : this.#topics.get(reader.topicId)!;
        const from = this.#senders.get(reader.sender)!;
        const seed = checksumSeed(from, topic);
        const whole =
          frameChecksum(bytes, start, end - start, seed) === readU32(bytes, start + OFFSET_CHECKSUM);
        this.got.push({ topic, from, payload: text(bytes, payloadStart, end), whole });
      }
    }
  }

  credit(): void {}

  gap(missed: number): void {
    this.missed += missed;
  }

  pause(): void {}
  resume(): void {}
  probe(): void {}

  close(code: string | null): void {
    this.closed = code ?? 'left';
  }
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.subarray(start, end)).toString();
}

/** A publish frame whose topic has an id. */
export function frameOf(
  topicId: number,
  topic: string,
  sender: number,
  from: string,
  lane: number,
  payload: string,
): Uint8Array {
  const bytes = Buffer.from(payload);
  const total = HEADER_SIZE + bytes.length;
  const frame = new Uint8Array(total);
  const { publish } = FrameType;
  writeHeader(
    viewOf(frame),
    0,
    publish,
    0,
    lane,
    Encoding.text,
    total,
    bytes.length,
    0,
    0,
    topicId,
    0,
    sender,
  );
  frame.set(bytes, HEADER_SIZE);
  sealFrame(frame, 0, total, checksumSeed(from, topic));
  return frame;
}

function segmentFor(workers: number): AttachedSegment {
  const rings = { urgentBytes: 4096, bulkBytes: 4096, historyBytes: 65_536, retainedBytes: 0 };
  const sizes = { workers, metricsBytes: 0, ...rings };
  return { sizes, buffer: new ArrayBuffer(segmentBytes(sizes)) } as AttachedSegment;
}

export class Node implements Mesh {
  readonly name: string;
  readonly shards: Shard[];
  readonly wires: NodeWires;
  gateway: Gateway;
  /** There is a process of the gateway. */
  living = true;
  readonly blocks: TelemetryBlock[];
  /** Its part of the directory. */
  readonly part = new Map<string, Uint8Array>();
  /** Keys of the other nodes' parts. */
  readonly known = new Map<string, Set<string>>();
  readonly #cluster: Cluster;
  readonly #config: BrokerConfig;
  /** As shared memory would be; null: no history is kept. */
  readonly #segment: AttachedSegment | null;
  #gateways = 0;

  constructor(
    cluster: Cluster,
    name: string,
    shards: number,
    settings: Partial<BrokerConfig>,
    clockOffset: number,
  ) {
    this.#cluster = cluster;
    this.name = name;
    this.#config = makeConfig({ shards, ...settings });
    this.wires = new NodeWires(shards + 1);
    this.#segment = this.#config.history.length === 0 ? null : segmentFor(shards + 1);
    this.blocks = Array.from({ length: shards + 1 }, makeBlock);
    this.shards = Array.from({ length: shards }, (_, slot) => {
      const boot = {
        slot,
        workers: shards + 1,
        incarnation: 1,
        clockOffset,
        node: name,
        config: this.#config,
      };
      const links = this.wires.linksOf(slot);
      return new Shard(boot, links, this.blocks[slot], () => {}, undefined, this.#history(slot));
    });
    this.gateway = this.#makeGateway();
  }

  #history(slot: number): History {
    return new History(slot, new Uint8Array(HISTORY_NAME), this.#segment, this.#config.history);
  }

  #makeGateway(): Gateway {
    const slot = this.shards.length;
    const config = this.#config;
    const boot = { slot, workers: slot + 1, incarnation: ++this.#gateways, node: this.name, config };
    const log = { info: () => {}, warn: () => {} };
    const history = this.#history(slot);
    const gateway = new Gateway(boot, this.wires.linksOf(slot), this.blocks[slot], log, history);
    gateway.attach(this);
    return gateway;
  }

  async start(): Promise<void> {
    await Promise.all(this.shards.map((shard) => shard.start([])));
    await this.gateway.start();
  }

  /** The process of the gateway is gone; `restartGateway` begins another. */
  killGateway(): void {
    const slot = this.shards.length;
    this.living = false;
    this.wires.kill(slot);
    this.#cluster.drop(this.name);
    for (const shard of this.shards) shard.peerDown(slot, this.#gateways);
  }

  async restartGateway(): Promise<void> {
    this.living = true;
    this.part.clear();
    this.known.clear();
    this.gateway = this.#makeGateway();
    await this.gateway.start();
  }

  write(key: string, value: Uint8Array | null): void {
    if (value === null) this.part.delete(key);
    else this.part.set(key, Uint8Array.from(value));
    this.#cluster.onRecord(this.name, key, value);
  }

  knownOf(node: string): Set<string> {
    const known = this.known.get(node) ?? new Set();
    this.known.set(node, known);
    return known;
  }

  nodes(): ClusterNode[] {
    return [];
  }

  /** A batch of messages of one topic and lane, by its id, as from the agent's connection. */
  publish(slot: number, { sender }: Session, topic: string, lane: number, payloads: readonly string[]): void {
    const { exchange, publishing } = this.shards[slot];
    exchange.tick();
    const known = exchange.topic(topic)!;
    const id = exchange.idOf(known);
    const topicId = id?.id ?? assert.fail(`there is no id for ${topic}`);
    const frames = payloads.map((payload) =>
      frameOf(topicId, topic, sender.number, sender.text, lane, payload),
    );
    const batch = Buffer.concat(frames);
    publishing.send(sender, known, topic, id, batch, 0, batch.length, frames.length, lane, 0);
  }

  /** An agent on shard `slot`. */
  agent(agentId: string, slot: number, subscriptions: string[] = []): { session: Session; sink: Reader } {
    const { sessions } = this.shards[slot];
    const { session } = sessions.open({ ...HELLO, agentId, subscriptions });
    const sink = new Reader();
    sessions.attach(session, sink);
    return { session, sink };
  }
}

export class Cluster {
  readonly nodes: Node[] = [];
  /** By sender and receiver. */
  readonly links = new Map<string, FakeNodeLink>();

  /** `clockOffset`: of its clock (ms). */
  async add(name: string, shards = 2, settings: Partial<BrokerConfig> = {}, clockOffset = 0): Promise<Node> {
    const node = new Node(this, name, shards, settings, clockOffset);
    this.nodes.push(node);
    await node.start();
    return node;
  }

  named(name: string): Node {
    return this.nodes.find((node) => node.name === name)!;
  }

  way(from: string, to: string): FakeNodeLink {
    return this.links.get(`${from} ${to}`)!;
  }

  link(a: string, b: string): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ]) {
      const link = new FakeNodeLink(to);
      this.links.set(`${from} ${to}`, link);
      this.#replicate(this.named(from), this.named(to));
      this.named(from).gateway.onLink(link);
    }
  }

  /** What `reader` does not know of the other's part. */
  #replicate(reader: Node, { name, part }: Node): void {
    reader.gateway.onNode(name, 'alive');
    const known = reader.knownOf(name);
    for (const key of known) if (!part.has(key)) reader.gateway.onRecord(name, key, null);
    for (const [key, value] of part) reader.gateway.onRecord(name, key, value);
    reader.known.set(name, new Set(part.keys()));
  }

  /** The link between two nodes ends: nobody knows what became of what is on its way, which does not arrive. */
  cut(a: string, b: string): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ]) {
      const link = this.links.get(`${from} ${to}`);
      if (link === undefined) continue;
      this.links.delete(`${from} ${to}`);
      this.named(from).gateway.onLinkLost(link, link.sent);
    }
  }

  /** The mesh of `name` is gone without a word. */
  drop(name: string): void {
    for (const [key, link] of [...this.links]) {
      const [from, to] = key.split(' ');
      if (from !== name && to !== name) continue;
      this.links.delete(key);
      if (to === name) this.named(from).gateway.onLinkLost(link, link.sent);
    }
  }

  onRecord(node: string, key: string, value: Uint8Array | null): void {
    for (const other of this.nodes) {
      if (other.name === node || !this.links.has(`${other.name} ${node}`)) continue;
      if (value === null) other.knownOf(node).delete(key);
      else other.knownOf(node).add(key);
      other.gateway.onRecord(node, key, value);
    }
  }

  tellState(of: string, state: NodeState): void {
    for (const other of this.nodes) if (other.name !== of && other.living) other.gateway.onNode(of, state);
  }

  /** Until nothing is on its way that could arrive. */
  async run(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) if (await this.step()) quiet = 0;
  }

  /** Delivers what is on its way, but not what that causes; false when there was nothing. */
  async step(): Promise<boolean> {
    let some = false;
    for (const { wires, shards, gateway, living } of this.nodes) {
      if (wires.deliver()) some = true;
      for (const shard of shards) shard.exchange.endTurn();
      if (living) gateway.exchange.endTurn();
    }
    if (this.#carry()) some = true;
    // What is decided in promises is decided now.
    await new Promise(setImmediate);
    return some;
  }

  #carry(): boolean {
    let some = false;
    for (const [key, link] of this.links) {
      if (link.stuck || link.sent.length === 0) continue;
      const [from, to] = key.split(' ');
      const back = this.links.get(`${to} ${from}`)!;
      some = true;
      for (const batch of link.sent.splice(0)) this.named(to).gateway.onBatch(back, batch);
      link.unsent = 0;
      this.named(from).gateway.onRoom(link);
    }
    return some;
  }
}
