/**
 * Another node, as the gateway sees it while there is a link: a session like that of an agent, whose connection is the link, whose
 * patterns are those of the node's agents, and which is told what this node's agents want.
 */
import type { NodeLink } from '../lib/mesh.js';
import type { Chunk } from '../lib/queues/chunks.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { avroControl } from '../lib/wire/avro.js';
import type { ControlKind } from '../lib/wire/control.js';
import { Encoding, FrameType, LANE_NORMAL } from '../lib/wire/frame.js';
import { holdFrame } from '../lib/wire/node-link.js';
import { controlFrame, encodeControl } from '../lib/wire/writer.js';
import type { Exchange } from './exchange.js';
import { ForeignIds, type ForeignSender, type ForeignSenders } from './foreign-ids.js';
import { Session, type Sink } from './session.js';

/** Bytes of talk that are put in line at a time; the rest waits as a difference, which does not grow with what happens meanwhile. */
const TALK_ROOM = 128 * 1024;
/** UTF-16 units of patterns in one frame, about, and what each takes beside: at most 13 KiB and 512 patterns, which the smallest `maxPayload` holds. */
const PATTERN_UNITS = 4 * 1024;
const PER_PATTERN = 8;

/** What a linked node asks of the gateway. */
export interface LinkedNodePort {
  /** Whether anybody on this node wants `pattern`. */
  wants(pattern: string): boolean;
  /** Asks for `say` when this turn ends. */
  willSay(node: LinkedNode): void;
}

export class LinkedNode implements Sink {
  readonly announces = true;
  readonly link: NodeLink;
  readonly session: Session;
  readonly ids: ForeignIds;
  /** Senders of this node that it holds back. Bounded by their numbers. */
  readonly holding: Set<number>;
  /** It has told all that it wants. */
  synced: boolean;
  /** Barriers that were raised. */
  raised: number;
  /** It answers them in time. */
  answers: boolean;
  /** Waits to be asked to `say`. */
  talks: boolean;
  readonly #exchange: Exchange;
  readonly #port: LinkedNodePort;
  /** Patterns that it knows to be wanted here, and those of which that has to be looked at. */
  readonly #told: Set<string>;
  readonly #changed: Set<string>;
  /** Its senders that it knows to be held, and those of which that has to be looked at. */
  readonly #heldThere: Set<ForeignSender>;
  readonly #holds: Set<ForeignSender>;
  /** The last barrier that was told. */
  #toldBarrier: number;
  /** The last of its barriers that everybody here has passed, and the last that it was told of. */
  #passed: number;
  #toldPassed: number;
  #forgets: boolean;

  constructor(exchange: Exchange, link: NodeLink, senders: ForeignSenders, port: LinkedNodePort) {
    this.#exchange = exchange;
    this.#port = port;
    this.link = link;
    this.session = nodeSession(exchange, link.node);
    this.ids = new ForeignIds(exchange, senders, (sender) => {
      this.#holds.add(sender);
      this.#talk();
    });
    this.holding = new Set();
    this.synced = false;
    this.raised = 0;
    this.answers = true;
    this.talks = false;
    this.#told = new Set();
    this.#changed = new Set();
    this.#heldThere = new Set();
    this.#holds = new Set();
    this.#toldBarrier = 0;
    this.#passed = 0;
    this.#toldPassed = 0;
    this.#forgets = false;
    this.session.attach(this);
  }

  get name(): string {
    return this.link.node;
  }

  // What it is told. All of it is differences between what is so and what it knows, so a slow link makes none of it grow.

  /** Somebody here may have begun, or ceased, to want the patterns. */
  changed(patterns: Iterable<string>): void {
    for (const pattern of patterns) this.#changed.add(pattern);
    this.#talk();
  }

  /** Asks it to answer when it has applied all that it was told before; returns the number of the answer. */
  raise(): number {
    this.raised++;
    this.#talk();
    return this.raised;
  }

  /** All of this node has applied what the other one said before its barrier `n`. */
  passed(n: number): void {
    this.#passed = Math.max(n, this.#passed);
    this.#talk();
  }

  /** It named ids that are not known: it is to announce all anew. */
  askForIds(): void {
    this.#forgets = true;
    this.#talk();
  }

