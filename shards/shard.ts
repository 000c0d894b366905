/** A shard without its process: everything between the doors and the links. */
import type { BrokerConfig } from '../lib/config/index.js';
import type { ErrorCode } from '../lib/errors.js';
import type { Links } from '../lib/links.js';
import type { TelemetryBlock } from '../lib/telemetry/block.js';
import { C } from '../lib/telemetry/counters.js';
import type { BreakerChange } from '../lib/wire/control.js';
import { Flag, OFFSET_FLAGS } from '../lib/wire/frame.js';
import { Assured } from './assured.js';
import { Backpressure, type PressureNotice } from './backpressure.js';
import { ClusterView } from './cluster-view.js';
import { Consuming } from './consuming.js';
import { DeadLetterDesk } from './dead-letter-desk.js';
import { DeadLetters } from './dead-letters.js';
import { Exchange, type ExchangePort, type Feeder } from './exchange.js';
import { type History, NO_HISTORY } from './history.js';
import { Inbound } from './inbound.js';
import type { MailboxPort } from './intake.js';
import { Interest } from './interest.js';
import type { JournalSettings } from './journal/journal.js';
import { Progress, type Recovered } from './journal/progress.js';
import type { MailboxNotice, MailboxRef } from './mailbox-ref.js';
import { MailboxTable } from './mailbox-table.js';
import { Mailboxes } from './mailboxes.js';
import { Peer } from './peer.js';
import { Publishing } from './publishing.js';
import { Reach } from './reach.js';
import { Replays } from './replays.js';
import { Retained } from './retained.js';
import type { Route } from './route.js';
import type { SenderId } from './sender-ids.js';
import type { Session } from './session.js';
import { Sessions } from './sessions.js';
import { type MailboxOffice, ShardTalk } from './shard-talk.js';
import { encodeTalk } from './talk.js';

/** How long a new shard waits for the others to tell what they know (ms); then it takes connections all the same. */
const SYNC_TIMEOUT = 5000;
/** Bytes that may wait for all connections of a node, shared out to its shards. */
const NODE_BACKLOG = 2 * 1024 * 1024 * 1024;

const TO_AGENTS = { frames: C.deliveriesOut, bytes: C.deliveryBytesOut, batches: C.batchesOut };

export interface ShardBoot {
  slot: number;
  /** All of the node. Slots behind those of the shards are the gateway's to other nodes. */
  workers: number;
  incarnation: number;
  /** Unix time less the machine's monotonic clock (ms), the same for all workers of the node. */
  clockOffset: number;
  node: string;
  config: BrokerConfig;
}

export class Shard implements ExchangePort, MailboxPort, MailboxOffice {
  readonly exchange: Exchange;
  readonly interest: Interest;
  readonly sessions: Sessions;
  readonly publishing: Publishing;
  readonly table: MailboxTable;
  readonly mailboxes: Mailboxes;
  readonly assured: Assured;
  readonly consuming: Consuming;
  readonly backpressure: Backpressure;
  readonly desk: DeadLetterDesk;
  readonly cluster: ClusterView;
  readonly replays: Replays;
  readonly reach: Reach;
  readonly retained: Retained;
  readonly #history: History;
  readonly links: Links;
  readonly #inbound: Inbound;
  readonly #counters: Float64Array;
  readonly #onBreaker: (agentId: string, change: BreakerChange) => void;
  #waitingFor: Set<number>;
  #synced: () => void;

