/**
 * The kinds of value that a setting can have. Each takes what any source gives (text from flags and the
 * environment, typed values from YAML and programs) to the one form that the broker uses.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { isReserved, patternProblem } from '../topics/topic.js';
import { LANE_COUNT } from '../wire/frame.js';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js';

export interface Kind<T> {
  readonly schema: z.ZodType<T>;
  /** What is allowed, to follow "must be". */
  readonly allowed: string;
  /** Placeholder of the flag's value in `--help`. */
  readonly placeholder: string;
  /** How a value is written in the documents. */
  readonly format: (value: T) => string;
  /** A list, whose flag may be given several times. */
  readonly repeats?: true;
}

const grouped = (value: number): string => value.toLocaleString('en-US');

function amount(parse: (text: string) => number | undefined, min: number, max: number): z.ZodType<number> {
  return z
    .union([z.number(), z.string().transform((text) => parse(text) ?? Number.NaN)])
    .pipe(z.int().min(min).max(max));
}

function parseInteger(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

export function integer(min: number, max: number): Kind<number> {
  return {
    schema: amount(parseInteger, min, max),
    allowed: `a whole number from ${grouped(min)} to ${grouped(max)}`,
    placeholder: 'number',
    format: String,
  };
}

/** Bytes. */
export function size(min: number, max: number): Kind<number> {
  return {
    schema: amount(parseSize, min, max),
    allowed: `a size from ${formatSize(min)} to ${formatSize(max)}, such as 65536 or 64KiB`,
    placeholder: 'size',
    format: formatSize,
  };
}

/** Milliseconds. */
export function duration(min: number, max: number): Kind<number> {
  return {
    schema: amount(parseDuration, min, max),
    allowed: `a duration from ${formatDuration(min)} to ${formatDuration(max)}, such as 500ms or 5s`,
    placeholder: 'duration',
    format: formatDuration,
  };
}

export function boolean(): Kind<boolean> {
  return {
    schema: z.union([
      z.boolean(),
      z.enum(['true', '1']).transform(() => true),
      z.enum(['false', '0']).transform(() => false),
    ]),
    allowed: 'true or false',
    placeholder: 'true|false',
    format: String,
  };
}

export function choice<const V extends readonly string[]>(values: V): Kind<V[number]> {
  return {
    schema: z.enum(values),
    allowed: `one of ${values.join(', ')}`,
    placeholder: values.length > 3 ? 'name' : values.join('|'),
    format: String,
  };
}

export function text(allowed: string, placeholder: string, schema: z.ZodType<string>): Kind<string> {
  return { schema, allowed, placeholder, format: String };
}

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]{1,63})*\.?$/;

function isHost(name: string): boolean {
  // "1.2.3" and "8081" would pass as names, and the resolver reads them as addresses that nobody meant.
  return isIP(name) !== 0 || (HOST_NAME.test(name) && !/^[\d.]+$/.test(name));
}

export function host(): Kind<string> {
  return text('an IP address (without brackets) or a host name', 'address', z.string().refine(isHost));
}

const encoder = new TextEncoder();
export const byteLength = (value: string): number => encoder.encode(value).length;

/** One level of a topic, at most `max` bytes, that does not look like a reserved one. */
export function topicLevel(max: number): Kind<string> {
  return text(
    `1 to ${max} bytes without dots, "*", blanks and control characters, not beginning with "_"`,
    'name',
    // biome would rather not see control characters in a pattern: \p{Cc} names the same ones.
    z
      .string()
      .regex(/^[^_.*\s\p{Cc}][^.*\s\p{Cc}]*$/u)
      .refine((name) => byteLength(name) <= max),
  );
}

export function nodeName(): Kind<string> {
  return topicLevel(64);
}

export function path(): Kind<string> {
  return text(
    'a path',
    'path',
    z
      .string()
      .regex(/^[^\0]+$/)
      .max(4096),
  );
}

export function secret(min: number): Kind<string> {
  return text(
    `a text of ${min} to 1,024 bytes`,
    'text',
    z.string().refine((value) => byteLength(value) >= min && byteLength(value) <= 1024),
  );
}

/** A list in YAML, separated by commas elsewhere. */
function list(
  isValid: (text: string) => boolean,
  allowed: string,
  placeholder = 'list',
): Kind<readonly string[]> {
  const split = (text: string): string[] => (text === '' ? [] : text.split(',').map((part) => part.trim()));
  return {
    schema: z
      .union([z.array(z.string()), z.string().transform(split)])
      .pipe(z.array(z.string().refine(isValid)).max(MAX_LIST)),
    allowed: `${allowed}, separated by commas`,
    placeholder,
    format: (value) => (value.length === 0 ? 'none' : value.join(',')),
    repeats: true,
  };
}

/** Web origins, scheme://host[:port], or `*` for all. */
export function origins(): Kind<readonly string[]> {
  return list(isOrigin, 'origins such as https://app.example.com, or *');
}

/** Patterns of topics. */
export function patterns(): Kind<readonly string[]> {
  const isKept = (text: string): boolean => patternProblem(text) === null && !isReserved(text);
  return list(isKept, 'patterns such as orders.** or **');
}

/** Where a node can be reached: host:port, [IPv6 address]:port, or a multiaddr of libp2p. */
export function addresses(): Kind<readonly string[]> {
  return list(isAddress, 'addresses such as 10.0.0.7:9081, [::1]:9081 or node-b.example.com:9081', 'address');
}

/** Names of nodes that follow from their keys, as libp2p writes them: base58. */
export function peerIds(): Kind<readonly string[]> {
  const isPeerId = (text: string): boolean => /^[1-9A-HJ-NP-Za-km-z]{46,64}$/.test(text);
  return list(isPeerId, 'peer ids, 12D3KooW…', 'peer id');
}

const HOST_AND_PORT = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/;

function isAddress(text: string): boolean {
  if (text.startsWith('/')) return /^(?:\/[^/\s]+){2,}$/.test(text);
  const [, v6, name, port] = HOST_AND_PORT.exec(text) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535) return false;
  return v6 === undefined ? isHost(name) && isIP(name) !== 6 : isIP(v6) === 6;
}

const MAX_LIST = 64;

/** A weight for each lane, most urgent first: a list in YAML, separated by commas elsewhere. */
export function weights(max: number): Kind<readonly number[]> {
  const split = (text: string): number[] =>
    text.split(',').map((part) => parseInteger(part.trim()) ?? Number.NaN);
  return {
    schema: z
      .union([z.array(z.number()), z.string().transform(split)])
      .pipe(z.array(z.int().min(1).max(max)).length(LANE_COUNT)),
    allowed: `${LANE_COUNT} whole numbers from 1 to ${grouped(max)}, separated by commas, that of the most urgent lane first`,
    placeholder: 'list',
    format: (value) => value.join(','),
  };
}

function isOrigin(text: string): boolean {
  if (text === '*') return true;
  return URL.canParse(text) && new URL(text).origin === text;
}
