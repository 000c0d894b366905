/**
 * The events of an agent, and an emitter just large enough for them. Node's own would bring a built-in into the
 * browser; besides, an `error` event here must never throw, and never pass unseen.
 */
import { describe, type ErrorCode, FlowbusError } from '../errors.js';
import type { Message } from './message.js';

/** Live messages that did not reach this agent although it had subscribed to them. */
export interface Gap {
  /** How many; undefined when nobody can tell. */
  missed: number | undefined;
  /**
   * `shed`: this agent read too slowly, and the broker (or, where a transport cannot be paused, the SDK) dropped
   * some. `expired`: their time to live ran out. `resume`: lost with the old connection, the session went on.
   * `session-lost`: the broker no longer knew the session. `history`: what a subscription with `replay` should have brought is no longer kept. Newer brokers may know more reasons.
   */
  reason: string;
}

export interface Disconnect {
  /** What ended the connection: DISCONNECTED, or the broker's own code, such as SHUTTING_DOWN. */
  code: ErrorCode;
  message: string;
  /** False: the agent is closed now and must be made anew with `connect()`. */
  reconnecting: boolean;
}

export interface Reconnect {
  url: string;
  /** Attempts that it took, at least 1. */
  attempts: number;
  /** The broker had kept the session: what it still had for this agent follows. */
  resumed: boolean;
}

export interface Pressure {
  /** True: it begins; `publish()` returns false from now on, unless it is a mailbox's. False: it is over. */
  active: boolean;
  /**
   * Whose pressure it is: undefined for that of this agent's own connection, else the name of a mailbox that it publishes to
   * assured: `agent:<agentId>`, `group:<group>:<pattern>` or `capability:<capability>`. It is over 80 % full, and refuses messages
   * with MAILBOX_FULL when nothing more fits; `active: false` comes at 60 %, or when the connection ends.
   */
  mailbox: string | undefined;
}

/** The circuit breaker between a mailbox and this agent has changed. */
export interface BreakerEvent {
  /** `agent:<agentId>`, `group:<group>:<pattern>` or `capability:<capability>`. */
  mailbox: string;
  /**
   * `open`: the agent has failed at too many messages, and gets none for `coolDown` milliseconds; others get its share. `half-open`:
   * it gets one, to see whether it works again. `closed`: it does.
   */
  state: 'closed' | 'open' | 'half-open';
  /**
   * What it failed by last: `nack`, `slow-ack`, `timeout`; `cool-down`: the time to wait is over; `recovered`. Newer brokers may
   * know more reasons.
   */
  reason: string;
  /** 0 unless it is open. */
  coolDown: number;
}

export interface AgentEvents {
  /**
   * A message to this agent's own address, by `send`, `sendTo` or `request`. What a listener returns (or its
   * promise resolves with), unless undefined, is sent as the reply when one is wanted; what it throws rejects the
   * request with HANDLER_FAILED. Of several listeners the first answer counts.
   */
  message: (message: Message) => unknown;
  gap: (gap: Gap) => void;
  disconnect: (disconnect: Disconnect) => void;
  reconnect: (reconnect: Reconnect) => void;
  pressure: (pressure: Pressure) => void;
  breaker: (change: BreakerEvent) => void;
  /**
   * What went wrong without anyone awaiting it: a handler threw, a frame was damaged, the broker refused a
   * publish. Without a listener the first error of each code goes to `console.warn`.
   */
  error: (error: FlowbusError) => void;
}

interface Registration<F> {
  readonly listener: F;
  readonly once: boolean;
}

type Registrations = { [K in keyof AgentEvents]: readonly Registration<AgentEvents[K]>[] };

export class Emitter {
  // Lists are replaced, never changed, so an emit in progress goes through the list it began with.
  private readonly registrations: Registrations;
  /** Codes that were already warned of: bounded by the table of codes. */
  private readonly warned: Set<ErrorCode>;

  constructor() {
    this.registrations = {
      message: [],
      gap: [],
      disconnect: [],
      reconnect: [],
      pressure: [],
      breaker: [],
      error: [],
    };
    this.warned = new Set();
  }

  add<K extends keyof AgentEvents>(event: K, listener: AgentEvents[K], once: boolean): void {
    if (!Object.hasOwn(this.registrations, event)) {
      throw new FlowbusError(
        'BAD_OPTION',
        `There is no event "${event}"; events are ${Object.keys(this.registrations).join(', ')}.`,
      );
    }
    if (typeof listener !== 'function') {
      throw new FlowbusError('BAD_OPTION', `The listener for "${event}" must be a function.`);
    }
    this.replace(event, [...this.of(event), { listener, once }]);
  }

  remove<K extends keyof AgentEvents>(event: K, listener: AgentEvents[K]): void {
    const list = this.of(event);
    const at = list.findLastIndex((registration) => registration.listener === listener);
    if (at >= 0) this.replace(event, list.toSpliced(at, 1));
  }

  has(event: keyof AgentEvents): boolean {
    return this.registrations[event].length > 0;
  }

  /** The listeners to call now. Those of `once` are gone afterwards. */
  take<K extends keyof AgentEvents>(event: K): readonly Registration<AgentEvents[K]>[] {
    const list = this.of(event);
    if (list.some((registration) => registration.once)) {
      this.replace(
        event,
        list.filter((registration) => !registration.once),
      );
    }
    return list;
  }

  gap(gap: Gap): void {
    for (const { listener } of this.take('gap')) this.guard('gap', listener, gap);
  }

  disconnect(disconnect: Disconnect): void {
    for (const { listener } of this.take('disconnect')) this.guard('disconnect', listener, disconnect);
  }

  reconnect(reconnect: Reconnect): void {
    for (const { listener } of this.take('reconnect')) this.guard('reconnect', listener, reconnect);
  }

  pressure(active: boolean, mailbox: string | undefined): void {
    for (const { listener } of this.take('pressure')) this.guard('pressure', listener, { active, mailbox });
  }

  breaker(change: BreakerEvent): void {
    for (const { listener } of this.take('breaker')) this.guard('breaker', listener, change);
  }

  error(error: FlowbusError): void {
    const list = this.take('error');
    if (list.length === 0) {
      if (this.warned.has(error.code)) return;
      this.warned.add(error.code);
      console.warn(`flowbus: ${error.code}: ${error.message} (Listen to 'error' to see every one.)`);
      return;
    }
    for (const { listener } of list) {
      try {
        listener(error);
      } catch (cause) {
        // Reporting it as an event would come back here.
        console.warn(`flowbus: a listener for 'error' threw: ${describe(cause)}`);
      }
    }
  }

  private guard<T>(event: string, listener: (value: T) => void, value: T): void {
    try {
      listener(value);
    } catch (cause) {
      this.error(
        new FlowbusError('HANDLER_FAILED', `A listener for '${event}' threw: ${describe(cause)}`, { cause }),
      );
    }
  }

  private of<K extends keyof AgentEvents>(event: K): readonly Registration<AgentEvents[K]>[] {
    return this.registrations[event];
  }

  private replace<K extends keyof AgentEvents>(
    event: K,
    list: readonly Registration<AgentEvents[K]>[],
  ): void {
    this.registrations[event] = list as Registrations[K];
  }
}
