/** The options of `connect()`: what they mean, their defaults, and the one place that checks them. */
import { FlowbusError } from '../errors.js';
import { agentIdProblem, capabilityProblem } from '../topics/topic.js';
import {
  BALANCES,
  type Balance,
  type BreakerWish,
  type Consume,
  DEFAULT_PREFETCH,
  MAX_BREAKER_FAILURES,
  MAX_BREAKER_WINDOW,
  MAX_CAPABILITIES,
  MAX_CAPABILITY,
  MAX_COOL_DOWN,
  MAX_HEARTBEAT_INTERVAL,
  MAX_LEASE,
  MAX_MAILBOX_AGE,
  MAX_METADATA,
  MAX_PREFETCH,
  MAX_TOKEN,
} from '../wire/control.js';
import { DEFAULT_MAX_PAYLOAD, LANE_NORMAL, LANES, type Priority } from '../wire/frame.js';
import { MAX_ATTEMPTS, MAX_RETRY_BASE, MAX_RETRY_CAP } from '../wire/retry.js';
import { utf8Size } from '../wire/text.js';

export interface ReconnectOptions {
  /** Upper bound of the first wait, milliseconds. Default 100. */
  minDelay?: number | undefined;
  /** Upper bound of every wait, milliseconds. Default 10,000. */
  maxDelay?: number | undefined;
  /** Attempts in a row before the agent gives up and is closed. Default: without end. */
  attempts?: number | undefined;
}

export interface BreakerOptions {
  /** Failures among twice as many outcomes that open it, 1 to 1000. Default: as the broker has it. */
  failures?: number | undefined;
  /** Milliseconds that a failure counts, 1000 to 86,400,000. Default: as the broker has it. */
  window?: number | undefined;
  /** Milliseconds that it is open for, 100 to 3,600,000, up to 32 times as long while its consumer fails. Default: as the broker has it. */
  coolDown?: number | undefined;
  /** Milliseconds for one message beyond which an ack counts as a failure, up to 3,600,000. Default: 80 % of the lease. */
  slowAck?: number | undefined;
}

export interface MailboxOptions {
  /** Messages that may be unacked here at a time, 1 to 10,000. Default 256. */
  prefetch?: number | undefined;
  /** Milliseconds for one message, after which another consumer gets it, 100 to 3,600,000. Default: as the broker has it. */
  lease?: number | undefined;
  /** Milliseconds that a message, and the empty mailbox of an absent agent, are kept, from 1000. Default: as the broker has it. */
  maxAge?: number | undefined;
  /** Messages that it holds at most. Default: as the broker has it. */
  maxMessages?: number | undefined;
  /**
   * Who of several consumers gets the next message: `least-in-flight`, who has the fewest unacked, so that the quick get more, or
   * `round-robin`, each in turn. It is the mailbox's: the last to say it says it for all. Default: as the mailbox has it,
   * at first `least-in-flight`.
   */
  balance?: Balance | undefined;
  /**
   * When a consumer that fails gets no more messages for a while, see the event `breaker`; false: never. It is the mailbox's,
   * like `balance`. Default: as the mailbox has it, at first as the broker has it.
   */
  breaker?: BreakerOptions | false | undefined;
  /** Attempts at one message, 1 to 65,535; then it is a dead letter. Default: as the broker has it. */
  maxAttempts?: number | undefined;
  /** Milliseconds before a message that failed is tried again, 1 to 3,600,000, doubled each time. Default: as the broker has it. */
  retryBase?: number | undefined;
  /** The longest such wait, 1 to 86,400,000 ms. Default: as the broker has it. */
  retryCap?: number | undefined;
}

