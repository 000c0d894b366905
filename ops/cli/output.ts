/** Where commands write: results to standard output, notices and errors to standard error. */

/** Lines of one turn are written together, but no more than this (UTF-16 units) is kept. */
const MAX_PENDING = 64 * 1024;

const DIM = '\x1b[2m';
const CYAN = '\x1b[36m';
const BOLD = '\x1b[1m';
const RESET = '\x1b[0m';

/** What the environment says about a stream; `process.stdout` fits. */
export interface Sink {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** https://no-color.org: any value but the empty one switches colours off. */
function coloured(sink: Sink, env: NodeJS.ProcessEnv): boolean {
  return sink.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
}

export class Output {
  readonly #out: Sink;
  readonly #err: Sink;
  readonly #colour: boolean;
  #pending: string;
  #scheduled: boolean;

  constructor(out: Sink = process.stdout, err: Sink = process.stderr, env: NodeJS.ProcessEnv = process.env) {
    this.#out = out;
    this.#err = err;
    this.#colour = coloured(out, env);
    this.#pending = '';
    this.#scheduled = false;
  }

  /** One line of result, written at the end of the turn. */
  line(text: string): void {
    this.#pending += `${text}\n`;
    if (this.#pending.length >= MAX_PENDING) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.flush();
      });
    }
  }

  flush(): void {
    if (this.#pending === '') return;
    const text = this.#pending;
    this.#pending = '';
    this.#out.write(text);
  }

  /** One line for the person or script that watches, apart from the results. */
  notice(text: string): void {
    this.flush();
    this.#err.write(`${text}\n`);
  }

  bold(text: string): string {
    return this.#colour ? `${BOLD}${text}${RESET}` : text;
  }

  dim(text: string): string {
    return this.#colour ? `${DIM}${text}${RESET}` : text;
  }

  cyan(text: string): string {
    return this.#colour ? `${CYAN}${text}${RESET}` : text;
  }
}
