/** The topics this agent publishes to, each with what a frame needs: bytes, id, checksum seed, sequence numbers. */
import { FlowbusError } from '../errors.js';
import { agentAddress, topicProblem } from '../topics/topic.js';
import { crc32 } from '../wire/checksum.js';
import { LANE_COUNT } from '../wire/frame.js';
import { utf8 } from '../wire/text.js';
import { checkAgentId } from './options.js';

/**
 * Topics remembered at most, some 0.5 KiB each; half as many after the older half was dropped. Who goes round among more topics than
 * half of it has each one made anew or moved, every time.
 */
export const MAX_OUTGOING_TOPICS = 65_536;

/** Addresses of agents whose topic text is remembered, at most. */
const MAX_ADDRESSES = 4096;

/**
 * Who publishes on many topics waits for memory more than for anything else. So what a message needs are numbers of 32 bits with their
 * sign, which V8 keeps in the object itself: two cache lines, where boxed numbers and typed arrays would be eight.
 */
export class OutgoingTopic {
  /** Bytes of the topic. */
  readonly size: number;
  readonly seed: number;
  /** What stands in the header; 0 while the broker has announced none. */
  #id: number;
  /** By lane: the number of the last message. They wrap after 2^32. */
  #critical: number;
  #high: number;
  #normal: number;
  #low: number;
  #background: number;
  readonly text: string;
  readonly bytes: Uint8Array;

  constructor(text: string, bytes: Uint8Array, seed: number, id: number, floor: Uint32Array) {
    this.size = bytes.length;
    this.seed = seed | 0;
    this.#id = id | 0;
    this.#critical = floor[0] | 0;
    this.#high = floor[1] | 0;
    this.#normal = floor[2] | 0;
    this.#low = floor[3] | 0;
    this.#background = floor[4] | 0;
    this.text = text;
    this.bytes = bytes;
  }

  get id(): number {
    return this.#id;
  }

  set id(id: number) {
    this.#id = id | 0;
  }

  /** The number of the next message in a lane. */
  next(lane: number): number {
    switch (lane) {
      case 0:
        this.#critical = (this.#critical + 1) | 0;
        return this.#critical;
      case 1:
        this.#high = (this.#high + 1) | 0;
        return this.#high;
      case 2:
        this.#normal = (this.#normal + 1) | 0;
        return this.#normal;
      case 3:
        this.#low = (this.#low + 1) | 0;
        return this.#low;
      default:
        this.#background = (this.#background + 1) | 0;
        return this.#background;
    }
  }

  /** Raises `floor` to the numbers given so far. */
  raise(floor: Uint32Array): void {
    const given = [this.#critical, this.#high, this.#normal, this.#low, this.#background];
    for (let lane = 0; lane < LANE_COUNT; lane++) floor[lane] = Math.max(floor[lane], given[lane] >>> 0);
  }

  restart(): void {
    this.#critical = 0;
    this.#high = 0;
    this.#normal = 0;
    this.#low = 0;
    this.#background = 0;
  }
}

/**
 * Two maps of half the bound each: when the young one is full it becomes the old one, and what had not been asked
 * for since the last time is dropped. That costs nothing per use, and keeps what is in use.
 *
 * With a dropped topic go its sequence numbers. So that none is ever given twice in a session, topics made
 * afterwards begin behind the highest number that was dropped: they count up all the same, only not from 1.
 */
export class OutgoingTopics {
  private readonly senderCrc: number;
  private young: Map<string, OutgoingTopic>;
  private old: Map<string, OutgoingTopic>;
  private last: OutgoingTopic | null;
  private readonly floor: Uint32Array;
  /** Announced ids by text: as many as the announcements of the connection, see there for the bound. */
  private readonly ids: Map<string, number>;
  private readonly addresses: Map<string, string>;
  private lastAgent: string | null;
  private lastAddress: string;

  constructor(agentId: string) {
    const sender = utf8(`${agentId}\0`);
    this.senderCrc = crc32(sender, 0, sender.length, 0);
    this.young = new Map();
    this.old = new Map();
    this.last = null;
    this.floor = new Uint32Array(LANE_COUNT);
    this.ids = new Map();
    this.addresses = new Map();
    this.lastAgent = null;
    this.lastAddress = '';
  }

  get size(): number {
    return this.young.size + this.old.size;
  }

  /** Throws BAD_TOPIC. */
  get(text: string): OutgoingTopic {
    const last = this.last;
    if (last !== null && last.text === text) return last;
    const topic = this.young.get(text) ?? this.revive(text);
    this.last = topic;
    return topic;
  }

  /** The topic that an agent alone reads. Throws BAD_OPTION. */
  to(agentId: string): OutgoingTopic {
    if (agentId !== this.lastAgent) {
      let address = this.addresses.get(agentId);
      if (address === undefined) {
        address = agentAddress(checkAgentId('agentId', agentId));
        if (this.addresses.size >= MAX_ADDRESSES) this.addresses.clear();
        this.addresses.set(agentId, address);
      }
      this.lastAgent = agentId;
      this.lastAddress = address;
    }
    return this.get(this.lastAddress);
  }

  announce(id: number, text: string): void {
    this.ids.set(text, id);
    const topic = this.known(text);
    if (topic !== undefined) topic.id = id;
  }

  /** `id` does not stand for `text` any more. */
  withdraw(id: number, text: string): void {
    if (this.ids.get(text) !== id) return;
    this.ids.delete(text);
    const topic = this.known(text);
    if (topic !== undefined) topic.id = 0;
  }

  /** Ids belong to a connection. */
  forgetIds(): void {
    this.ids.clear();
    for (const topic of this.young.values()) topic.id = 0;
    for (const topic of this.old.values()) topic.id = 0;
  }

  /** Sequence numbers belong to a session. */
  restartSequences(): void {
    this.floor.fill(0);
    for (const topic of this.young.values()) topic.restart();
    for (const topic of this.old.values()) topic.restart();
  }

  private known(text: string): OutgoingTopic | undefined {
    return this.young.get(text) ?? this.old.get(text);
  }

  private revive(text: string): OutgoingTopic {
    let topic = this.old.get(text);
    if (topic === undefined) topic = this.make(text);
    else this.old.delete(text);
    if (this.young.size >= MAX_OUTGOING_TOPICS / 2) this.age();
    this.young.set(text, topic);
    return topic;
  }

  private make(text: string): OutgoingTopic {
    const problem = typeof text === 'string' ? topicProblem(text) : 'the topic is not a text';
    if (problem !== null) throw new FlowbusError('BAD_TOPIC', `${show(text)} is no topic: ${problem}.`);
    const bytes = utf8(text);
    const seed = crc32(bytes, 0, bytes.length, this.senderCrc);
    return new OutgoingTopic(text, bytes, seed, this.ids.get(text) ?? 0, this.floor);
  }

  private age(): void {
    const floor = this.floor;
    for (const topic of this.old.values()) topic.raise(floor);
    this.old = this.young;
    this.young = new Map();
  }
}

function show(text: unknown): string {
  return typeof text === 'string' ? `"${text.length > 80 ? `${text.slice(0, 77)}...` : text}"` : String(text);
}