  /** Puts in line what there is to tell, as far as there is room. */
  say(): void {
    this.talks = false;
    if (this.session.ended) return;
    if (this.#forgets) {
      this.#forgets = false;
      const code = 'UNKNOWN_TOPIC_ID';
      const message = 'Announce all ids anew.';
      this.#control('error', { code, message, fatal: false, topic: null, correlation: null });
    }
    if (this.#toldPassed < this.#passed) {
      this.#toldPassed = this.#passed;
      this.#frame(controlFrame(FrameType.pong, this.#passed, Encoding.bytes));
    }
    this.#sayHolds();
    if (!this.#sayPatterns() || this.#toldBarrier === this.raised) return;
    this.#toldBarrier = this.raised;
    this.#frame(controlFrame(FrameType.ping, this.raised, Encoding.bytes));
  }

  #sayHolds(): void {
    for (const sender of this.#holds) {
      if (!this.#hasRoom) return;
      this.#holds.delete(sender);
      const held = sender.holds !== 0;
      if (held === this.#heldThere.has(sender)) continue;
      if (held) this.#heldThere.add(sender);
      else this.#heldThere.delete(sender);
      this.#frame(holdFrame(sender.number, held));
    }
  }

  /** False: there is more to tell. */
  #sayPatterns(): boolean {
    const told = this.#told;
    let add: string[] = [];
    let remove: string[] = [];
    let units = 0;
    for (const pattern of this.#changed) {
      if (!this.#hasRoom) break;
      this.#changed.delete(pattern);
      const wanted = this.#port.wants(pattern);
      if (wanted === told.has(pattern)) continue;
      if (wanted) told.add(pattern);
      else told.delete(pattern);
      (wanted ? add : remove).push(pattern);
      units += PER_PATTERN + pattern.length;
      if (units < PATTERN_UNITS) continue;
      this.#sayChange(add, remove);
      add = [];
      remove = [];
      units = 0;
    }
    this.#sayChange(add, remove);
    return this.#changed.size === 0;
  }

  #sayChange(add: string[], remove: string[]): void {
    if (add.length !== 0) this.#control('subscribe', { patterns: add });
    if (remove.length !== 0) this.#control('unsubscribe', { patterns: remove });
  }

  get #hasRoom(): boolean {
    return this.session.lanes.control.bytes < TALK_ROOM;
  }

  get #hasMore(): boolean {
    return this.#changed.size !== 0 || this.#holds.size !== 0;
  }

  #control<K extends ControlKind>(kind: K, value: Parameters<typeof encodeControl<K>>[3]): void {
    this.#frame(encodeControl(avroControl, kind, 0, value));
  }

  #frame(frame: Uint8Array): void {
    this.session.lanes.appendControl(frame);
    this.session.touch();
  }

  #talk(): void {
    if (this.talks) return;
    this.talks = true;
    this.#port.willSay(this);
  }

  // The link as the connection of the session.

  get unsent(): number {
    return this.link.unsent;
  }

  send(chunk: Chunk): void {
    this.link.send(chunk.bytes, chunk.start, chunk.end);
    this.#exchange.pool.give(chunk);
    if (this.#hasMore) this.#talk();
  }

  /** The link has room: what waits goes on. */
  onRoom(): void {
    if (this.#hasMore) this.#talk();
    if (!this.session.lanes.empty) this.session.touch();
  }

  /** The link is no more: what waits, and whatever of this node hangs on it, goes. */
  end(): void {
    const { session } = this;
    session.ended = true;
    session.sink = null;
    session.discard(Reason.nodeDown);
    session.release();
    this.ids.forgetSenders();
    for (const number of this.holding) this.#exchange.unhold(number);
    this.holding.clear();
  }

  // A node publishes by no credit: each of its senders is held back by itself. It is asked for no sign of life but by the mesh.

  credit(): void {}
  gap(): void {}
  pause(): void {}
  resume(): void {}
  probe(): void {}
  close(): void {}
}

/** In no directory, and nobody whose messages could be held back. */
function nodeSession(exchange: Exchange, node: string): Session {
  const { bus } = exchange.senders;
  const record = {
    agentId: node,
    agentType: 'node',
    capabilities: [],
    node,
    shard: 0,
    state: 'online' as const,
    since: 0,
    metadata: '{}',
    session: node,
    epoch: 0,
    sender: bus.number,
  };
  return new Session(exchange, node, record, bus, LANE_NORMAL, Number.POSITIVE_INFINITY);
}
