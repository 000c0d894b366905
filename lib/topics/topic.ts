/**
 * Topics and patterns as text: what is valid, and which pattern matches which topic.
 *
 * A topic is levels joined by dots: 1 to 16 levels of at least one byte, 255 bytes of UTF-8 in all, without
 * `*`, whitespace (Unicode White_Space, and U+FEFF) or control characters (below 0x20, and 0x7f).
 * A pattern is a topic in which a level may be `*`, exactly one level, or `**`, zero or more levels.
 *
 * A first level that begins with `_` is reserved for the bus's own addresses. As in MQTT with `$`, a pattern
 * that begins with a wildcard matches none of these topics, so `**` does not read other agents' mail.
 *
 * Runs in browsers too: no Node built-ins here.
 */
import { MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS } from '../wire/frame.js';

/** `_agent.<agentId>` is the address of one agent: anyone may publish to it, only that agent reads it. */
export const AGENT_PREFIX = '_agent.';
/** `_capability.<capability>` is the address of a capability: the mailbox of those that have it, for assured messages alone. */
export const CAPABILITY_PREFIX = '_capability.';
/** `_reply.<node>.<sender number, base 36>.<nonce>` is where an answer goes; routed without interest. */
export const REPLY_PREFIX = '_reply.';
/** The longest agentId, agent type or capability (bytes of UTF-8). */
export const MAX_AGENT_ID_BYTES = 64;
/** No agent may bear these: the bus signs presence with the first, the HTTP door publishes as the second. */
const RESERVED_AGENT_IDS: ReadonlySet<string> = new Set(['flowbus', 'http']);

const DOT = 0x2e;
const STAR = 0x2a;
const UNDERSCORE = 0x5f;

/** Why `text` is no valid topic, as a sentence without a full stop; null when it is one. */
export function topicProblem(text: string): string | null {
  return problem('the topic', text, false, MAX_TOPIC_BYTES);
}

/** Why `text` is no valid pattern, as a sentence without a full stop; null when it is one. Topics are patterns. */
export function patternProblem(text: string): string | null {
  return problem('the pattern', text, true, MAX_TOPIC_BYTES);
}

/**
 * Why `text` cannot be an agentId or an agent type, as a sentence without a full stop; null when it can.
 * It must be one topic level of 1 to 64 bytes that does not begin with `_` and is neither `flowbus` nor `http`.
 */
export function agentIdProblem(text: string): string | null {
  const found = problem('the agent id', text, false, MAX_AGENT_ID_BYTES);
  if (found !== null) return found;
  if (text.includes('.')) return 'the agent id has a dot; it must be a single topic level';
  if (isReserved(text)) return "the agent id begins with '_', which is reserved";
  if (RESERVED_AGENT_IDS.has(text)) return `the agent id '${text}' is reserved`;
  return null;
}

/** The topic on which the agent `id` reads what is sent to it alone. */
export function agentAddress(id: string): string {
  return AGENT_PREFIX + id;
}

/** The topic on which the mailbox of those that have `capability` takes messages. */
export function capabilityAddress(capability: string): string {
  return CAPABILITY_PREFIX + capability;
}

/** That of an agent or a capability: who publishes to it is told when nobody is there. */
export function isAddress(topic: string): boolean {
  return topic.startsWith(AGENT_PREFIX) || topic.startsWith(CAPABILITY_PREFIX);
}

/** Why a capability can have no mailbox, as a sentence without a full stop; null when it can. */
export function capabilityProblem(capability: string): string | null {
  return problem('the address of the capability', capabilityAddress(capability), false, MAX_TOPIC_BYTES);
}

/** True when the first level begins with `_`; clients may not subscribe to such topics or patterns. */
export function isReserved(text: string): boolean {
  return text.charCodeAt(0) === UNDERSCORE;
}

/** True when the valid pattern has a wildcard, false when it can only match the topic of the same text. */
export function isWildcard(pattern: string): boolean {
  return pattern.includes('*');
}

/** The first level: under this name drops and metrics are counted. */
export function topicRoot(topic: string): string {
  const dot = topic.indexOf('.');
  return dot < 0 ? topic : topic.slice(0, dot);
}

/**
 * Whether a valid pattern matches a valid topic: the reference that every faster structure is tested against.
 * At most levels × levels steps, whatever the pattern.
 */
