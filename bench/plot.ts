/** Panels with two axes: latency over percentiles. */
import { FOOT, HEAD, type Panel, spread, WIDTH } from './panel.js';
import { formatGoal, formatValue } from './report.js';
import type { Figure, Goal, Unit } from './scenario.js';
import { element, line, moved, path, rect, text } from './svg.js';

/** Colours of the style sheet: so many that tell one curve from another. */
export const COLOURS = 7;

/** Ticks of a logarithmic scale from `low` to `high`: 1, 2 and 5 times each power of ten, and one beyond each end. */
function logTicks(low: number, high: number): number[] {
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of [1, 2, 5]) all.push(factor * 10 ** power);
  const first = all.findLastIndex((tick) => tick <= low);
  const last = all.findIndex((tick) => tick >= high);
  return all.slice(first, last + 1);
}

/** A scale, and where it is drawn: `at` gives pixels from the top of the plot. */
interface Scale {
  ticks: number[];
  at(value: number): number;
}

const PLOT_LEFT = 90;
const PLOT_HEIGHT = 200;

function logScale(low: number, high: number): Scale {
  const ticks = logTicks(low, high);
  const [first, last] = [Math.log10(ticks[0]), Math.log10(ticks[ticks.length - 1])];
  const length = Math.max(first + 1e-9, last) - first;
  return { ticks, at: (value) => PLOT_HEIGHT * (1 - (Math.log10(value) - first) / length) };
}

/** Less than this cannot be drawn on a logarithmic scale, nor told apart by the histograms. */
const LEAST = 0.01;

function grid({ ticks, at }: Scale, unit: Unit, right: number): string {
  return ticks
    .map((tick) => {
      const y = at(tick);
      return (
        line(PLOT_LEFT, y, right, y, 'grid') +
        text(PLOT_LEFT - 10, y + 4, 'small end', formatValue(tick, unit))
      );
    })
    .join('');
}

/** The names of percentile figures, and where they stand: each nine more is as far as the one before. */
export const PERCENTILES: Readonly<Record<string, { label: string; share: number }>> = {
  p50: { label: 'P50', share: 0.5 },
  p95: { label: 'P95', share: 0.95 },
  p99: { label: 'P99', share: 0.99 },
  p999: { label: 'P99.9', share: 0.999 },
};

const NAMES = Object.keys(PERCENTILES);
const PLOT_RIGHT = WIDTH - 50;
const INSET = 60;

const nines = (share: number): number => -Math.log10(1 - share);
const [LEAST_NINES, MOST_NINES] = [nines(0.5), nines(0.999)];

function across(name: string): number {
  const part = (nines(PERCENTILES[name].share) - LEAST_NINES) / (MOST_NINES - LEAST_NINES);
  return PLOT_LEFT + INSET + part * (PLOT_RIGHT - PLOT_LEFT - 2 * INSET);
}

export interface Curve {
  label: string;
  /** By the names of PERCENTILES. */
  figures: ReadonlyMap<string, Figure>;
  /** Number of its colour. */
  colour: number;
}

type Known = Figure & { median: number; min: number; max: number };

function known({ figures }: Curve): Known[] {
  return NAMES.map((name) => figures.get(name)).filter(
    (figure): figure is Known => (figure?.median ?? null) !== null,
  );
}

function drawCurve(curve: Curve, { at }: Scale): string {
  const figures = known(curve);
  const y = (value: number) => at(Math.max(LEAST, value));
  const upper = figures.map(({ name, max }) => [across(name), y(max)] as const);
  const lower = figures.map(({ name, min }) => [across(name), y(min)] as const);
  const middle = figures.map(({ name, median }) => [across(name), y(median)] as const);
  const dots = middle.map(([x, height]) =>
    element('circle', { cx: x, cy: height, r: 3.5, class: `fill${curve.colour}` }),
  );
  return (
    path([...upper, ...lower.reverse()], `band fill${curve.colour}`, true) +
    path(middle, `curve stroke${curve.colour}`) +
    dots.join('')
  );
}

/** Goals of all curves, each once: a mark at its percentile. */
function goalMarks(curves: readonly Curve[], { at }: Scale): string {
  const marks = new Map<string, { name: string; goal: Goal }>();
  for (const { name, goal } of curves.flatMap(known))
    if (goal !== null) marks.set(`${name} ${goal.value}`, { name, goal });
  return [...marks.values()]
    .map(({ name, goal }) => {
      const [x, y] = [across(name), at(Math.max(LEAST, goal.value))];
      return line(x - 24, y, x + 24, y, 'goal');
    })
    .join('');
}

const CURVE_ROW = 72;

/** The values of a curve, each below its place on the axis. */
function curveRow({ label, figures, colour }: Curve): string {
  const cells = NAMES.map((name) => {
    const figure = figures.get(name);
    if (figure === undefined) return '';
    const { median, unit, goal, met } = figure;
    const aim = goal === null ? '' : `goal ${formatGoal(goal, unit, met)}`;
    const below = [spread(figure), aim].filter(Boolean);
    return (
      text(across(name), 34, 'value middle', formatValue(median, unit)) +
      below
        .map((content, index) =>
          text(
            across(name),
            48 + index * 13,
            met === false && content === aim ? 'small middle missed' : 'small middle',
            content,
          ),
        )
        .join('')
    );
  });
  return rect(0, 5, 10, 10, `fill${colour}`) + text(16, 14, 'label', label) + cells.join('');
}

/** Percentiles of each case, on logarithmic scales: the median of the runs, and between the least and the greatest. */
export function curvePanel(title: string, unit: Unit, curves: readonly Curve[]): Panel {
  const values = curves.flatMap((curve) =>
    known(curve).flatMap(({ min, max, goal }) => [min, max, ...(goal === null ? [] : [goal.value])]),
  );
  const scale = logScale(Math.max(LEAST, Math.min(...values)), Math.max(LEAST, ...values));
  const axis = NAMES.map((name) =>
    text(across(name), PLOT_HEIGHT + 20, 'small middle', PERCENTILES[name].label),
  );
  const plot =
    values.length === 0
      ? ''
      : grid(scale, unit, PLOT_RIGHT) +
        curves.map((curve) => drawCurve(curve, scale)).join('') +
        goalMarks(curves, scale);
  const rows = curves.map((curve, index) => moved(0, PLOT_HEIGHT + 34 + index * CURVE_ROW, curveRow(curve)));
  return {
    height: HEAD + PLOT_HEIGHT + 34 + curves.length * CURVE_ROW + FOOT,
    body: text(0, 14, 'title', title) + moved(0, HEAD, plot, ...axis, ...rows),
  };
}
