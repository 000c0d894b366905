/** How values become text on a terminal. */
import { isUtf8 } from 'node:buffer';
import type { Message } from '../../lib/client/index.js';

const CONTROL = /[\p{Cc}\u2028\u2029]/gu;
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One line that cannot move anybody's cursor: control characters as `\n` or `\u001b`. */
export function escapeControl(text: string): string {
  return text.replace(CONTROL, (c) => NAMED[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The payload for people: its text on one line, or `base64:…` when it is no text. */
export function showPayload(message: Message): string {
  const { payload } = message;
  return isUtf8(payload)
    ? escapeControl(message.text())
    : `base64:${Buffer.from(payload).toString('base64')}`;
}

/** JSON text on one line, or undefined when `text` is no JSON. Numbers stay as they were written. */
export function oneLineJson(text: string): string | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  // A raw line break in valid JSON stands between tokens, never inside a string.
  return text.replace(/[\r\n]+/g, ' ').trim();
}

/** A message as one JSON object, with the names of the bus's own JSON text door. */
export function messageLine(message: Message): string {
  const { encoding, payload, headers, replyTo, key } = message;
  let data: string | undefined;
  if (encoding === 'json' && isUtf8(payload)) data = oneLineJson(message.text());
  else if (encoding === 'text' && isUtf8(payload)) data = JSON.stringify(message.text());
  const base64 = data === undefined;
  if (data === undefined) data = JSON.stringify(Buffer.from(payload).toString('base64'));
  const rest = JSON.stringify({
    timestamp: message.timestamp,
    sequence: message.sequence,
    priority: message.priority,
    ...(base64 && { encoding: 'base64' }),
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(key !== null && { key }),
    ...(replyTo !== null && { replyTo }),
    ...(message.redelivered > 0 && { redelivered: message.redelivered }),
    ...(message.replayed && { replayed: true }),
    ...(message.retained && { retained: true }),
  });
  return `{"topic":${JSON.stringify(message.topic)},"from":${JSON.stringify(message.from)},"data":${data},${rest.slice(1)}`;
}

/** Rows as columns, two spaces between them, the last one as it is. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}
