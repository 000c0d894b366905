/**
 * Sizes and durations as people write them. The units are spelled out (KiB, never K or kB), because half of those
 * who read "64K" think of 64,000.
 */

const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Longer texts are refused before the pattern runs. */
const MAX_TEXT = 32;
const AMOUNT = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/;

/** The whole number that `text` stands for, or undefined when it is none. Without a unit the factor is 1. */
function parseAmount(text: string, units: Readonly<Record<string, number>>): number | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const match = AMOUNT.exec(text);
  if (match === null) return undefined;
  const [, amount, unit] = match;
  if (unit !== '' && !Object.hasOwn(units, unit)) return undefined;
  // 0.1 h is 360000.00000000006 ms as doubles: only what is no whole number even after that is refused.
  const exact = Number(amount) * (unit === '' ? 1 : units[unit]);
  const whole = Math.round(exact);
  return Math.abs(exact - whole) < 1e-6 && Number.isSafeInteger(whole) ? whole : undefined;
}

/** Bytes of `65536`, `64KiB`, `1.5MiB` (units B, KiB, MiB, GiB; none = bytes); undefined when it is no size. */
export function parseSize(text: string): number | undefined {
  return parseAmount(text, SIZE_UNITS);
}

/** Milliseconds of `200`, `200ms`, `5s`, `1.5min` (units ms, s, min, h, d; none = ms); undefined when it is no duration. */
export function parseDuration(text: string): number | undefined {
  return parseAmount(text, DURATION_UNITS);
}

function format(value: number, units: Readonly<Record<string, number>>, smallest: string): string {
  let best = smallest;
  for (const unit of Object.keys(units)) {
    if (value !== 0 && value % units[unit] === 0 && units[unit] > units[best]) best = unit;
  }
  return `${value / units[best]}${best}`;
}

/** The shortest exact text: 65536 → `64KiB`. `parseSize` reads it back. */
export function formatSize(bytes: number): string {
  return format(bytes, SIZE_UNITS, 'B');
}

/** The shortest exact text: 5000 → `5s`. `parseDuration` reads it back. */
export function formatDuration(milliseconds: number): string {
  return format(milliseconds, DURATION_UNITS, 'ms');
}
