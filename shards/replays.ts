/** The replays that are under way on this shard, from the wish to the live subscription. */
import { FlowbusError } from '../lib/errors.js';
import { C } from '../lib/telemetry/counters.js';
import type { Replay as Wish } from '../lib/wire/control.js';
import type { Exchange } from './exchange.js';
import type { History } from './history.js';
import type { Interest } from './interest.js';
import { Replay } from './replay.js';
import type { Retained } from './retained.js';
import { JoiningSession } from './route.js';
import { Feed, type Session } from './session.js';
import type { Sessions } from './sessions.js';

/** Replays of one connection at a time. */
const MAX_REPLAYS = 64;

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
   * Begins a replay, and resolves when every live shard sends what is published on the pattern. `acknowledge` is called behind all that was in line for
   * the session before, and before the first message. Rejects with HISTORY_UNAVAILABLE, LIMIT_REACHED.
   */
  async begin(session: Session, wish: Wish, acknowledge: () => void): Promise<void> {
    const { pattern } = wish;
    if (!this.history.covers(pattern)) throw new FlowbusError('HISTORY_UNAVAILABLE');
    const replays = session.replays ?? new Set();
    if (replays.size >= MAX_REPLAYS)
      throw new FlowbusError('LIMIT_REACHED', `A connection may have ${MAX_REPLAYS} replays under way.`);
    this.#sessions.checkRoom(session, pattern);
    const replay = new JoiningSession(session, pattern);
    session.replays = replays.add(replay);
    session.placed = true;
    this.#interest.join(replay);
    await this.#interest.settled();
    // Cancelled meanwhile.
    if (!session.replays?.has(replay)) return;
    this.#exchange.tick();
    this.#exchange.counters[C.replays]++;
    const isNew = wish.cursor === null && !session.patterns.has(pattern);
    const reading = new Replay(this.#exchange, this.history, session, wish, () => {
      acknowledge();
      if (isNew) this.#retained.give(this.#exchange, session, [pattern], wish.stream);
    });
    replay.feed = (budget, socketEmpty) => (reading.feed(budget, socketEmpty) ? Feed.caughtUp : Feed.goesOn);
    replay.finish = () => {
      this.#interest.subscribe(session, [pattern]);
      this.#end(session, replay);
      reading.announceEnd();
    };
    session.touch();
  }

  /** Those patterns are not wanted any more; null: the connection is gone. */
  cancel(session: Session, patterns: readonly string[] | null): void {
    for (const replay of session.replays ?? []) {
      if (patterns === null || patterns.includes(replay.pattern))
        this.#end(session, replay as JoiningSession);
    }
  }

  #end(session: Session, replay: JoiningSession): void {
    session.replays!.delete(replay);
    if (session.replays!.size === 0) session.replays = null;
    this.#interest.unjoin(replay);
  }
}
