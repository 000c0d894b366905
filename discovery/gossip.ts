/** The directory's gossip over gossipsub, and the cure of what it does not notice itself. */
import { randomBytes } from 'node:crypto';
import { TopicValidatorResult } from '@libp2p/gossipsub';
import { GOSSIP_ID_BYTES, GOSSIP_TOPIC, type Host } from './host.js';

/** As gossipsub has it: its type leaves these out. */
interface Inside {
  topicValidators: Map<string, (peer: { toString(): string }) => TopicValidatorResult>;
  streamsOutbound: Map<string, unknown>;
}

const NONCE_BYTES = 8;
/** Looks at which gossip with a peer was broken, until the connection is made anew; twice as many each further time, if it did not help. */
const BROKEN = 3;
const MOST_BROKEN = 96;
/** Peers in trouble at a time. */
const MAX_TROUBLED = 1024;

interface Trouble {
  looks: number;
  enough: number;
}

export class Gossip {
  readonly #host: Host;
  readonly #inside: Inside;
  readonly #nonce: Buffer;
  #count: number;
  readonly #troubles: Map<string, Trouble>;

  /** Only members are listened to. */
  constructor(host: Host, isMember: (peer: string) => boolean, onMessage: (bytes: Uint8Array) => void) {
    const { gossip } = host.services;
    this.#host = host;
    this.#inside = gossip as unknown as Inside;
    this.#nonce = randomBytes(NONCE_BYTES);
    this.#count = 0;
    this.#troubles = new Map();
    this.#inside.topicValidators.set(GOSSIP_TOPIC, (peer) =>
      isMember(peer.toString()) ? TopicValidatorResult.Accept : TopicValidatorResult.Ignore,
    );
    gossip.addEventListener('message', ({ detail }) => {
      if (detail.data.length > GOSSIP_ID_BYTES) onMessage(detail.data.subarray(GOSSIP_ID_BYTES));
    });
    gossip.subscribe(GOSSIP_TOPIC);
  }

  publish(message: Uint8Array): void {
    const bytes = Buffer.allocUnsafe(GOSSIP_ID_BYTES + message.length);
    this.#nonce.copy(bytes);
    bytes.writeUInt32LE(this.#count++ >>> 0, NONCE_BYTES);
    bytes.set(message, GOSSIP_ID_BYTES);
    // What does not arrive is seen by the numbers, and pulled.
    this.#host.services.gossip.publish(GOSSIP_TOPIC, bytes).catch(() => {});
  }

  /**
   * Of these peers, whose connections have stood for some seconds, those with which gossip is broken. gossipsub opens its stream once
   * for each connection: when that is lost alone, or its connection was one of two, nothing is heard any more, for ever. To be called once a second.
   */
  broken(peers: readonly string[]): string[] {
    const subscribers = new Set(this.#host.services.gossip.getSubscribers(GOSSIP_TOPIC).map(String));
    const found: string[] = [];
    for (const peer of peers) {
      if (subscribers.has(peer) && this.#inside.streamsOutbound.has(peer)) this.#troubles.delete(peer);
      else if (this.#look(peer)) found.push(peer);
    }
    return found;
  }

  #look(peer: string): boolean {
    let trouble = this.#troubles.get(peer);
    if (trouble === undefined) {
      if (this.#troubles.size >= MAX_TROUBLED) this.#troubles.clear();
      trouble = { looks: 0, enough: BROKEN };
      this.#troubles.set(peer, trouble);
    }
    if (++trouble.looks < trouble.enough) return false;
    trouble.looks = 0;
    trouble.enough = Math.min(MOST_BROKEN, 2 * trouble.enough);
    return true;
  }
}