  constructor(
    boot: ShardBoot,
    links: Links,
    block: TelemetryBlock,
    onUp: (peer: Peer) => void,
    onBreaker: (agentId: string, change: BreakerChange) => void = () => {},
    history: History = NO_HISTORY,
    retained: Retained = new Retained(0, null),
  ) {
    const { config, slot, workers, incarnation, clockOffset, node } = boot;
    this.links = links;
    this.#counters = block.counters;
    this.#onBreaker = onBreaker;
    this.#waitingFor = new Set();
    this.#synced = () => {};
    this.exchange = new Exchange(
      {
        node,
        slot,
        incarnation,
        workers,
        shards: config.shards,
        backlog: config.backlog,
        totalBacklog: Math.max(config.backlog, Math.floor(NODE_BACKLOG / workers)),
        stallLimit: config.stallLimit,
        window: config.window,
        maxPayload: config.maxPayload,
        maxTopics: config.maxTopics,
        out: TO_AGENTS,
      },
      this,
      block,
    );
    this.interest = new Interest(this.exchange);
    this.sessions = new Sessions(this.exchange, this.interest, {
      node,
      slot,
      clockOffset,
      heartbeatInterval: config.heartbeatInterval,
      resumeWindow: config.resumeWindow,
      maxSubscriptions: config.maxSubscriptions,
    });
    this.table = new MailboxTable(this.exchange);
    const limits = {
      maxBytes: Math.floor(config.deadLetterSize / config.shards),
      maxAge: config.deadLetterAge,
    };
    const letters = new DeadLetters(block.counters, limits, () => this.exchange.unsettle());
    this.mailboxes = new Mailboxes(
      this.exchange,
      this.table,
      this,
      {
        maxMessages: config.mailboxMessages,
        maxBytes: config.mailboxSize,
        maxAge: config.mailboxAge,
        lease: config.lease,
        retryBase: config.retryBase,
        retryCap: config.retryCap,
        maxAttempts: config.maxAttempts,
        poisonAfter: config.poisonAfter,
        balance: 'least-in-flight',
        breaker: {
          failures: config.breakerFailures,
          window: config.breakerWindow,
          coolDown: config.breakerCoolDown,
          slowAck: 0,
        },
      },
      { weights: config.laneWeights, boost: config.laneBoost },
      letters,
    );
    this.backpressure = new Backpressure(slot, this.exchange, this.table, (number) =>
      this.sessions.bearer(number),
    );
    this.#history = history;
    this.retained = retained;
    this.replays = new Replays(this.exchange, this.interest, this.sessions, history, retained);
    this.assured = new Assured(this.exchange, this.mailboxes.storing, this.backpressure, history);
    this.consuming = new Consuming(this.exchange, this.interest, this.table, this.mailboxes, (number) =>
      this.sessions.bearer(number),
    );
    this.desk = new DeadLetterDesk(this.exchange, this.table, this.mailboxes);
    this.cluster = new ClusterView(this.exchange, workers > config.shards ? config.shards : null);
    this.publishing = new Publishing(this.exchange, this.assured, history, retained, config.verifyChecksums);
    this.reach = new Reach(this.exchange, this.interest);
    const talk = new ShardTalk(this.sessions, this, this.reach, (peer) => {
      onUp(peer);
      this.#told(peer.slot);
    });
    this.#inbound = new Inbound(this.exchange, this.interest, talk, incarnation);
    for (let peer = 0; peer < workers; peer++)
      this.exchange.peers.push(peer === slot ? null : new Peer(this.exchange, peer, links.to(peer)));
  }

  /**
   * Brings back what the journal of this slot holds, before `start`; returns how many messages that are. Meanwhile the gauges say
   * how far it has come, and `onProgress` is told about once a second.
   */
  recover(
    settings: JournalSettings,
    orphans: readonly string[],
    onProgress: (recovered: Recovered) => void = () => {},
  ): number {
    const counters = this.#counters;
    const progress = new Progress((recovered) => {
      counters[C.mailboxMessages] = recovered.messages;
      counters[C.journalUnread] = 1 - recovered.share;
      onProgress(recovered);
    });
    const messages = this.mailboxes.open(settings, orphans, progress);
    counters[C.journalUnread] = 0;
    return messages;
  }

