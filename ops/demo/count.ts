/** The computation of the demo: words of a text, how often each occurs, and how parts become a whole. */

export interface Count {
  /** Words in all. */
  total: number;
  /** Line ends. */
  lines: number;
  /** How often each word occurs, in lower case. */
  words: Map<string, number>;
}

/** A count as it travels. */
export interface CountPayload {
  total: number;
  lines: number;
  /**
   * The words that occur so often, separated by blanks. Together hardly longer than the text that was counted, so
   * an answer fits into a frame where the task did; a number behind each word would not.
   */
  words: Record<string, string>;
}

const WORD = /[\p{L}\p{M}\p{N}]+/gu;

export function emptyCount(): Count {
  return { total: 0, lines: 0, words: new Map() };
}

export function countWords(text: string): Count {
  const count = emptyCount();
  for (const [found] of text.matchAll(WORD)) {
    const word = found.toLowerCase();
    count.words.set(word, (count.words.get(word) ?? 0) + 1);
    count.total++;
  }
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count.lines++;
  return count;
}

/** Adds `part` to `whole`. */
export function addCount(whole: Count, part: Count): void {
  whole.total += part.total;
  whole.lines += part.lines;
  for (const [word, times] of part.words) whole.words.set(word, (whole.words.get(word) ?? 0) + times);
}

export function toPayload({ total, lines, words }: Count): CountPayload {
  const byTimes = new Map<number, string[]>();
  for (const [word, times] of words) {
    const same = byTimes.get(times);
    if (same === undefined) byTimes.set(times, [word]);
    else same.push(word);
  }
  const joined = [...byTimes].map(([times, same]) => [String(times), same.join(' ')]);
  return { total, lines, words: Object.fromEntries(joined) };
}

/** `toPayload` backwards. Throws when `payload` is nothing of the kind. */
export function fromPayload({ total, lines, words }: CountPayload): Count {
  if (!Number.isInteger(total) || !Number.isInteger(lines) || typeof words !== 'object' || words === null)
    throw new Error('The answer of a worker is no count.');
  const count: Count = { total, lines, words: new Map() };
  for (const [times, same] of Object.entries(words)) {
    for (const word of same.split(' ')) count.words.set(word, Number(times));
  }
  return count;
}

/** The most frequent words; those that are as frequent in the order of their code units. */
export function topWords({ words }: Count, most: number): [word: string, times: number][] {
  return [...words].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, most);
}

/** The first thing in which two counts differ; null when they are equal. */
export function differenceOf(one: Count, other: Count): string | null {
  if (one.total !== other.total) return `${one.total} words, and ${other.total}`;
  if (one.lines !== other.lines) return `${one.lines} lines, and ${other.lines}`;
  if (one.words.size !== other.words.size)
    return `${one.words.size} different words, and ${other.words.size}`;
  for (const [word, times] of one.words) {
    const others = other.words.get(word) ?? 0;
    if (times !== others) return `"${word}" ${times} times, and ${others} times`;
  }
  return null;
}
