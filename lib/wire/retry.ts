/**
 * How often, and after which waits, a message that failed is tried again: the extension `retry`.
 *
 *   0 attempts at most (u16) · 2 wait after the first failure (u32, ms) · 6 the longest wait (u32, ms); 0: as the mailbox has it
 *
 * No Node built-ins here: browsers load it.
 */
import { FlowbusError } from '../errors.js';
import type { Fields } from './fields.js';
import { readU32, writeU32 } from './frame.js';

export const RETRY_SIZE = 10;
export const MAX_ATTEMPTS = 65_535;
/** Milliseconds: an hour, and a day. */
export const MAX_RETRY_BASE = 3_600_000;
export const MAX_RETRY_CAP = 86_400_000;

/** What is left out is as the mailbox has it. */
export interface Retry {
  /** Attempts in all, 1 to 65,535; then the message is a dead letter. */
  maxAttempts?: number | undefined;
  /** Milliseconds before the second attempt, 1 to 3,600,000; doubled with each failure, and half of it by chance. */
  base?: number | undefined;
  /** The longest such wait, 1 to 86,400,000 ms. */
  cap?: number | undefined;
}

const NAMES: ReadonlySet<string> = new Set(['maxAttempts', 'base', 'cap']);

/** Throws BAD_OPTION. */
export function checkRetry(retry: unknown): void {
  if (typeof retry !== 'object' || retry === null)
    throw new FlowbusError('BAD_OPTION', 'retry must be an object such as { maxAttempts, base, cap }.');
  for (const name of Object.keys(retry)) {
    if (!NAMES.has(name))
      throw new FlowbusError(
        'BAD_OPTION',
        `There is no option retry.${name}; options are maxAttempts, base, cap.`,
      );
  }
  const { maxAttempts, base, cap } = retry as Retry;
  checkPart('maxAttempts', maxAttempts, MAX_ATTEMPTS);
  checkPart('base', base, MAX_RETRY_BASE);
  checkPart('cap', cap, MAX_RETRY_CAP);
}

function checkPart(name: string, value: number | undefined, most: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= most))
    throw new FlowbusError('BAD_OPTION', `retry.${name} must be a whole number from 1 to ${most}.`);
}

/** The object in the field `retry`; null when null or absent. */
export function retryFrom(f: Fields): Retry | null {
  const retry = f.object('retry');
  if (retry === null) return null;
  const part = (name: keyof Retry, most: number): number | undefined =>
    retry.integerOrNull(name, 1, most) ?? undefined;
  return {
    maxAttempts: part('maxAttempts', MAX_ATTEMPTS),
    base: part('base', MAX_RETRY_BASE),
    cap: part('cap', MAX_RETRY_CAP),
  };
}

/** Writes what `checkRetry` has found good. */
export function writeRetry(b: Uint8Array, o: number, { maxAttempts = 0, base = 0, cap = 0 }: Retry): void {
  b[o] = maxAttempts;
  b[o + 1] = maxAttempts >>> 8;
  writeU32(b, o + 2, base);
  writeU32(b, o + 6, cap);
}

/** Whether the `RETRY_SIZE` bytes at `o` are within their bounds. */
export function isRetry(b: Uint8Array, o: number): boolean {
  return readU32(b, o + 2) <= MAX_RETRY_BASE && readU32(b, o + 6) <= MAX_RETRY_CAP;
}

/** Without what is as the mailbox has it. */
export function readRetry(b: Uint8Array, o: number): Retry {
  return {
    maxAttempts: b[o] | (b[o + 1] << 8) || undefined,
    base: readU32(b, o + 2) || undefined,
    cap: readU32(b, o + 6) || undefined,
  };
}