export interface ConnectOptions {
  /**
   * The agent's stable name: one topic level of 1 to 64 bytes, not beginning with `_`, not `flowbus` or `http`.
   * One connection at a time can bear it. Default: a random one, for programs that nobody needs to address.
   */
  agentId?: string | undefined;
  /** What kind of agent it is, same rule as agentId. Default `agent`. */
  agentType?: string | undefined;
  /** What it can do, for `sendTo` and the directory: at most 64 texts of at most 64 bytes. Default none. */
  capabilities?: readonly string[] | undefined;
  /** Anything JSON can express in at most 4096 bytes; others read it in the directory. Default `{}`. */
  metadata?: unknown;
  /** Proves who this is, where the broker asks for it. A function is called at every (re)connect. */
  token?: string | (() => string | Promise<string>) | undefined;
  /** The lane of messages that name none. Default `normal`. */
  priority?: Priority | undefined;
  /**
   * Milliseconds of silence after which the SDK sends a ping, 10 to 3,600,000; after three such intervals
   * without a word from the broker it connects anew. Default 15,000.
   */
  heartbeatInterval?: number | undefined;
  /** Milliseconds for the first connection, over all URLs; also for each later attempt. Default 10,000. */
  connectTimeout?: number | undefined;
  /** How to come back after a lost connection; false: not at all. */
  reconnect?: ReconnectOptions | false | undefined;
  /**
   * Bytes of unsent messages, from 256 KiB to 1 GiB. From 80 % on `publish()` returns false; beyond the bound it
   * throws BUFFER_FULL. Default 16 MiB.
   */
  maxBuffered?: number | undefined;
  /**
   * A mailbox of its own: what is sent to this agent with `{ assured: true }` is kept while it is away, and comes as the
   * event `message`. Default: none. Needs an agentId.
   */
  mailbox?: MailboxOptions | boolean | undefined;
  /**
   * Promises of handlers that may be pending at a time, 1 to 1,000,000. Beyond, messages wait unhandled, and soon
   * the connection is not read: see `Inbox`. Default 1024.
   */
  maxInFlight?: number | undefined;
}

/** The options with everything decided. */
export interface Settings {
  readonly agentId: string;
  readonly agentType: string;
  readonly capabilities: string[];
  /** JSON text. */
  readonly metadata: string;
  readonly token: (() => string | Promise<string>) | null;
  readonly lane: number;
  readonly heartbeatInterval: number;
  readonly connectTimeout: number;
  readonly minDelay: number;
  readonly maxDelay: number;
  /** 0: no reconnect. */
  readonly attempts: number;
  readonly maxBuffered: number;
  readonly maxInFlight: number;
  /** The wish for the agent's own mailbox; null: it has none. */
  readonly mailbox: Consume | null;
}

const NAMES: readonly (keyof ConnectOptions)[] = [
  'agentId',
  'agentType',
  'capabilities',
  'metadata',
  'token',
  'priority',
  'heartbeatInterval',
  'connectTimeout',
  'reconnect',
  'maxBuffered',
  'maxInFlight',
  'mailbox',
];

/** A random agentId has this many random bits, enough for no two of a million to meet. */
const RANDOM_ID_BITS = 64;

export function badOption(name: string, value: unknown, allowed: string): FlowbusError {
  return new FlowbusError('BAD_OPTION', `${name} is ${show(value)}, but must be ${allowed}.`);
}

/** A value as it might stand in a program, cut to a length that fits a message. */
function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  let text: string;
  try {
    text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  } catch {
    text = 'an object that JSON cannot express';
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function checkInteger(name: string, value: unknown, least: number, greatest: number): number {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > greatest) {
    throw badOption(name, value, `a whole number from ${least} to ${greatest}`);
  }
  return value as number;
}

/** The lane of a priority. Throws BAD_OPTION. */
export function laneOf(priority: unknown): number {
  switch (priority) {
    case 'critical':
      return 0;
    case 'high':
      return 1;
    case 'normal':
      return LANE_NORMAL;
    case 'low':
      return 3;
    case 'background':
      return 4;
    default:
      throw badOption('priority', priority, `one of ${LANES.join(', ')}`);
  }
}

/** Throws BAD_OPTION unless `value` can be an agent's id (or type: same rule). */
export function checkAgentId(name: string, value: unknown): string {
  const problem = typeof value === 'string' ? agentIdProblem(value) : 'it is not a text';
  if (problem !== null) throw badOption(name, value, `one topic level of 1 to 64 bytes (${problem})`);
  return value as string;
}

/** Throws BAD_OPTION unless `value` is a capability that can have a mailbox. */
export function checkCapability(value: unknown): string {
  const size = typeof value === 'string' ? utf8Size(value) : -1;
  const problem = size < 1 || size > MAX_CAPABILITY ? 'it is none' : capabilityProblem(value as string);
  if (problem !== null)
    throw badOption(
      'capability',
      value,
      `topic levels of at most ${MAX_CAPABILITY} bytes to have a mailbox (${problem})`,
    );
  return value as string;
}

function randomAgentId(): string {
  const words = crypto.getRandomValues(new Uint32Array(RANDOM_ID_BITS / 32));
  return `agent-${Array.from(words, (word) => word.toString(36)).join('')}`;
}

function checkCapabilities(value: unknown): string[] {
  const fits = (item: unknown): item is string => {
    const size = typeof item === 'string' ? utf8Size(item) : -1;
    return size >= 1 && size <= MAX_CAPABILITY;
  };
  if (!Array.isArray(value) || value.length > MAX_CAPABILITIES || !value.every(fits)) {
    throw badOption(
      'capabilities',
      value,
      `an array of at most ${MAX_CAPABILITIES} texts of 1 to ${MAX_CAPABILITY} bytes`,
    );
  }
  return [...value];
}

