/**
 * Who is there: the directory of this shard, which has every agent of the cluster, and who is told what changes in it. The shard of an
 * agent tells the other workers of the node; the gateway tells of agents of other nodes. `system.agent.…` is published once on each
 * shard, to the sessions there: by the agent's own shard for all of its node, elsewhere out of the directory, so that whoever reads it finds the agent.
 */
import { type AgentRecord, Directory, publicRecord } from '../lib/directory.js';
import { agentAddress } from '../lib/topics/topic.js';
import { Encoding, LANE_NORMAL } from '../lib/wire/frame.js';
import { FrameWriter } from '../lib/wire/writer.js';
import type { Exchange } from './exchange.js';
import type { Peer } from './peer.js';
import { Route } from './route.js';
import { encodeTalk } from './talk.js';

export class Presence {
  readonly directory: Directory;
  readonly #exchange: Exchange;
  readonly #node: string;
  readonly #writer: FrameWriter;
  /** The other nodes whose agents were told of. Bounded by the mesh. */
  readonly #others: Set<string>;

  /** `onLost`: as of the directory. */
  constructor(exchange: Exchange, onLost: (loser: AgentRecord, winner: AgentRecord) => void) {
    this.#exchange = exchange;
    this.#node = exchange.settings.node;
    this.#writer = new FrameWriter(exchange.settings.maxPayload);
    this.#others = new Set();
    this.directory = new Directory({ onLost });
  }

  /** The way to an agent that has no session here; null: it is nowhere. */
  locate(agentId: string): Peer | null {
    const { gateway, peers } = this.#exchange;
    const record = this.directory.get(agentId);
    if (record === null || record.state === 'offline') return null;
    if (record.node !== this.#node) return gateway;
    // While that worker begins anew its agents are offline, until it speaks of them.
    return peers[record.shard] ?? null;
  }

  /** An agent of this shard has come or gone. */
  announce(record: AgentRecord): void {
    this.tell(record);
    this.#publish(record, true);
  }

  /** Tells the other workers of an agent of this shard. */
  tell(record: AgentRecord): void {
    const bytes = encodeTalk({ t: 'agent', record });
    for (const peer of this.#exchange.peers) peer?.tell(bytes);
    this.#exchange.tick();
  }

  /** A peer speaks of one of its agents, the gateway of one of another node. */
  heard(record: AgentRecord): void {
    const before = this.directory.get(record.agentId);
    const verdict = this.directory.put(record, Date.now());
    if (verdict === 'stale' || verdict === 'full') return;
    const was = before !== null && before.state !== 'offline';
    const is = record.state !== 'offline';
    if (was !== is || before?.shard !== record.shard || before.node !== record.node) this.#moved(record);
    if (record.node === this.#node) return;
    this.#others.add(record.node);
    if (is ? !was || before.session !== record.session : was) this.#publish(record, false);
  }

  isGateway(slot: number): boolean {
    return slot === this.#exchange.settings.shards;
  }

  /** The process of a worker is gone, and with it its agents, or the way to those of other nodes. */
  peerLost(slot: number): void {
    if (!this.isGateway(slot)) this.#gone(this.#node, slot);
    else for (const node of this.#others) this.nodeGone(node);
  }

  /** Another node is given up, or has left. */
  nodeGone(node: string): void {
    this.#others.delete(node);
    this.#gone(node, null);
  }

  /** Another node is not heard: nothing is known of its agents. */
  nodeSuspect(node: string): void {
    this.directory.suspect(node, Date.now());
  }

  /** Each shard tells its own sessions, so that each hears it once. */
  #gone(node: string, shard: number | null): void {
    for (const record of this.directory.removeNodeShard(node, shard, Date.now())) {
      this.#moved(record);
      this.#publish(record, false);
    }
  }

  #moved({ agentId }: AgentRecord): void {
    this.#exchange.topics.invalidate(agentAddress(agentId));
  }

  /** `onward`: also to the sessions of the other shards. */
  #publish(record: AgentRecord, onward: boolean): void {
    const exchange = this.#exchange;
    const { gateway } = exchange;
    const topic = `system.agent.${record.agentId}.${record.state === 'offline' ? 'offline' : 'online'}`;
    const found = exchange.route(topic);
    const peers = onward ? found.peers.filter((peer) => peer !== gateway) : [];
    const route = new Route(found.sessions, peers, found.mailboxes);
    if (route.empty && route.mailboxes.length === 0) return;
    const { bus } = exchange.senders;
    const frame = this.#writer.publish({
      topic,
      sender: bus.number,
      from: bus.text,
      lane: LANE_NORMAL,
      encoding: Encoding.json,
      payload: Buffer.from(JSON.stringify(publicRecord(record))),
    });
    const now = exchange.tick();
    exchange.deliver(route, null, bus, frame, 0, frame.length, 1, LANE_NORMAL, false, now, 0, true);
  }
}
