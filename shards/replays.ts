/** The replays that are under way on this shard, from the wish to the live subscription. */
import { FlowbusError } from '../lib/errors.js';
import { C } from '../lib/telemetry/counters.js';
import type { Exchange } from './exchange.js';
import type { History } from './history.js';
import type { Interest } from './interest.js';
import { Replay, type ReplayWish } from './replay.js';
import type { Retained } from './retained.js';
import { JoiningSession } from './route.js';
import { Feed, type Session, type SessionReplay } from './session.js';
import type { Sessions } from './sessions.js';

/** Replays of one connection at a time. */
const MAX_REPLAYS = 64;

/** A session on its way into one or more patterns. */
class Joining implements SessionReplay {
  readonly patterns: readonly string[];
  readonly ways: readonly JoiningSession[];
  feed: SessionReplay['feed'];
  finish: SessionReplay['finish'];

  constructor(session: Session, patterns: readonly string[]) {
    this.patterns = patterns;
    this.ways = patterns.map((pattern) => new JoiningSession(session, pattern));
    this.feed = () => Feed.waits;
    this.finish = () => {};
  }
}

export class Replays {
  readonly history: History;
  readonly #exchange: Exchange;
  readonly #interest: Interest;
  readonly #sessions: Sessions;
  readonly #retained: Retained;

  constructor(
    exchange: Exchange,
    interest: Interest,
    sessions: Sessions,
    history: History,
    retained: Retained,
  ) {
    this.#retained = retained;
    this.history = history;
    this.#exchange = exchange;
    this.#interest = interest;
    this.#sessions = sessions;
  }

  /**
   * Begins a replay, and resolves when every live shard sends what is published on the patterns. `acknowledge` is called behind all that was in line for
   * the session before, and before the first message. Rejects with HISTORY_UNAVAILABLE, LIMIT_REACHED.
   */
  async begin(session: Session, wish: ReplayWish, acknowledge: () => void): Promise<void> {
    const { patterns } = wish;
    if (!patterns.every((pattern) => this.history.covers(pattern)))
      throw new FlowbusError('HISTORY_UNAVAILABLE');
    const replays = session.replays ?? new Set();
    if (replays.size >= MAX_REPLAYS)
      throw new FlowbusError('LIMIT_REACHED', `A connection may have ${MAX_REPLAYS} replays under way.`);
    this.#sessions.checkRoom(session, patterns);
    const replay = new Joining(session, patterns);
    session.replays = replays.add(replay);
    session.placed = true;
    for (const way of replay.ways) this.#interest.join(way);
    await this.#interest.settled();
    // Cancelled meanwhile.
    if (!session.replays?.has(replay)) return;
    this.#exchange.tick();
    this.#exchange.counters[C.replays]++;
    const fresh = wish.cursor === null ? patterns.filter((pattern) => !session.patterns.has(pattern)) : [];
    const reading = new Replay(this.#exchange, this.history, session, wish, () => {
      acknowledge();
      if (fresh.length > 0) this.#retained.give(this.#exchange, session, fresh, wish.stream);
    });
    replay.feed = (budget, socketEmpty) => (reading.feed(budget, socketEmpty) ? Feed.caughtUp : Feed.goesOn);
    replay.finish = () => {
      this.#interest.subscribe(session, patterns);
      this.#end(session, replay);
      reading.announceEnd();
    };
    session.touch();
  }

  /** Those patterns are not wanted any more; null: the connection is gone. */
  cancel(session: Session, patterns: readonly string[] | null): void {
    for (const replay of session.replays ?? []) {
      if (patterns === null || replay.patterns.some((pattern) => patterns.includes(pattern)))
        this.#end(session, replay as Joining);
    }
  }

  #end(session: Session, replay: Joining): void {
    session.replays!.delete(replay);
    if (session.replays!.size === 0) session.replays = null;
    for (const way of replay.ways) this.#interest.unjoin(way);
  }
}
