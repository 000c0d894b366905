/** What is wrong with a configuration, all of it. */
import { FlowbusError } from '../errors.js';

/** Its message has a line for each problem, its code is the first one's. */
export class ConfigError extends FlowbusError {
  /** At least one; each says in one line what is wrong. */
  readonly problems: readonly FlowbusError[];

  constructor(problems: readonly FlowbusError[]) {
    super(problems[0].code, problems.map(({ message }) => message).join('\n'));
    this.problems = problems;
  }
}

export class Problems {
  readonly #found: FlowbusError[] = [];

  get count(): number {
    return this.#found.length;
  }

  add(problem: FlowbusError): void {
    this.#found.push(problem);
  }

  /** What `step` returns; undefined when it threw a problem, which is kept. Other errors pass. */
  attempt<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (error) {
      if (!(error instanceof FlowbusError)) throw error;
      this.add(error);
      return undefined;
    }
  }

  /** @throws ConfigError */
  throwIfAny(): void {
    if (this.#found.length > 0) throw new ConfigError(this.#found);
  }
}
