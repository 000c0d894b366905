/** Control frames that the broker answers, each by its reference. */
import { FlowbusError } from '../errors.js';
import type { Consume, Consuming, ControlPayloads, Replay, Result } from '../wire/control.js';
import type { PatternOffice } from './subscriptions.js';

/** Calls that may be pending at a time. */
export const MAX_CALLS = 65_536;

/** How long a broker may take to answer, once it has been asked (ms). */
export const CALL_TIMEOUT = 10_000;

/** Those that bear a payload, and one that asks whether every node that can be reached knows what was subscribed to before. */
export type AskingKind = 'subscribe' | 'unsubscribe' | 'query' | 'consume' | 'replay';
export type CallKind = AskingKind | 'everywhere';
export type CallPayload<K extends CallKind> = K extends AskingKind ? ControlPayloads[K] : null;
/** Null: a plain ack. */
export type Answer = Result | Consuming | null;
type AnswerTo<K> = K extends 'query' ? Result : K extends 'consume' ? Consuming : null;

export interface CallOffice {
  /** Sends the frame. False: there is no connection. */
  sendCall<K extends CallKind>(kind: K, payload: CallPayload<K>, ref: number): boolean;
  /** A call was sent: the transport must be read for the answer. */
  onCall(): void;
}

/** One call. */
class Call {
  readonly kind: CallKind;
  readonly payload: CallPayload<CallKind>;
  readonly resolve: (result: Answer) => void;
  readonly reject: (error: FlowbusError) => void;
  timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    kind: CallKind,
    payload: CallPayload<CallKind>,
    resolve: (result: Answer) => void,
    reject: (error: FlowbusError) => void,
  ) {
    this.kind = kind;
    this.payload = payload;
    this.resolve = resolve;
    this.reject = reject;
    this.timer = undefined;
  }

  /** The patterns that it is about. */
  get patterns(): readonly string[] {
    return this.payload !== null && 'patterns' in this.payload ? this.payload.patterns : [];
  }
}

export class Calls implements PatternOffice {
  private readonly office: CallOffice;
  private readonly pending: Map<number, Call>;
  /** Why nothing is asked any more. */
  private ended: FlowbusError | null;
  private lastRef: number;

  constructor(office: CallOffice) {
    this.office = office;
    this.pending = new Map();
    this.ended = null;
    this.lastRef = 0;
  }

  get size(): number {
    return this.pending.size;
  }

  /**
   * Asks the broker. Without a connection queries reject with DISCONNECTED, the others wait for the next one.
   * Rejects with LIMIT_REACHED, TIMEOUT, or what the broker answers.
   */
  open<K extends CallKind>(kind: K, payload: CallPayload<K>): Promise<AnswerTo<K>> {
    if (this.ended !== null) return Promise.reject(new FlowbusError(this.ended.code, this.ended.message));
    if (this.pending.size >= MAX_CALLS) {
      return Promise.reject(new FlowbusError('LIMIT_REACHED', `${MAX_CALLS} calls are pending already.`));
    }
    return new Promise((resolve, reject) => {
      // `settle` looks whether the answer is of the kind.
      const take = resolve as (answer: Answer) => void;
      this.send(new Call(kind, payload, take, reject));
    });
  }

  /** False when nobody waits for that reference (any more). */
  settle(ref: number, result: Answer): boolean {
    const call = this.take(ref);
    if (call === undefined) return false;
    if (fits(call.kind, result)) call.resolve(result);
    else
      call.reject(new FlowbusError('BAD_CONTROL', `The broker answered ${call.kind} with another's answer.`));
    return true;
  }

  fail(ref: number, error: FlowbusError): boolean {
    const call = this.take(ref);
    if (call === undefined) return false;
    call.reject(error);
    return true;
  }

  async subscribe(pattern: string): Promise<void> {
    await this.open('subscribe', { patterns: [pattern] });
  }

  consume(wish: Consume): Promise<Consuming> {
    return this.open('consume', wish);
  }

  async replay(wish: Replay): Promise<void> {
    await this.open('replay', wish);
  }

  async unsubscribe(pattern: string): Promise<void> {
    if (this.ended === null) await this.open('unsubscribe', { patterns: [pattern] });
  }

  async everywhere(): Promise<void> {
    await this.open('everywhere', null);
  }

  /** Fails what is pending, and whatever comes. */
  end(error: FlowbusError): void {
    this.ended = error;
    for (const ref of [...this.pending.keys()]) this.fail(ref, error);
  }

  /** Queries die with their connection: their answer would describe another node's view. */
  disconnected(error: FlowbusError): void {
    for (const [ref, call] of [...this.pending]) {
      clearTimeout(call.timer);
      if (call.kind === 'query') this.fail(ref, error);
    }
  }

  /**
   * A connection stands again. `known`: the patterns that its hello bore, when it began a new session, which knows
   * no others; null when the old one goes on, which may or may not have seen what was pending: it is said again.
   */
  reconnected(known: Set<string> | null): void {
    const calls = [...this.pending.values()];
    this.pending.clear();
    for (const call of calls) {
      if (known !== null && settledBy(known, call)) call.resolve(null);
      else this.send(call);
    }
  }

  private send(call: Call): void {
    const ref = this.nextRef();
    this.pending.set(ref, call);
    if (this.office.sendCall(call.kind, call.payload, ref)) {
      this.office.onCall();
      call.timer = setTimeout(() => {
        this.fail(
          ref,
          new FlowbusError('TIMEOUT', `The broker did not answer ${call.kind} within ${CALL_TIMEOUT} ms.`),
        );
      }, CALL_TIMEOUT);
    } else if (call.kind === 'query') {
      this.fail(ref, new FlowbusError('DISCONNECTED', 'There is no connection to ask the directory over.'));
    }
  }

  private take(ref: number): Call | undefined {
    const call = this.pending.get(ref);
    if (call === undefined) return undefined;
    this.pending.delete(ref);
    clearTimeout(call.timer);
    return call;
  }

  /** References are 1 to 2^32 - 1; one that is still in use is left out. */
  private nextRef(): number {
    do this.lastRef = this.lastRef === 0xffffffff ? 1 : this.lastRef + 1;
    while (this.pending.has(this.lastRef));
    return this.lastRef;
  }
}

function fits(kind: CallKind, answer: Answer): boolean {
  if (kind === 'query') return answer !== null && 'records' in answer;
  if (kind === 'consume') return answer !== null && 'mailbox' in answer;
  return true;
}

/** Whether the broker knows it already. Otherwise it will, which is what the calls behind this one start from. */
function settledBy(known: Set<string>, call: Call): boolean {
  if (call.kind !== 'subscribe' && call.kind !== 'unsubscribe') return false;
  const subscribes = call.kind === 'subscribe';
  let settled = true;
  for (const pattern of call.patterns) {
    if (known.has(pattern) === subscribes) continue;
    settled = false;
    if (subscribes) known.add(pattern);
    else known.delete(pattern);
  }
  return settled;
}
