/** Panels with two axes: latency over percentiles, anything over time. */
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

/** Ticks in steps of 1, 2 or 5 times a power of ten, some four of them, around all from `low` to `high`. */
function linearTicks(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  const first = Math.floor(low / step);
  const count = Math.ceil(high / step) - first;
  return Array.from({ length: count + 1 }, (_, index) => (first + index) * step);
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

/** What is seen of a linear scale is at least this part of the greatest value, so that noise does not look like a change. */
const LEAST_SPAN = 0.3;

/** From zero, but for memory that is far from it: its changes are what is looked for. */
function linearScale(low: number, high: number, unit: Unit): Scale {
  const span = Math.max(high - low, high * LEAST_SPAN);
  const bottom = unit === 'bytes' && low > span ? (low + high - span) / 2 : 0;
  // Steps of 1, 2 and 5 are even ones in the size in which bytes are written.
  const size = unit !== 'bytes' ? 1 : high >= 1024 ** 2 ? 1024 ** 2 : 1024;
  const ticks = linearTicks(bottom / size, Math.max(high, bottom + span) / size);
  const [first, last] = [ticks[0] * size, ticks[ticks.length - 1] * size];
  return {
    ticks: ticks.map((tick) => tick * size),
    at: (value) => PLOT_HEIGHT * (1 - (value - first) / (last - first)),
  };
}

export interface Track {
  label: string;
  /** Number of its colour. */
  colour: number;
  /** Of each run, one after the other, `every` seconds apart. */
  runs: readonly (readonly (number | null)[])[];
}

/** Where values are missing a line is broken. */
function segments(values: readonly (number | null)[]): [number, number][][] {
  const all: [number, number][][] = [];
  let last: [number, number][] | null = null;
  for (const [index, value] of values.entries()) {
    if (value === null) last = null;
    else if (last === null) {
      // Twice, so that one by itself is seen.
      last = [
        [index, value],
        [index, value],
      ];
      all.push(last);
    } else last.push([index, value]);
  }
  return all;
}

const TICK_HEIGHT = PLOT_HEIGHT + 20;
const MINUTE = 60;

function timeAxis(seconds: number, at: (seconds: number) => number): string {
  const [size, unit] = seconds > 5 * MINUTE ? [MINUTE, 'min'] : [1, 's'];
  return linearTicks(0, seconds / size)
    .filter((tick) => tick * size <= seconds)
    .map((tick) =>
      text(at(tick * size), TICK_HEIGHT, 'small middle', `${Math.round(tick * 10) / 10} ${unit}`),
    )
    .join('');
}

/** What was measured again and again. Times on a logarithmic scale, all else on a linear one. */
export function timePanel(title: string, unit: Unit, every: number, tracks: readonly Track[]): Panel {
  const runs = tracks.flatMap((track) => track.runs);
  const values = runs.flat().filter((value) => value !== null);
  const seconds = Math.max(1, ...runs.map((run) => run.length)) * every;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (high === 0) return { height: HEAD + 4, body: text(0, 14, 'title', `${title}: none`) };
  const isTime = unit === 'ns' || unit === 'us' || unit === 'ms';
  const x = (time: number) => PLOT_LEFT + (time / seconds) * (PLOT_RIGHT - PLOT_LEFT);
  let plot = '';
  if (values.length > 0) {
    const scale = isTime
      ? logScale(Math.max(LEAST, low), Math.max(LEAST, high))
      : linearScale(low, high, unit);
    const y = (value: number) => scale.at(isTime ? Math.max(LEAST, value) : value);
    const lines = tracks.flatMap(({ runs: all, colour }) =>
      all.flatMap(segments).map((segment) =>
        path(
          segment.map(([index, value]) => [x((index + 1) * every), y(value)] as const),
          `curve stroke${colour}`,
        ),
      ),
    );
    plot = grid(scale, unit, PLOT_RIGHT) + lines.join('');
  }
  const legend = tracks.map(({ label, colour }, index) => {
    const left = PLOT_LEFT + (index * (PLOT_RIGHT - PLOT_LEFT)) / tracks.length;
    return (
      rect(left, TICK_HEIGHT + 13, 10, 10, `fill${colour}`) +
      text(left + 16, TICK_HEIGHT + 22, 'label', label)
    );
  });
  const shown = tracks.length > 1 ? legend : [];
  return {
    height: HEAD + TICK_HEIGHT + (shown.length > 0 ? 26 : 0) + FOOT,
    body: text(0, 14, 'title', title) + moved(0, HEAD, plot, timeAxis(seconds, x), ...shown),
  };
}
