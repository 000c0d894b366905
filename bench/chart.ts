/** A report as charts that a person can look at: an SVG for each scenario, and for each task that buses compare in. */
import { type Bar, barPanel, CHARACTER, figurePanel, type Panel, WIDTH, widthOfLabels } from './panel.js';
import { COLOURS, curvePanel, PERCENTILES, type Track, timePanel } from './plot.js';
import { labelOf, machineLines, type Report } from './report.js';
import type { Figure, Result, Unit } from './scenario.js';
import { element, escapeText, moved, rect, text } from './svg.js';

export interface Chart {
  /** For the name of its file: lower case, digits and hyphens. */
  name: string;
  svg: string;
}

const MARGIN = 32;
const TITLE_HEIGHT = 46;
const LINE_HEIGHT = 17;

/** Colours for curves, apart from one another on light and on dark. The first is flowbus's own. */
const PALETTE = ['#2f80d0', '#d9822b', '#2a9d6f', '#a864c8', '#cf5260', '#8a8f3c', '#6d87a3'];

/** Light, and dark for who prefers that; the ground is drawn, so that it is readable wherever it is put. */
const STYLE = [
  'text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:13px;fill:#1f2933}',
  '.head{font-size:20px;font-weight:700}.title{font-size:14px;font-weight:600}.value{font-weight:600}',
  '.small{font-size:11px;fill:#66727f}.missed{fill:#c2410c}.end{text-anchor:end}.middle{text-anchor:middle}',
  '.ground{fill:#fff}.track{fill:#eff2f5}.grid{stroke:#e3e8ed}.rule{stroke:#d5dce3}',
  '.other{fill:#93a1b0}.whisker{stroke:#1f2933;stroke-width:1.5}.goal{stroke:#c2410c;stroke-width:2;stroke-dasharray:4 2}',
  '.curve{fill:none;stroke-width:2;stroke-linejoin:round}.band{fill-opacity:.16}',
  ...PALETTE.map((colour, index) => `.fill${index}{fill:${colour}}.stroke${index}{stroke:${colour}}`),
  '@media (prefers-color-scheme:dark){text{fill:#e6eaee}.small{fill:#97a3af}.missed{fill:#fb923c}.ground{fill:#12161c}',
  '.track{fill:#1c232b}.grid{stroke:#252d36}.rule{stroke:#303a45}.other{fill:#66737f}.whisker{stroke:#e6eaee}',
  '.goal{stroke:#fb923c}}',
].join('');

/** Results that belong on one chart. */
interface Group {
  title: string;
  results: Result[];
}

/** In the order of the results. What compares two buses is called after its task: `1→1: flowbus against redis`. */
function groupsOf(results: readonly Result[]): Group[] {
  const groups = new Map<string, Group>();
  for (const result of results) {
    const title =
      result.scenario === 'peers' ? `${result.scenario} · ${result.case.split(': ')[0]}` : result.scenario;
    const group = groups.get(title) ?? { title, results: [] };
    group.results.push(result);
    groups.set(title, group);
  }
  return [...groups.values()];
}

