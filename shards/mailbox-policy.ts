/** What a mailbox is like from now on: as it was, but for what the last to consume wishes. */
import type { BreakerPolicy } from '../lib/queues/breaker.js';
import type { MailboxPolicy } from '../lib/queues/mailbox.js';
import type { BreakerWish } from '../lib/wire/control.js';
import type { ConsumeSpec } from './intake.js';

export function policyOf(spec: ConsumeSpec, base: MailboxPolicy): MailboxPolicy {
  return {
    ...base,
    lease: spec.lease || base.lease,
    maxAge: spec.maxAge || base.maxAge,
    maxMessages: spec.maxMessages || base.maxMessages,
    maxAttempts: spec.maxAttempts || base.maxAttempts,
    retryBase: spec.retryBase || base.retryBase,
    retryCap: spec.retryCap || base.retryCap,
    balance: spec.balance ?? base.balance,
    breaker: spec.breaker === null ? base.breaker : breakerOf(spec.breaker, base.breaker),
  };
}

function breakerOf({ failures, window, coolDown, slowAck }: BreakerWish, base: BreakerPolicy): BreakerPolicy {
  return {
    failures: failures === 0 ? base.failures : Math.max(0, failures),
    window: window || base.window,
    coolDown: coolDown || base.coolDown,
    slowAck: slowAck || base.slowAck,
  };
}