export function matches(pattern: string, topic: string): boolean {
  if (pattern.charCodeAt(0) === STAR && isReserved(topic)) return false;
  const wanted = pattern.split('.');
  const levels = topic.split('.');
  let p = 0;
  let t = 0;
  let deep = -1;
  let resume = 0;
  while (t < levels.length) {
    if (wanted[p] === '**') {
      deep = p++;
      resume = t;
    } else if (p < wanted.length && (wanted[p] === '*' || wanted[p] === levels[t])) {
      p++;
      t++;
    } else if (deep >= 0) {
      // Only the latest `**` need take one more level: whatever an earlier one could take, it can take as well.
      p = deep + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (wanted[p] === '**') p++;
  return p === wanted.length;
}

/** Whether some topic matches both of two valid patterns. */
export function patternsOverlap(a: string, b: string): boolean {
  const x = a.split('.');
  const y = b.split('.');
  // below[j]: whether the levels of `a` from i + 1 on and those of `b` from j on have a topic in common; row[j]: those from i on.
  let below: boolean[] = [];
  for (let i = x.length; i >= 0; i--) {
    const row: boolean[] = new Array(y.length + 1).fill(false);
    for (let j = y.length; j >= 0; j--) {
      if (i === x.length && j === y.length) row[j] = true;
      else if (x[i] === '**') row[j] = below[j] || (j < y.length && row[j + 1]);
      else if (y[j] === '**') row[j] = row[j + 1] || (i < x.length && below[j]);
      else if (i < x.length && j < y.length)
        row[j] = (x[i] === '*' || y[j] === '*' || x[i] === y[j]) && below[j + 1];
    }
    below = row;
  }
  return below[0];
}

/**
 * One array for each length of up to 255 code units, made at its first use: handing `String.fromCharCode` a
 * plain array builds a flat string in one step, where appending unit by unit builds a rope, three times slower.
 */
const units: (number[] | undefined)[] = new Array(MAX_TOPIC_BYTES + 1).fill(undefined);

function unitsOf(length: number): number[] {
  let array = units[length];
  if (array === undefined) {
    array = [];
    for (let i = 0; i < length; i++) array.push(0);
    units[length] = array;
  }
  return array;
}

/**
 * `bytes[start, end)` as text, null when that is not strict UTF-8 (overlong forms, surrogates and values past
 * U+10FFFF are refused) or longer than 255 bytes. A byte order mark is kept. Whether the text is a valid topic
 * is `topicProblem`'s to say. Allocates nothing but the string when all bytes are ASCII.
 */
export function decodeTopic(bytes: Uint8Array, start: number, end: number): string | null {
  const length = end - start;
  if (length > MAX_TOPIC_BYTES) return null;
  const out = unitsOf(length);
  for (let i = 0; i < length; i++) {
    const byte = bytes[start + i];
    if (byte > 0x7f) return decodeWide(bytes, start, end);
    out[i] = byte;
  }
  return String.fromCharCode.apply(null, out);
}

function decodeWide(bytes: Uint8Array, start: number, end: number): string | null {
  const out: number[] = [];
  let i = start;
  while (i < end) {
    const lead = bytes[i++];
    if (lead < 0x80) {
      out.push(lead);
      continue;
    }
    // 0x80-0xbf continue nothing; 0xc0, 0xc1 could only be overlong; past 0xf4 lies beyond U+10FFFF.
    if (lead < 0xc2 || lead > 0xf4) return null;
    let more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (i + more > end) return null;
    const least = more === 1 ? 0x80 : more === 2 ? 0x800 : 0x10000;
    let code = lead & (0x3f >> more);
    for (; more > 0; more--) {
      const byte = bytes[i++];
      if ((byte & 0xc0) !== 0x80) return null;
      code = (code << 6) | (byte & 0x3f);
    }
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return null;
    if (code < 0x10000) out.push(code);
    else out.push(0xd800 + ((code - 0x10000) >> 10), 0xdc00 + (code & 0x3ff));
  }
  return String.fromCharCode.apply(null, out);
}

/** One pass over topics, patterns and agent ids: new topics come at the pace at which publishers invent them. */
function problem(what: string, text: string, wildcards: boolean, maxBytes: number): string | null {
  if (text.length === 0) return `${what} is empty`;
  // Every code unit is at least one byte: a text of megabytes is refused before it is walked.
  if (text.length > maxBytes) return `${what} is longer than ${maxBytes} bytes`;
  let bytes = 0;
  let levels = 1;
  let levelStart = 0;
  let stars = 0;
  for (let i = 0; i <= text.length; i++) {
    const unit = i < text.length ? text.charCodeAt(i) : DOT;
    if (unit === DOT) {
      const length = i - levelStart;
      if (length === 0) return `${what} has an empty level (level ${levels})`;
      if (stars > 0 && (stars !== length || stars > 2)) {
        return `${what} has '*' inside a level (level ${levels}); a wildcard level is exactly '*' or '**'`;
      }
      if (i === text.length) break;
      levels++;
      levelStart = i + 1;
      stars = 0;
      bytes++;
    } else if (unit === STAR) {
      if (!wildcards) return `${what} has '*' at position ${i}; only patterns may`;
      stars++;
      bytes++;
    } else if (unit < 0x80) {
      if (unit === 0x20 || (unit >= 0x09 && unit <= 0x0d)) return `${what} has whitespace at position ${i}`;
      if (unit < 0x20 || unit === 0x7f) return `${what} has a control character at position ${i}`;
      bytes++;
    } else if (unit < 0xd800 || unit > 0xdfff) {
      if (isWideSpace(unit)) return `${what} has whitespace at position ${i}`;
      bytes += unit < 0x800 ? 2 : 3;
    } else {
      const low = text.charCodeAt(i + 1);
      if (unit > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) {
        return `${what} has half a surrogate pair at position ${i}, which UTF-8 cannot carry`;
      }
      bytes += 4;
      i++;
    }
  }
  if (levels > MAX_TOPIC_LEVELS)
    return `${what} has ${levels} levels; at most ${MAX_TOPIC_LEVELS} are allowed`;
  if (bytes > maxBytes) return `${what} is longer than ${maxBytes} bytes`;
  return null;
}

/** Unicode's White_Space beyond ASCII, and the byte order mark, which is as invisible. */
function isWideSpace(unit: number): boolean {
  return (
    unit === 0x85 ||
    unit === 0xa0 ||
    unit === 0x1680 ||
    (unit >= 0x2000 && unit <= 0x200a) ||
    unit === 0x2028 ||
    unit === 0x2029 ||
    unit === 0x202f ||
    unit === 0x205f ||
    unit === 0x3000 ||
    unit === 0xfeff
  );
}