function checkMetadata(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  const size = text === undefined ? -1 : utf8Size(text);
  if (text === undefined || size < 0 || size > MAX_METADATA) {
    throw badOption('metadata', value, `something that is at most ${MAX_METADATA} bytes as JSON`);
  }
  return text;
}

/** Throws BAD_OPTION for a token that no broker would take. */
export function checkToken(value: unknown): string {
  const size = typeof value === 'string' ? utf8Size(value) : -1;
  if (typeof value !== 'string' || size < 1 || size > MAX_TOKEN) {
    // The value stays out of the message: messages are logged.
    throw new FlowbusError(
      'BAD_OPTION',
      `token must be a text of 1 to ${MAX_TOKEN} bytes, or a function that returns one.`,
    );
  }
  return value;
}

function checkTokenSource(value: ConnectOptions['token']): Settings['token'] {
  if (value === undefined || value === null) return null;
  if (typeof value === 'function') return value;
  const token = checkToken(value);
  return () => token;
}

function checkReconnect(value: unknown): Required<ReconnectOptions> {
  const checked = { minDelay: 100, maxDelay: 10_000, attempts: Number.POSITIVE_INFINITY };
  if (value === undefined) return checked;
  if (value === false) return { ...checked, attempts: 0 };
  if (typeof value !== 'object' || value === null) {
    throw badOption('reconnect', value, 'false or { minDelay, maxDelay, attempts }');
  }
  checkNames('reconnect.', value, Object.keys(checked));
  const { minDelay, maxDelay, attempts } = value as ReconnectOptions;
  if (minDelay !== undefined) checked.minDelay = checkInteger('reconnect.minDelay', minDelay, 1, 3_600_000);
  if (maxDelay !== undefined) checked.maxDelay = checkInteger('reconnect.maxDelay', maxDelay, 1, 3_600_000);
  if (checked.maxDelay < checked.minDelay) {
    throw badOption(
      'reconnect.maxDelay',
      checked.maxDelay,
      `at least minDelay, which is ${checked.minDelay}`,
    );
  }
  if (attempts !== undefined && attempts !== Number.POSITIVE_INFINITY) {
    checked.attempts = checkInteger('reconnect.attempts', attempts, 1, 1_000_000_000);
  }
  return checked;
}

/** Throws BAD_OPTION when `value` has a field that is not in `names`: most often a slip of the pen. */
export function checkNames(prefix: string, value: object, names: readonly string[]): void {
  // Calls that bear options come here: 10 ns for a few of them, where a list of the keys would take 20.
  for (const name in value) {
    if (!names.includes(name) && Object.hasOwn(value, name)) {
      throw new FlowbusError(
        'BAD_OPTION',
        `There is no option ${prefix}${name}; options are ${names.join(', ')}.`,
      );
    }
  }
}

/** The same for the options of a call, which may be anything. */
export function checkCallOptions(options: unknown, names: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw badOption('options', options, 'an object');
  checkNames('', options, names);
}

/** Throws BAD_OPTION naming the option, its value and what is allowed. */
export function checkOptions(options: ConnectOptions): Settings {
  if (typeof options !== 'object' || options === null) {
    throw badOption('The second argument of connect()', options, 'an object of options');
  }
  checkNames('', options, NAMES);
  const { minDelay, maxDelay, attempts } = checkReconnect(options.reconnect);
  return {
    agentId: options.agentId === undefined ? randomAgentId() : checkAgentId('agentId', options.agentId),
    agentType: checkAgentId('agentType', options.agentType ?? 'agent'),
    capabilities: checkCapabilities(options.capabilities ?? []),
    metadata: checkMetadata(options.metadata ?? {}),
    token: checkTokenSource(options.token),
    lane: options.priority === undefined ? LANE_NORMAL : laneOf(options.priority),
    heartbeatInterval: checkInteger(
      'heartbeatInterval',
      options.heartbeatInterval ?? 15_000,
      10,
      MAX_HEARTBEAT_INTERVAL,
    ),
    connectTimeout: checkInteger('connectTimeout', options.connectTimeout ?? 10_000, 1, 3_600_000),
    minDelay,
    maxDelay,
    attempts,
    maxBuffered: checkInteger(
      'maxBuffered',
      options.maxBuffered ?? 16 * 1024 * 1024,
      4 * DEFAULT_MAX_PAYLOAD,
      1024 * 1024 * 1024,
    ),
    maxInFlight: checkInteger('maxInFlight', options.maxInFlight ?? 1024, 1, 1_000_000),
    mailbox: checkMailbox(options.mailbox, options.agentId),
  };
}