function fileName(title: string): string {
  return title
    .replaceAll('→', ' to ')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** Conditions, as text, of those that `when` is true for: whether all results have them alike. */
function conditionsOf(result: Result, alike: ReadonlySet<string>, when: boolean): string[] {
  return Object.entries(result.conditions)
    .filter(([name]) => alike.has(name) === when)
    .map(([name, value]) => `${name}: ${value}`);
}

function alikeIn(results: readonly Result[]): Set<string> {
  const [first, ...rest] = results;
  return new Set(
    Object.keys(first.conditions).filter((name) =>
      rest.every(({ conditions }) => conditions[name] === first.conditions[name]),
    ),
  );
}

/** What tells a result from the others of its group. */
function labelIn({ title, results }: Group, result: Result, alike: ReadonlySet<string>): string {
  if (title.startsWith('peers')) {
    const [, comparison] = result.case.split(': ');
    return comparison ?? [result.bus, result.conditions.version ?? ''].join(' ').trim();
  }
  const buses = new Set(results.map(({ bus }) => bus)).size > 1 ? [result.bus] : [];
  return (
    [...buses, result.case, ...conditionsOf(result, alike, false)].filter(Boolean).join(' · ') || result.bus
  );
}

interface Entry {
  label: string;
  result: Result;
}

/** Each figure by its name, with all who have it, in the order in which they come. */
function figuresOf(
  entries: readonly Entry[],
): Map<string, { label: string; result: Result; figure: Figure }[]> {
  const figures = new Map<string, { label: string; result: Result; figure: Figure }[]>();
  for (const { label, result } of entries) {
    for (const figure of result.figures) {
      // A ratio of rates does not go on the scale of rates.
      const key = `${figure.name} ${figure.unit}`;
      const all = figures.get(key) ?? [];
      all.push({ label, result, figure });
      figures.set(key, all);
    }
  }
  return figures;
}

function curves(entries: readonly Entry[]): Panel {
  const drawn = entries.map(({ label, result }, index) => ({
    label,
    colour: index % COLOURS,
    figures: new Map(
      result.figures.filter(({ name }) => name in PERCENTILES).map((figure) => [figure.name, figure]),
    ),
  }));
  return curvePanel('latency by percentile', drawn[0].figures.values().next().value!.unit, drawn);
}

/** Series of one unit share their axes. */
function timePanels(entries: readonly Entry[]): Panel[] {
  const panels = new Map<Unit, { every: number; names: Set<string>; tracks: Track[] }>();
  for (const { label, result } of entries) {
    for (const { name, unit, every, runs } of result.series ?? []) {
      const panel = panels.get(unit) ?? { every, names: new Set(), tracks: [] };
      panels.set(unit, panel);
      panel.names.add(labelOf(name));
      panel.tracks.push({
        label: entries.length > 1 ? `${label} · ${labelOf(name)}` : labelOf(name),
        colour: panel.tracks.length % COLOURS,
        runs,
      });
    }
  }
  return [...panels].map(([unit, { every, names, tracks }]) =>
    timePanel([...names].join(', '), unit, every, tracks),
  );
}

function panelsOf(entries: readonly Entry[], comparesBuses: boolean): Panel[] {
  const labelWidth = widthOfLabels(entries.map(({ label }) => label));
  // Buses are compared bar by bar; the cases of a scenario are curves that belong together.
  const isCurve = ({ figures }: Result): boolean =>
    !comparesBuses && figures.filter(({ name, unit }) => name in PERCENTILES && unit !== 'ratio').length > 2;
  const curved = entries.filter(({ result }) => isCurve(result));
  const figures = [...figuresOf(entries).values()]
    .map((all) => all.filter(({ result, figure }) => !(isCurve(result) && figure.name in PERCENTILES)))
    .filter((all) => all.length > 0);
  const above = [...timePanels(entries), ...(curved.length === 0 ? [] : [curves(curved)])];
  if (entries.length === 1) {
    const rows = figures.map(
      ([{ figure }]): Bar => ({ label: labelOf(figure.name), figure, colour: 'fill0' }),
    );
    return [...above, figurePanel(rows, widthOfLabels(rows.map(({ label }) => label)))];
  }
  const bars = figures.map((all) => {
    const { name, unit } = all[0].figure;
    const title = unit === 'ratio' ? `${labelOf(name)}: so many times as good` : labelOf(name);
    const drawn = all.map(({ label, result, figure }): Bar => {
      return { label, figure, colour: result.bus === 'flowbus' ? 'fill0' : 'other' };
    });
    return barPanel(title, drawn, labelWidth);
  });
  return [...above, ...bars];
}

/** Parts on as few lines as they fit on. */
function wrapped(parts: readonly string[]): string[] {
  const most = WIDTH / (CHARACTER * 0.82);
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last === undefined || last.length + part.length + 3 > most) lines.push(part);
    else lines[lines.length - 1] = `${last} · ${part}`;
  }
  return lines;
}

/** What was lost or repeated, of those that lost or repeated any. */
function lossesOf(entries: readonly Entry[]): string[] {
  return entries
    .filter(({ result }) => result.account.lost + result.account.repeated > 0)
    .map(
      ({ label, result: { account } }) =>
        `${label}: ${account.lost} of ${account.expected} messages lost, ${account.repeated} repeated`,
    );
}

function small(lines: readonly string[], style: string): Panel {
  return {
    height: lines.length * LINE_HEIGHT,
    body: lines.map((content, index) => text(0, 11 + index * LINE_HEIGHT, style, content)).join(''),
  };
}

function draw(group: Group, report: Report): string {
  const { title, results } = group;
  const alike = alikeIn(results.filter(({ conditions }) => Object.keys(conditions).length > 0));
  const entries = results.map((result) => ({ label: labelIn(group, result, alike), result }));
  const runs = results[0].figures[0]?.runs.length ?? 0;
  const bus = new Set(results.map((result) => result.bus)).size > 1 ? [] : [results[0].bus];
  const conditions = wrapped([...bus, ...conditionsOf(results[0], alike, true), `runs: ${runs}`]);
  const panels = [
    { height: TITLE_HEIGHT - 20, body: text(0, 16, 'head', title) },
    small(conditions, 'small'),
    { height: 24, body: '' },
    ...panelsOf(entries, title.startsWith('peers')),
    small(lossesOf(entries), 'small missed'),
    { height: 10, body: element('line', { x1: 0, y1: 0, x2: WIDTH, y2: 0, class: 'rule' }) },
    small(machineLines(report.machine), 'small'),
  ];
  let y = MARGIN;
  const drawn: string[] = [];
  for (const { height, body } of panels) {
    if (body !== '') drawn.push(moved(MARGIN, y, body));
    y += height;
  }
  const [width, height] = [WIDTH + 2 * MARGIN, Math.ceil(y + MARGIN - 8)];
  return element(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img' },
    element('title', {}, escapeText(title)),
    element('style', {}, escapeText(STYLE)),
    rect(0, 0, width, height, 'ground'),
    ...drawn,
  );
}

/** One for each group of results that has figures. */
export function chartsOf(report: Report): Chart[] {
  return groupsOf(report.results.filter(({ figures }) => figures.length > 0)).map((group) => ({
    name: fileName(group.title),
    svg: `${draw(group, report)}\n`,
  }));
}
