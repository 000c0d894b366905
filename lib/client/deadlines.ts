/**
 * What is to happen when an answer does not come in time. A timer for each would cost more than sending a message does, and nearly
 * all answers come: those that wait equally long stand in one line, in the order of their deadlines, behind one timer.
 */
import { Fifo } from './fifo.js';

/** Something that waits. Whoever takes it out of the waiting sets `done`. */
export interface Waiting {
  /** Milliseconds, monotonic. */
  deadline: number;
  done: boolean;
}

/** Lines are cleared of what is done when they hold so many more than wait. */
const SLACK = 1024;

class Line<T extends Waiting> {
  readonly waiting: Fifo<T>;
  timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.waiting = new Fifo();
    this.timer = undefined;
  }
}

export class Deadlines<T extends Waiting> {
  /** By the time that they wait (ms). A line goes when it is empty as its timer ends. */
  private readonly lines: Map<number, Line<T>>;
  private readonly onLate: (item: T, timeout: number) => void;

  constructor(onLate: (item: T, timeout: number) => void) {
    this.lines = new Map();
    this.onLate = onLate;
  }

  /** Sets the deadline of `item`. `live`: how many wait in all, `item` included. */
  add(item: T, timeout: number, live: number): void {
    let line = this.lines.get(timeout);
    if (line === undefined) {
      line = new Line();
      this.lines.set(timeout, line);
    }
    const { waiting } = line;
    for (let first = waiting.first(); first?.done; first = waiting.first()) waiting.shift();
    if (waiting.length > 2 * live + SLACK)
      for (const one of waiting.takeAll()) if (!one.done) waiting.push(one);
    item.deadline = performance.now() + timeout;
    waiting.push(item);
    if (line.timer === undefined) this.arm(line, timeout, timeout);
  }

  /** Nothing waits any more: no timer keeps the process alive. */
  clear(): void {
    for (const { timer } of this.lines.values()) clearTimeout(timer);
    this.lines.clear();
  }

  private arm(line: Line<T>, timeout: number, wait: number): void {
    line.timer = setTimeout(() => this.check(line, timeout), wait);
  }

  private check(line: Line<T>, timeout: number): void {
    const { waiting } = line;
    const now = performance.now();
    line.timer = undefined;
    for (let first = waiting.first(); first !== undefined; first = waiting.first()) {
      if (!first.done && first.deadline > now) {
        this.arm(line, timeout, Math.ceil(first.deadline - now));
        return;
      }
      waiting.shift();
      if (!first.done) this.onLate(first, timeout);
    }
    // Unless somebody who was told has begun to wait.
    if (line.timer === undefined) this.lines.delete(timeout);
  }
}
