/**
 * The sessions of this shard from hello to end: who they are, whether they live, and what the directory and the
 * presence topics say of them.
 */
import { type AgentRecord, type AgentState, Directory, publicRecord } from '../lib/directory.js';
import { FlowbusError } from '../lib/errors.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { agentAddress } from '../lib/topics/topic.js';
import type { Hello } from '../lib/wire/control.js';
import { Encoding, LANE_NORMAL } from '../lib/wire/frame.js';
import { FrameWriter } from '../lib/wire/writer.js';
import type { Exchange } from './exchange.js';
import type { Interest } from './interest.js';
import type { Peer } from './peer.js';
import type { SenderId } from './sender-ids.js';
import { Session, type Sink } from './session.js';
import { newSessionName } from './session-names.js';
import { encodeTalk } from './talk.js';

export interface SessionSettings {
  node: string;
  slot: number;
  /** Processes of shards that this node had started when it started this one, this one included. */
  forks: number;
  heartbeatInterval: number;
  /** How long a session outlives its connection (ms). */
  resumeWindow: number;
  maxSubscriptions: number;
}

/** Why the bus ends a session of its own accord. */
export type GoawayCode = 'AGENT_REPLACED' | 'HEARTBEAT_TIMEOUT' | 'SHUTTING_DOWN' | 'SLOW_READER';

/** Silence, in heartbeat intervals, after which an agent is probed, is suspect, is taken for dead. */
const PROBE_AFTER = 1;
const SUSPECT_AFTER = 2;
const DEAD_AFTER = 3;
/** Milliseconds: the time between two checks. With shorter intervals there would be none between probe and verdict. */
const LEAST_INTERVAL = 250;
/** A check that comes so late (ms) means that this process stood still: what was said meanwhile is yet to be read. */
const STOOD_STILL = 1000;

/** What becomes of messages that still waited for a session when it ended. */
const DROPPED_BY: Readonly<Record<GoawayCode | 'gone', Reason>> = {
  AGENT_REPLACED: Reason.notResumed,
  HEARTBEAT_TIMEOUT: Reason.notResumed,
  SHUTTING_DOWN: Reason.shutdown,
  SLOW_READER: Reason.shed,
  gone: Reason.notResumed,
};

/**
 * Epochs for each process of the node, those started later above those started before: nobody tells a new process of
 * agents that are offline, and yet it must give each that comes back a higher epoch than it had. Room for 2^33 processes.
 */
const EPOCHS = 2 ** 20;

const NO_PATTERNS: ReadonlySet<string> = new Set();

export interface Opened {
  session: Session;
  resumed: boolean;
  /** Messages lost since the session that was resumed; -1 unknown, because it is gone. */
  missed: number;
}

export class Sessions {
  readonly directory: Directory;
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  readonly #settings: SessionSettings;
  /** All bounded by the sender numbers of a shard: 65,535. */
  readonly #byId: Map<string, Session>;
  readonly #byAgent: Map<string, Session>;
  readonly #byIndex: (Session | undefined)[];
  readonly #writer: FrameWriter;
  #attached: number;
  #agents: number;
  #held: number;
  #checkedAt: number;
  #deaf: boolean;

