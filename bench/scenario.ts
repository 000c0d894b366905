/** What a scenario is asked, and what it answers. */
import type { Option } from 'commander';
import type { BusName, StartOptions } from './buses/bus.js';

/** What every scenario is asked. Lengths of time are in seconds here, as on the command line. */
export interface CommonOptions extends StartOptions {
  runs: number;
  /** Measured time of one run; null: the scenario's own. */
  seconds: number | null;
  /** Discarded before it; null: the scenario's own. */
  warmup: number | null;
}

export type Unit =
  | 'count'
  | 'ratio'
  | 'per second'
  | 'ns'
  | 'us'
  | 'ms'
  | 'bytes'
  | 'bytes per minute'
  | 'cores';

export interface Goal {
  value: number;
  at: 'least' | 'most';
}

/** One measured quantity over all runs. */
export interface Figure {
  name: string;
  unit: Unit;
  /** One value per run; null where this machine cannot tell. */
  runs: (number | null)[];
  median: number | null;
  min: number | null;
  max: number | null;
  goal: Goal | null;
  /** Whether the median meets the goal; null without a goal or a median. */
  met: boolean | null;
}

/** One quantity over the time of a run. */
export interface Series {
  name: string;
  unit: Unit;
  /** Seconds from one value to the next. */
  every: number;
  /** The values of each run; null where this machine cannot tell, or there was nothing to measure. */
  runs: (number | null)[][];
}

/** How many messages should have come, over all runs, and what became of them. */
export interface Account {
  expected: number;
  received: number;
  lost: number;
  repeated: number;
}

export interface Result {
  bus: BusName;
  scenario: string;
  /** Which of the scenario's cases, such as `1→10`; empty when there is one. */
  case: string;
  /** What the figures depend on, in the order in which people read it. */
  conditions: Record<string, string | number>;
  figures: Figure[];
  /** Of a scenario that looks at how things change. */
  series?: Series[];
  account: Account;
  /** Whatever else a reader should know: how something was measured, events that should not have been. */
  notes: string[];
}

/** What a run brings home: a value for each figure of its scenario, by name. */
export interface Run {
  values: Record<string, number | null>;
  /** A value for each second, for each series of its scenario. */
  series?: Record<string, (number | null)[]>;
  account: Account;
  notes: string[];
}

export interface FigureShape {
  name: string;
  unit: Unit;
  goal?: Goal | null;
}

export interface Scenario {
  readonly name: string;
  readonly summary: string;
  /** Whether it is one of those that are run when none is named. */
  readonly usual: boolean;
  /** Flags of its own; their values, or defaults, are among the options of `run`. */
  readonly flags: readonly Option[];
  /** `tell` takes a line for whoever watches. Rejects when it cannot be run here, with what is needed. */
  run(options: CommonOptions, tell: (line: string) => void): Promise<Result[]>;
}

/** The scenario cannot be run on this machine as it is. */
export class ScenarioRefused extends Error {}

function meets(value: number, goal: Goal): boolean {
  return goal.at === 'least' ? value >= goal.value : value <= goal.value;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function figureOf({ name, unit, goal = null }: FigureShape, runs: readonly Run[]): Figure {
  const values = runs.map((run) => run.values[name] ?? null);
  const known = values.filter((value) => value !== null);
  // A median of the runs that could tell would hide those that could not.
  if (known.length === 0 || known.length < values.length)
    return { name, unit, runs: values, median: null, min: null, max: null, goal, met: null };
  const middle = median(known);
  return {
    name,
    unit,
    runs: values,
    median: middle,
    min: Math.min(...known),
    max: Math.max(...known),
    goal,
    met: goal === null ? null : meets(middle, goal),
  };
}

/** The account of `published` messages that each of the receivers should have had once. */
export function accountOf(published: number, receivers: readonly number[]): Account {
  const account = { expected: 0, received: 0, lost: 0, repeated: 0 };
  for (const received of receivers) {
    account.expected += published;
    account.received += received;
    account.lost += Math.max(0, published - received);
    account.repeated += Math.max(0, received - published);
  }
  return account;
}

export interface Case {
  /** Of the runs; only flowbus's losses are failures. */
  bus: BusName;
  scenario: string;
  case: string;
  conditions: Record<string, string | number>;
  figures: readonly FigureShape[];
  series?: readonly FigureShape[];
}

/** What the runs of one case come to. */
export function resultOf({ series, ...what }: Case, runs: readonly Run[]): Result {
  const account: Account = { expected: 0, received: 0, lost: 0, repeated: 0 };
  for (const one of runs) {
    account.expected += one.account.expected;
    account.received += one.account.received;
    account.lost += one.account.lost;
    account.repeated += one.account.repeated;
  }
  return {
    ...what,
    figures: what.figures.map((shape) => figureOf(shape, runs)),
    ...(series === undefined
      ? {}
      : {
          series: series.map(({ name, unit }) => ({
            name,
            unit,
            every: 1,
            runs: runs.map((one) => one.series?.[name] ?? []),
          })),
        }),
    account,
    notes: [...new Set(runs.flatMap((one) => one.notes))],
  };
}

/** Runs one case of flowbus as often as it has to be, each time anew, and puts the runs together. */
export async function repeat(
  what: Omit<Case, 'bus'>,
  runs: number,
  tell: (line: string) => void,
  run: (index: number) => Promise<Run>,
): Promise<Result> {
  const done: Run[] = [];
  const title = `${what.scenario} ${what.case}`.trim();
  for (let index = 0; index < runs; index++) {
    tell(`${title}: run ${index + 1} of ${runs}`);
    done.push(await run(index));
  }
  return resultOf({ bus: 'flowbus', ...what }, done);
}
