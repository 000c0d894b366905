/** Two sets of measurements, taken in turn, set against each other. */
import { Exit } from './exit.js';
import { formatValue, labelOf, type Report } from './report.js';
import { median } from './scenario.js';

/** What is compared: which way is good, and whether it may fail the gate. Tails and rare events are too noisy to. */
const COMPARED: Readonly<Record<string, { better: 'more' | 'less'; gated: boolean }>> = {
  delivered: { better: 'more', gated: true },
  published: { better: 'more', gated: true },
  requests: { better: 'more', gated: true },
  cpuPerDelivery: { better: 'less', gated: true },
  cpuPerRequest: { better: 'less', gated: true },
  p50: { better: 'less', gated: true },
  p99: { better: 'less', gated: false },
  max: { better: 'less', gated: false },
};

/** One run of each of both, one right after the other. */
export interface Pair {
  tree: Report;
  base: Report;
}

export interface Comparison {
  scenario: string;
  case: string;
  figure: string;
  better: 'more' | 'less';
  /** Tree to base, over the pairs: the median, least and greatest ratio. */
  ratio: number;
  min: number;
  max: number;
  /** Worse than it may be. Never of what is only shown. */
  worse: boolean;
  gated: boolean;
}

export interface Verdict {
  comparisons: Comparison[];
  /** Figures that could not be compared: one side did not measure them, in some run. */
  incomparable: string[];
}

function valueIn(report: Report, scenario: string, of: string, figure: string): number | null {
  const result = report.results.find((one) => one.scenario === scenario && one.case === of);
  return result?.figures.find(({ name }) => name === figure)?.median ?? null;
}

/** `tolerance`: by which part a figure may be worse. */
function isWorse(ratio: number, better: 'more' | 'less', tolerance: number): boolean {
  return better === 'more' ? ratio < 1 - tolerance : ratio > 1 + tolerance;
}

/** Every figure that matters of all that the tree measured. The pairs have the same scenarios. */
export function compare(pairs: readonly Pair[], tolerance: number): Verdict {
  const comparisons: Comparison[] = [];
  const incomparable: string[] = [];
  for (const { scenario, case: of, figures } of pairs[0]?.tree.results ?? []) {
    for (const { name: figure } of figures) {
      const compared = COMPARED[figure];
      if (compared === undefined) continue;
      const ratios = pairs
        .map(({ tree, base }) => [valueIn(tree, scenario, of, figure), valueIn(base, scenario, of, figure)])
        .map(([ours, theirs]) => (ours === null || theirs === null || theirs === 0 ? null : ours / theirs));
      const known = ratios.filter((ratio) => ratio !== null);
      if (known.length < ratios.length) {
        incomparable.push(`${scenario} ${of}: ${labelOf(figure)}`);
        continue;
      }
      const ratio = median(known);
      comparisons.push({
        scenario,
        case: of,
        figure,
        ...compared,
        ratio,
        min: Math.min(...known),
        max: Math.max(...known),
        worse: compared.gated && isWorse(ratio, compared.better, tolerance),
      });
    }
  }
  return { comparisons, incomparable };
}

function verdictOn({ gated, worse }: Comparison): string {
  if (!gated) return 'only shown';
  return worse ? 'WORSE' : 'ok';
}

/** What the gate ends with: one figure that is worse is enough. */
export function exitOf({ comparisons }: Verdict): number {
  if (comparisons.length === 0) return Exit.failed;
  return comparisons.some(({ worse }) => worse) ? Exit.slower : Exit.ok;
}

/** A line for each figure, and for each that could not be compared. */
export function verdictLines({ comparisons, incomparable }: Verdict): string[] {
  const ratio = (value: number): string => formatValue(value, 'ratio').padStart(9);
  const names = comparisons.map((one) => `${one.scenario} ${one.case}: ${labelOf(one.figure)}`);
  const width = Math.max(0, ...names.map((name) => name.length));
  const head = `${''.padEnd(width)}${['median', 'min', 'max'].map((word) => word.padStart(9)).join('')}   better: verdict`;
  return [
    ...(comparisons.length === 0 ? [] : [head]),
    ...comparisons.map(
      (one, index) =>
        `${names[index].padEnd(width)}${ratio(one.ratio)}${ratio(one.min)}${ratio(one.max)}   ${one.better}: ${verdictOn(one)}`,
    ),
    ...incomparable.map((name) => `note: ${name} was not measured by both`),
  ];
}
