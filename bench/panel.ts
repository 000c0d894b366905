/** What a chart is put together from, each drawn at its own origin; and bars, which show one figure. */
import { formatGoal, formatValue } from './report.js';
import type { Figure } from './scenario.js';
import { line, moved, rect, text } from './svg.js';

/** Between the margins. */
export const WIDTH = 860;

export interface Panel {
  height: number;
  body: string;
}

export const HEAD = 30;
/** Between the end of a panel and the next. */
export const FOOT = 22;

/** Average width of a character of 13 pixels, in sans serif; only to leave room. */
export const CHARACTER = 7.6;

export function short(label: string, most: number): string {
  const characters = [...label];
  return characters.length <= most ? label : `${characters.slice(0, most - 1).join('')}…`;
}

const ROW = 32;
const BAR = 14;
const LABEL_MOST = 52;
/** To the right of the bars: the median, and from the least to the greatest or the goal. */
const VALUES = 256;
const GAP = 14;

export interface Bar {
  label: string;
  figure: Figure;
  /** Class of its colour. */
  colour: string;
}

/** From the least to the greatest; empty when there is nothing between. */
export function spread({ min, max, unit }: Figure): string {
  return min === null || min === max ? '' : `${formatValue(min, unit)} – ${formatValue(max, unit)}`;
}

/** A bar with its whisker and its goal, all between `left` and `right`. */
function drawBar({ label, figure, colour }: Bar, left: number, right: number, most: number): string {
  const { median, min, max, unit, goal, met } = figure;
  const at = (value: number): number => (most === 0 ? left : left + (value / most) * (right - left));
  const middle = ROW / 2;
  const top = middle - BAR / 2;
  const parts = [
    text(0, middle + 4, 'label', short(label, LABEL_MOST)),
    rect(left, top, right - left, BAR, 'track'),
  ];
  if (median !== null && median > 0) parts.push(rect(left, top, Math.max(1, at(median) - left), BAR, colour));
  if (min !== null && max !== null && max > min) {
    const [from, to] = [at(Math.max(0, min)), at(Math.max(0, max))];
    parts.push(line(from, middle, to, middle, 'whisker'));
    for (const end of [from, to]) parts.push(line(end, middle - 4, end, middle + 4, 'whisker'));
  }
  if (goal !== null) parts.push(line(at(goal.value), top - 5, at(goal.value), top + BAR + 5, 'goal'));
  const range = spread(figure);
  parts.push(text(right + 92, middle + 4, 'value end', formatValue(median, unit)));
  const beside = right + 104;
  if (range !== '') parts.push(text(beside, goal === null ? middle + 4 : middle - 2, 'small', range));
  if (goal !== null) {
    const style = met === false ? 'small missed' : 'small';
    const height = range === '' ? middle + 4 : middle + 11;
    parts.push(text(beside, height, style, `goal ${formatGoal(goal, unit, met)}`));
  }
  return parts.join('');
}

/** One figure of several cases, or buses, on one scale. */
export function barPanel(title: string, bars: readonly Bar[], labelWidth: number): Panel {
  const left = labelWidth + GAP;
  const right = WIDTH - VALUES;
  const most = Math.max(0, ...bars.flatMap(({ figure }) => [figure.max ?? 0, figure.goal?.value ?? 0]));
  const rows = bars.map((bar, index) => moved(0, HEAD - 8 + index * ROW, drawBar(bar, left, right, most)));
  return {
    height: HEAD - 8 + bars.length * ROW + FOOT,
    body: text(0, 14, 'title', title) + rows.join(''),
  };
}

export function widthOfLabels(labels: readonly string[]): number {
  const longest = Math.max(0, ...labels.map((label) => [...label].length));
  return Math.min(longest, LABEL_MOST) * CHARACTER;
}
