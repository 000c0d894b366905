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
const MIDDLE = ROW / 2;
const BAR = 14;
const LABEL_MOST = 52;
/** To the right of the bars: the median, and from the least to the greatest or the goal. */
const VALUES = 268;
const VALUE = 104;
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

function drawLabel({ label }: Bar): string {
  return text(0, MIDDLE + 4, 'label', short(label, LABEL_MOST));
}

/** A bar with its whisker and its goal, all between `left` and `right`. */
function drawBar({ figure, colour }: Bar, left: number, right: number, most: number): string {
  const { median, min, max, goal } = figure;
  const at = (value: number): number => (most === 0 ? left : left + (value / most) * (right - left));
  const top = MIDDLE - BAR / 2;
  const parts = [rect(left, top, right - left, BAR, 'track')];
  if (median !== null && median > 0) parts.push(rect(left, top, Math.max(1, at(median) - left), BAR, colour));
  if (min !== null && max !== null && max > min) {
    const [from, to] = [at(Math.max(0, min)), at(Math.max(0, max))];
    parts.push(line(from, MIDDLE, to, MIDDLE, 'whisker'));
    for (const end of [from, to]) parts.push(line(end, MIDDLE - 4, end, MIDDLE + 4, 'whisker'));
  }
  if (goal !== null) parts.push(line(at(goal.value), top - 5, at(goal.value), top + BAR + 5, 'goal'));
  return parts.join('');
}

/** The median to the left of `x`; to the right, on one line or two, its spread and its goal. */
function drawValue({ figure }: Bar, x: number): string {
  const { median, unit, goal, met } = figure;
  const parts = [text(x, MIDDLE + 4, 'value end', formatValue(median, unit))];
  const range = spread(figure);
  const beside = x + 12;
  if (range !== '') parts.push(text(beside, goal === null ? MIDDLE + 4 : MIDDLE - 2, 'small', range));
  if (goal !== null) {
    const style = met === false ? 'small missed' : 'small';
    const height = range === '' ? MIDDLE + 4 : MIDDLE + 11;
    parts.push(text(beside, height, style, `goal ${formatGoal(goal, unit, met)}`));
  }
  return parts.join('');
}

function mostOf({ figure: { max, goal } }: Bar): number {
  return Math.max(0, max ?? 0, goal?.value ?? 0);
}

/** Figures that have nothing to do with one another, each on its own scale: they are read, not compared. */
export function figurePanel(bars: readonly Bar[], labelWidth: number): Panel {
  const [left, right] = [labelWidth + GAP, WIDTH - VALUES];
  const rows = bars.map((bar, index) => {
    // Alone, a value has nothing that a bar could set it against.
    const isAlone = bar.figure.goal === null && spread(bar.figure) === '';
    return moved(
      0,
      index * ROW,
      drawLabel(bar),
      isAlone ? '' : drawBar(bar, left, right, mostOf(bar)),
      drawValue(bar, right + VALUE),
    );
  });
  return { height: bars.length * ROW + FOOT, body: rows.join('') };
}

/** One figure of several cases, or buses, on one scale. */
export function barPanel(title: string, bars: readonly Bar[], labelWidth: number): Panel {
  const left = labelWidth + GAP;
  const right = WIDTH - VALUES;
  const most = Math.max(...bars.map(mostOf));
  const rows = bars.map((bar, index) =>
    moved(
      0,
      HEAD - 8 + index * ROW,
      drawLabel(bar),
      drawBar(bar, left, right, most),
      drawValue(bar, right + VALUE),
    ),
  );
  return {
    height: HEAD - 8 + bars.length * ROW + FOOT,
    body: text(0, 14, 'title', title) + rows.join(''),
  };
}

export function widthOfLabels(labels: readonly string[]): number {
  const longest = Math.max(0, ...labels.map((label) => [...label].length));
  return Math.min(longest, LABEL_MOST) * CHARACTER;
}