  constructor(exchange: Exchange, interest: Interest, settings: SessionSettings) {
    this.#exchange = exchange;
    this.#interest = interest;
    this.#settings = settings;
    this.#byId = new Map();
    this.#byAgent = new Map();
    this.#byIndex = [];
    this.#attached = 0;
    this.#agents = 0;
    this.#held = 0;
    this.#checkedAt = exchange.now;
    this.#deaf = false;
    this.#writer = new FrameWriter(exchange.settings.maxPayload);
    this.directory = new Directory({ onLost: (loser, winner) => this.#outlived(loser, winner) });
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Sessions that had a connection at the last `check`. */
  get attached(): number {
    return this.#attached;
  }

  /** Those of them that are agents', not event streams'. */
  get agents(): number {
    return this.#agents;
  }

  /** Sessions that were held back at the last `check`. */
  get held(): number {
    return this.#held;
  }

  all(): IterableIterator<Session> {
    return this.#byId.values();
  }

  bearer(number: number): Session | null {
    const session = this.#byIndex[number & 0xffff];
    return session !== undefined && session.sender.number === number ? session : null;
  }

  locate(agentId: string): Session | Peer | null {
    const own = this.#byAgent.get(agentId);
    if (own !== undefined) return own;
    const record = this.directory.get(agentId);
    if (record === null || record.state === 'offline' || record.node !== this.#settings.node) return null;
    // While that worker begins anew its agents are offline, until it speaks of them.
    return this.#exchange.peers[record.shard] ?? null;
  }

  /**
   * Opens or resumes the session of an agent whose hello was checked. It gets messages from now on; they leave when a
   * sink is attached. Throws LIMIT_REACHED.
   */
  open(hello: Hello): Opened {
    const resumed = hello.resume === null ? null : this.#resume(hello);
    if (resumed !== null) return resumed;
    this.#checkCount(NO_PATTERNS, hello.subscriptions);
    const exchange = this.#exchange;
    const sender = exchange.senders.allot(hello.agentId, exchange.now);
    if (sender === null) throw new FlowbusError('LIMIT_REACHED', 'This shard has no sender number left.');
    const id = newSessionName();
    const session = new Session(
      exchange,
      id,
      this.#recordFor(hello, id, sender),
      sender,
      hello.priority,
      hello.heartbeatInterval || this.#settings.heartbeatInterval,
    );
    this.#byId.set(session.id, session);
    this.#byIndex[sender.number & 0xffff] = session;
    const verdict = this.directory.put(session.agent, Date.now());
    if (verdict === 'full') {
      this.#forget(session);
      exchange.senders.giveBack(sender, exchange.now);
      throw new FlowbusError('LIMIT_REACHED', 'The directory is full.');
    }
    this.#byAgent.set(hello.agentId, session);
    exchange.topics.invalidate(agentAddress(hello.agentId));
    this.#interest.subscribe(session, hello.subscriptions);
    this.#announce(session.agent);
    return { session, resumed: false, missed: hello.resume === null ? 0 : -1 };
  }

  /** A session that only listens, for somebody who is no agent: in no directory, without a heartbeat of its own. */
  openListener(name: string, patterns: readonly string[], sink: Sink): Session {
    const session = this.#anonymous(name, this.#exchange.senders.bus);
    this.#checkCount(NO_PATTERNS, patterns);
    this.#byId.set(session.id, session);
    this.#interest.subscribe(session, patterns);
    session.attach(sink);
    return session;
  }

  /** A session that only publishes, under `name`; it keeps account of the credit of a whole door. Throws LIMIT_REACHED. */
  openPublisher(name: string): Session {
    const sender = this.#exchange.senders.allot(name, this.#exchange.now);
    if (sender === null) throw new FlowbusError('LIMIT_REACHED', 'This shard has no sender number left.');
    const session = this.#anonymous(name, sender);
    this.#byIndex[sender.number & 0xffff] = session;
    return session;
  }

  /** Throws LIMIT_REACHED when the session may not have these patterns as well. */
  checkRoom(session: Session, patterns: readonly string[]): void {
    this.#checkCount(session.patterns, patterns);
  }

  /** Throws LIMIT_REACHED, and then subscribes to nothing. */
  subscribe(session: Session, patterns: readonly string[]): void {
    this.#checkCount(session.patterns, patterns);
    this.#interest.subscribe(session, patterns);
  }

  /** The connection of `session` is gone. `mayReturn`: it may be resumed within the window. */
  lost(session: Session, mayReturn: boolean): void {
    if (session.ended) return;
    if (!mayReturn || this.#settings.resumeWindow === 0) {
      if (mayReturn && session.consumes !== null) this.#exchange.leave(session, true);
      this.end(session, null, '');
      return;
    }
    session.detach();
    this.#setState(session, 'suspect');
  }

  /** Ends a session. `code`: why, for a goaway; null when its agent has left by itself. */
  end(session: Session, code: GoawayCode | null, message: string): void {
    if (session.ended) return;
    session.ended = true;
    const sink = session.sink;
    session.sink = null;
    sink?.close(code, message, code === 'SHUTTING_DOWN' || code === 'HEARTBEAT_TIMEOUT');
    this.#exchange.leave(session, code !== null && code !== 'SHUTTING_DOWN');
    this.#interest.unsubscribe(session, session.patterns);
    this.#dropWaiting(session, DROPPED_BY[code ?? 'gone']);
    session.release();
    this.#forget(session);
    if (this.directory.get(session.agent.agentId)?.session === session.id) this.#setState(session, 'offline');
    if (session.sender !== this.#exchange.senders.bus)
      this.#exchange.senders.giveBack(session.sender, this.#exchange.now);
  }

  /** Now and then: who has been silent for too long, and whose time to come back is over. */
  check(): void {
    const now = this.#exchange.now;
    const stoodStill = (now - this.#checkedAt) >>> 0 > STOOD_STILL;
    this.#checkedAt = now;
    let attached = 0;
    let agents = 0;
    let held = 0;
    for (const session of this.#byId.values()) {
      if (session.lostAt !== 0) {
        if ((now - session.lostAt) >>> 0 > this.#settings.resumeWindow) this.end(session, null, '');
        continue;
      }
      const sink = session.sink;
      if (sink === null) continue;
      attached++;
      if (session.sender.number !== 0) agents++;
      if (session.holds !== 0) held++;
      // It may be heard again only when those it feeds let it.
      if (session.paused || this.#deaf) session.heard = now;
      const silent = (now - session.heard) >>> 0;
      const interval = Math.max(session.heartbeatInterval, LEAST_INTERVAL);
      if (silent <= interval * PROBE_AFTER) this.#setState(session, 'online');
      else if (stoodStill || silent <= interval * SUSPECT_AFTER) sink.probe();
      else if (silent <= interval * DEAD_AFTER) {
        this.#setState(session, 'suspect');
        sink.probe();
      } else this.end(session, 'HEARTBEAT_TIMEOUT', `Nothing was heard for ${silent} ms.`);
    }
    this.#attached = attached;
    this.#agents = agents;
    this.#held = held;
    this.directory.expire(Date.now());
  }

  /** A peer speaks of one of its agents. */
  heard(record: AgentRecord): void {
    const before = this.directory.get(record.agentId);
    if (this.directory.put(record, Date.now()) === 'stale') return;
    if (before?.shard !== record.shard || (before.state === 'offline') !== (record.state === 'offline'))
      this.#exchange.topics.invalidate(agentAddress(record.agentId));
  }

  /** Tells a peer of all agents here. */
  sync(tell: (bytes: Uint8Array) => void): void {
    for (const session of this.#byAgent.values()) tell(encodeTalk({ t: 'agent', record: session.agent }));
  }

  /** A peer's process is gone, and its agents with it. Each shard tells its own sessions, so that each hears it once. */
  peerLost(slot: number): void {
    for (const record of this.directory.removeNodeShard(this.#settings.node, slot, Date.now())) {
      this.#exchange.topics.invalidate(agentAddress(record.agentId));
      this.#publishPresence(record, false);
    }
  }

  /** From now on nothing is read from any agent: none is taken for dead. */
  pause(): void {
    this.#deaf = true;
    for (const session of this.#byId.values()) session.sink?.pause();
  }

  attach(session: Session, sink: Sink): void {
    this.#exchange.counters[C.connects]++;
    session.attach(sink);
    this.#setState(session, 'online');
  }

  #resume(hello: Hello): Opened | null {
    const { session: id, received } = hello.resume!;
    const session = this.#byId.get(id);
    if (session === undefined || session.agent.agentId !== hello.agentId || received > session.delivered)
      return null;
    this.#checkCount(session.patterns, hello.subscriptions);
    // The old connection may not have noticed yet that it is dead; and the new one's time is not over while it is let in.
    session.replace();
    session.lostAt = 0;
    const missed = session.delivered - received + session.missed;
    session.delivered = received;
    session.missed = 0;
    session.lane = hello.priority;
    this.#exchange.counters[C.resumes]++;
    this.#interest.subscribe(session, hello.subscriptions);
    return { session, resumed: true, missed };
  }

  #checkCount(had: ReadonlySet<string>, patterns: readonly string[]): void {
    const most = this.#settings.maxSubscriptions;
    if (had.size + patterns.length <= most) return;
    const fresh = new Set(patterns.filter((pattern) => !had.has(pattern)));
    if (had.size + fresh.size > most)
      throw new FlowbusError('LIMIT_REACHED', `An agent may have ${most} subscriptions.`);
  }

  #anonymous(name: string, sender: SenderId): Session {
    const id = newSessionName();
    const record: AgentRecord = {
      agentId: name,
      agentType: name,
      capabilities: [],
      node: this.#settings.node,
      shard: this.#settings.slot,
      state: 'online',
      since: Date.now() * 1000,
      metadata: '{}',
      session: id,
      epoch: 0,
      sender: sender.number,
    };
    return new Session(this.#exchange, id, record, sender, LANE_NORMAL, Number.POSITIVE_INFINITY);
  }

  #recordFor(hello: Hello, session: string, sender: SenderId): AgentRecord {
    return {
      agentId: hello.agentId,
      agentType: hello.agentType,
      capabilities: hello.capabilities,
      node: this.#settings.node,
      shard: this.#settings.slot,
      state: 'online',
      since: Date.now() * 1000,
      metadata: hello.metadata,
      session,
      epoch: Math.max(this.directory.get(hello.agentId)?.epoch ?? 0, this.#settings.forks * EPOCHS) + 1,
      sender: sender.number,
    };
  }

  /** Two sessions of one agent: the newer stays. */
  #outlived(loser: AgentRecord, winner: AgentRecord): void {
    if (loser.node !== this.#settings.node || loser.shard !== this.#settings.slot) return;
    const session = this.bearer(loser.sender);
    if (session === null || session.id !== loser.session) return;
    this.end(
      session,
      'AGENT_REPLACED',
      `Agent ${loser.agentId} connected again, to shard ${winner.shard} of ${winner.node}.`,
    );
  }

  #forget(session: Session): void {
    this.#byId.delete(session.id);
    if (this.bearer(session.sender.number) === session)
      this.#byIndex[session.sender.number & 0xffff] = undefined;
    if (this.#byAgent.get(session.agent.agentId) === session) this.#byAgent.delete(session.agent.agentId);
    this.#exchange.topics.invalidate(agentAddress(session.agent.agentId));
  }

  #dropWaiting(session: Session, reason: Reason): void {
    const exchange = this.#exchange;
    exchange.backlogBytes -= session.lanes.bytes;
    for (let chunk = session.lanes.shed(-1); chunk !== null; chunk = session.lanes.shed(-1))
      exchange.droppedChunk(chunk, reason);
    session.lanes.clear();
  }

  #setState(session: Session, state: AgentState): void {
    if (session.agent.state === state) return;
    const before = session.agent.state;
    session.agent = { ...session.agent, state, since: Date.now() * 1000 };
    this.directory.put(session.agent, Date.now());
    if (state === 'offline' || before === 'offline') this.#announce(session.agent);
    else this.#tellPeers(session.agent);
  }

  #announce(record: AgentRecord): void {
    this.#tellPeers(record);
    this.#publishPresence(record, true);
  }

  #tellPeers(record: AgentRecord): void {
    const bytes = encodeTalk({ t: 'agent', record });
    for (const peer of this.#exchange.peers) peer?.tell(bytes);
    this.#exchange.tick();
  }

  #publishPresence(record: AgentRecord, onward: boolean): void {
    const exchange = this.#exchange;
    const topic = `system.agent.${record.agentId}.${record.state === 'offline' ? 'offline' : 'online'}`;
    const route = exchange.route(topic);
    if (route.empty) return;
    const bus = exchange.senders.bus;
    const frame = this.#writer.publish({
      topic,
      sender: bus.number,
      from: bus.text,
      lane: LANE_NORMAL,
      encoding: Encoding.json,
      payload: Buffer.from(JSON.stringify(publicRecord(record))),
    });
    exchange.tick();
    exchange.deliver(
      route,
      null,
      bus,
      frame,
      0,
      frame.length,
      1,
      LANE_NORMAL,
      false,
      exchange.now,
      0,
      onward,
    );
  }
}
