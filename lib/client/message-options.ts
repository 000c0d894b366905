/** The options of one message, and the place that checks them. */
import { FlowbusError } from '../errors.js';
import type { OutgoingExtensions } from '../wire/extensions.js';
import { Flag, type Priority } from '../wire/frame.js';
import type { Retry } from '../wire/retry.js';
import { badOption, checkInteger } from './options.js';

export interface SendOptions {
  /** The lane it travels in. Default: that of `connect()`. */
  priority?: Priority | undefined;
  /** Time to live: whole milliseconds after which it is not worth delivering, 1 to 86,400,000. */
  ttl?: number | undefined;
  /** Ordering key: messages with the same key stay in order. 1 to 255 bytes. */
  key?: string | undefined;
  /** At most 64 names of 1 to 255 bytes, 65,535 bytes in all. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** W3C trace context, 55 bytes. */
  traceparent?: string | undefined;
}

/** What is kept until it is received. */
export interface AssuredOptions extends SendOptions {
  /** Store it: resolves once every mailbox that matches has journaled it. */
  assured?: boolean | undefined;
  /** Names the message, 1 to 64 bytes: mailboxes drop what they have seen. Default, if assured: a random one. */
  messageId?: string | Uint8Array | undefined;
  /**
   * For assured messages alone: milliseconds from their arrival at the broker, before which they are not delivered, 0 to
   * 604,800,000 (a week), and less than `ttl`. Those who have no mailbox do not get them.
   */
  delay?: number | undefined;
  /** How it is tried again when a consumer fails at it; goes with `assured`. Default: as each mailbox has it. */
  retry?: Retry | undefined;
  /** Milliseconds to wait for the ack of an assured publish, 1 to 86,400,000. Default 5000. */
  timeout?: number | undefined;
}

export interface PublishOptions extends AssuredOptions {
  /** Keep it as the last value of the topic, for those who subscribe later: they get it marked `retained`. An empty payload clears it. */
  retain?: boolean | undefined;
  /** A topic where answers are awaited, for patterns that `request()` does not cover. */
  replyTo?: string | undefined;
  /** What answers have to repeat, 1 to 64 bytes. */
  correlation?: Uint8Array | undefined;
}

export interface RequestOptions extends SendOptions {
  /** Milliseconds to wait for the reply, 1 to 86,400,000. Default 5000. Also the time to live, unless `ttl` is given. */
  timeout?: number | undefined;
}

const SEND_OPTIONS: readonly (keyof SendOptions)[] = ['priority', 'ttl', 'key', 'headers', 'traceparent'];
export const ASSURED_OPTIONS: readonly (keyof AssuredOptions)[] = [
  ...SEND_OPTIONS,
  'assured',
  'messageId',
  'delay',
  'retry',
  'timeout',
];
export const PUBLISH_OPTIONS: readonly (keyof PublishOptions)[] = [
  ...ASSURED_OPTIONS,
  'replyTo',
  'correlation',
  'retain',
];
/** What only a mailbox can do. */
const MAILBOX_ONLY = ['delay', 'retry'] as const;
export const REQUEST_OPTIONS: readonly (keyof RequestOptions)[] = [...SEND_OPTIONS, 'timeout'];

const DEFAULT_TIMEOUT = 5000;
const MAX_TIMEOUT = 86_400_000;

/** Milliseconds to wait for an answer. Throws BAD_OPTION. */
export function timeoutOf({ timeout }: { timeout?: number | undefined }): number {
  return checkInteger('timeout', timeout ?? DEFAULT_TIMEOUT, 1, MAX_TIMEOUT);
}

/** What a frame bears beside topic and payload. Whoever writes it checks it. `messageId`: where there is none. */
export function extensionsOf(options: PublishOptions, messageId: Uint8Array): OutgoingExtensions {
  return {
    replyTo: options.replyTo,
    correlation: options.correlation,
    messageId: options.messageId ?? messageId,
    ttl: options.ttl,
    key: options.key,
    traceparent: options.traceparent,
    headers: options.headers,
    delay: options.delay === 0 ? undefined : options.delay,
    retry: options.retry,
  };
}

/** The flag of the frame. Throws BAD_OPTION. */
export function retainFlag({ retain }: PublishOptions): number {
  if (retain === undefined || retain === false) return 0;
  if (retain !== true) throw badOption('retain', retain, 'true or false');
  return Flag.retain;
}

/** Throws BAD_OPTION for what only a mailbox can do. */
export function checkLive(options: AssuredOptions): void {
  for (const name of MAILBOX_ONLY) {
    if (options[name] === undefined) continue;
    throw new FlowbusError(
      'BAD_OPTION',
      `${name} needs assured: true, since a live message is kept nowhere.`,
    );
  }
}
