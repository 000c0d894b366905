/** Buses beside each other: the same roles do the same work, each with its usual client, in turn. */
import { BusMissing, type BusName } from './buses/bus.js';
import {
  type Case,
  type CommonOptions,
  type FigureShape,
  type Result,
  type Run,
  resultOf,
} from './scenario.js';
import { onStage, settingOf } from './stage.js';

/** One piece of work that several buses can do. */
export interface Task {
  readonly name: string;
  readonly conditions: Case['conditions'];
  readonly figures: readonly FigureShape[];
  /** What buses are compared by. `better`: which way is good. */
  readonly compared: readonly { name: string; better: 'more' | 'less' }[];
  /** Buses that cannot do it. */
  readonly without: readonly BusName[];
  /** One run, on servers of its own. */
  run(bus: BusName, index: number): Promise<Run>;
}

/** The buses that are here, with their versions; `missing` takes what is not. */
export async function present(
  buses: readonly BusName[],
  options: CommonOptions,
  missing: (text: string) => void,
): Promise<Map<BusName, string>> {
  const found = new Map<BusName, string>();
  for (const bus of buses) {
    try {
      found.set(bus, await onStage(settingOf(bus, options), async (stage) => stage.version));
    } catch (error) {
      // The server's process told it as text.
      if (!(error instanceof Error) || !error.message.includes(BusMissing.MARK)) throw error;
      missing(error.message);
    }
  }
  return found;
}

/** How many times better flowbus was than `bus`, run by run. */
function ratios(
  scenario: string,
  task: Task,
  bus: BusName,
  ours: readonly Run[],
  theirs: readonly Run[],
): Result {
  const runs = ours.map((run, index): Run => {
    const values: Record<string, number | null> = {};
    for (const { name, better } of task.compared) {
      const [own, other] = [run.values[name], theirs[index].values[name]];
      values[name] =
        own === null || other === null || own === 0 || other === 0
          ? null
          : better === 'more'
            ? own / other
            : other / own;
    }
    return { values, account: { expected: 0, received: 0, lost: 0, repeated: 0 }, notes: [] };
  });
  const figures = task.compared.map(({ name }): FigureShape => ({ name, unit: 'ratio' }));
  return resultOf(
    { bus: 'flowbus', scenario, case: `${task.name}: flowbus against ${bus}`, conditions: {}, figures },
    runs,
  );
}

/** Has each of `buses` do `task`, then compares flowbus with each of the others, run by run. */
export async function runBeside(
  scenario: string,
  task: Task,
  buses: ReadonlyMap<BusName, string>,
  runs: number,
  tell: (line: string) => void,
): Promise<Result[]> {
  const takers = [...buses.keys()].filter((bus) => !task.without.includes(bus));
  const done = new Map<BusName, Run[]>(takers.map((bus) => [bus, []]));
  // In turn, so that what the machine does meanwhile befalls all of them.
  for (let index = 0; index < runs; index++) {
    for (const bus of takers) {
      tell(`${scenario} ${task.name}: ${bus}, run ${index + 1} of ${runs}`);
      done.get(bus)!.push(await task.run(bus, index));
    }
  }
  const { name, figures } = task;
  const results = takers.map((bus) => {
    const conditions = { version: buses.get(bus)!, ...task.conditions };
    const runsOf = done.get(bus)!;
    // Not every bus has the same parts, and goals are our own.
    const known = figures.filter((shape) => runsOf.some(({ values }) => shape.name in values));
    const shapes = bus === 'flowbus' ? known : known.map((shape) => ({ ...shape, goal: null }));
    return resultOf({ bus, scenario, case: name, conditions, figures: shapes }, runsOf);
  });
  for (const bus of takers)
    if (bus !== 'flowbus') results.push(ratios(scenario, task, bus, done.get('flowbus')!, done.get(bus)!));
  return results;
}