  /** Begins to read the links; resolves when the workers in `living` have told what they know, or take too long. */
  async start(living: readonly number[]): Promise<void> {
    this.#waitingFor = new Set(living);
    const synced = new Promise<void>((resolve) => {
      this.#synced = resolve;
    });
    await this.links.start(this.#inbound);
    for (const peer of this.exchange.peers) if (peer !== null) this.#inbound.greet(peer);
    this.exchange.tick();
    if (this.#waitingFor.size === 0) return;
    const timer = setTimeout(this.#synced, SYNC_TIMEOUT);
    await synced;
    clearTimeout(timer);
  }

  /** The primary says that this process has ended. */
  peerDown(slot: number, incarnation: number): void {
    const peer = this.exchange.peers[slot];
    if (peer == null) return;
    this.exchange.tick();
    this.links.drain(slot);
    this.#inbound.peerDown(peer, incarnation);
    this.#told(slot);
  }

  /** Now and then. `greetings`: WebSockets that have not said hello. */
  check(greetings: number): void {
    const { exchange } = this;
    exchange.tick();
    exchange.checkPressure();
    this.sessions.check();
    this.interest.check();
    this.reach.check();
    this.mailboxes.check();
    this.assured.check(exchange.now);
    const counters = this.#counters;
    counters[C.connections] = this.sessions.attached + greetings;
    counters[C.agents] = this.sessions.agents;
    counters[C.holdsActive] = this.sessions.held;
    counters[C.sessionsHeld] = this.sessions.size - this.sessions.attached;
    counters[C.topics] = exchange.topicIds.size;
    counters[C.subscriptions] = this.interest.patterns;
    this.retained.catchUp();
    counters[C.retained] = this.retained.count;
    counters[C.retainedBytes] = this.retained.bytes;
    const { used, kept, oldest } = this.#history;
    counters[C.historyMessages] = kept;
    counters[C.historyBytes] = used;
    counters[C.historyAge] = oldest === 0 ? 0 : (exchange.clock - oldest) / 1000;
  }

  notReady(): string[] {
    return [...this.#waitingFor].map((slot) => `worker ${slot} has not told its agents yet`);
  }

  /** Whether nothing waits for anybody, and for `quiet` ms nothing came over the links. */
  quiet(quiet: number): boolean {
    const { exchange } = this;
    if ((exchange.now - this.#inbound.lastFrames) >>> 0 < quiet) return false;
    for (const peer of exchange.peers) if (peer !== null && peer.backlog !== 0) return false;
    for (const session of this.sessions.all()) {
      if (session.sink !== null && (!session.lanes.empty || session.sink.unsent !== 0)) return false;
    }
    return true;
  }

  /** Says goodbye to all agents. */
  close(): void {
    for (const session of [...this.sessions.all()])
      this.sessions.end(session, 'SHUTTING_DOWN', 'This node is shutting down: connect to another, or wait.');
    this.exchange.endTurn();
    this.mailboxes.close();
  }

  locate(agentId: string): Session | Peer | null {
    return this.sessions.locate(agentId);
  }

  wayTo(): Peer | null {
    const { gateway } = this.exchange;
    return gateway?.up ? gateway : null;
  }

  bearer(number: number): Session | null {
    return this.sessions.bearer(number);
  }

  feeder(number: number): Feeder | null {
    return this.sessions.bearer(number);
  }

  tellHold(worker: number, sender: number, held: boolean): void {
    this.exchange.peers[worker]?.tell(encodeTalk({ t: held ? 'hold' : 'release', sender }));
  }

  keeps(topic: string): boolean {
    return this.#history.keeps(topic);
  }

  mailboxOf(kind: 'agent' | 'capability', name: string): MailboxRef | null {
    return this.table.of(kind, name);
  }

  storeLive(route: Route, from: SenderId, src: Uint8Array, start: number, end: number): void {
    // The assured one was sent to the mailboxes by itself; this is the copy for those who have none.
    if ((src[start + OFFSET_FLAGS] & Flag.assured) !== 0) return;
    this.mailboxes.storing.storeLive(route, from.text, src, start, end);
    for (const { pressed, takesLive } of route.mailboxes)
      if (pressed !== null && takesLive) this.backpressure.live(pressed, from.number);
  }

  settle(): void {
    this.mailboxes.turn();
    this.assured.flush();
  }

  leave(session: Session, broke: boolean): void {
    this.consuming.left(session, broke);
    this.backpressure.left(session);
    this.replays.cancel(session, null);
  }

  giveBack(session: number, src: Uint8Array, start: number): void {
    this.consuming.giveBack(session, src, start);
  }

  onPressure(notice: PressureNotice): void {
    this.backpressure.heard(notice);
    const bytes = encodeTalk({ t: 'pressure', notice });
    for (const peer of this.exchange.peers) peer?.tell(bytes);
    this.exchange.tick();
  }

  deliver(
    session: number,
    lane: number,
    src: Uint8Array,
    start: number,
    end: number,
    round: number,
  ): boolean {
    return this.consuming.deliver(session, lane, src, start, end, round);
  }

  stored(slot: number, token: number, stored: number, code: ErrorCode | null): void {
    this.assured.stored(slot, token, stored, code);
  }

  onBreaker(session: number, agentId: string, change: BreakerChange): void {
    this.#onBreaker(agentId, change);
    this.consuming.breaker(session, change);
  }

  announce(add: MailboxNotice[], remove: number[]): void {
    const bytes = encodeTalk({ t: 'mailboxes', add, remove, renew: false });
    for (const peer of this.exchange.peers) peer?.tell(bytes);
    this.exchange.tick();
  }

  cutOff(session: Session): void {
    setImmediate(() => this.sessions.end(session, 'SLOW_READER', 'It does not read what it asked for.'));
  }

  forgetSenders(): void {
    for (const session of this.sessions.all()) session.knownSenders.clear();
    for (const peer of this.exchange.peers) peer?.forgetSenders();
  }

  #told(slot: number): void {
    this.#waitingFor.delete(slot);
    if (this.#waitingFor.size === 0) this.#synced();
  }
}
