/**
 * The sessions of this shard from hello to end: who they are, whether they live, and what the directory and the
 * presence topics say of them.
 */
import type { AgentRecord, AgentState, Directory } from '../lib/directory.js';
import { FlowbusError } from '../lib/errors.js';
import { C } from '../lib/telemetry/counters.js';
import { Reason } from '../lib/telemetry/ledger.js';
import { agentAddress } from '../lib/topics/topic.js';
import type { Hello } from '../lib/wire/control.js';
import { LANE_NORMAL } from '../lib/wire/frame.js';
import type { Exchange } from './exchange.js';
import type { Interest } from './interest.js';
import type { Peer } from './peer.js';
import { Presence } from './presence.js';
import type { SenderId } from './sender-ids.js';
import { Session, type Sink } from './session.js';
import { newSessionName } from './session-names.js';
import { encodeTalk } from './talk.js';

export interface SessionSettings {
  node: string;
  slot: number;
  /** What is added to the monotonic clock of the machine to have milliseconds since the Unix epoch; the same for all workers. */
  clockOffset: number;
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
 * Epochs begin at the time when the agent came, so many for each millisecond: exact until the year 2248. They are above the highest that is known of
 * the agent, so whichever way the clocks of two nodes differ, the newer session wins wherever the older one is known. The clock alone decides
 * where it is not: when an agent comes back to a node that has restarted, or that has not heard yet where it was. Then a clock that is behind
 * may let the older session win; never both, and not for longer than that one lives.
 */
const EPOCHS = 1024;

const NO_PATTERNS: ReadonlySet<string> = new Set();

export interface Opened {
  session: Session;
  resumed: boolean;
  /** Messages lost since the session that was resumed; -1 unknown, because it is gone. */
  missed: number;
}

export class Sessions {
  readonly presence: Presence;
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  readonly #settings: SessionSettings;
  /** All bounded by the sender numbers of a shard: 65,535. */
  readonly #byId: Map<string, Session>;
  readonly #byAgent: Map<string, Session>;
  readonly #byIndex: (Session | undefined)[];
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
    this.presence = new Presence(exchange, (loser, winner) => this.#outlived(loser, winner));
  }

  get directory(): Directory {
    return this.presence.directory;
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
    return this.#byAgent.get(agentId) ?? this.presence.locate(agentId);
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
    this.presence.announce(session.agent);
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
    session.discard(DROPPED_BY[code ?? 'gone']);
    session.release();
    this.#forget(session);
    if (this.directory.get(session.agent.agentId)?.session === session.id) this.#setState(session, 'offline');
    // Outlived by another. Whoever has not heard of that one yet, or has and it is gone, may still believe in this one.
    else if (session.agent.epoch !== 0)
      this.presence.tell({ ...session.agent, state: 'offline', since: Date.now() * 1000 });
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

  /** Tells a peer of all agents here. */
  sync(tell: (bytes: Uint8Array) => void): void {
    for (const session of this.#byAgent.values()) tell(encodeTalk({ t: 'agent', record: session.agent }));
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
      epoch: this.#epochFor(hello.agentId),
      sender: sender.number,
    };
  }

  #epochFor(agentId: string): number {
    const time = Math.floor((this.#settings.clockOffset + this.#exchange.clock) * EPOCHS);
    return Math.max(this.directory.get(agentId)?.epoch ?? 0, time) + 1;
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

  #setState(session: Session, state: AgentState): void {
    if (session.agent.state === state) return;
    const before = session.agent.state;
    session.agent = { ...session.agent, state, since: Date.now() * 1000 };
    this.directory.put(session.agent, Date.now());
    if (state === 'offline' || before === 'offline') this.presence.announce(session.agent);
    else this.presence.tell(session.agent);
  }
}