export const MAILBOX_NAMES: readonly (keyof MailboxOptions)[] = [
  'prefetch',
  'lease',
  'maxAge',
  'maxMessages',
  'balance',
  'breaker',
  'maxAttempts',
  'retryBase',
  'retryCap',
];
const BREAKER_NAMES: readonly (keyof BreakerOptions)[] = ['failures', 'window', 'coolDown', 'slowAck'];

/** The limits in a wish to consume. Throws BAD_OPTION. */
export function checkLimits(prefix: string, options: MailboxOptions): Pick<Consume, keyof MailboxOptions> {
  const { prefetch, lease, maxAge, maxMessages, balance, breaker } = options;
  const { maxAttempts, retryBase, retryCap } = options;
  return {
    prefetch: checkInteger(`${prefix}prefetch`, prefetch ?? DEFAULT_PREFETCH, 1, MAX_PREFETCH),
    lease: lease === undefined ? 0 : checkInteger(`${prefix}lease`, lease, 100, MAX_LEASE),
    maxAge: maxAge === undefined ? 0 : checkInteger(`${prefix}maxAge`, maxAge, 1000, MAX_MAILBOX_AGE),
    maxMessages:
      maxMessages === undefined ? 0 : checkInteger(`${prefix}maxMessages`, maxMessages, 1, 100_000_000),
    balance: balance === undefined ? null : checkBalance(`${prefix}balance`, balance),
    breaker: breaker === undefined ? null : checkBreaker(`${prefix}breaker`, breaker),
    maxAttempts:
      maxAttempts === undefined ? 0 : checkInteger(`${prefix}maxAttempts`, maxAttempts, 1, MAX_ATTEMPTS),
    retryBase: retryBase === undefined ? 0 : checkInteger(`${prefix}retryBase`, retryBase, 1, MAX_RETRY_BASE),
    retryCap: retryCap === undefined ? 0 : checkInteger(`${prefix}retryCap`, retryCap, 1, MAX_RETRY_CAP),
  };
}

function checkBalance(name: string, value: unknown): Balance {
  const balance = BALANCES.find((known) => known === value);
  if (balance === undefined) throw badOption(name, value, `one of ${BALANCES.join(', ')}`);
  return balance;
}

function checkBreaker(name: string, value: unknown): BreakerWish {
  if (value === false) return { failures: -1, window: 0, coolDown: 0, slowAck: 0 };
  if (typeof value !== 'object' || value === null)
    throw badOption(name, value, `false or { ${BREAKER_NAMES.join(', ')} }`);
  checkNames(`${name}.`, value, BREAKER_NAMES);
  const options = value as BreakerOptions;
  const read = (field: keyof BreakerOptions, least: number, greatest: number): number =>
    options[field] === undefined ? 0 : checkInteger(`${name}.${field}`, options[field], least, greatest);
  return {
    failures: read('failures', 1, MAX_BREAKER_FAILURES),
    window: read('window', 1000, MAX_BREAKER_WINDOW),
    coolDown: read('coolDown', 100, MAX_COOL_DOWN),
    slowAck: read('slowAck', 1, MAX_LEASE),
  };
}

function checkMailbox(value: unknown, agentId: string | undefined): Consume | null {
  if (value === undefined || value === false) return null;
  if (value !== true && (typeof value !== 'object' || value === null)) {
    throw badOption('mailbox', value, `true, false or { ${MAILBOX_NAMES.join(', ')} }`);
  }
  if (agentId === undefined)
    throw new FlowbusError('BAD_OPTION', 'mailbox needs an agentId to come back to.');
  if (value !== true) checkNames('mailbox.', value, MAILBOX_NAMES);
  const limits = checkLimits('mailbox.', value === true ? {} : (value as MailboxOptions));
  return { mailbox: 'agent', group: null, pattern: null, capability: null, ...limits };
}

/** The URLs to try, in order, each with the agentId that helps the broker place the connection. */
export function checkUrls(urls: string | readonly string[], agentId: string): string[] {
  const list: readonly unknown[] = Array.isArray(urls) ? urls : [urls];
  if (list.length === 0 || list.length > 64) throw badOption('url', urls, 'one to 64 URLs');
  return list.map((text) => {
    const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : null;
    if (url === null || (url.protocol !== 'ws:' && url.protocol !== 'wss:') || url.hash !== '') {
      throw badOption('url', text, 'a WebSocket URL such as ws://127.0.0.1:8081');
    }
    url.searchParams.set('agentId', agentId);
    return url.href;
  });
}
